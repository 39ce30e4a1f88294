"""The base as a reader or a merge finds it: a Delta version, what it contains of the log, and its merge record.

Which versions of the log a Delta version contains is said by the ``txn`` action of our commits.
"""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.base.foreign import ForeignChange, find_foreign
from andes_spark.delta.features import obstacles, refusal
from andes_spark.delta.log import load_state, read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import AndesError, ForeignWriteError, LogDamagedError, UnsupportedTableError
from andes_spark.log.lease import read_note
from andes_spark.log.log import Log
from andes_spark.model.merge_record import MergeRecord, decode_merge_record, merge_record_path, no_record
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class BaseSnapshot:
    """A Delta version of the base.

    Attributes:
        state: files and properties.
        applied: version of the log that it contains.
        record: tombstones and watermarks as of that version.
        foreign: the change of another writer above it, if there is one.
        unwritable: features in use that keep this library from writing it, if there are some.
    """

    state: DeltaState
    applied: int
    record: MergeRecord
    foreign: ForeignChange | None = None
    unwritable: UnsupportedTableError | None = None

    @property
    def version(self) -> int:
        """Delta's version."""
        return self.state.version


class Base:
    """The base of one table, with what was read of it. Not safe for use by several threads at once."""

    def __init__(self, storage: Storage, table_id: str, log: Log) -> None:
        self._storage = storage
        self._log = log
        self._table_id = table_id
        self._state: DeltaState | None = None
        self._checked = -1
        self._foreign: ForeignChange | None = None
        self._unwritable: UnsupportedTableError | None = None
        self._applied: dict[int, int] = {0: 0}
        self._newest_record: MergeRecord | None = None

    def snapshot(self) -> BaseSnapshot:
        """The newest state of the base that holds the log's rows and nothing else; a warm call asks once.

        Raises:
            UnsupportedTableError: a feature that keeps this library from reading the base, with no state before it.
            ForeignWriteError: our last merge was overwritten by another writer.
            LogDamagedError: the merge record is missing.
        """
        state = load_state(self._storage, previous=self._state)
        if self._state is None:
            self._check_last_merge(state.version)
        if state.version > self._checked:
            self._foreign = find_foreign(
                self._storage, state, checked=self._checked, known=self._foreign, is_merge=self.is_merge
            )
            self._unwritable = None if self._foreign is not None else self._obstacles(state)
            self._checked = state.version
        self._state = state
        if self._foreign is None:
            return self._of(state, None, self._unwritable)
        return self._of(self._foreign.before, self._foreign, None)

    @property
    def newest(self) -> DeltaState | None:
        """The newest state that was read, foreign changes included; None before the first read."""
        return self._state

    def snapshot_at(self, version: int) -> BaseSnapshot:
        """The newest state of the base that contains no version above ``version``."""
        newest = self.snapshot()
        if newest.applied <= version:
            return newest
        low, high = 0, newest.version
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._applied_at(middle) <= version else (low, middle)
        return self._of(load_state(self._storage, version=low), None, None)

    def obstacle(self, snapshot: BaseSnapshot) -> AndesError | None:
        """Why nothing can be merged into a snapshot: an error that says what to do; None if merges go on."""
        if snapshot.foreign is not None:
            return snapshot.foreign.error(self._storage.url)
        return snapshot.unwritable

    def require_writable(self, snapshot: BaseSnapshot) -> None:
        """Refuse to build on what another writer changed, or on features that this library does not write.

        Raises:
            ForeignWriteError: names the Delta version and what it was.
            UnsupportedTableError: names the features.
        """
        error = self.obstacle(snapshot)
        if error is not None:
            raise error

    def is_merge(self, commit: Commit) -> bool:
        """Whether a Delta commit is one of our merges, or our create."""
        return self._table_id in commit.txns

    def _of(
        self, state: DeltaState, foreign: ForeignChange | None, unwritable: UnsupportedTableError | None
    ) -> BaseSnapshot:
        applied = state.txns.get(self._table_id, 0)
        return BaseSnapshot(state, applied, self._record(applied), foreign, unwritable)

    def _record(self, applied: int) -> MergeRecord:
        if applied == 0:
            return no_record(self._table_id)
        commit_id = self._log.commit_id(applied)
        if self._newest_record is None or self._newest_record.commit_id != commit_id:
            self._newest_record = read_record(self._storage, self._table_id, applied, commit_id)
        return self._newest_record

    def _obstacles(self, state: DeltaState) -> UnsupportedTableError | None:
        """Features that keep this library from writing a state; raises what keeps it from reading it."""
        url = self._storage.url
        try:
            found = obstacles(state)
            unreadable = refusal(found, reading=True)
            if unreadable is not None:
                raise unreadable
        except (UnsupportedTableError, LogDamagedError) as error:
            raise type(error)(f"{url}: {error.message}", **{**error.fields, "table": url}) from error
        unwritable = refusal(found)
        if unwritable is None:
            return None
        message = f"{url}: {unwritable.message}; until then merges stop, and reads and appends go on"
        return UnsupportedTableError(message, **{**unwritable.fields, "table": url})

    def _applied_at(self, delta_version: int) -> int:
        """Version of the log that a Delta version contains."""
        asked = []
        version = delta_version
        while version not in self._applied:
            asked.append(version)
            commit = read_commit(self._storage, version)
            if commit is None:
                raise LogDamagedError(
                    f"{self._storage.url}: {entry_path(version)} is gone, so the base of older versions cannot "
                    "be found; keep delta.logRetentionDuration as this library sets it",
                    table=self._storage.url,
                    delta_version=version,
                )
            if self.is_merge(commit):
                self._applied[version] = commit.txns[self._table_id]
                break
            version -= 1
        for each in asked:
            self._applied[each] = self._applied[version]
        return self._applied[delta_version]

    def _check_last_merge(self, newest: int) -> None:
        """Compare our last merge, as its writer left it behind, with the entry that stands there now."""
        note = read_note(self._storage)
        if note.delta_version is None:
            return
        commit = read_commit(self._storage, note.delta_version)
        if commit is None and newest >= note.delta_version:
            # Delta's log cleanup removes entries below a checkpoint.
            return
        if commit is None or commit.commit_id != note.commit_id:
            raise ForeignWriteError(
                f"{self._storage.url}: Delta version {note.delta_version} was a merge of ours and is now another "
                "writer's commit: Delta's writers must not run while a merge does; restore "
                f"{entry_path(note.delta_version)}",
                table=self._storage.url,
                delta_version=note.delta_version,
            )


def read_record(storage: Storage, table_id: str, version: int, commit_id: str) -> MergeRecord:
    """The merge record of a version.

    Raises:
        LogDamagedError: it is missing, or of another table.
        UnsupportedTableError: a newer format.
    """
    path = merge_record_path(version, commit_id)
    data = storage.find(path)
    if data is None:
        raise LogDamagedError(
            f"{storage.url}: {path} is missing, though the base contains version {version}; restore it",
            table=storage.url,
            version=version,
            path=path,
        )
    record = decode_merge_record(data, table=storage.url, version=version, commit_id=commit_id)
    if record.table_id != table_id:
        raise LogDamagedError(
            f"{storage.url}: {path} belongs to another table; restore it",
            table=storage.url,
            version=version,
        )
    return record
