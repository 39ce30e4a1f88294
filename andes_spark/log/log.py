"""Reads of the log: head, manifests, pending versions.

The head is found by probing upwards from ``_andes/hint``, which is advisory; the log is never listed. Each
manifest names the SHA-256 of the one before it, and every pair that is read is checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from andes_spark.errors import LogDamagedError, NoSuchVersionError
from andes_spark.log.dropped import refuse_dropped
from andes_spark.log.probing import consecutive, fetch, gallop, hinted_is_gone, hole, read_hint
from andes_spark.model.definition import Definition
from andes_spark.model.events import PendingVersion
from andes_spark.model.features import check_writable
from andes_spark.model.manifest import Manifest, committed_digest, decode_manifest, manifest_path
from andes_spark.model.merge_record import MERGES
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import Asked

ROLL_UP_INTERVAL = 10
"""Versions from one roll-up to the next; opening a table reads the manifests after the last roll-up."""
_KEPT = 100
_AHEAD = 2
"""Number of versions beyond the hint that are requested when a table is opened."""
_PROBES = 64
"""Maximum number of versions requested in parallel."""
_JUMP = 16
"""Distance of the hint from the head beyond which a handle continues from the hint."""


def system_clock() -> int:
    """Return the milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class NewerVersions:
    """Requests for the manifests at and after the head.

    Attributes:
        head: newest version seen at the time of the requests.
        stored_head: manifest of the head as stored now; None where it was not requested.
        following: manifest after it; None where it was not requested.
    """

    head: int
    stored_head: Asked[bytes | None] | None
    following: Asked[bytes | None] | None


def _newest_merged(storage: Storage, head: int) -> int:
    infos = storage.list(MERGES, after=f"{MERGES}/{head + 1:020d}")
    versions = [info.path.removeprefix(f"{MERGES}/")[:20] for info in infos]
    return max((int(version) for version in versions if version.isdigit()), default=-1)


