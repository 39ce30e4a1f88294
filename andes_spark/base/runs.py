"""Sorting of rows that consist of sorted runs: the runs are merged by slices instead of sorted."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.law.order import table_order
from andes_spark.schema.arrow_types import whole

ROWS_A_PIECE = 10_000
"""Average rows of a piece below which rows are sorted instead; figures in ``benchmarks/decisions.md``."""


def ordered(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """Sort rows by the named columns; sorted rows are returned without a copy."""
    pieces = sorted_pieces(rows, names)
    return pieces[0] if len(pieces) == 1 else pa.concat_tables(pieces)


def sorted_pieces(rows: pa.Table, names: Sequence[str]) -> list[pa.Table]:
    """Sort rows by the named columns; return them in consecutive tables.

    A Spark task that reads sorted files in another order has runs of some hundred thousand rows. Merging them by slices
    takes less time than a sort.
    """
    pieces = merged_runs(rows, names)
    if pieces is not None:
        return pieces
    order = table_order(rows, names)
    return [rows if order is None else rows.take(pa.array(order))]


def merged_runs(rows: pa.Table, names: Sequence[str]) -> list[pa.Table] | None:
    """Sort rows that consist of few sorted runs by slices of the runs; None if the slices would be short."""
    columns = [whole(rows[name]) for name in names]
    edges = _edges(columns, rows.num_rows)
    if edges is None:
        return None
    if len(edges) == 2:
        return [rows]
    cuts = _merged(columns, edges, most=rows.num_rows // ROWS_A_PIECE)
    return None if cuts is None else [rows.slice(start, stop - start) for start, stop in cuts]


def _edges(columns: Sequence[pa.Array], rows: int) -> npt.NDArray[np.int64] | None:
    """Return the start of each sorted run, and the number of rows; None for values that Python orders differently."""
    if any(values.null_count or pa.types.is_floating(values.type) for values in columns):
        return None
    if rows < 2:
        return np.array([0, rows])
    less = np.zeros(rows - 1, np.bool_)
    equal = ~less
    for values in columns:
        one, two = values.slice(0, rows - 1), values.slice(1)
        less |= equal & pc.less(one, two).to_numpy(zero_copy_only=False)
        equal &= pc.equal(one, two).to_numpy(zero_copy_only=False)
    descents = np.flatnonzero(~(less | equal)).astype(np.int64)
    return np.concatenate([np.array([0]), descents + 1, np.array([rows])])


def _merged(columns: Sequence[pa.Array], edges: npt.NDArray[np.int64], *, most: int) -> list[tuple[int, int]] | None:
    """Merge sorted runs as slices (start, stop); None if there would be more than ``most``."""

    def key(row: int) -> tuple[Any, ...]:
        return tuple(values[row].as_py() for values in columns)

    if len(edges) - 1 > most:
        return None
    heap = [(key(start), start, stop) for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    heapq.heapify(heap)
    cuts: list[tuple[int, int]] = []
    while heap:
        _, start, end = heapq.heappop(heap)
        stop = bisect_right(range(end), heap[0][0], lo=start, key=key) if heap else end
        cuts.append((start, stop))
        if stop < end:
            heapq.heappush(heap, (key(stop), stop, end))
        if len(cuts) + len(heap) > most:
            return None
    return cuts
