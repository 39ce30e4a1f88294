"""The newest state by one round of requests: checkpoint and entries are requested at once, by hints.

``load_state`` lists the log and reads the listed files, which takes several rounds. If a checkpoint in a single file
and an existing version are known, all files can be requested at once; ``load_state`` is the fallback for inconsistent
answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from andes_spark.delta import checkpoints
from andes_spark.delta.entries import read_commit
from andes_spark.delta.log import PROBES, load_state
from andes_spark.delta.replay import Replay, overwritten
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import FileDamagedError, LogDamagedError, UnsupportedTableError

if TYPE_CHECKING:
    from andes_spark.storage.interface import Storage
    from andes_spark.storage.scheduler import Asked

_BEYOND = 2
"""Number of versions beyond the newest known one that are requested."""


class HintedState:
    """Requests in progress for the newest state.

    Args:
        storage: the table's folder.
        start: version of a checkpoint in a single file; -1 or None to read the entries alone.
        known: a version known to exist; 0 if none is known.
        newest: the newest version that may be known to exist.
        beyond: number of versions beyond it that are requested.

    Attributes:
        entries: entries that were read with the state, oldest first.
    """

    def __init__(
        self, storage: Storage, start: int | None, known: int, newest: int = 0, *, beyond: int = _BEYOND
    ) -> None:
        self._storage = storage
        self.entries: list[Commit] = []
        self._start = -1 if start is None else start
        self._commits: dict[int, Asked[Commit | None]] = {}
        self._contents: Asked[checkpoints.Contents] | None = None
        last = max(known, newest, self._start) + beyond
        if last - self._start > PROBES:
            return
        ask = storage.scheduler.ask
        if self._start >= 0:
            self._contents = ask(checkpoints.read, storage, self._checkpoint)
        # The known version may lie below the checkpoint; ``commit`` then needs no further request.
        first = min(known, self._start + 1)
        for version in range(max(first, 0), last + 1):
            if version > self._start or version == known:
                self._commits[version] = ask(read_commit, storage, version)

    @property
    def _checkpoint(self) -> checkpoints.Checkpoint:
        return checkpoints.Checkpoint(self._start, (checkpoints.checkpoint_path(self._start),))

    def state(self) -> DeltaState:
        """Return the newest state; raises as ``load_state``."""
        try:
            state = self._replayed()
        except (FileDamagedError, LogDamagedError, UnsupportedTableError):
            # ``load_state`` tries older checkpoints, and its errors name the missing file.
            state = None
        if state is None:
            return load_state(self._storage)
        return state

    def commit(self, version: int) -> Commit | None:
        """Return an entry, without a request if it was read with the state."""
        answer = self._commits.get(version)
        commit = None if answer is None else answer.result()
        return commit if commit is not None else read_commit(self._storage, version)

    def _replayed(self) -> DeltaState | None:
        if not self._commits:
            return None
        replay = Replay()
        if self._contents is not None:
            replay = Replay.from_checkpoint(self._checkpoint, self._contents.result())
        versions = [version for version in self._commits if version > self._start]
        commits = [self._commits[version].result() for version in versions]
        self.entries = [commit for commit in commits if commit is not None]
        for index, commit in enumerate(commits):
            if commit is None:
                # A gap, or an entry created during the requests.
                return None if any(commits[index:]) else replay.state()
            replay.apply(commit)
        return load_state(self._storage, previous=replay.state())


def check_chain(storage: Storage, version: int, checkpoint: int | None) -> None:
    """Read the entries again that a reader of Delta replays for a version, in one round: each names the one before.

    Where Delta's writers have no conditional put, one that was paused may put its entry over any that was committed
    since.

    Args:
        storage: the table's folder.
        version: of the state.
        checkpoint: version of a checkpoint in one file; None if none is known.

    Raises:
        ForeignWriteError: an entry is not the one that the next was built on.
    """
    start = -1 if checkpoint is None or checkpoint > version else checkpoint
    numbers = range(max(start + 1, version - PROBES), version + 1)
    answers = [storage.scheduler.ask(read_commit, storage, number) for number in numbers]
    named: str | None = None
    for answer in reversed(answers):
        commit = answer.result()
        if commit is None:
            return  # deleted by Delta's clean-up of the log, below a checkpoint
        if None not in (named, commit.commit_id) and named != commit.commit_id:
            raise overwritten(commit.version)
        named = commit.previous


def state_at(
    storage: Storage, version: int, checkpoint: int | None, *, known: Mapping[int, Commit] | None = None
) -> DeltaState:
    """Load the state at an existing version, by one round of requests if a checkpoint near it is known.

    Args:
        storage: the table's folder.
        version: of the state.
        checkpoint: version of a checkpoint in one file; -1 to read entries alone; None if none is known.
        known: entries that were read before.

    Raises:
        AndesError: as ``load_state``.
    """
    if checkpoint is None or not 0 <= version - checkpoint <= PROBES:
        return load_state(storage, version=version)
    ask, commits = storage.scheduler.ask, known or {}
    stored = checkpoints.Checkpoint(checkpoint, (checkpoints.checkpoint_path(checkpoint),))
    contents = ask(checkpoints.read, storage, stored) if checkpoint >= 0 else None
    answers = {
        number: ask(read_commit, storage, number)
        for number in range(checkpoint + 1, version + 1)
        if number not in commits
    }
    try:
        replay = Replay() if contents is None else Replay.from_checkpoint(stored, contents.result())
        for number in range(checkpoint + 1, version + 1):
            commit = answers[number].result() if number in answers else commits[number]
            if commit is None:
                return load_state(storage, version=version)
            replay.apply(commit)
        return replay.state()
    except (FileDamagedError, LogDamagedError, UnsupportedTableError):
        # ``load_state`` tries older checkpoints, and its errors name the missing file.
        return load_state(storage, version=version)
