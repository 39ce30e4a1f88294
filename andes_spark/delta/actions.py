"""Actions of the Delta log, built for our commits and encoded as one entry.

Format: the Delta protocol, "Actions" and "Partition Value Serialization". An action is a dict with one
member, such as ``{"add": {...}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from andes_spark.delta import seal
from andes_spark.delta import statistics as stats
from andes_spark.delta.paths import encode_path
from andes_spark.delta.state import PREVIOUS_TAG
from andes_spark.errors import LogDamagedError, OptionError

if TYPE_CHECKING:
    from andes_spark.delta.data_file import DataFile
    from andes_spark.delta.vectors import VectorDescriptor

READER_VERSION = 3
WRITER_VERSION = 7
ENGINE = "andes_spark"

Action = dict[str, Any]


def encode(actions: Iterable[Action]) -> bytes:
    """Return a log entry: one action per line."""
    lines = (json.dumps(action, separators=(",", ":"), ensure_ascii=False) for action in actions)
    return "".join(f"{line}\n" for line in lines).encode()


def commit_info(
    operation: str,
    *,
    timestamp_ms: int,
    commit_id: str,
    parameters: Mapping[str, Any] | None = None,
    metrics: Mapping[str, int | str] | None = None,
    read_version: int | None = None,
    previous: str | None = None,
    blind_append: bool = False,
) -> Action:
    """Build ``commitInfo``, shown by Delta's DESCRIBE HISTORY.

    Args:
        operation: name, such as ``MERGE``.
        timestamp_ms: milliseconds since 1970.
        commit_id: identifies this attempt; read again as ``Commit.commit_id``.
        parameters: values are stored as JSON text, as Delta does.
        metrics: stored as text.
        read_version: version on which the commit is based.
        previous: commit id of the previous entry, None if unknown; compared when both are read.
        blind_append: whether the commit is independent of the table's contents, for Delta's conflict checks.
    """
    info: dict[str, Any] = {
        "tags": {seal.TAG: seal.BLANK},
        "timestamp": timestamp_ms,
        "operation": operation,
        "operationParameters": {k: _parameter(v) for k, v in (parameters or {}).items()},
    }
    if previous is not None:
        info["tags"][PREVIOUS_TAG] = previous
    if read_version is not None:
        info["readVersion"] = read_version
    info["isolationLevel"] = "Serializable"
    info["isBlindAppend"] = blind_append
    info["operationMetrics"] = {k: str(v) for k, v in (metrics or {}).items()}
    info["engineInfo"] = ENGINE
    info["txnId"] = commit_id
    return {"commitInfo": info}


def txn(application: str, version: int) -> Action:
    """Build ``txn``, the newest version of an application.

    Without ``lastUpdated``, since Delta expires only transactions that have one.
    """
    return {"txn": {"appId": application, "version": version}}


def protocol(*, deletion_vectors: bool = True, timestamp_ntz: bool = False) -> Action:
    """Build ``protocol`` 3/7 with the features of a table of this library.

    ``appendOnly`` and ``invariants`` are listed as Delta itself lists them: they were part of the protocol
    versions before table features, and NOT NULL columns need ``invariants``.
    """
    both = ["deletionVectors"] * deletion_vectors + ["timestampNtz"] * timestamp_ntz
    return {
        "protocol": {
            "minReaderVersion": READER_VERSION,
            "minWriterVersion": WRITER_VERSION,
            "readerFeatures": both,
            "writerFeatures": [*both, "appendOnly", "invariants"],
        }
    }


def metadata(
    *,
    table_id: str,
    schema_json: str,
    partition_columns: Sequence[str],
    configuration: Mapping[str, str],
    created_ms: int | None,
    name: str | None = None,
    description: str | None = None,
) -> Action:
    """Build ``metaData``, the schema and properties of a table."""
    value: dict[str, Any] = {"id": table_id}
    if name is not None:
        value["name"] = name
    if description is not None:
        value["description"] = description
    value |= {
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema_json,
        "partitionColumns": list(partition_columns),
        "configuration": dict(configuration),
        "createdTime": created_ms,
    }
    return {"metaData": value}


def add(
    path: str,
    *,
    size: int,
    modified_ms: int,
    statistics: Mapping[str, Any],
    partition_values: Mapping[str, str | None] | None = None,
    data_change: bool = True,
    tags: Mapping[str, str] | None = None,
) -> Action:
    """Build ``add`` for a new file.

    Args:
        path: in the table's folder, not encoded.
        size: number of bytes.
        modified_ms: milliseconds since 1970.
        statistics: of ``stats.statistics``.
        partition_values: of ``partition_value``, one for every partition column.
        data_change: False if the rows were in the table before this commit.
        tags: kept with the file.
    """
    value: dict[str, Any] = {
        "path": encode_path(path),
        "partitionValues": dict(partition_values or {}),
        "size": size,
        "modificationTime": modified_ms,
        "dataChange": data_change,
        "stats": stats.dumps(statistics),
    }
    if tags:
        value["tags"] = dict(tags)
    return {"add": value}


def add_with_vector(
    file: DataFile, vector: VectorDescriptor, *, num_records: int | None = None, data_change: bool = True
) -> Action:
    """Build ``add`` for a file of the table with a new deletion vector. Its other members do not change.

    Args:
        file: its current state.
        vector: all deleted rows, those of the current vector included.
        num_records: rows in the file, deleted ones included; needed if its statistics lack it.
        data_change: False if the removed rows are added again by the same commit.

    Raises:
        OptionError: the number of rows, which the protocol demands, is unknown; ``path``.
        LogDamagedError: the vector has more rows than the file, or fewer than the current vector; ``path``.
    """
    rows = file.num_records if file.num_records is not None else num_records
    if rows is None:
        raise OptionError(
            f"the statistics of {file.path} have no numRecords: take it from the file's footer",
            path=file.path,
        )
    deleted = file.vector.cardinality if file.vector else 0
    if not deleted <= vector.cardinality <= rows or num_records not in (None, rows):
        raise LogDamagedError(
            f"{file.path} has {rows} rows by the log ({num_records} by its footer), {deleted} of them "
            f"deleted; {vector.cardinality} cannot be: check the file against the log",
            path=file.path,
        )
    value = dict(file.add)
    value["dataChange"] = data_change
    value["stats"] = stats.to_wide_bounds(value.get("stats"), num_records=rows, deleted=deleted)
    value["deletionVector"] = vector.to_json()
    return {"add": value}


def remove(file: DataFile, *, timestamp_ms: int, data_change: bool = True) -> Action:
    """Build ``remove`` for a file that leaves the table, or whose vector changes (together with its new ``add``).

    Args:
        file: its current state.
        timestamp_ms: milliseconds since 1970, the start of the retention for vacuum.
        data_change: False if all its live rows are added again by the same commit.
    """
    value: dict[str, Any] = {
        "path": file.path,
        "deletionTimestamp": timestamp_ms,
        "dataChange": data_change,
        "extendedFileMetadata": True,
        "partitionValues": dict(file.partition_values),
        "size": file.size,
    }
    for name in ("stats", "tags", "deletionVector", "baseRowId", "defaultRowCommitVersion"):
        if file.add.get(name) is not None:
            value[name] = file.add[name]
    return {"remove": value}


def _parameter(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
