"""Events: the parts of a version that determine its rows, a union tagged by ``type``.

Readers refuse unknown events by name, since they cannot determine the rows. The effect of each event on rows is
implemented in ``log.pending``, that of restores in ``log.line``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

import msgspec

from andes_spark.errors import UnsupportedTableError
from andes_spark.model.documents import Document
from andes_spark.model.files import Entry, SideFile


class Mods(Document, frozen=True, tag_field="type", tag="mods"):
    """Mods of the batches of a version.

    Attributes:
        files: files of the mods.
        backfill: whether mods at or below the cut of an earlier ``expire`` take part.
    """

    files: list[Entry]
    backfill: bool = False


class Quarantine(Document, frozen=True, tag_field="type", tag="quarantine"):
    """Refused rows of the batches of a version, with reasons; they do not change the table.

    Attributes:
        files: files of the rows.
    """

    files: list[Entry]


class Truncate(Document, frozen=True, tag_field="type", tag="truncate"):
    """Truncates of a batch.

    Attributes:
        sequences: distinct sequences; none without ``sequence_by``.
        batch: number of the batch within its version.
        backfill: as for :class:`Mods`.
    """

    sequences: list[list[Any]] = []
    batch: int = 0
    backfill: bool = False


class Expire(Document, frozen=True, tag_field="type", tag="expire"):
    """Tombstones and truncates at or below a sequence are forgotten, and later mods there take no part any more.

    Mods of later versions at or below the greatest sequence of all expires take part if they are a backfill.

    Attributes:
        sequence: values of the sequence columns.
    """

    sequence: list[Any]


class SetAside(Document, frozen=True, tag_field="type", tag="set_aside"):
    """An earlier version whose mods are ignored from this version on."""

    version: int


class Restore(Document, frozen=True, tag_field="type", tag="restore"):
    """The table as of an earlier version: the versions after it, up to this one, take no part from this one on."""

    version: int


class TakeIn(Document, frozen=True, tag_field="type", tag="take_in"):
    """A state of the base that another writer made, which stands for that of an earlier version from this one on.

    The mods between the two versions follow it, as they followed the state before.

    Attributes:
        delta_version: Delta version of the state.
        content: digest of its files and columns, see ``base.foreign.content_of``.
        applied: version of the log that the base contained before the changes.
        tombstones: files of tombstones behind those of that version's merge record: of rows that the other writer
            removed, and of keys that have a row again.
        ends_truncate: whether rows of the state are at or below the truncate in force, which ends with it.
    """

    delta_version: int
    content: str
    applied: int
    tombstones: list[SideFile] = []
    ends_truncate: bool = False


class Tag(Document, frozen=True, tag_field="type", tag="tag"):
    """A name for a version from this version on, or the removal of a name; no rows change.

    Attributes:
        name: see ``model.history_options``.
        version: version that the name stands for; None if the name is removed.
        expires: time from which on the tag keeps no file, in milliseconds since 1970 UTC; None for never.
        duration: milliseconds from the tagging to ``expires``, if it was given as a duration.
    """

    name: str
    version: int | None = None
    expires: int | None = None
    duration: int | None = None


class Drop(Document, frozen=True, tag_field="type", tag="drop"):
    """The table is removed: its files are being deleted, and no version follows."""


class Vacuum(Document, frozen=True, tag_field="type", tag="vacuum"):
    """The announcement of a vacuum, committed before it deletes anything; no rows change.

    Attributes:
        floor: oldest version that can be read from this one on, besides those with a tag or a pin.
        fence: files of mods that were begun on a version below this one, and that no version up to this one names, may
            be deleted: a writer that commits after this version writes them again.
    """

    floor: int
    fence: int


class Rebuilt(Document, frozen=True, tag_field="type", tag="rebuilt"):
    """The manifest of this version was lost, and a repair made it again; no rows change.

    Attributes:
        digest: SHA-256 of the lost manifest, as the next one names it; empty if there was no next one.
        known: whether the other events are all that the version had, or count as all. Else it can only be read from a
            state of the base that contains it.
    """

    digest: str
    known: bool


class Alter(Document, frozen=True, tag_field="type", tag="schema"):
    """A change of the table's definition, which the manifest carries whole; merges bring it to the base.

    Attributes:
        schema_id: id of the schema from this version on.
        before: id of the schema before.
        changed: names of the changed members of the definition.
    """

    schema_id: int
    before: int
    changed: list[str] = []


class Forget(Document, frozen=True, tag_field="type", tag="forget"):
    """Tombstones whose keys are salted hashes, in place of those with the keys; no rows change.

    A merge of the version drops the tombstones of these keys up to the same sequence, and its record names these files.

    Attributes:
        tombstones: files of hashed tombstones; none without ``sequence_by``.
    """

    tombstones: list[SideFile] = []


Event = (
    Mods | Quarantine | Truncate | Expire | SetAside | Restore | TakeIn | Tag | Vacuum | Drop | Alter | Rebuilt | Forget
)
QUIET = (Tag, Vacuum, Rebuilt)
"""Events that are about names and files, not about rows."""


class CurrentTag(Document, frozen=True):
    """A tag that is neither moved nor removed, as repeated in a roll-up.

    Attributes:
        committed: version with the event.
        event: the event.
    """

    committed: int
    event: Tag


class PendingVersion(Document, frozen=True):
    """A version as repeated in a roll-up.

    Attributes:
        version: number of the version.
        commit_id: UUID of its commit.
        events: changes made by the version.
    """

    version: int
    commit_id: str
    events: list[Event] = []


def mods_of(events: Iterable[Event]) -> list[Entry]:
    """Return the files of the mods of some events, in the order of the events."""
    return [entry for event in events if isinstance(event, Mods) for entry in event.files]


def quarantine_of(events: Iterable[Event]) -> list[Entry]:
    """Return files of refused rows of events."""
    return [entry for event in events if isinstance(event, Quarantine) for entry in event.files]


def forgotten_of(events: Iterable[Event]) -> list[SideFile]:
    """Return files of hashed tombstones of events."""
    return [file for event in events if isinstance(event, Forget) for file in event.tombstones]


def files_of(events: Iterable[Event]) -> Iterator[Entry]:
    """Yield the files of mods and of refused rows of some events."""
    for event in events:
        if isinstance(event, Mods | Quarantine):
            yield from event.files


def side_files_of(events: Iterable[Event]) -> Iterator[SideFile]:
    """Yield files of tombstones of events."""
    for event in events:
        if isinstance(event, TakeIn | Forget):
            yield from event.tombstones


def refuse_unknown(data: bytes, **fields: Any) -> None:
    """Refuse a document with an unknown event; for documents that cannot be decoded.

    Raises:
        UnsupportedTableError: ``feature`` is the event's type.
    """
    known = {event.__struct_config__.tag for event in get_args(Event)}
    for event in _events(data):
        if event.type not in known:
            raise UnsupportedTableError(
                f"{fields['table']}: version {fields['version']} has an event {event.type!r}, which this release does "
                "not know; install a newer andes_spark",
                feature=event.type,
                **fields,
            )


class _Event(msgspec.Struct):
    type: str


class _Version(msgspec.Struct):
    events: list[_Event] = []


class _RollUp(msgspec.Struct):
    pending: list[_Version] = []


class _Manifest(msgspec.Struct):
    events: list[_Event] = []
    roll_up: _RollUp | None = None


def _events(data: bytes) -> list[_Event]:
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except (msgspec.DecodeError, RecursionError):
        return []
    pending = manifest.roll_up.pending if manifest.roll_up is not None else []
    return [*manifest.events, *(event for version in pending for event in version.events)]
