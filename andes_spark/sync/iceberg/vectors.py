"""Deletion vectors of the base in Iceberg: files of position deletes in format 2, Puffin files from format 3 on.

Each data file has a file of its own. Formats: Iceberg's specification, "Position Delete Files", and that of Puffin,
blob ``deletion-vector-v1``, whose bytes are those of Delta's vectors.
"""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.delta.data_file import DataFile
from andes_spark.delta.vectors import load_vectors, serialize, to_positions
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import write_parquet
from andes_spark.sync.iceberg.avro import DELETES, LINEAGE_FORMAT
from andes_spark.sync.iceberg.files import FACE_FOLDER, Columns, Stamp, file_url
from andes_spark.sync.iceberg.schemas import Json

_PATH_ID, _POSITION_ID = 2147483546, 2147483545
"""Field ids of the columns of position deletes."""
_FIELD_ID = b"PARQUET:field_id"
_MAGIC = b"PFA1"
_UNCOMPRESSED = bytes(4)
"""Flags of a Puffin file whose footer is not compressed."""
_DELETES = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={_FIELD_ID: str(_PATH_ID)}),
        pa.field("pos", pa.int64(), nullable=False, metadata={_FIELD_ID: str(_POSITION_ID)}),
    ]
)


def deletes_format(format_version: int) -> str:
    """Return the file format of deletes, by its name in manifests."""
    return "PUFFIN" if format_version >= LINEAGE_FORMAT else "PARQUET"


def vector_mark(file: DataFile) -> str:
    """Return the beginning of the name of the deletes of a file: another one for each deletion vector."""
    assert file.vector is not None
    text = f"{file.location}\n{file.vector.unique_id}"
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:40]


def delete_entries(
    storage: Storage, files: Sequence[DataFile], columns: Columns, stamp: Stamp, format_version: int
) -> list[Json]:
    """Write the deletes of data files with a deletion vector, a file for each; return their entries.

    Raises:
        FileDamagedError: a deletion vector is missing or damaged; ``path``.
    """
    vectors = load_vectors(storage, {file.location: file.vector for file in files if file.vector is not None})
    file_format = deletes_format(format_version)
    write = _write_puffin if file_format == "PUFFIN" else _write_positions
    entries = []
    for file in files:
        url, vector = file_url(storage, file.location), vectors[file.location]
        path = f"{FACE_FOLDER}/deletes/{vector_mark(file)}-{uuid.uuid4()}.{file_format.lower()}"
        data_file = {
            "content": DELETES,
            "file_path": file_url(storage, path),
            "file_format": file_format,
            "partition": columns.partition_of(file),
            "record_count": len(vector),
            "referenced_data_file": url,
            **write(storage, path, url, vector),
        }
        entries.append(stamp.entry(data_file))
    return entries


def _write_positions(storage: Storage, path: str, url: str, vector: BitMap64) -> Json:
    """Write position deletes; return what the entry says of the file."""
    positions = to_positions(vector)
    rows = pa.table([pa.repeat(pa.scalar(url), len(positions)), pa.array(positions)], schema=_DELETES)
    written = write_parquet(storage, path, rows, _DELETES, sorted_by=["file_path", "pos"])
    # Readers match a data file by equal bounds of the path.
    bounds = [{"key": _PATH_ID, "value": url.encode("utf-8")}]
    low, high = (_position(position) for position in (positions[0], positions[-1]))
    return {
        "file_size_in_bytes": written.bytes,
        "lower_bounds": [*bounds, {"key": _POSITION_ID, "value": low}],
        "upper_bounds": [*bounds, {"key": _POSITION_ID, "value": high}],
    }


def _position(position: np.int64) -> bytes:
    return int(position).to_bytes(8, "little")


def _write_puffin(storage: Storage, path: str, url: str, vector: BitMap64) -> Json:
    """Write a Puffin file with one vector: DuckDB 1.5 applies those of a file with several to wrong data files."""
    data = serialize(vector)
    blob = struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data))
    content = puffin(blob, url, len(vector))
    with storage.open_output(path) as sink:
        sink.write(content)
    return {"file_size_in_bytes": len(content), "content_offset": len(_MAGIC), "content_size_in_bytes": len(blob)}


def puffin(blob: bytes, url: str, cardinality: int) -> bytes:
    """Return a Puffin file with one blob, a deletion vector.

    Args:
        blob: the blob.
        url: location of the data file.
        cardinality: number of deleted rows.
    """
    described = {
        "type": "deletion-vector-v1",
        "fields": [],
        # Not known when a vector is written, as the specification has it.
        "snapshot-id": -1,
        "sequence-number": -1,
        "offset": len(_MAGIC),
        "length": len(blob),
        "properties": {"referenced-data-file": url, "cardinality": str(cardinality)},
    }
    footer = json.dumps({"blobs": [described], "properties": {"created-by": "andes_spark"}}).encode("utf-8")
    return b"".join([_MAGIC, blob, _MAGIC, footer, struct.pack("<i", len(footer)), _UNCOMPRESSED, _MAGIC])
