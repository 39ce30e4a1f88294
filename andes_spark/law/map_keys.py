"""Maps with duplicate keys, for which engines use different values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from andes_spark.law.hashing import digest
from andes_spark.schema import nested
from andes_spark.schema import types as dt
from andes_spark.schema.schema import Field, Schema

Bools = npt.NDArray[np.bool_]

_MAP, _KEY = "map", "key"


def repeated_map_keys(table: pa.Table, schema: Schema) -> dict[str, Bools]:
    """Find rows with a map, at any depth of a column, that has duplicate keys.

    Args:
        table: rows with the table's Arrow types; columns of the schema may be missing.
        schema: schema of the table.

    Returns:
        Mask of such rows, for each column that has any. NaN equals NaN, and -0.0 equals 0.0.
    """
    columns: dict[str, Bools] = {}
    for field in schema:
        if field.name in table.column_names and dt.holds_map(field.type):
            masks = [_repeated(chunk, field.type) for chunk in table[field.name].chunks]
            if any(mask.any() for mask in masks):
                columns[field.name] = np.concatenate(masks)
    return columns


def _repeated(array: pa.Array, type_: dt.DataType) -> Bools:
    """Return whether each value of an array contains a map with a repeated key."""
    rows = np.zeros(len(array), np.bool_)
    if not len(array) or not dt.holds_map(type_):
        return rows
    match type_:
        case dt.Array(element):
            offsets, elements = nested.list_parts(array)
            rows |= nested.any_per_row(_repeated(elements, element), offsets)
        case dt.Map(key, value):
            offsets, keys, values = nested.map_parts(array)
            inner = _repeated_keys(keys, key, offsets) | _repeated(values, value)
            rows |= nested.any_per_row(inner, offsets)
        case dt.Struct(fields):
            for number, field in enumerate(fields):
                rows |= _repeated(array.field(number), field.type)
    if array.null_count:
        rows &= array.is_valid().to_numpy(zero_copy_only=False)
    return rows


def _repeated_keys(keys: pa.Array, type_: dt.DataType, offsets: nested.Offsets) -> Bools:
    """Return whether another entry of the same map has the same key, for each entry of maps."""
    repeated = np.zeros(len(keys), np.bool_)
    sizes = np.diff(offsets)
    if not len(sizes) or sizes.max() < 2:
        return repeated
    schema = Schema((Field(_MAP, dt.LONG), Field(_KEY, type_)))
    maps = np.repeat(np.arange(len(sizes)), sizes)
    entries = pa.table([pa.array(maps), keys], names=[_MAP, _KEY])
    hashes = digest.row_hashes(entries, schema, schema.names, op=pa.array(np.zeros(len(keys), np.int8)))
    _, first, count = np.unique(hashes, axis=0, return_index=True, return_counts=True)
    repeated[first[count > 1]] = True
    return repeated
