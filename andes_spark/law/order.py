"""Comparison and sorting of tuples of columns: polars expressions, dense ranks, row numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.law.keys.normalized import normalizer
from andes_spark.schema.arrow_types import whole


def above(left: Sequence[pl.Expr], right: Sequence[pl.Expr]) -> pl.Expr:
    """Return whether the tuple ``left`` is greater than ``right``; NULL where a side has NULLs."""
    result = left[-1] > right[-1]
    for a, b in zip(reversed(left[:-1]), reversed(right[:-1]), strict=True):
        result = (a > b) | ((a == b) & result)
    return result


def equal(left: Sequence[pl.Expr], right: Sequence[pl.Expr]) -> pl.Expr:
    """Return whether two tuples are equal; NULL where a side has NULLs."""
    return pl.all_horizontal([a == b for a, b in zip(left, right, strict=True)])


def table_order(table: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Return row numbers of a table in the order of the columns, NULLs first, stable; None if it is sorted."""
    keys = table.select(list(columns))
    words = _words(keys)
    if words is not None:
        return _words_order(words)
    frame = pl.from_arrow(keys)
    assert isinstance(frame, pl.DataFrame)
    return sorted_order(frame, columns)


def _words(keys: pa.Table) -> npt.NDArray[np.uint64] | None:
    """Encode rows as words of the same order, which sort faster than columns; None if the rows do not fit."""
    columns = [whole(column) for column in keys.columns]
    key_normalizer = normalizer(columns)
    return key_normalizer.words(columns) if key_normalizer is not None and key_normalizer.exact else None


def _words_order(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64] | None:
    if bool((words[1:] >= words[:-1]).all()):
        return None
    frame = pl.DataFrame({"word": words})
    return frame.select(pl.arg_sort_by("word", maintain_order=True)).to_series().to_numpy().astype(np.int64)


def sorted_order(frame: pl.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Return row numbers in the order of the columns, NULLs first, stable; None if the rows are sorted.

    One stable sort per column, the last column first, which is faster than sorting tuples and skips sorted columns.
    """
    if is_sorted(frame, columns):
        return None
    order: pl.Series | None = None
    for name in reversed(columns):
        values = frame[name] if order is None else frame[name][order]
        # Not Series.is_sorted: it relies on a flag that polars sets wrongly for chunks of one row before NULLs.
        if is_sorted(values.to_frame("value"), ["value"]):
            continue
        step = values.to_frame("value").select(pl.arg_sort_by("value", maintain_order=True)).to_series()
        order = step if order is None else order[step]
    assert order is not None
    return order.to_numpy().astype(np.int64)


def is_sorted(frame: pl.DataFrame, columns: Sequence[str]) -> bool:
    """Return whether the rows are in the order of the columns, NULLs first."""
    equal: pl.Series | None = None
    for name in columns:
        one, two = frame[name].slice(0, max(frame.height - 1, 0)), frame[name].slice(1)
        falls = (one > two).fill_null(False) | (two.is_null() & one.is_not_null())
        if (falls if equal is None else falls & equal).any():
            return False
        same = one.eq_missing(two)
        equal = same if equal is None else equal & same
        if not equal.any():
            return True
    return True


def dense_ranks(parts: Sequence[pl.DataFrame]) -> list[npt.NDArray[np.int64]]:
    """Return ranks of tuples across several frames with the same columns: equal tuples share a rank, from 0 up.

    A row with a NULL in any column has no sequence and gets -1.
    """
    columns = parts[0].columns
    together = pl.concat(parts, how="vertical_relaxed")
    ranks = (
        together.with_row_index("_andes_at")
        .join(
            together.drop_nulls().unique().sort(columns).with_row_index("_andes_rank"),
            on=columns,
            how="left",
            maintain_order="left",
        )
        .sort("_andes_at")["_andes_rank"]
        .cast(pl.Int64)
        .fill_null(-1)
        .to_numpy()
    )
    bounds = np.cumsum([0] + [part.height for part in parts])
    return [ranks[a:b] for a, b in itertools.pairwise(bounds)]


def grouped(numbers: npt.NDArray[np.integer[Any]]) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Return each distinct number, ascending, with its positions, by one stable sort of all numbers."""
    if not len(numbers):
        return []
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return [(int(ordered[start]), part) for start, part in zip(starts, np.split(order, starts[1:]), strict=True)]
