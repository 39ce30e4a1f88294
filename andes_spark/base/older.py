"""Older states of the base: the newest Delta version that contains no version of the log above a given one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from andes_spark.base.foreign import may_be_foreign
from andes_spark.base.remedies import BY_BACKUP
from andes_spark.delta.hinted import state_at
from andes_spark.delta.log import first_loadable, load_state, read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import LogDamagedError
from andes_spark.storage.interface import Storage

_STEPS = (2, 8, 32)
"""Number of entries that are requested beside each other, from the newest downwards, before a binary search."""


@dataclass(frozen=True)
class OlderVersion:
    """An earlier Delta version of the base, which is not loaded.

    Attributes:
        delta_version: number of the Delta version.
        applied: version of the log that it contains.
        until: version of the log that the next merge contains: its state is that of all versions below it.
        doubtful: whether another writer may have changed the base since the merge before it.
    """

    delta_version: int
    applied: int
    until: int
    doubtful: bool = False


class OlderStates:
    """Search for older states; which version each entry contains is kept, since entries never change.

    Args:
        storage: the table's folder.
        table_id: UUID of the table.
    """

    def __init__(self, storage: Storage, table_id: str) -> None:
        self._storage = storage
        self._table_id = table_id
        self._applied: dict[int, int] = {}
        self._commits: dict[int, Commit] = {}
        self._doubtful: set[int] = set()

    def remember(self, delta_version: int, applied: int) -> None:
        """Keep which version of the log a Delta version contains."""
        self._applied[delta_version] = applied

    def forget(self) -> None:
        """Forget all entries: one of them was overwritten."""
        self._applied.clear()
        self._commits.clear()
        self._doubtful.clear()

    def find(self, version: int, *, origin: int, newest: int) -> OlderVersion:
        """Find the newest Delta version that contains no version above ``version``.

        Args:
            version: version of the log.
            origin: Delta version at the start of the log.
            newest: Delta version that contains a later version, which is known.

        Raises:
            LogDamagedError: an entry is gone.
        """
        self.remember(origin, 0)
        self._commits = {}
        try:
            return self._search(version, origin, newest)
        except LogDamagedError:
            # Delta's own clean-up of the log deletes entries below a checkpoint: the search begins there.
            first = first_loadable(self._storage, origin)
            if first is None or not origin < first <= newest:
                raise
            applied = load_state(self._storage, version=first).txns.get(self._table_id, 0)
            if applied > version:
                raise
            self.remember(first, applied)
            return self._search(version, first, newest)

    def _search(self, version: int, origin: int, newest: int) -> OlderVersion:
        """Search between two Delta versions, of which the first contains no version above ``version``."""
        low, high = origin, newest
        for step in _STEPS:
            first = max(low, high - step)
            self._read(range(first, high))
            if self._applied_at(first) <= version:
                low = first
                break
            high = first
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._applied_at(middle) <= version else (low, middle)
        return OlderVersion(low, self._applied_at(low), self._applied_at(high), low in self._doubtful)

    def load(self, delta_version: int, checkpoint: int | None) -> DeltaState:
        """Load the state at a Delta version, with the entries that were read to find it.

        Args:
            delta_version: its number.
            checkpoint: version of a checkpoint in one file; -1 to read entries alone; None if none is known.
        """
        known, self._commits = self._commits, {}
        return state_at(self._storage, delta_version, checkpoint, known=known)

    def _read(self, versions: Iterable[int]) -> None:
        """Read entries beside each other."""
        unknown = [version for version in versions if version not in self._applied]
        answers = [self._storage.scheduler.ask(read_commit, self._storage, version) for version in unknown]
        commits = [answer.result() for answer in answers]
        self._commits |= {commit.version: commit for commit in commits if commit is not None}

    def _applied_at(self, delta_version: int) -> int:
        """Version of the log that a Delta version contains."""
        between = []
        version = delta_version
        while version not in self._applied:
            commit = self._commits.get(version) or self._entry(version)
            applied = commit.txns.get(self._table_id)
            if applied is not None:
                self._applied[version] = applied
                break
            between.append((version, may_be_foreign(commit)))
            version -= 1
        doubtful = version in self._doubtful
        for later, may_be in reversed(between):
            doubtful = doubtful or may_be
            self._applied[later] = self._applied[version]
            if doubtful:
                self._doubtful.add(later)
        return self._applied[delta_version]

    def _entry(self, version: int) -> Commit:
        commit = read_commit(self._storage, version)
        if commit is None:
            raise LogDamagedError(
                f"{self._storage.url}: {entry_path(version)} is gone, so the base of older versions cannot "
                f"be found; {BY_BACKUP}, and keep delta.logRetentionDuration as this library sets it",
                table=self._storage.url,
                delta_version=version,
            )
        return commit
