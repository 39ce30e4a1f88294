"""The base as a reader or a merge finds it: a Delta version, what it contains of the log, and its merge record.

Which versions of the log a Delta version contains is said by the ``txn`` action of our commits. Commits of
other writers that move rows without changing them are taken in silently; others are named.
"""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.delta.features import check_supported
from andes_spark.delta.log import load_state, read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import ForeignWriteError, LogDamagedError, UnsupportedTableError
from andes_spark.log.lease import read_note
from andes_spark.log.log import Log
from andes_spark.model.merge_record import MergeRecord, decode_merge_record, merge_record_path, no_record
from andes_spark.schema.schema import Schema
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class BaseSnapshot:
    """A Delta version of the base.

    Attributes:
        state: files and properties.
        applied: version of the log that it contains.
        record: tombstones and watermarks as of that version.
        foreign: version of the first Delta commit above it that changed rows and is not ours, if any.
    """

    state: DeltaState
    applied: int
    record: MergeRecord
    foreign: int | None = None

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
        self._foreign: int | None = None
        self._applied: dict[int, int] = {0: 0}
        self._newest_record: MergeRecord | None = None

    def snapshot(self) -> BaseSnapshot:
        """The newest state of the base that holds the log's rows and nothing else; a warm call asks once.

        Raises:
            UnsupportedTableError: a feature outside the allow-list.
            ForeignWriteError: our last merge was overwritten by another writer.
            LogDamagedError: the merge record is missing.
        """
        state = load_state(self._storage, previous=self._state)
        if self._state is None:
            self._check_last_merge()
        if self._state is None or state.metadata != self._state.metadata or state.protocol != self._state.protocol:
            self._check_supported(state)
        if state.version > self._checked:
            self._foreign = self._find_foreign(state.version)
            self._checked = state.version
        self._state = state
        if self._foreign is None:
            return self._of(state, None)
        return self._of(load_state(self._storage, version=self._foreign - 1), self._foreign)

    def snapshot_at(self, version: int) -> BaseSnapshot:
        """The newest state of the base that contains no version above ``version``."""
        newest = self.snapshot()
        if newest.applied <= version:
            return newest
        low, high = 0, newest.version
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._applied_at(middle) <= version else (low, middle)
        return self._of(load_state(self._storage, version=low), None)

    def require_ours(self, snapshot: BaseSnapshot) -> None:
        """Refuse to build on rows that another writer changed.

        Raises:
            ForeignWriteError: names the Delta version and what it was.
        """
        if snapshot.foreign is None:
            return
        commit = read_commit(self._storage, snapshot.foreign)
        operation = (commit.commit_info or {}).get("operation", "an unnamed operation") if commit else "?"
        raise ForeignWriteError(
            f"{self._storage.url}: Delta version {snapshot.foreign} ({operation}) changed rows of the base and "
            f"is not ours; reads stay at Delta version {snapshot.foreign - 1}. Stop that writer, remove the Delta "
            f"log entries from {snapshot.foreign} on with their .crc files, open the table again, and send its change "
            "as mods through apply()",
            table=self._storage.url,
            delta_version=snapshot.foreign,
            operation=operation,
        )

    def is_merge(self, commit: Commit) -> bool:
        """Whether a Delta commit is one of our merges, or our create."""
        return self._table_id in commit.txns

    def _of(self, state: DeltaState, foreign: int | None) -> BaseSnapshot:
        applied = state.txns.get(self._table_id, 0)
        return BaseSnapshot(state, applied, self._record(applied), foreign)

    def _record(self, applied: int) -> MergeRecord:
        if applied == 0:
            return no_record(self._table_id)
        commit_id = self._log.commit_id(applied)
        if self._newest_record is None or self._newest_record.commit_id != commit_id:
            self._newest_record = read_record(self._storage, self._table_id, applied, commit_id)
        return self._newest_record

    def _find_foreign(self, newest: int) -> int | None:
        """The first commit that is not ours and changed rows, above our last merge (or what was checked)."""
        found = self._foreign
        for version in range(newest, self._checked, -1):
            commit = read_commit(self._storage, version)
            if commit is None or self.is_merge(commit):
                break
            if commit.data_change or self._new_schema(commit):
                found = version
        return found

    def _new_schema(self, commit: Commit) -> bool:
        if not commit.changes_metadata:
            return False
        before = load_state(self._storage, version=commit.version - 1).metadata
        value = next(commit.of_kind("metaData"))
        return Schema.from_json(value["schemaString"]) != Schema.from_json(before.schema_json)

    def _check_supported(self, state: DeltaState) -> None:
        try:
            check_supported(state)
        except (UnsupportedTableError, LogDamagedError) as error:
            url = self._storage.url
            raise type(error)(f"{url}: {error.message}", **{**error.fields, "table": url}) from error

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

    def _check_last_merge(self) -> None:
        """Compare our last merge, as its writer left it behind, with the entry that stands there now."""
        note = read_note(self._storage)
        if note.delta_version is None:
            return
        commit = read_commit(self._storage, note.delta_version)
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
