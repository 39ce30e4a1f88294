"""Verification of the files for reads of older versions: all entries of the Delta log, and the files that they name."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial

from andes_spark.base.files import OpenFile, TableShape
from andes_spark.base.records import read_record
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.log import load_state, read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.delta.state import Commit
from andes_spark.delta.vectors import VectorDescriptor, load_vector
from andes_spark.errors import LogDamagedError
from andes_spark.model.manifest import decode_manifest, manifest_path
from andes_spark.model.merge_record import merge_record_path
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.maintenance.delta_history import entry_versions, named_by_entries
from andes_spark.table.maintenance.files_of import named_by_record, vectors_of
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.maintenance.verify_log import Expects


def newest_entry(storage: Storage) -> int:
    """Return the version of the newest entry of the Delta log, by a listing; -1 if there is none."""
    return max(entry_versions(storage), default=-1)


class PastCheck:
    """Check of Delta versions, their merge records, and the files that they add, each once.

    Data files and deletion vectors of older states that no longer exist are listed as missing: a VACUUM with a
    retention deletes them.

    Args:
        storage: the table's folder.
        table_id: UUID of the table.
        shape: of the table; without it, rows of data files are not decoded.
        compared: paths of data files that were read for the comparison of the base.
        expects: whether a file that an entry names is expected to exist.
        batch_bytes: Arrow bytes of the rows that are read at a time.
        findings: collector of problems and missing files.
    """

    def __init__(
        self,
        storage: Storage,
        table_id: str,
        shape: TableShape | None,
        *,
        compared: Collection[str],
        expects: Expects,
        batch_bytes: int,
        findings: Findings,
    ) -> None:
        self._storage = storage
        self._table_id = table_id
        self._shape = shape
        self._seen = set(compared)
        self._expects = expects
        self._batch_bytes = batch_bytes
        self._findings = findings

    def run(self, versions: Iterable[int], *, cleaned: int = -1) -> None:
        """Check some Delta versions.

        Args:
            versions: their numbers.
            cleaned: version below which Delta's own clean-up of the log has deleted entries.
        """
        stored = set(entry_versions(self._storage)) if cleaned >= 0 else set[int]()
        versions = [version for version in versions if version >= cleaned or version in stored]
        read = partial(_read_entry, self._storage)
        for _, answer in in_windows(self._storage.scheduler, read, versions):
            commit = self._findings.get(answer.result)
            if commit is not None:
                self._findings.check(partial(self._check_entry, commit))

    def name_before(self, origin: int, *, floor: int) -> None:
        """Note the files of the Delta versions before the origin of the log: a converted table keeps its history.

        Args:
            origin: Delta version at the start of the log.
            floor: oldest readable version; above 0 the state at the origin may be gone, with its checkpoint.
        """
        if origin == 0:
            return
        state = None if floor else self._findings.get(partial(load_state, self._storage, version=origin))
        for path, file in ({} if state is None else state.files).items():
            self._findings.name([path, *vectors_of({path: file})])
        before = self._findings.get(partial(named_by_entries, self._storage, before=origin))
        self._findings.name(before or ())

    def _check_entry(self, commit: Commit) -> None:
        applied = commit.txns.get(self._table_id, 0)
        if applied and self._first(f"record {applied}"):
            self._findings.check(partial(self._check_record, applied, commit.version))
        for add in commit.of_kind("add"):
            file = DataFile.from_add(add)
            self._findings.name([file.location, *vectors_of({file.location: file})])
            if self._expects(commit.version, file.location) and self._first(file.location):
                self._findings.check(partial(self._check_data, file))
            if file.vector is None or not self._expects(commit.version, file.vector.file_path or file.location):
                continue
            if self._first(file.vector.unique_id):
                self._findings.check(partial(self._check_vector, file.vector))

    def _check_record(self, applied: int, delta_version: int) -> None:
        data = self._storage.find(manifest_path(applied))
        if data is None:
            return  # the check of the log reports it
        commit_id = decode_manifest(data, table=self._storage.url, version=applied).commit_id
        if not self._expects(delta_version, merge_record_path(applied, commit_id)):
            return
        record = read_record(self._storage, self._table_id, applied, commit_id)
        self._findings.name([merge_record_path(applied, commit_id), *named_by_record(record)])
        for file in (*record.tombstones, *record.quarantined):
            self._findings.checksum(self._storage, file)

    def _check_data(self, file: DataFile) -> None:
        if self._is_there(file.location) and self._shape is not None:
            opened = OpenFile(self._storage, file.location, file, self._shape)
            for _ in opened.batches(self._shape.schema.names, self._batch_bytes):
                pass

    def _check_vector(self, vector: VectorDescriptor) -> None:
        if vector.file_path is None or self._is_there(vector.file_path):
            load_vector(self._storage, vector)

    def _first(self, name: str) -> bool:
        first = name not in self._seen
        self._seen.add(name)
        return first

    def _is_there(self, path: str) -> bool:
        exists = self._storage.size(path) is not None
        self._findings.files += exists
        if not exists and path not in self._findings.missing and not self._findings.is_named(path):
            self._findings.missing.append(path)
        return exists


def _read_entry(storage: Storage, version: int) -> Commit:
    commit = read_commit(storage, version)
    if commit is None:
        path = entry_path(version)
        raise LogDamagedError(f"{storage.url}: {path} is missing; restore it", table=storage.url, path=path)
    return commit
