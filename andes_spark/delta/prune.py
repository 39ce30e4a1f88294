"""Selection of the files that can hold some of a set of keys, by statistics and partition values alone.

Conservative: a file is kept if its bounds are missing, unreadable or of a type without an order in the log. A file
that holds one of the keys is never left out.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.delta.bounds import ColumnRange, column_range
from andes_spark.delta.partition_values import parse_partition_value
from andes_spark.delta.state import DataFile
from andes_spark.errors import LogDamagedError, UnsupportedTableError
from andes_spark.schema.arrow_types import to_arrow
from andes_spark.schema.schema import DataType, Decimal, Primitive, Schema

_LONG_DIGITS = 18
_UNBOUNDED: ColumnRange = (None, None)


@dataclass(frozen=True)
class _SortedKeys:
    """The keys of one column, ascending, in the units of ``bounds.column_range``."""

    values: npt.NDArray[np.int64] | pl.Series | list[Any]

    def within(self, ranges: Sequence[ColumnRange]) -> list[bool]:
        """Whether each range contains one of the keys."""
        values = self.values
        if isinstance(values, np.ndarray):
            firsts = [0 if low is None else int(values.searchsorted(_clamp(int(low)))) for low, _ in ranges]
        elif isinstance(values, pl.Series):
            # One call, since each call into polars is slow. Nothing is below "".
            lows = pl.Series([low or "" for low, _ in ranges], dtype=pl.String)
            firsts = values.search_sorted(lows, side="left").to_list()
        else:
            firsts = [0 if low is None else bisect.bisect_left(values, low) for low, _ in ranges]
        return [
            first < len(values) and (high is None or bool(values[first] <= high))
            for first, (_, high) in zip(firsts, ranges, strict=True)
        ]


def candidates(
    files: Iterable[DataFile], schema: Schema, partition_columns: Sequence[str], keys: pa.Table
) -> list[int]:
    """Find the files that may hold a row with one of the keys; return their positions in ``files``, ascending.

    Args:
        files: files of the table.
        schema: schema of the table.
        partition_columns: its partition columns.
        keys: key columns only, of the table's types and without nulls, in any order; sorted keys are fastest.

    Key columns are compared one by one: a file is left out if it has bounds of a column that contain no value of it.
    """
    kept = list(enumerate(files))
    if not keys.num_rows:
        return []
    for name in keys.column_names:
        type_ = schema.field(name).type
        ranges = file_ranges([file for _, file in kept], name, type_, partition_columns)
        if ranges is None:
            continue
        hits = _SortedKeys(_sorted_values(_plain(keys[name]), type_)).within(ranges)
        kept = list(itertools.compress(kept, hits))
    return [position for position, _ in kept]


def file_ranges(
    files: Sequence[DataFile], name: str, type_: DataType, partition_columns: Sequence[str]
) -> list[ColumnRange] | None:
    """Return the range of a column in each file, None if no file has one."""
    read = _partition_bounds(name, type_) if name in partition_columns else _file_bounds(name, type_)
    ranges = [] if read is None else [read(file) for file in files]
    return None if all(bounds == _UNBOUNDED for bounds in ranges) else ranges


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pat.is_dictionary(column.type) else column


def _file_bounds(name: str, type_: DataType) -> Callable[[DataFile], ColumnRange] | None:
    if not _ordered(type_):
        return None
    return lambda file: column_range(file.stats, name, type_)


def _partition_bounds(name: str, type_: DataType) -> Callable[[DataFile], ColumnRange] | None:
    """Return a reader of a partition column: one value per file, unknown for null (which an empty string becomes)."""
    if not _ordered(type_):
        return None
    known: dict[str | None, ColumnRange] = {}

    def read(file: DataFile) -> ColumnRange:
        text = file.partition_values.get(name)
        if text not in known:
            known[text] = _partition_bound(text, type_)
        return known[text]

    return read


def _partition_bound(text: str | None, type_: DataType) -> ColumnRange:
    try:
        value = parse_partition_value(text, type_)
    except (LogDamagedError, UnsupportedTableError):
        return _UNBOUNDED
    if value is None:
        return _UNBOUNDED
    arrow = pa.chunked_array([pa.array([value], to_arrow(type_))])
    bound = _sorted_values(arrow, type_)[0]
    return bound, bound


def _ordered(type_: DataType) -> bool:
    return isinstance(type_, Decimal) or (
        isinstance(type_, Primitive)
        and type_.name in ("byte", "short", "integer", "long", "string", "date", "timestamp", "timestamp_ntz")
    )


def _sorted_values(column: pa.ChunkedArray, type_: DataType) -> npt.NDArray[np.int64] | pl.Series | list[Any]:
    """The values, ascending: integers as a numpy array where they fit 64 bits, else a list; strings as a Series."""
    kind = column.type
    if isinstance(type_, Decimal):
        if type_.precision > _LONG_DIGITS:
            return sorted({_unscaled(value, type_.scale) for value in column.unique().to_pylist()})
        return _sorted_longs(_unscaled_longs(column, type_))
    if pat.is_integer(kind):
        return _sorted_longs(column.to_numpy())
    if pat.is_date(kind):
        return _sorted_longs(column.cast(pa.date32()).cast(pa.int32()).to_numpy())
    if pat.is_timestamp(kind):
        return _sorted_longs(column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()).to_numpy())
    values = pl.Series(column)
    return values if values.is_sorted() else values.unique().sort()


def _sorted_longs(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    values = values.astype(np.int64, copy=False)
    if len(values) < 2 or bool((values[1:] >= values[:-1]).all()):
        return values
    return np.sort(values)


def _unscaled_longs(column: pa.ChunkedArray, type_: Decimal) -> npt.NDArray[np.int64]:
    """The unscaled values of decimals of at most 18 digits: the low halves of their 128 bits."""
    exact = column.cast(pa.decimal128(type_.precision, type_.scale))
    parts = []
    for chunk in exact.chunks:
        words = np.frombuffer(chunk.buffers()[1], dtype=np.int64)
        parts.append(words[2 * chunk.offset : 2 * (chunk.offset + len(chunk)) : 2])
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _unscaled(value: Any, scale: int) -> int:
    sign, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    return int(number * 10 ** (exponent + scale))


def _clamp(value: int) -> np.int64:
    limits = np.iinfo(np.int64)
    return np.int64(min(max(value, limits.min), limits.max))