class Log:
    """The log of one table, with a cache of the manifests that were read. Not thread-safe.

    Attributes:
        table: the table's URL, for messages.
        head: newest version seen.
        applied: newest version that the base is known to contain; set by the table.
        hint_was_exact: whether the hint named the head when the log was opened.
        drops: whether this log is opened to drop the table: versions that say so are no error.
    """

    def __init__(self, storage: Storage, settings: Settings, *, clock: Callable[[], int] = system_clock) -> None:
        self.storage = storage
        self.settings = settings
        self.clock = clock
        self.table = storage.url
        self.head = -1
        self.applied = 0
        self.hint_was_exact = False
        self.drops = False
        self._known: dict[int, tuple[Manifest, str]] = {}
        self._definitions: dict[int, Definition] = {}

    @classmethod
    def open(cls, storage: Storage, settings: Settings, *, clock: Callable[[], int] = system_clock) -> Log:
        """Open the log of an existing table and find its head.

        Raises:
            NoSuchTableError: there is no manifest 0, or the table was dropped.
            LogDamagedError, UnsupportedTableError: as the manifests show.
        """
        log = cls(storage, settings, clock=clock)
        log.refresh()
        return log

    def copy(self) -> Log:
        """Return a log with the same manifests in memory, for another thread."""
        log = Log(self.storage, self.settings, clock=self.clock)
        log.head, log.applied = self.head, self.applied
        log._known, log._definitions = dict(self._known), dict(self._definitions)
        return log

    @property
    def last_roll_up(self) -> int:
        """Version of the newest manifest that carries a roll-up, or 0."""
        return self.head - self.head % ROLL_UP_INTERVAL

    @property
    def definition(self) -> Definition:
        """The definition of the table as of the head."""
        return self.definition_at(self.head)

    @property
    def cuts(self) -> int:
        """Number of cuts of the Delta log as of the head."""
        return self.manifest(self.head).cuts

    def refresh(self, ahead: Sequence[Asked[bytes | None]] = ()) -> int:
        """Look for versions newer than ``head``; return the head. One request if there are none.

        Args:
            ahead: requests for the manifests after the head that were started before.
        """
        if self.head < 0:
            hinted = read_hint(self.storage)
            self._start_at(gallop(self.storage) if hinted is None else hinted)
            self.hint_was_exact = hinted == self.head
        else:
            answers = [answer.result() for answer in ahead] or fetch(self.storage, [self.head + 1])
            self._take_following(len(answers), answers)
        return self.head

    def ask_newer(self, *, check_head: bool = True, look_ahead: bool = True) -> NewerVersions:
        """Request the version after the head and the stored head, without waiting for the answers.

        Args:
            check_head: whether a version will be built on the head; reads do without.
            look_ahead: whether to request the version after the head; a commit notices it without that.
        """
        ask, find = self.storage.scheduler.ask, self.storage.find
        stored_head = ask(find, manifest_path(self.head)) if check_head else None
        following = ask(find, manifest_path(self.head + 1)) if look_ahead else None
        return NewerVersions(self.head, stored_head, following)

    def take_newer(self, newer: NewerVersions) -> int:
        """Read the answers to :meth:`ask_newer`, look for later versions, and return the head.

        Raises:
            LogDamagedError: another manifest is stored at the head: the table was replaced after it was opened.
        """
        if newer.head != self.head:
            return self.refresh()
        if newer.stored_head is not None:
            self._check_stored(newer.stored_head.result())
        if newer.following is not None:
            self._take_following(1, [newer.following.result()])
        return self.head

    def _take_following(self, count: int, answers: Sequence[bytes | None]) -> None:
        """Add the versions after the head, ``count`` of which were requested, and all later ones."""
        while True:
            before = self.head
            versions = range(before + 1, before + 1 + count)
            for version, data in consecutive(self.storage, versions, answers):
                self._learn(version, data)
                self.head = version
            if self.head < before + count:
                break
            hinted = read_hint(self.storage) if count == 1 else None
            if hinted is not None and hinted > self.head + _JUMP:
                # A handle that was idle for a long time continues like one that is opened now.
                self._start_at(hinted)
                return
            count = min(4 * count, _PROBES)
            answers = fetch(self.storage, range(self.head + 1, self.head + 1 + count))
        self._forget()

    def _forget(self) -> None:
        """Drop what is known of old versions, so that a handle holds as much after many versions as after few."""
        oldest = self.head - _KEPT
        for version in [known for known in self._known if known < oldest]:
            del self._known[version]
        for version in [known for known in self._definitions if known < oldest]:
            del self._definitions[version]

    def _start_at(self, version: int) -> None:
        """Make a version the head, with all manifests since its roll-up; then look for newer ones.

        Raises:
            LogDamagedError: one of them is missing.
        """
        first = version - version % ROLL_UP_INTERVAL
        versions = range(first, version + 1 + _AHEAD)
        answers = fetch(self.storage, versions)
        if answers[version - first] is None:
            raise hinted_is_gone(self.table, version)
        for number, data in zip(range(first, version + 1), answers, strict=False):
            if data is None:
                raise hole(self.table, number)
            self._learn(number, data)
        self.head = version
        self._take_following(_AHEAD, answers[version + 1 - first :])

    def check_head(self) -> None:
        """Compare the head in memory with the stored one, before a version is built on it, by one request.

        Raises:
            LogDamagedError: another manifest is stored there: the table was replaced after it was opened.
        """
        if self.head >= 0:
            self._check_stored(self.storage.find(manifest_path(self.head)))

    def _check_stored(self, data: bytes | None) -> None:
        if data is None:
            raise hole(self.table, self.head)
        if committed_digest(data) != self.digest(self.head):
            raise LogDamagedError(
                f"{self.table}: version {self.head} is not the one that was read before: the table was replaced, or "
                "the manifest edited, since this table was opened; open it again",
                table=self.table,
                version=self.head,
            )

    def check_writable(self) -> None:
        """Refuse to write to a table with a feature that this release does not know.

        Raises:
            UnsupportedTableError: the feature is not known; ``feature``.
        """
        if self.head >= 0:
            check_writable(self.manifest(self.head).writer_features, table=self.table, version=self.head)

    def ask_newest_merged(self) -> Asked[int]:
        """Request the newest version above the head with a merge record (-1: none), without waiting."""
        return self.storage.scheduler.ask(_newest_merged, self.storage, self.head)

    def check_not_lost(self, newest_merged: int, contained: Callable[[], int]) -> None:
        """Compare the head with the newest merge record, or with the base.

        A record is written beside the manifest of its version. One above the head is in use only if the base contains
        its version; else the manifest is on its way, or its writer ended before it.

        Args:
            newest_merged: newest version with a merge record, or that the base contains.
            contained: function that reads the newest version that the base contains; called only in doubt.

        Raises:
            LogDamagedError: the base contains a version above the head: the log has lost manifests.
        """
        # Other writers may have committed and merged after the head was read.
        if newest_merged <= self.head or newest_merged <= self.refresh():
            return
        applied = contained() if newest_merged == self.head + 1 else newest_merged
        if applied > self.head and applied > self.refresh():
            raise self._lost(applied)

    def commit_id(self, version: int) -> str:
        """Commit id of a version that the base contains; from memory if the last roll-up has it.

        Raises:
            LogDamagedError: the log has lost that version.
        """
        if version > self.head and version > self.refresh():
            raise self._lost(version)
        known = self.known_commit_id(version)
        if known is None:
            self.manifest(self.last_roll_up)
            known = self.known_commit_id(version)
        return known or self.manifest(version).commit_id

    def known_commit_id(self, version: int) -> str | None:
        """Commit id of a version, if it is in memory; None if it has to be read."""
        if version in self._known:
            return self._known[version][0].commit_id
        roll_up = self._known[self.last_roll_up][0].roll_up if self.last_roll_up in self._known else None
        if roll_up is None:
            return None
        ids = {pending.version: pending.commit_id for pending in roll_up.pending}
        return {**ids, roll_up.applied: roll_up.applied_commit_id}.get(version)

    def take(self, version: int, data: bytes, *, decoded: Manifest | None = None) -> Manifest:
        """Add the manifest stored at ``head + 1``, just committed (and decoded) or just read."""
        self._learn(version, data, decoded)
        self.head = max(self.head, version)
        self._forget()
        return self._known[version][0]

    def digest(self, version: int) -> str:
        """Return the SHA-256 of a manifest's bytes as it was committed."""
        self.manifest(version)
        return self._known[version][1]

    def manifest(self, version: int) -> Manifest:
        """Return the manifest of a version.

        Raises:
            NoSuchVersionError: the version is above the head or below zero.
            LogDamagedError: it is missing, or its SHA-256 is not the one in the next manifest.
        """
        return self.manifests(version, version)[0]

    def manifests(self, first: int, last: int) -> list[Manifest]:
        """Return the manifests ``first`` to ``last``, both included; those not in memory are read in parallel."""
        if first < 0 or last > self.head:
            raise NoSuchVersionError(
                f"{self.table}: version {first if first < 0 else last} does not exist; the newest is {self.head}",
                table=self.table,
                version=first if first < 0 else last,
            )
        return self.some(range(first, last + 1))

    def some(self, versions: Sequence[int]) -> list[Manifest]:
        """Return the manifests of existing versions, in any order; those not in memory are read in parallel."""
        unread = [version for version in versions if version not in self._known]
        for version, data in zip(unread, fetch(self.storage, unread), strict=True):
            if data is None:
                raise hole(self.table, version)
            self._learn(version, data)
        return [self._known[version][0] for version in versions]

    def read_again(self) -> None:
        """Drop the manifests in memory: those of old versions were written anew, and name other files."""
        self._known.clear()

    def in_memory(self) -> list[Manifest]:
        """Return the manifests in memory, in no order."""
        return [manifest for manifest, _ in self._known.values()]

    def definition_at(self, version: int) -> Definition:
        """Return the definition of the table at a version."""
        start = version - version % ROLL_UP_INTERVAL
        if start not in self._definitions:
            base = self.manifest(start)
            definition = base.definition or (base.roll_up.definition if base.roll_up else None)
            if definition is None:
                raise LogDamagedError(
                    f"{self.table}: version {start} carries no definition; restore {manifest_path(start)}",
                    table=self.table,
                    version=start,
                )
            self._definitions[start] = definition
        definition = self._definitions[start]
        for manifest in self.manifests(start, version) if version > start else ():
            definition = manifest.definition or definition
        return definition

    def pending(self, applied: int, version: int) -> list[PendingVersion]:
        """Return the pending versions ``applied + 1`` to ``version``, oldest first, read from manifests and roll-ups.

        Raises:
            LogDamagedError: the base contains a version above the head: the log has lost versions.
        """
        if applied > self.head:
            raise self._lost(applied)
        versions: list[PendingVersion] = []
        last = version
        while last > applied:
            start = last - last % ROLL_UP_INTERVAL
            roll_up = None
            if not all(version in self._known for version in range(applied + 1, start)):
                roll_up = self.manifest(start).roll_up
            first = applied + 1 if roll_up is None else start
            since = [entry.pending for entry in self.manifests(first, last)]
            before = [] if roll_up is None else [entry for entry in roll_up.pending if entry.version > applied]
            versions = [*before, *since, *versions]
            last = applied if roll_up is None else min(roll_up.applied, start - 1)
        return versions

    def _learn(self, version: int, data: bytes, decoded: Manifest | None = None) -> None:
        manifest = decoded or decode_manifest(data, table=self.table, version=version)
        digest = committed_digest(data)
        before, after = self._known.get(version - 1), self._known.get(version + 1)
        follows = before is None or before[0].is_followed_by(manifest, before[1])
        if (before and (not follows or manifest.table_id != before[0].table_id)) or (
            after and not manifest.is_followed_by(after[0], digest)
        ):
            raise LogDamagedError(
                f"{self.table}: the chain of manifests is broken at version {version}: one of "
                f"{version - 1}, {version}, {version + 1} is not what was committed; restore it",
                table=self.table,
                version=version,
            )
        if not self.drops:
            refuse_dropped(self.table, manifest)
        self._known[version] = (manifest, digest)

    def _lost(self, applied: int) -> LogDamagedError:
        return LogDamagedError(
            f"{self.table}: the base contains version {applied}, but the log ends at {self.head}: "
            "manifests were lost; restore them",
            table=self.table,
            version=self.head,
            applied=applied,
        )
