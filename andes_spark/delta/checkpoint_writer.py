"""Checkpoints written from the state in memory: one Parquet file and the hint that names it, two requests.

Format: the Delta protocol, "Checkpoints", "Checkpoint Schema" (V1, one file) and "Last Checkpoint File". A checkpoint
holds every action of the state at its version: protocol, metadata, transactions, live files, and removed files within
Delta's retention, since Delta's VACUUM deletes files that are neither live nor named by a removal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.delta.action_columns import ADD, REMOVE, TEXTS, as_kind, to_columns
from andes_spark.delta.checkpoints import HINT_PATH, checkpoint_path, read_removed
from andes_spark.delta.files import Files
from andes_spark.delta.paths import decode_path
from andes_spark.delta.state import DeltaState
from andes_spark.delta.vectors import unique_id
from andes_spark.schema.arrow_values import indices_of

if TYPE_CHECKING:
    from andes_spark.storage.interface import Storage

_SCHEMA = pa.schema(
    {
        "txn": pa.struct([("appId", pa.string()), ("version", pa.int64()), ("lastUpdated", pa.int64())]),
        "add": ADD,
        "remove": REMOVE,
        "metaData": pa.struct(
            [
                ("id", pa.string()),
                ("name", pa.string()),
                ("description", pa.string()),
                ("format", pa.struct([("provider", pa.string()), ("options", TEXTS)])),
                ("schemaString", pa.string()),
                ("partitionColumns", pa.list_(pa.string())),
                ("configuration", TEXTS),
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
        "add": _adds(state.files),
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


def _adds(files: Files) -> pa.StructArray:
    """``add`` actions of live files; those in columns are not made objects."""
    segment = as_kind(files.segment.adds.take(indices_of(files.rows)), ADD)
    return _unchanging(pa.concat_arrays([segment, to_columns((file.add for file in files.added.values()), ADD)]))


def _unchanging(rows: pa.StructArray) -> pa.StructArray:
    """Actions with ``dataChange`` false: by the protocol, those of a checkpoint change no data."""
    members = rows.flatten()
    members[rows.type.get_field_index("dataChange")] = pa.array([False] * len(rows), pa.bool_())
    return pa.StructArray.from_arrays(members, fields=list(rows.type))


def _removes(state: DeltaState, now_ms: int) -> pa.StructArray:
    """Removed files within the retention: the newest removal by path and vector, unless the file is live again."""
    recent = {identity: value for identity, value in state.removed.recent.items() if not _is_live(state, *identity)}
    stored = [as_kind(part, REMOVE) for part in read_removed(state.removed.parts)]
    rows = pa.concat_arrays([*stored, pa.array([], REMOVE)])
    oldest = now_ms - retention_ms(state.metadata.configuration)
    rows = rows.filter(_within(rows, oldest))
    identities = zip(
        pc.struct_field(rows, "path").to_pylist(),
        map(unique_id, pc.struct_field(rows, "deletionVector").to_pylist()),
        strict=True,
    )
    superseded = [identity in recent or _is_live(state, *identity) for identity in identities]
    rows = rows.filter(pc.invert(pa.array(superseded, pa.bool_())))
    fresh = to_columns(recent.values(), REMOVE)
    return _unchanging(pa.concat_arrays([rows, fresh.filter(_within(fresh, oldest))]))


def _within(rows: pa.StructArray, oldest: int) -> pa.BooleanArray:
    return pc.fill_null(pc.greater_equal(pc.struct_field(rows, "deletionTimestamp"), oldest), False)


def _is_live(state: DeltaState, path: str, vector: str | None) -> bool:
    file = state.files.get(decode_path(path))
    return file is not None and file.path == path and unique_id(file.add.get("deletionVector")) == vector


def retention_ms(configuration: Mapping[str, str]) -> int:
    """Return ``delta.deletedFileRetentionDuration`` in milliseconds, a practically infinite one if unreadable."""
    text = configuration.get("delta.deletedFileRetentionDuration", _DEFAULT_RETENTION)
    match = _INTERVAL.fullmatch(text.strip())
    return int(match[1]) * _UNIT_MS[match[2].lower()] if match else 2**62
