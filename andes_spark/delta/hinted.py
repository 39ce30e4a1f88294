"""The newest state by one round of requests: checkpoint and entries asked for at once, where hints lead to them.

``load_state`` lists the log and reads what the list shows, which takes several rounds. Where the checkpoint that
``_last_checkpoint`` names lies in one file, and a version that exists is known, everything can be asked for at once;
whatever does not fit together is left to ``load_state``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from andes_spark.delta import checkpoints
from andes_spark.delta.entries import read_commit
from andes_spark.delta.log import PROBES, load_state
from andes_spark.delta.replay import Replay
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import FileDamagedError, LogDamagedError, UnsupportedTableError

if TYPE_CHECKING:
    from andes_spark.storage.interface import Storage
    from andes_spark.storage.scheduler import Asked

_BEYOND = 2


class HintedState:
    """The requests for the newest state, under way.

    Args:
        storage: the table's folder.
        hint: bytes of ``_last_checkpoint``.
        known: a version that exists, as far as somebody knows; 0 where nobody does.
    """

    def __init__(self, storage: Storage, hint: bytes | None, known: int) -> None:
        self._storage = storage
        start = checkpoints.hinted_version(hint)
        self._start = -1 if start is None else start
        self._commits: dict[int, Asked[Commit | None]] = {}
        self._contents: Asked[checkpoints.Contents] | None = None
        last = max(known, self._start) + _BEYOND
        if last - self._start > PROBES:
            return
        ask = storage.scheduler.ask
        if start is not None:
            self._contents = ask(checkpoints.read, storage, self._checkpoint)
        # The known version may lie below the checkpoint: whoever compares it need not ask again.
        first = min(known, self._start + 1)
        for version in range(max(first, 0), last + 1):
            if version > self._start or version == known:
                self._commits[version] = ask(read_commit, storage, version)

    @property
    def _checkpoint(self) -> checkpoints.Checkpoint:
        return checkpoints.Checkpoint(self._start, (checkpoints.checkpoint_path(self._start),))

    def state(self) -> DeltaState:
        """The newest state; raises as ``load_state``."""
        try:
            state = self._replayed()
        except (FileDamagedError, LogDamagedError, UnsupportedTableError):
            # An older checkpoint may do, and the errors of the long way name what is missing.
            state = None
        if state is None:
            return load_state(self._storage)
        return state

    def commit(self, version: int) -> Commit | None:
        """An entry, as it came with the state where it did."""
        asked = self._commits.get(version)
        commit = None if asked is None else asked.result()
        return commit if commit is not None else read_commit(self._storage, version)

    def _replayed(self) -> DeltaState | None:
        if not self._commits:
            return None
        replay = Replay()
        if self._contents is not None:
            replay = Replay.from_checkpoint(self._checkpoint, self._contents.result())
        versions = [version for version in self._commits if version > self._start]
        commits = [self._commits[version].result() for version in versions]
        for index, commit in enumerate(commits):
            if commit is None:
                # A hole, or an entry that came while others were asked for.
                return None if any(commits[index:]) else replay.state()
            replay.apply(commit)
        return load_state(self._storage, previous=replay.state())
