"""Checkpoints written from the state in memory: one Parquet file and the hint that names it, two requests.

Format: the Delta protocol, "Checkpoints", "Checkpoint Schema" (V1, one file) and "Last Checkpoint File". A checkpoint
holds every action of the state at its version: protocol, metadata, transactions, live files, and removed files within
Delta's retention, since Delta's VACUUM deletes files that are neither live nor named by a removal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.delta.checkpoints import HINT_PATH, checkpoint_path, read_removed
from andes_spark.delta.state import DeltaState
from andes_spark.delta.vectors import unique_id

if TYPE_CHECKING:
    from andes_spark.storage.interface import Storage

_TEXTS = pa.map_(pa.string(), pa.string())
_VECTOR = pa.struct(
    [
        ("storageType", pa.string()),
        ("pathOrInlineDv", pa.string()),
        ("offset", pa.int32()),
        ("sizeInBytes", pa.int32()),
        ("cardinality", pa.int64()),
    ]
)
_ROW_TRACKING = [("baseRowId", pa.int64()), ("defaultRowCommitVersion", pa.int64())]
_SCHEMA = pa.schema(
    {
        "txn": pa.struct([("appId", pa.string()), ("version", pa.int64()), ("lastUpdated", pa.int64())]),
        "add": pa.struct(
            [
                ("path", pa.string()),
                ("partitionValues", _TEXTS),
                ("size", pa.int64()),
                ("modificationTime", pa.int64()),
                ("dataChange", pa.bool_()),
                ("stats", pa.string()),
                ("tags", _TEXTS),
                ("deletionVector", _VECTOR),
                *_ROW_TRACKING,
                ("clusteringProvider", pa.string()),
            ]
        ),
        "remove": pa.struct(
            [
                ("path", pa.string()),
                ("deletionTimestamp", pa.int64()),
                ("dataChange", pa.bool_()),
                ("extendedFileMetadata", pa.bool_()),
                ("partitionValues", _TEXTS),
                ("size", pa.int64()),
                ("deletionVector", _VECTOR),
                *_ROW_TRACKING,
            ]
        ),
        "metaData": pa.struct(
            [
                ("id", pa.string()),
                ("name", pa.string()),
                ("description", pa.string()),
                ("format", pa.struct([("provider", pa.string()), ("options", _TEXTS)])),
                ("schemaString", pa.string()),
                ("partitionColumns", pa.list_(pa.string())),
                ("configuration", _TEXTS),
                ("createdTime", pa.int64()),
            ]
        ),
        "protocol": pa.struct(
            [
                ("minReaderVersion", pa.int32()),
                ("minWriterVersion", pa.int32()),
                ("readerFeatures", pa.list_(pa.string())),
                ("writerFeatures", pa.list_(pa.string())),
            ]
        ),
    }
)
_INTERVAL = re.compile(r"(?:interval\s+)?(\d+)\s+(second|minute|hour|day|week)s?", re.IGNORECASE)
_UNIT_MS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000}
_DEFAULT_RETENTION = "interval 1 week"


def write_checkpoint(storage: Storage, state: DeltaState, *, now_ms: int) -> bool:
    """Write the checkpoint of a state. Advisory work after a commit: no reader depends on it. Runs no Spark job.

    Args:
        storage: the table's folder.
        state: of the table at the checkpoint's version.
        now_ms: milliseconds since 1970; removals older than ``delta.deletedFileRetentionDuration`` are left out.

    Returns:
        False if the log holds actions of features that this library does not write: nothing is written then.

    Raises:
        StorageError: the store failed. The version itself is not affected.
    """
    if state.unwritten_actions:
        return False
    table = checkpoint_table(state, now_ms=now_ms)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="snappy", store_schema=False)
    data = sink.getvalue()
    storage.put(checkpoint_path(state.version), memoryview(data).tobytes(), sync=False)
    hint = {
        "version": state.version,
        "size": table.num_rows,
        "sizeInBytes": data.size,
        "numOfAddFiles": len(state.files),
    }
    storage.put(HINT_PATH, json.dumps(hint, separators=(",", ":")).encode(), sync=False)
    return True


def checkpoint_table(state: DeltaState, *, now_ms: int) -> pa.Table:
    """Build the rows of a checkpoint: one action each, in columns by kind."""
    actions = {
        "protocol": pa.array([_protocol(state)], _SCHEMA.field("protocol").type),
        "metaData": pa.array([_metadata(state)], _SCHEMA.field("metaData").type),
        "txn": pa.array(
            [{"appId": application, "version": version} for application, version in state.txns.items()],
            _SCHEMA.field("txn").type,
        ),
        "add": _file_actions((file.add for file in state.files.values()), _SCHEMA.field("add").type),
        "remove": _removes(state, now_ms),
    }
    parts = [
        pa.table([rows if field.name == kind else pa.nulls(len(rows), field.type) for field in _SCHEMA], schema=_SCHEMA)
        for kind, rows in actions.items()
        if len(rows)
    ]
    return pa.concat_tables(parts)


def _protocol(state: DeltaState) -> dict[str, Any]:
    protocol = state.protocol
    # By the protocol, feature lists exist only from certain versions on.
    return {
        "minReaderVersion": protocol.reader_version,
        "minWriterVersion": protocol.writer_version,
        "readerFeatures": sorted(protocol.reader_features) if protocol.reader_version >= 3 else None,
        "writerFeatures": sorted(protocol.writer_features) if protocol.writer_version >= 7 else None,
    }


def _metadata(state: DeltaState) -> dict[str, Any]:
    metadata = state.metadata
    return {
        "id": metadata.id,
        "name": metadata.name,
        "description": metadata.description,
        "format": {"provider": metadata.provider, "options": []},
        "schemaString": metadata.schema_json,
        "partitionColumns": list(metadata.partition_columns),
        "configuration": list(metadata.configuration.items()),
        "createdTime": metadata.created,
    }


def _file_actions(actions: Iterable[Mapping[str, Any]], kind: pa.StructType) -> pa.StructArray:
    """``add`` or ``remove`` actions as a column, built member by member, since a table may have very many files."""
    rows = list(actions)
    members = [_member(rows, field) for field in kind]
    if not rows:
        return pa.array([], kind)
    return pa.StructArray.from_arrays(members, fields=list(kind))


def _member(rows: Sequence[Mapping[str, Any]], field: pa.Field) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    if pa.types.is_map(field.type):
        return pa.array([None if value is None else list(value.items()) for value in values], field.type)
    if field.name == "dataChange":
        # By the protocol, the actions of a checkpoint change no data.
        return pa.array([False] * len(rows), field.type)
    return pa.array(values, field.type)


def _removes(state: DeltaState, now_ms: int) -> pa.StructArray:
    """Removed files within the retention: the newest removal by path and vector, unless the file is live again."""
    kind = _SCHEMA.field("remove").type
    live = {(file.path, unique_id(file.add.get("deletionVector"))) for file in state.files.values()}
    recent = {identity: value for identity, value in state.removed.recent.items() if identity not in live}
    stored = [_as_kind(part, kind) for part in read_removed(state.removed.parts)]
    rows = pa.concat_arrays([*stored, pa.array([], kind)])
    identities = zip(
        pc.struct_field(rows, "path").to_pylist(),
        map(unique_id, pc.struct_field(rows, "deletionVector").to_pylist()),
        strict=True,
    )
    superseded = [identity in live or identity in recent for identity in identities]
    rows = rows.filter(pc.invert(pa.array(superseded, pa.bool_())))
    rows = pa.concat_arrays([rows, _file_actions(recent.values(), kind)])
    oldest = now_ms - retention_ms(state.metadata.configuration)
    return rows.filter(pc.fill_null(pc.greater_equal(pc.struct_field(rows, "deletionTimestamp"), oldest), False))


def _as_kind(rows: pa.StructArray, kind: pa.StructType) -> pa.StructArray:
    """Convert rows of another writer's checkpoint to the members that this library writes."""
    names = {field.name for field in rows.type}
    flat = dict(zip((field.name for field in rows.type), rows.flatten(), strict=True))
    members = [
        _cast(flat[field.name], field.type) if field.name in names else pa.nulls(len(rows), field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(members, fields=list(kind)) if len(rows) else pa.array([], kind)


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if values.type == kind:
        return values
    if pa.types.is_struct(kind):
        missing = values.is_null()
        members = {field.name: member for field, member in zip(values.type, values.flatten(), strict=True)}
        parts = [
            members[field.name].cast(field.type) if field.name in members else pa.nulls(len(values), field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=missing)
    return values.cast(kind)


def retention_ms(configuration: Mapping[str, str]) -> int:
    """Return ``delta.deletedFileRetentionDuration`` in milliseconds, a practically infinite one if unreadable."""
    text = configuration.get("delta.deletedFileRetentionDuration", _DEFAULT_RETENTION)
    match = _INTERVAL.fullmatch(text.strip())
    return int(match[1]) * _UNIT_MS[match[2].lower()] if match else 2**62
