"""Merge records: reads by the version of the log and its commit id."""

from __future__ import annotations

from andes_spark.base.remedies import BY_REPAIR
from andes_spark.errors import LogDamagedError
from andes_spark.model.merge_record import MergeRecord, decode_merge_record, merge_record_path
from andes_spark.storage.interface import Storage


def read_record(storage: Storage, table_id: str, version: int, commit_id: str) -> MergeRecord:
    """Return the merge record of a version.

    Raises:
        LogDamagedError: it is missing, or of another table.
        UnsupportedTableError: a newer format.
    """
    path = merge_record_path(version, commit_id)
    data = storage.find(path)
    if data is None:
        raise LogDamagedError(
            f"{storage.url}: {path} is missing, though the base contains version {version}; {BY_REPAIR}",
            table=storage.url,
            version=version,
            path=path,
        )
    record = decode_merge_record(data, table=storage.url, version=version, commit_id=commit_id)
    if record.table_id != table_id:
        message = f"{storage.url}: {path} belongs to another table; restore it"
        raise LogDamagedError(message, table=storage.url, version=version)
    return record
