"""The newest entries of the Delta log, as far as this handle read or wrote them: which are merges of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from andes_spark.delta.log import read_commit
from andes_spark.delta.state import Commit
from andes_spark.storage.interface import Storage

KEPT = 32
"""Number of newest entries whose ``commitInfo`` is kept, and maximum number of entries requested in parallel."""

Info = Mapping[str, Any]


class RecentEntries:
    """``commitInfo`` of the newest entries that are merges.

    Args:
        storage: the table's folder.
        is_merge: whether an entry is a merge of this table.
    """

    def __init__(self, storage: Storage, is_merge: Callable[[Commit], bool]) -> None:
        self._storage = storage
        self._is_merge = is_merge
        self._infos: dict[int, Info | None] = {}

    def remember(self, commit: Commit) -> None:
        """Keep what reports need of an entry."""
        self._infos[commit.version] = self._info(commit)
        for version in [known for known in self._infos if known <= commit.version - KEPT]:
            del self._infos[version]

    def forget(self) -> None:
        """Forget all entries, so that they are read again when they are needed."""
        self._infos.clear()

    def merges(self, newest: int, oldest: int) -> Iterator[tuple[int, Info]]:
        """Yield the merges from version ``newest`` down to ``oldest``, each with its ``commitInfo``.

        Entries that are not in memory are requested in parallel, ever more at a time.
        """
        count = 1
        while newest >= oldest:
            versions = range(newest, max(oldest, newest - count + 1) - 1, -1)
            unread = [version for version in versions if version not in self._infos]
            answers = [self._storage.scheduler.ask(read_commit, self._storage, version) for version in unread]
            commits = [answer.result() for answer in answers]
            infos = {**self._infos, **{commit.version: self._info(commit) for commit in commits if commit is not None}}
            for version in versions:
                info = infos.get(version)
                if info is not None:
                    yield version, info
            newest, count = newest - len(versions), min(2 * count, KEPT)

    def _info(self, commit: Commit) -> Info | None:
        return (commit.commit_info or {}) if self._is_merge(commit) else None
