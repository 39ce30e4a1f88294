"""Presence: which columns a mod carries, as the bitmaps of ``_andes_present``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.model.mod import PRESENT
from andes_spark.schema.schema import Schema

Bools = npt.NDArray[np.bool_]


def present_by_column(table: pa.Table, schema: Schema) -> dict[str, Bools] | None:
    """For columns that some rows leave out: which rows carry them."""
    matrix = present_matrix(table, len(schema))
    if matrix is None:
        return None
    return {name: matrix[:, i] for i, name in enumerate(schema.names) if not matrix[:, i].all()}


def present_matrix(table: pa.Table, width: int) -> Bools | None:
    """``_andes_present`` as (rows, columns of the schema); None when no row is partial."""
    if PRESENT not in table.column_names or table[PRESENT].null_count == table.num_rows:
        return None
    column = table[PRESENT].combine_chunks()
    full = np.full((width + 7) // 8, 0xFF, np.uint8).tobytes()
    filled = pc.fill_null(column, full)
    packed = np.frombuffer(b"".join(filled.to_pylist()), np.uint8).reshape(table.num_rows, (width + 7) // 8)
    return np.unpackbits(packed, axis=1, count=width, bitorder="little").astype(np.bool_)


def pack_present(present: Bools) -> pa.Array:
    """``_andes_present`` of a matrix (rows, columns of the schema); rows that carry everything become NULL."""
    packed = np.packbits(present, axis=1, bitorder="little")
    width = packed.shape[1]
    full = present.all(axis=1)
    values = pa.Array.from_buffers(
        pa.binary(width), len(packed), [None, pa.py_buffer(np.ascontiguousarray(packed))]
    ).cast(pa.binary())
    return pc.if_else(pa.array(full), pa.scalar(None, pa.binary()), values)
