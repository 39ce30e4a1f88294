"""Pages that may hold some keys, by the page index, and the rows of the keys in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.base.files import TableShape
from andes_spark.base.keys import Ints, keys_of
from andes_spark.base.match import KeyLookup, Matches, match
from andes_spark.base.paged import PageSource, RequestedRows
from andes_spark.law.order import sorted_order
from andes_spark.schema.arrow_types import as_integers, is_counted
from andes_spark.storage.page_reader import byte_count
from andes_spark.storage.paged_file import PagedFile, Rows

READ_BYTES = 64 * 1024 * 1024
"""Bytes of pages that are in memory at a time."""
_BOOLEAN, _INT32, _INT64, _BYTES, _FIXED = 0, 1, 2, 6, 7
_WIDTHS: dict[int, np.dtype[Any]] = {_INT32: np.dtype("<i4"), _INT64: np.dtype("<i8")}
_IS_KEY = "_andes_is_key"
# Python's default context rounds to 28 digits.
_DIGITS = Context(prec=100)


@dataclass(frozen=True)
class _Blocks:
    """Runs of rows of a file, each within one page of every key column that is looked at.

    Attributes:
        first, last: first row, and the row after the last one.
        low, high: no key in the run is below ``low`` or above ``high``; the first key columns.
    """

    first: Ints
    last: Ints
    low: pl.DataFrame
    high: pl.DataFrame


def rows_with(files: Sequence[PagedFile], keys: KeyLookup, shape: TableShape) -> list[Rows | None]:
    """Return the rows of the pages of each file that may hold one of the keys; None for a file without page bounds."""
    blocks = [_kept_blocks(file, shape) for file in files]
    sets: dict[int, list[int]] = {}
    for number, part in enumerate(blocks):
        if part is not None:
            sets.setdefault(part.low.width, []).append(number)
    result: list[Rows | None] = [None] * len(files)
    for width, numbers in sets.items():
        parts = [part for number in numbers if (part := blocks[number]) is not None]
        low, high = pl.concat([part.low for part in parts]), pl.concat([part.high for part in parts])
        hits = _hold_keys(low, high, keys, shape, width)
        at = 0
        for number, part in zip(numbers, parts, strict=True):
            result[number] = _runs(part.first, part.last, hits[at : at + len(part.first)])
            at += len(part.first)
    return result


def match_pages(
    source: PageSource, requested: Sequence[RequestedRows], keys: KeyLookup, shape: TableShape
) -> list[Matches]:
    """Find the rows with one of the keys among ranges of rows of open files."""
    matches: list[Matches] = []
    for part in _within_memory(source, requested, shape):
        tables = source.read(part, shape.columns.key)
        for (_, rows), table in zip(part, tables, strict=True):
            at, winners = match([(0, keys_of(table, shape))], keys)
            lengths = rows[1] - rows[0]
            starts = np.cumsum(np.r_[0, lengths])[:-1]
            run = np.searchsorted(starts, at, side="right") - 1
            matches.append((rows[0][run] + at - starts[run], winners))
    return matches


def rows_below(file: PagedFile, rows: Ints, column: str, lowest: Any, kind: pa.DataType) -> npt.NDArray[np.bool_]:
    """Return whether a row lies in a page all of whose values of a column are below a number, by the page index."""
    below = np.zeros(len(rows), np.bool_)
    if not isinstance(lowest, int):
        return below
    starts = file.index.group_rows
    group_of = np.searchsorted(starts, rows, side="right") - 1
    for group in np.unique(group_of).tolist():
        bounds = file.index.bounds.get((group, column))
        maxima = None if bounds is None or any(bounds.null_pages) else _extremes(file, group, column, True, kind)
        if maxima is None or maxima.dtype == pl.Binary:
            continue
        inside = group_of == group
        pages = np.searchsorted(file.index.pages[group, (column,)].rows, rows[inside] - starts[group], "right") - 1
        below[inside] = [int(value) < lowest for value in _units(maxima, kind)[pages]]
    return below


def _units(values: pl.Series, kind: pa.DataType) -> npt.NDArray[Any]:
    """Values in the units of ``bounds.column_range``."""
    if pat.is_decimal(kind):
        return np.array([int(value.scaleb(kind.scale, _DIGITS)) for value in values.to_list()], object)
    return values.to_numpy()


def _within_memory(
    source: PageSource, requested: Sequence[RequestedRows], shape: TableShape
) -> list[list[RequestedRows]]:
    """Parts whose pages are in memory at once."""
    parts: list[list[RequestedRows]] = []
    left = 0
    for file, rows in requested:
        paged = source.file(file)
        assert paged is not None
        size = len(shape.columns.key) * byte_count(paged, shape.columns.key[:1], rows)
        if not parts or size > left:
            parts.append([])
            left = READ_BYTES
        parts[-1].append((file, rows))
        left -= size
    return parts


def _kept_blocks(file: PagedFile, shape: TableShape) -> _Blocks | None:
    """Blocks of a file, made once for its page index."""
    derived = file.index.derived
    if shape.columns.key not in derived:
        derived[shape.columns.key] = _blocks(file, shape)
    blocks: _Blocks | None = derived[shape.columns.key]
    return blocks


def _blocks(file: PagedFile, shape: TableShape) -> _Blocks | None:
    """Blocks of a file; None if the first key column has no bounds."""
    groups = range(len(file.index.group_rows) - 1)
    columns: list[str] = []
    lows: list[list[pl.Series]] = []
    highs: list[list[pl.Series]] = []
    for name in shape.columns.key:
        kind = shape.arrow.field(name).type
        low = [_extremes(file, group, name, False, kind) for group in groups]
        high = [_extremes(file, group, name, True, kind) for group in groups]
        if any(part is None for part in (*low, *high)):
            break
        columns.append(name)
        lows.append(low)  # type: ignore[arg-type]
        highs.append(high)  # type: ignore[arg-type]
    if not columns or not groups:
        return None
    first, last, low_frames, high_frames = [], [], [], []
    for group in groups:
        edges = [file.index.pages[group, (name,)].rows for name in columns]
        starts = edges[0] if len(edges) == 1 else np.unique(np.concatenate(edges))
        first.append(starts[:-1] + file.index.group_rows[group])
        last.append(starts[1:] + file.index.group_rows[group])
        pages = [np.searchsorted(edge, starts[:-1], side="right") - 1 for edge in edges]
        low_frames.append(pl.DataFrame([part[group][at] for part, at in zip(lows, pages, strict=True)]))
        high_frames.append(pl.DataFrame([part[group][at] for part, at in zip(highs, pages, strict=True)]))
    return _Blocks(np.concatenate(first), np.concatenate(last), pl.concat(low_frames), pl.concat(high_frames))


def _extremes(file: PagedFile, group: int, name: str, greatest: bool, kind: pa.DataType) -> pl.Series | None:
    """Minima or maxima of the pages of a column, comparable with :func:`_comparable`; None if they are unknown."""
    bounds = file.index.bounds.get((group, name))
    if bounds is None or any(bounds.null_pages):
        return None
    stored = file.index.pages[group, (name,)].chunk.type
    values = bounds.maxima if greatest else bounds.minima
    width = _WIDTHS.get(stored)
    if width is not None and any(len(value) != width.itemsize for value in values):
        return None
    if is_counted(kind) and width is not None:
        return pl.Series(name, np.frombuffer(b"".join(values), width).astype(np.int64))
    if pat.is_boolean(kind) and stored == _BOOLEAN:
        return pl.Series(name, [int(value != b"\x00") for value in values], pl.Int64)
    if (pat.is_string(kind) or pat.is_binary(kind)) and stored == _BYTES:
        return pl.Series(name, values, pl.Binary)
    if pat.is_decimal(kind) and (width is not None or stored in (_BYTES, _FIXED)):
        order = "little" if width is not None else "big"
        numbers = [int.from_bytes(value, order, signed=True) for value in values]  # type: ignore[arg-type]
        decimals = [Decimal(number).scaleb(-kind.scale, _DIGITS) for number in numbers]
        return pl.Series(name, decimals, pl.Decimal(38, kind.scale))
    return None


def _comparable(column: pl.Series, kind: pa.DataType) -> pl.Series:
    """Key values in the types of :func:`_extremes`."""
    if is_counted(kind):
        return pl.Series(column.name, as_integers(column.to_arrow()))
    if pat.is_boolean(kind):
        return column.cast(pl.Int64)
    return column.cast(pl.Decimal(38, kind.scale)) if pat.is_decimal(kind) else column.cast(pl.Binary)


def _hold_keys(
    low: pl.DataFrame, high: pl.DataFrame, keys: KeyLookup, shape: TableShape, width: int
) -> npt.NDArray[np.bool_]:
    """Whether one of the keys lies from each ``low`` to its ``high``."""
    if keys.integers is not None:
        below = np.searchsorted(keys.integers, low.to_series().to_numpy(), side="left")
        up_to = np.searchsorted(keys.integers, high.to_series().to_numpy(), side="right")
    else:
        names = shape.columns.key[:width]
        frame = pl.DataFrame([_comparable(keys.keys[name], shape.arrow.field(name).type) for name in names])
        below, up_to = _keys_below(frame, low, including=False), _keys_below(frame, high, including=True)
    hits: npt.NDArray[np.bool_] = up_to > below
    return hits


def _keys_below(keys: pl.DataFrame, bounds: pl.DataFrame, *, including: bool) -> Ints:
    """Number of keys below each bound, or at most equal to it."""
    # Equal ones stand in the order of this mark.
    bound_mark = 2 if including else 0
    marked = pl.concat(
        [
            keys.with_columns(pl.lit(1, pl.Int8).alias(_IS_KEY)),
            bounds.with_columns(pl.lit(bound_mark, pl.Int8).alias(_IS_KEY)),
        ]
    )
    order = sorted_order(marked, marked.columns)
    order = np.arange(marked.height) if order is None else order
    is_key = order < keys.height
    counts = np.zeros(bounds.height, np.int64)
    counts[order[~is_key] - keys.height] = np.cumsum(is_key)[~is_key]
    return counts


def _runs(first: Ints, last: Ints, hits: npt.NDArray[np.bool_]) -> Rows:
    """Ranges of the blocks that are hit, adjacent ones joined."""
    first, last = first[hits], last[hits]
    if not len(first):
        return first, last
    begins = np.r_[True, first[1:] != last[:-1]]
    return first[begins], last[np.r_[begins[1:], True]]
