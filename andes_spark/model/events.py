"""Events: what a version says that takes part in the law, a union tagged by ``type``.

A reader that meets an event it does not know refuses it by name: it cannot tell what the rows are. Reserved for
later releases: ``restore``, ``expire``, ``take_in``, ``schema``, ``tag``, ``vacuum``. What each event means to the
rows is said in one place, ``log.pending``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from andes_spark.errors import UnsupportedTableError
from andes_spark.model.documents import Document
from andes_spark.model.files import Entry

RESERVED = frozenset({"restore", "expire", "take_in", "schema", "tag", "vacuum"})


class Mods(Document, frozen=True, tag_field="type", tag="mods"):
    """Mods of a batch."""

    files: list[Entry]


class Quarantine(Document, frozen=True, tag_field="type", tag="quarantine"):
    """Rows of a batch that were refused, with reasons; they take no part in the law."""

    files: list[Entry]


class Truncate(Document, frozen=True, tag_field="type", tag="truncate"):
    """That a version truncates: the sequences of its truncates, each once; none without ``sequence_by``."""

    sequences: list[list[Any]] = []


class SetAside(Document, frozen=True, tag_field="type", tag="set_aside"):
    """That the mods of an earlier version take no part in the law from this version on."""

    version: int


Event = Mods | Quarantine | Truncate | SetAside


class PendingVersion(Document, frozen=True):
    """A version as a roll-up repeats it."""

    version: int
    commit_id: str
    events: list[Event] = []


def mods_of(events: Iterable[Event]) -> list[Entry]:
    """Files of mods of some events."""
    return [entry for event in events if isinstance(event, Mods) for entry in event.files]


def quarantine_of(events: Iterable[Event]) -> list[Entry]:
    """Files of refused rows of some events."""
    return [entry for event in events if isinstance(event, Quarantine) for entry in event.files]


def files_of(events: Iterable[Event]) -> Iterator[Entry]:
    """All files of some events."""
    for event in events:
        if isinstance(event, Mods | Quarantine):
            yield from event.files


def refuse_unknown(data: bytes, **fields: Any) -> None:
    """Refuse a document with an event that this release does not know; called where it cannot be decoded.

    Raises:
        UnsupportedTableError: ``feature`` is the event's type.
    """
    known = {event.__struct_config__.tag for event in (Mods, Quarantine, Truncate, SetAside)}
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
