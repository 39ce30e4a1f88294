"""Lost and damaged manifests: named with what they cost, and made again as far as other documents know them.

A later roll-up repeats the events of a version, and with them all that determines its rows; ids of batches are lost. If
there is none, the mods of the version are lost: it does no harm to the newest rows if the base contains the version.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from andes_spark.delta.log import load_state
from andes_spark.errors import AndesError, LogDamagedError, UnsupportedTableError
from andes_spark.log.ledger import Ledger
from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.log.probing import HINT, read_hint
from andes_spark.log.rolled import RollUps
from andes_spark.log.tags import with_events
from andes_spark.model.definition import Definition
from andes_spark.model.documents import FORMAT, encode
from andes_spark.model.events import Alter, Event, PendingVersion, Rebuilt, Restore, Tag, TakeIn, files_of
from andes_spark.model.manifest import (
    MANIFESTS,
    Counts,
    Manifest,
    RollUp,
    committed_digest,
    decode_manifest,
    manifest_path,
)
from andes_spark.model.merge_record import MERGES
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.storage.wrapped import WrappedStorage

_RECORD = re.compile(rf"{MERGES}/(\d{{20}})-([0-9a-f-]+)\.json")
_EPOCHS = (Restore, TakeIn)


@dataclass(frozen=True)
class LostManifest:
    """A manifest that is lost or damaged.

    Attributes:
        version: its version.
        cost: what is lost with it.
        known: the version as a roll-up repeats it; None if no roll-up does.
        merged: whether the base contains the version.
        hinted: whether only the hint tells of the version, which no other document follows.
    """

    version: int
    cost: str
    known: PendingVersion | None
    merged: bool
    hinted: bool = False


class Manifests:
    """The stored manifests of a table.

    Args:
        storage: the table's folder.
        settings: settings of the process.
    """

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._settings = settings
        self._stored: dict[int, tuple[Manifest, str]] = {}
        self._newest = -1

    def find_lost(self) -> list[LostManifest]:
        """Read all manifests; return those that are missing or damaged, oldest first.

        Raises:
            LogDamagedError: nothing tells what a lost manifest said.
        """
        hint = read_hint(self._storage)
        self._read()
        applied = self._applied()
        # The manifests are read last: others may commit meanwhile.
        bad = sorted(self._read())
        if not self._stored:
            return []
        # The base may contain versions above the newest manifest.
        bad += range(self._newest + 1, (applied or 0) + 1)
        self._newest = max(self._newest, applied or 0)
        lost_manifests = [self._judge(version, applied) for version in bad]
        return lost_manifests if hint is None or hint <= self._newest else [*lost_manifests, self._hinted(hint)]

    def _hinted(self, hint: int) -> LostManifest:
        cost = f"{self._storage.url}: {HINT} has seen version {hint}, and there is no manifest above version "
        cost += f"{self._newest}: if there were some, their batches have to be sent again"
        return LostManifest(hint, cost, None, merged=False, hinted=True)

    def _read(self) -> set[int]:
        """Read the manifests, and return the versions of those that are not as they were committed."""
        storage = self._storage
        names = (info.path.removeprefix(f"{MANIFESTS}/") for info in storage.list(MANIFESTS))
        listed = [int(name[:20]) for name in names if name[20:] == ".json" and name[:20].isdigit()]
        self._newest = max(listed, default=-1)
        bad: set[int] = set()
        self._stored.clear()
        broken: set[int] = set()
        for version, answer in in_windows(
            storage.scheduler, lambda number: storage.find(manifest_path(number)), range(self._newest + 1)
        ):
            data = answer.result()
            manifest = None if data is None else self._decoded(version, data)
            if data is None or manifest is None:
                bad.add(version)
                continue
            before = self._stored.get(version - 1)
            if before is not None and not before[0].is_followed_by(manifest, before[1]):
                broken.add(version)
            self._stored[version] = (manifest, committed_digest(data))
        for version in sorted(broken):
            # A manifest that was replaced follows nothing and nothing follows it; one that was edited still follows.
            stranger = self._stored[version][0].table_id != self._stored[version - 1][0].table_id
            wrong = version if version + 1 in broken or stranger else version - 1
            bad |= {wrong} if version - 1 not in bad else set()
        for version in bad:
            self._stored.pop(version, None)
        return bad

    def _decoded(self, version: int, data: bytes) -> Manifest | None:
        try:
            return decode_manifest(data, table=self._storage.url, version=version)
        except LogDamagedError:
            return None

    def _applied(self) -> int | None:
        """Version that the base contains; None if that cannot be read."""
        table_ids = {manifest.table_id for manifest, _ in self._stored.values()}
        try:
            txns = load_state(self._storage).txns
        except UnsupportedTableError:
            raise
        except AndesError:
            return None
        return max((applied for application, applied in txns.items() if application in table_ids), default=0)

    def _judge(self, version: int, applied: int | None) -> LostManifest:
        url, path = self._storage.url, manifest_path(version)
        rolled = self._rolled(version)
        known = None if rolled is None else next((p for p in rolled.pending if p.version == version), None)
        if version == 0 and (rolled is None or not self._same_definition(0)):
            raise self._hopeless(version, "nothing else tells the definition of the table")
        if known is not None and any(isinstance(event, Alter) for event in known.events):
            raise self._hopeless(version, "it changed the definition of the table")
        if known is None and version and not self._same_definition(version):
            raise self._hopeless(version, "it may have changed the definition of the table")
        if known is None and version and applied is None:
            raise self._hopeless(version, "the base, which may contain the version, cannot be read")
        merged = version <= (applied or 0)
        if known is not None or version == 0:
            cost = f"{url}: {path} is made again from a later roll-up; the ids of its batches are lost, so that a batch"
            cost += " of it that is sent again is applied again"
        elif merged:
            cost = f"{url}: {path} is lost with the names of its mods, whose rows are in the base; versions that are "
            cost += "evaluated from these mods cannot be read any more, and lose their tags"
        else:
            cost = f"{url}: {path} is lost with the names of its mods, which were not merged: its batches have to be "
            cost += "sent again, or its verb, such as expire, called again"
        return LostManifest(version, cost, known, merged)

    def _hopeless(self, version: int, why: str) -> LogDamagedError:
        path = manifest_path(version)
        return LogDamagedError(
            f"{self._storage.url}: {path} is lost, and {why}; restore it from a backup or an earlier object version",
            table=self._storage.url,
            version=version,
            path=path,
        )

    def _rolled(self, version: int) -> RollUp | None:
        """The next roll-up that repeats a version."""
        for later in range(version + 1, self._newest + 1):
            stored = self._stored.get(later)
            rolled = None if stored is None else stored[0].roll_up
            if rolled is not None and (version == 0 or any(pending.version == version for pending in rolled.pending)):
                return rolled
        return None

    def _same_definition(self, version: int) -> bool:
        """Whether the definition after a lost version is known to be that before it."""
        after = [self._stored[later][0] for later in range(version + 1, self._newest + 1) if later in self._stored]
        before = self._definition_before(version)
        for manifest in after:
            altered = next((event for event in manifest.events if isinstance(event, Alter)), None)
            if altered is not None:
                return before is not None and altered.before == before.schema_id
            if manifest.roll_up is not None:
                return version == 0 or manifest.roll_up.definition == before
        return version > 0 and not self._unknown_schemas(before, after)

    def _definition_before(self, version: int) -> Definition | None:
        for earlier in range(version - 1, -1, -1):
            stored = self._stored.get(earlier)
            if stored is not None and stored[0].definition is not None:
                return stored[0].definition
            if stored is not None and stored[0].roll_up is not None:
                return stored[0].roll_up.definition
        return None

    @staticmethod
    def _unknown_schemas(before: Definition | None, after: list[Manifest]) -> bool:
        """Whether later files have a schema that is not known before the lost version."""
        known = {schema.id for schema in ([] if before is None else before.schemas)}
        return any(not _schemas(manifest) <= known for manifest in after)

    def make_again(self, lost_manifests: list[LostManifest]) -> None:
        """Put manifests in the place of those that are lost, oldest first."""
        records = dict(self._record_ids())
        for lost_manifest in lost_manifests:
            if lost_manifest.hinted:
                self._storage.delete([HINT])
                continue
            manifest = self._made_again(lost_manifest, records)
            data = encode(manifest)
            path = manifest_path(lost_manifest.version)
            self._storage.delete([path])
            self._storage.put_if_absent(path, data)
            stored = decode_manifest(data, table=self._storage.url, version=lost_manifest.version)
            self._stored[lost_manifest.version] = (stored, committed_digest(data))

    def _record_ids(self) -> Iterator[tuple[int, str]]:
        """Commit ids of versions with one merge record."""
        commit_ids: dict[int, list[str]] = {}
        for info in self._storage.list(MERGES):
            match = _RECORD.fullmatch(info.path)
            if match is not None:
                commit_ids.setdefault(int(match[1]), []).append(match[2])
        return ((version, ids[0]) for version, ids in commit_ids.items() if len(ids) == 1)

    def _made_again(self, lost_manifest: LostManifest, records: Mapping[int, str]) -> Manifest:
        version = lost_manifest.version
        before, after = self._stored.get(version - 1), self._stored.get(version + 1)
        near = min(self._stored.items())[1][0] if before is None else before[0]
        digest = "" if after is None or after[0].previous is None else after[0].previous
        events: list[Event] = self._tags(version) if lost_manifest.known is None else list(lost_manifest.known.events)
        known = lost_manifest.known is not None or not lost_manifest.merged or version == 0
        epoch = near.epoch
        if after is not None:
            epoch = after[0].epoch - any(isinstance(event, _EPOCHS) for event in after[0].events)
        rolled = self._rolled(version)
        commit_id = records.get(version) or str(uuid.uuid4())
        if lost_manifest.known is not None:
            commit_id = lost_manifest.known.commit_id
        for manifest, _ in self._stored.values():
            if manifest.roll_up is not None and manifest.roll_up.applied == version:
                commit_id = manifest.roll_up.applied_commit_id
        return Manifest(
            format=FORMAT,
            table_id=near.table_id,
            version=version,
            previous=None if before is None else before[1],
            commit_id=commit_id,
            time=near.time,
            operation="create" if version == 0 else "repair",
            writer={"library": "andes_spark"},
            counts=Counts(),
            reader_features=near.reader_features,
            writer_features=near.writer_features,
            events=[*events, Rebuilt(digest=digest, known=known)],
            definition=None if version or rolled is None else rolled.definition,
            origin=None if version or rolled is None else rolled.origin,
            roll_up=self._roll_up(version, near.time) if version and version % ROLL_UP_INTERVAL == 0 else None,
            epoch=epoch,
            floor=0 if before is None else before[0].floor,
            cuts=near.cuts,
        )

    def _tags(self, version: int) -> list[Event]:
        """Tags of a lost version, from the next roll-up: those that it has, and removals of those that it lacks."""
        later = next((n for n in range(version + 1, self._newest + 1) if self._roll_up_of(n) is not None), None)
        after = None if later is None else self._roll_up_of(later)
        if later is None or after is None:
            return []
        events: list[Event] = [tag.event for tag in after.tags if tag.committed == version]
        if all(number in self._stored for number in range(version + 1, later)):
            start = version - 1 - (version - 1) % ROLL_UP_INTERVAL if version else 0
            before = self._roll_up_of(start)
            between = [self._stored[number][0] for number in range(start, later) if number in self._stored]
            tags = with_events({tag.event.name: tag for tag in before.tags} if before is not None else {}, between)
            events += [Tag(name=name) for name in tags if all(tag.event.name != name for tag in after.tags)]
        return events

    def _roll_up_of(self, version: int) -> RollUp | None:
        return self._stored[version][0].roll_up if version in self._stored else None

    def _roll_up(self, version: int, time: int) -> RollUp:
        """The roll-up of a version, from the manifests before it."""
        log = Log.open(_Until(self._storage, version), self._settings)
        return RollUps(log, Ledger(log)).make(version, time)


class _Until(WrappedStorage):
    """The table's folder without the manifests from a version on."""

    def __init__(self, storage: Storage, version: int) -> None:
        super().__init__(storage)
        self._hidden = manifest_path(version)

    def find(self, path: str) -> bytes | None:
        """See ``Storage.find``; there is no hint either."""
        is_hidden = path == HINT or (path.startswith(MANIFESTS) and path >= self._hidden)
        return None if is_hidden else super().find(path)

    def size(self, path: str) -> int | None:
        """See ``Storage.size``."""
        is_hidden = path.startswith(MANIFESTS) and path >= self._hidden
        return None if is_hidden else super().size(path)


def _schemas(manifest: Manifest) -> set[int]:
    """Schemas of the files of a version."""
    return {entry.schema_id for entry in files_of(manifest.events)}
