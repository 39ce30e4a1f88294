"""Actions of the Delta log: built for our commits, written as one entry; paths and partition values.

Format: the Delta protocol, "Actions" and "Partition Value Serialization". An action is a dict with one
member, such as ``{"add": {...}}``.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from andes_spark.base import seal, stats
from andes_spark.errors import LogDamagedError, OptionError, UnsupportedTableError
from andes_spark.model.schema import DataType, Decimal, Primitive, simple_string

if TYPE_CHECKING:
    from andes_spark.base.delta_state import DataFile
    from andes_spark.base.vectors import VectorDescriptor
    from andes_spark.storage.base import PutOutcome, Storage

LOG_FOLDER = "_delta_log"
READER_VERSION = 3
WRITER_VERSION = 7
ENGINE = "andes_spark"

Action = dict[str, Any]

# What RFC 2396 allows in a path, but for the colon: in a first segment it would end the name of a scheme.
_SAFE = "/-_.!~*'()=@&+$,;"
_INTEGERS = frozenset({"byte", "short", "integer", "long"})


def entry_path(version: int) -> str:
    """Path of the log entry that makes a version."""
    return f"{LOG_FOLDER}/{version:020d}.json"


def commit(storage: Storage, version: int, actions: Iterable[Action]) -> PutOutcome:
    """Create the log entry of a version, unless it exists; sealed where it begins with our ``commitInfo``.

    Returns:
        ``EXISTS`` may also stand for our own entry, when an answer was lost: compare the commit id.
    """
    return storage.put_if_absent(entry_path(version), seal.sealed(version, encode(actions)))


def encode(actions: Iterable[Action]) -> bytes:
    """A log entry: one action per line."""
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
    blind_append: bool = False,
) -> Action:
    """Who did what: shown by Delta's DESCRIBE HISTORY.

    Args:
        operation: such as ``MERGE``.
        timestamp_ms: milliseconds since 1970.
        commit_id: identifies this attempt; found again as ``Commit.commit_id``.
        parameters: values are stored as JSON text, as Delta does.
        metrics: stored as text.
        read_version: the version that the commit was planned on.
        blind_append: the commit depends on nothing it has read; Delta's conflict checks believe this.
    """
    info: dict[str, Any] = {
        "tags": {seal.TAG: seal.BLANK},
        "timestamp": timestamp_ms,
        "operation": operation,
        "operationParameters": {k: _parameter(v) for k, v in (parameters or {}).items()},
    }
    if read_version is not None:
        info["readVersion"] = read_version
    info["isolationLevel"] = "Serializable"
    info["isBlindAppend"] = blind_append
    info["operationMetrics"] = {k: str(v) for k, v in (metrics or {}).items()}
    info["engineInfo"] = ENGINE
    info["txnId"] = commit_id
    return {"commitInfo": info}


def txn(application: str, version: int) -> Action:
    """How far an application has come.

    ``lastUpdated`` is left out on purpose: Delta forgets only transactions that have one.
    """
    return {"txn": {"appId": application, "version": version}}


def protocol(*, deletion_vectors: bool = True, timestamp_ntz: bool = False) -> Action:
    """Protocol 3/7 with the features that a table of this library may have.

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
    created_ms: int,
    name: str | None = None,
    description: str | None = None,
) -> Action:
    """Schema and properties of a table (``metaData``)."""
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
    """A new file.

    Args:
        path: where it lies in the table's folder, not encoded.
        size: bytes.
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
    """A file of the table with a new deletion vector. All else is kept as the log has it.

    Args:
        file: as it is in the table now.
        vector: the rows that are gone, those of the vector so far included.
        num_records: rows in the file, deleted ones included; needed if its statistics do not say.
        data_change: False if the removed rows are added again by the same commit.

    Raises:
        OptionError: nobody knows the number of rows, which the protocol demands; ``path``.
        LogDamagedError: the vector has more rows than the file, or fewer than the vector so far; ``path``.
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
    """A file leaves the table (as does one whose vector changes, beside its new ``add``).

    Args:
        file: as it is in the table now.
        timestamp_ms: milliseconds since 1970; vacuum counts from it.
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


def encode_path(path: str) -> str:
    """A path as the log carries it: a relative URI, character for character as Delta writes it.

    Delta's VACUUM compares the text of paths (``VacuumCommand``, ``java.net.URI.quote``), and would delete files
    whose path is encoded otherwise: what is neither ASCII nor a space or control character stays as it is.
    """
    return "".join(c if c > "\x7f" and not _encoded(c) else quote(c, safe=_SAFE) for c in path)


def _encoded(character: str) -> bool:
    return unicodedata.category(character) in ("Zs", "Zl", "Zp", "Cc")


def decode_path(path: str) -> str:
    """The path within the table's folder that a path of the log means.

    Raises:
        UnsupportedTableError: an absolute path, as clones have; ``feature``, ``path``.
        LogDamagedError: no path at all, or one that leaves the folder; ``path``.
    """
    if path.startswith("/") or ":" in path.split("/", 1)[0]:
        raise UnsupportedTableError(
            f"the data file {path} has an absolute path: copy the table (deep clone) to own its files",
            feature="absolutePaths",
            path=path,
        )
    try:
        decoded = unquote(path, errors="strict") if "%" in path else path
    except UnicodeDecodeError as error:
        raise _bad_path(path) from error
    decoded = decoded.removeprefix("./")
    if not decoded or ".." in decoded.split("/"):
        raise _bad_path(path)
    return decoded


def partition_value(value: Any, type_: DataType) -> str | None:
    """A partition value as the log carries it, in the one form that every reader takes.

    Args:
        value: as pyarrow's ``as_py`` gives it; None for null.
        type_: type of the column.

    Raises:
        OptionError: an empty string, which Delta would read as null.
        UnsupportedTableError: a type that cannot partition a table; ``feature``.
    """
    if value is None:
        return None
    if isinstance(type_, Decimal):
        return format(value, f".{type_.scale}f")
    match type_.name if isinstance(type_, Primitive) else None:
        case "byte" | "short" | "integer" | "long":
            return str(int(value))
        case "boolean":
            return "true" if value else "false"
        case "string":
            if value == "":
                raise OptionError("an empty string cannot be a partition value: Delta reads it as NULL")
            return str(value)
        case "date":
            return str(value.isoformat())
        case "timestamp":
            utc = value.astimezone(datetime.UTC).replace(tzinfo=None)
            return f"{utc.isoformat(timespec='microseconds')}Z"
        case "timestamp_ntz":
            return str(value.isoformat(sep=" "))
        case "float" | "double":
            return _java_float(float(value))
    raise _no_partition(type_)


def parse_partition_value(text: str | None, type_: DataType) -> Any:
    """The value that a partition value of the log means: for ``pa.scalar``, None for null.

    Timestamps have the zone UTC.

    Raises:
        LogDamagedError: not a value of the type.
        UnsupportedTableError: a timestamp without a zone, which each reader takes for one of its own, or a
            type that cannot partition a table; ``feature``.
    """
    if text is None or text == "":
        return None
    try:
        return _parse_partition_value(text, type_)
    except (ValueError, decimal.InvalidOperation) as error:
        raise LogDamagedError(f"partition value {text!r} is no {simple_string(type_)}") from error


def _parse_partition_value(text: str, type_: DataType) -> Any:
    if isinstance(type_, Decimal):
        return decimal.Decimal(text)
    name = type_.name if isinstance(type_, Primitive) else ""
    if name in _INTEGERS:
        return int(text)
    if name == "string":
        return text
    if name == "date":
        return datetime.date.fromisoformat(text)
    if name in ("timestamp", "timestamp_ntz"):
        time = datetime.datetime.fromisoformat(text)
        if name == "timestamp_ntz":
            return time.replace(tzinfo=None)
        if time.tzinfo is None:
            raise UnsupportedTableError(
                f"partition value {text!r} is a timestamp without a time zone: rewrite the partition with a "
                "newer Delta, which writes it in UTC",
                feature="timestamp partition values without a zone",
            )
        return time.astimezone(datetime.UTC)
    if name == "boolean" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if name in ("float", "double"):
        return float(text)
    if name == "boolean":
        raise ValueError(text)
    raise _no_partition(type_)


def _parameter(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _java_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _no_partition(type_: DataType) -> UnsupportedTableError:
    name = simple_string(type_)
    return UnsupportedTableError(
        f"a column of type {name} cannot partition a table: choose another", feature=f"partition by {name}"
    )


def _bad_path(path: str) -> LogDamagedError:
    return LogDamagedError(f"the log names a data file {path!r}, which is no path in its folder", path=path)
