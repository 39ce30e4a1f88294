"""Arrow arrays from Python values and back, by polars: pyarrow's own conversions import pandas where it is installed.

That import takes longer than a command that reads the logs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

_TYPES: dict[pa.DataType, type[pl.DataType]] = {
    pa.bool_(): pl.Boolean,
    pa.int32(): pl.Int32,
    pa.int64(): pl.Int64,
    pa.string(): pl.String,
}


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Convert values to an array of booleans, integers, strings, or structs and maps of these.

    Args:
        values: None for NULL, mappings for structs and maps; members that a struct lacks are NULL.
        kind: type of the array.

    Raises:
        pa.ArrowTypeError: a value is of another type.
    """
    if pa.types.is_struct(kind):
        members = [array_of([_member(value, field.name) for value in values], field.type) for field in kind]
        missing = array_of([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(members, fields=list(kind), mask=missing)
    if pa.types.is_map(kind):
        return _map_array(values, kind)
    try:
        return pl.Series(values, dtype=_TYPES[kind], strict=True).to_arrow().cast(kind)
    except (TypeError, OverflowError) as error:
        raise pa.ArrowTypeError(f"not all values are of type {kind}: {error}") from error


def _member(value: Any, name: str) -> Any:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise pa.ArrowTypeError(f"{value!r} is no struct")
    return value.get(name)


def _map_array(values: Sequence[Any], kind: pa.MapType) -> pa.Array:
    if not all(value is None or isinstance(value, dict) for value in values):
        raise pa.ArrowTypeError("not all values are maps")
    entries = [entry for value in values for entry in (value or {}).items()]
    sizes = [0, *(len(value or {}) for value in values)]
    offsets: list[int | None] = np.cumsum(sizes).tolist()
    starts = [start if value is not None else None for start, value in zip(offsets, values, strict=False)]
    return pa.MapArray.from_arrays(
        array_of([*starts, offsets[-1]], pa.int32()),
        array_of([key for key, _ in entries], kind.key_type),
        array_of([map_value for _, map_value in entries], kind.item_type),
    ).cast(kind)


def scalar_of(value: Any, kind: pa.DataType) -> pa.Scalar:
    """Convert a value as :func:`array_of` does."""
    return array_of([value], kind)[0]


def indices_of(rows: npt.NDArray[np.int64]) -> pa.Array:
    """Convert row numbers to an array."""
    return pl.Series(rows).to_arrow()


def numpy_of(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Convert an array without NULLs to numpy."""
    series = pl.from_arrow(values)
    assert isinstance(series, pl.Series)
    return series.to_numpy()
