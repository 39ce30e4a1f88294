"""Bringing rows into the order of their key, by what is sorted already: runs are put in order as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

MOST_RUNS = 1_000
"""Above it, rows are sorted."""


def ordered(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """Rows sorted by the named columns, as they are if they are sorted already."""
    runs = sorted_runs(rows, names)
    return runs[0] if len(runs) == 1 else pa.concat_tables(runs)


def sorted_runs(rows: pa.Table, names: Sequence[str]) -> list[pa.Table]:
    """Rows sorted by the named columns, in pieces that follow each other.

    They are the runs that the rows consist of, where these do not overlap: a task of Spark reads sorted files in an
    order of its own. Else it is one piece, sorted anew. To compare neighbours is many times as fast as to sort.
    """
    descents = _descents(rows, names)
    if descents is not None and len(descents) < MOST_RUNS:
        starts = np.r_[0, descents + 1]
        lengths = np.diff(np.r_[starts, rows.num_rows])
        order = _order_of_runs(rows.select(list(names)), starts, lengths)
        if order is not None:
            return [rows.slice(int(starts[run]), int(lengths[run])) for run in order]
    frame = pl.from_arrow(rows.select(list(names)))
    assert isinstance(frame, pl.DataFrame)
    order = frame.select(pl.arg_sort_by(list(names)).alias("order"))["order"].to_numpy()
    return [rows.take(pa.array(order))]


def _order_of_runs(
    keys: pa.Table, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64] | None:
    """Numbers of the runs in the order of their keys; None if two overlap."""
    if len(starts) == 1:
        return np.zeros(1, np.int64)
    ends = np.column_stack([starts, starts + lengths - 1]).ravel()
    frame = pl.from_arrow(keys.take(pa.array(ends)))
    assert isinstance(frame, pl.DataFrame)
    order = frame.select(pl.arg_sort_by(frame.columns, maintain_order=True).alias("order"))["order"].to_numpy()
    order = order.astype(np.int64)
    firsts, lasts = order[0::2], order[1::2]
    return firsts // 2 if bool(((firsts % 2 == 0) & (lasts == firsts + 1)).all()) else None


def _descents(rows: pa.Table, names: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """Numbers of the rows whose follower is below them; None where NULLs leave that open."""
    if rows.num_rows < 2:
        return np.zeros(0, np.int64)
    less = np.zeros(rows.num_rows - 1, np.bool_)
    equal = ~less
    for name in names:
        values = rows[name].combine_chunks()
        if values.null_count:
            return None
        one, two = values.slice(0, len(values) - 1), values.slice(1)
        less |= equal & pc.less(one, two).to_numpy(zero_copy_only=False)
        equal &= pc.equal(one, two).to_numpy(zero_copy_only=False)
    return np.flatnonzero(~(less | equal))
