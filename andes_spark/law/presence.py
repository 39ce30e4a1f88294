"""Presence of columns in mods, as the bitmaps of ``_andes_present``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.model.mod import PRESENT
from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import SchemaVersion

Bools = npt.NDArray[np.bool_]


def present_by_column(table: pa.Table, schema: Schema) -> dict[str, Bools] | None:
    """Return the mask of the rows that have the column, for each column absent from some rows."""
    matrix = present_matrix(table, len(schema))
    if matrix is None:
        return None
    return {name: matrix[:, i] for i, name in enumerate(schema.names) if not matrix[:, i].all()}


def present_matrix(table: pa.Table, width: int) -> Bools | None:
    """Convert ``_andes_present`` to a matrix (rows, columns of the schema); None if no row is partial."""
    if PRESENT not in table.column_names or table[PRESENT].null_count == table.num_rows:
        return None
    column = table[PRESENT].combine_chunks()
    full = np.full((width + 7) // 8, 0xFF, np.uint8).tobytes()
    filled = pc.fill_null(column, full)
    packed = np.frombuffer(b"".join(filled.to_pylist()), np.uint8).reshape(table.num_rows, (width + 7) // 8)
    return np.unpackbits(packed, axis=1, count=width, bitorder="little").astype(np.bool_)


def adapt_present(column: pa.ChunkedArray, written: SchemaVersion, current: SchemaVersion) -> pa.ChunkedArray:
    """Convert bitmaps of one schema to bitmaps of another; added columns are absent."""
    rows = pa.table({PRESENT: column})
    matrix = present_matrix(rows, len(written.schema))
    if matrix is None:
        return column
    by_id = {node.field_id: position for position, node in enumerate(written.nodes)}
    places = [by_id.get(node.field_id) for node in current.nodes]
    absent = np.zeros(len(matrix), np.bool_)
    present = np.column_stack([absent if place is None else matrix[:, place] for place in places])
    return pa.chunked_array([pack_present(present, column.is_null().to_numpy())])


def pack_present(present: Bools, full: Bools) -> pa.Array:
    """Convert a matrix (rows, columns of the schema) to ``_andes_present``; NULL for full rows.

    A partial row with every column is not a full row: columns added later are absent from it.
    """
    packed = np.packbits(present, axis=1, bitorder="little")
    width = packed.shape[1]
    values = pa.Array.from_buffers(
        pa.binary(width), len(packed), [None, pa.py_buffer(np.ascontiguousarray(packed))]
    ).cast(pa.binary())
    return pc.if_else(pa.array(full), pa.scalar(None, pa.binary()), values)
