"""Verification of the files for reads of older versions: all entries of the Delta log, and the files that they name."""

from __future__ import annotations

from collections.abc import Collection

from andes_spark.base.files import OpenFile, TableShape
from andes_spark.base.snapshots import read_record
from andes_spark.delta.log import read_commit
from andes_spark.delta.paths import LOG_FOLDER, entry_path
from andes_spark.delta.state import Commit, DataFile
from andes_spark.delta.vectors import VectorDescriptor, load_vector
from andes_spark.errors import LogDamagedError
from andes_spark.storage.interface import Storage
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.open_table import OpenTable


def check_past(open_table: OpenTable, newest: int, compared: Collection[str], findings: Findings) -> None:
    """Check Delta versions 0 to ``newest``, their merge records, and the files that they add.

    Data files and deletion vectors of older states that no longer exist are listed as missing: a VACUUM with a
    retention deletes them.

    Args:
        open_table: the table.
        newest: Delta version up to which the base was compared.
        compared: paths of data files that were read for that comparison.
        findings: collector of problems and missing files.
    """
    past = _Past(open_table.storage, open_table.shape(), set(compared), findings)
    for version in range(newest + 1):
        findings.check(lambda version=version: past.check_entry(open_table, version))  # type: ignore[misc]


def newest_entry(storage: Storage) -> int:
    """Version of the newest entry of the Delta log, by a listing; -1 if there is none."""
    names = (info.path.removeprefix(f"{LOG_FOLDER}/") for info in storage.list(LOG_FOLDER))
    return max((int(name[:20]) for name in names if name[20:] == ".json" and name[:20].isdigit()), default=-1)


class _Past:
    """Check of files, each once."""

    def __init__(self, storage: Storage, shape: TableShape, seen: set[str], findings: Findings) -> None:
        self._storage = storage
        self._shape = shape
        self._seen = seen
        self._findings = findings

    def check_entry(self, open_table: OpenTable, version: int) -> None:
        commit = read_commit(self._storage, version)
        if commit is None:
            path = entry_path(version)
            raise LogDamagedError(
                f"{self._storage.url}: {path} is missing; restore it", table=self._storage.url, path=path
            )
        applied = commit.txns.get(open_table.table_id, 0)
        if applied and self._first(f"record {applied}"):
            self._findings.check(lambda: self._check_record(open_table, applied))
        self._check_files(commit)

    def _check_record(self, open_table: OpenTable, applied: int) -> None:
        record = read_record(self._storage, open_table.table_id, applied, open_table.log.commit_id(applied))
        for file in (*record.tombstones, *record.quarantined):
            if self._first(file.path):
                self._findings.checksum(self._storage, file.path, file.sha256)

    def _check_files(self, commit: Commit) -> None:
        for add in commit.of_kind("add"):
            file = DataFile.from_add(add)
            if self._first(file.location):
                self._findings.check(lambda file=file: self._check_data(file))  # type: ignore[misc]
            if file.vector is not None and self._first(file.vector.unique_id):
                self._findings.check(lambda vector=file.vector: self._check_vector(vector))  # type: ignore[misc]

    def _check_data(self, file: DataFile) -> None:
        if self._is_there(file.location):
            opened = OpenFile(self._storage, file.location, file, self._shape)
            for group in range(len(opened.starts) - 1):
                opened.read(self._shape.schema.names, [group])

    def _check_vector(self, vector: VectorDescriptor) -> None:
        if vector.file_path is None or self._is_there(vector.file_path):
            load_vector(self._storage, vector)

    def _first(self, name: str) -> bool:
        first = name not in self._seen
        self._seen.add(name)
        return first

    def _is_there(self, path: str) -> bool:
        there = self._storage.size(path) is not None
        self._findings.files += there
        if not there and path not in self._findings.missing and not self._findings.is_named(path):
            self._findings.missing.append(path)
        return there
