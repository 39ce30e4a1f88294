"""Ranges of columns in many files at once, from their statistics, so that pruning needs no loop over files.

The values are those of ``bounds``, in columns of polars: unknown bounds are NULL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal as Number
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.delta import statistics
from andes_spark.delta.bounds import bound_reader
from andes_spark.delta.partition_values import parse_partition_value
from andes_spark.errors import LogDamagedError, UnsupportedTableError
from andes_spark.schema.arrow_types import to_arrow
from andes_spark.schema.schema import DataType, Decimal, Primitive

LONG_DIGITS = 18
UNKNOWN = -1
"""Number of records of a file whose statistics lack it."""
_LIMITS: dict[type[pl.DataType], tuple[int, int]] = {
    pl.Int64: (-(2**63), 2**63 - 1),
    pl.Int128: (-(2**127), 2**127 - 1),
}

_ESCAPED = re.compile(r'["\\\x00-\x1f]')
"""Characters of a name that JSON escapes."""

_Decoder = Callable[[str], Any]


@dataclass(frozen=True)
class Ranges:
    """Least and greatest value of a column in each of some files; NULL if unknown.

    Integers, dates, times and unscaled decimals are Int64, decimals of more than 18 digits Int128; strings String.
    """

    low: pl.Series
    high: pl.Series

    @property
    def known(self) -> bool:
        """Whether the range of any of the files has a known bound."""
        return self.low.null_count() + self.high.null_count() < 2 * len(self.low)

    def pick(self, rows: npt.NDArray[np.int64]) -> Ranges:
        """Return the ranges of some of the files."""
        return Ranges(self.low.gather(rows), self.high.gather(rows))

    def followed_by(self, other: Ranges) -> Ranges:
        """Return the ranges of these files and others after them."""
        return Ranges(pl.concat([self.low, other.low]), pl.concat([self.high, other.high]))

    def contain_any(self, keys: pl.Series) -> npt.NDArray[np.bool_]:
        """Return whether each range contains one of some values, sorted ascending; an unknown bound contains all."""
        if not len(keys):
            return np.zeros(len(self.low), np.bool_)
        firsts = _searched(keys, self.low)
        at = np.minimum(firsts, len(keys) - 1)
        below = self.high.is_null() | (keys.gather(at) <= self.high)
        contained: npt.NDArray[np.bool_] = (firsts < len(keys)) & below.to_numpy()
        return contained

    def overlap(self, least: Any, greatest: Any) -> npt.NDArray[np.bool_]:
        """Return whether each range overlaps the range of two values."""
        flags = (self.low.is_null() | (self.low <= greatest)) & (self.high.is_null() | (self.high >= least))
        overlaps: npt.NDArray[np.bool_] = flags.to_numpy()
        return overlaps


def _searched(keys: pl.Series, lows: pl.Series) -> npt.NDArray[np.int64]:
    """Position of the first key at or above each bound."""
    if keys.dtype == pl.Int64:
        least = _LIMITS[pl.Int64][0]
        return np.searchsorted(keys.to_numpy(), lows.fill_null(least).to_numpy())
    least_value: Any = "" if keys.dtype == pl.String else _LIMITS[pl.Int128][0]
    filled = lows.fill_null(pl.lit(least_value, dtype=lows.dtype))
    return keys.search_sorted(filled, side="left").to_numpy().astype(np.int64)


def range_type(type_: DataType) -> type[pl.DataType] | None:
    """Return the type of the ranges of a column; None if files have none."""
    if isinstance(type_, Decimal):
        return pl.Int64 if type_.precision <= LONG_DIGITS else pl.Int128
    if not isinstance(type_, Primitive):
        return None
    if type_.name == "string":
        return pl.String
    counted = ("byte", "short", "integer", "long", "date", "timestamp", "timestamp_ntz")
    return pl.Int64 if type_.name in counted else None


def ranges_of(bounds: Iterable[tuple[Any, Any]], kind: type[pl.DataType]) -> Ranges:
    """Return the ranges from pairs of bounds in the units of ``bounds``."""
    lows: list[Any] = []
    highs: list[Any] = []
    for low, high in bounds:
        lows.append(low)
        highs.append(high)
    return Ranges(_series(lows, kind), _series(highs, kind))


def _series(values: list[Any], kind: type[pl.DataType]) -> pl.Series:
    try:
        return pl.Series(values, dtype=kind)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        # Statistics of another writer, beyond the type of the column: a bound moves towards its own type's limit, which
        # makes no range narrower for values of the type.
        least, greatest = _LIMITS[kind]
        return pl.Series([None if v is None else min(max(v, least), greatest) for v in values], dtype=kind)


def read_statistics(
    texts: Sequence[str | None], columns: Mapping[str, DataType]
) -> tuple[npt.NDArray[np.int64], dict[str, Ranges]]:
    """Read number of records and ranges of columns from statistics, in one pass.

    Args:
        texts: statistics as JSON, None if missing.
        columns: types of the columns, each with a :func:`range_type`.

    Returns:
        For each text, the number of records, ``UNKNOWN`` if it lacks them; ranges by column.
    """
    decode = _decoder(tuple((name, isinstance(type_, Decimal)) for name, type_ in columns.items()))
    readers = [bound_reader(type_) for type_ in columns.values()]
    exact = [isinstance(type_, Decimal) for type_ in columns.values()]
    fields = [f"column_{number}" for number in range(len(columns))]
    records = np.full(len(texts), UNKNOWN, np.int64)
    bounds: list[list[tuple[Any, Any]]] = [[] for _ in columns]
    for number, text in enumerate(texts):
        try:
            stats = decode(text) if text else None
        except (msgspec.DecodeError, RecursionError):
            stats = _slowly(text, list(columns))
        if stats is None:
            for pairs in bounds:
                pairs.append((None, None))
            continue
        if type(stats.numRecords) is int and 0 <= stats.numRecords < 2**63:
            records[number] = stats.numRecords
        for position, field in enumerate(fields):
            low = getattr(stats.minValues, field, None)
            high = getattr(stats.maxValues, field, None)
            if exact[position]:
                low, high = _exact(low), _exact(high)
            read = readers[position]
            bounds[position].append((None, None) if read is None else (read(low, False), read(high, True)))
    kinds = [range_type(type_) for type_ in columns.values()]
    return records, {
        name: ranges_of(pairs, kind)
        for name, pairs, kind in zip(columns, bounds, kinds, strict=True)
        if kind is not None
    }


def _exact(value: Any) -> Any:
    return json.loads(bytes(value), parse_float=Number) if isinstance(value, msgspec.Raw) else value


@lru_cache(maxsize=64)
def _decoder(columns: tuple[tuple[str, bool], ...]) -> _Decoder:
    """Decoder of the statistics of some columns, each with its name and whether it is a decimal; skips all else."""
    if any(_ESCAPED.search(name) for name, _ in columns):
        names = [name for name, _ in columns]
        return lambda text: _slowly(text, names)
    fields: list[tuple[str, Any, Any]] = []
    for number, (_, exact) in enumerate(columns):
        kind = msgspec.Raw if exact else Any
        fields.append((f"column_{number}", kind, msgspec.Raw(b"null") if exact else None))
    rename = {f"column_{number}": name for number, (name, _) in enumerate(columns)}
    bounds = msgspec.defstruct("Bounds", fields, rename=rename)
    statistics_type = msgspec.defstruct(
        "Statistics",
        [("numRecords", Any, None), ("minValues", bounds | None, None), ("maxValues", bounds | None, None)],
    )
    return msgspec.json.Decoder(statistics_type).decode


def _slowly(text: str | None, names: Sequence[str]) -> SimpleNamespace:
    """Read statistics that the decoder refuses: not JSON by the letter, or members of other types."""
    parsed = statistics.parse(text)

    def side(kind: str) -> SimpleNamespace:
        values = parsed.get(kind)
        members = values if isinstance(values, dict) else {}
        return SimpleNamespace(**{f"column_{number}": members.get(name) for number, name in enumerate(names)})

    return SimpleNamespace(
        numRecords=parsed.get("numRecords"), minValues=side("minValues"), maxValues=side("maxValues")
    )


def partition_ranges(texts: Sequence[str | None], type_: DataType) -> Ranges:
    """Return the ranges of a partition column, of a :func:`range_type`, by the value of each file."""
    kind = range_type(type_)
    assert kind is not None
    known = {text: _partition_bounds(text, type_) for text in set(texts)}
    return ranges_of((known[text] for text in texts), kind)


def _partition_bounds(text: str | None, type_: DataType) -> tuple[Any, Any]:
    """Bounds by one value, unknown for NULL (which an empty string becomes)."""
    try:
        value = parse_partition_value(text, type_)
    except (LogDamagedError, UnsupportedTableError):
        return None, None
    if value is None:
        return None, None
    bound = sorted_values(pa.chunked_array([pa.array([value], to_arrow(type_))]), type_)[0]
    return bound, bound


def sorted_values(column: pa.ChunkedArray, type_: DataType) -> pl.Series:
    """Return the distinct or repeated values without NULLs, ascending, as the ranges of their type have them."""
    kind = column.type
    if isinstance(type_, Decimal):
        if type_.precision > LONG_DIGITS:
            numbers = sorted({_unscaled(value, type_.scale) for value in column.unique().to_pylist()})
            return pl.Series(numbers, dtype=pl.Int128)
        return _sorted_longs(_unscaled_longs(column, type_))
    if pat.is_integer(kind):
        return _sorted_longs(column.to_numpy())
    if pat.is_date(kind):
        return _sorted_longs(column.cast(pa.date32()).cast(pa.int32()).to_numpy())
    if pat.is_timestamp(kind):
        return _sorted_longs(column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()).to_numpy())
    values = pl.Series(column)
    return values if values.is_sorted() else values.unique().sort()


def _sorted_longs(values: npt.NDArray[Any]) -> pl.Series:
    values = values.astype(np.int64, copy=False)
    if len(values) >= 2 and not bool((values[1:] >= values[:-1]).all()):
        values = np.sort(values)
    return pl.Series(values)


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
