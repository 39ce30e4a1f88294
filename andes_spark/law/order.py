"""Sequences compared: one column, or several as a tuple; polars expressions and dense ranks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl


def above(left: Sequence[pl.Expr], right: Sequence[pl.Expr]) -> pl.Expr:
    """Whether the tuple ``left`` is greater than ``right``; NULL where a side has NULLs."""
    result = left[-1] > right[-1]
    for a, b in zip(reversed(left[:-1]), reversed(right[:-1]), strict=True):
        result = (a > b) | ((a == b) & result)
    return result


def equal(left: Sequence[pl.Expr], right: Sequence[pl.Expr]) -> pl.Expr:
    """Whether two tuples are equal; NULL where a side has NULLs."""
    return pl.all_horizontal([a == b for a, b in zip(left, right, strict=True)])


def dense_ranks(parts: Sequence[pl.DataFrame]) -> list[npt.NDArray[np.int64]]:
    """Ranks of tuples across several frames with the same columns: equal tuples share a rank, from 0 up.

    A row with a NULL in any column gets -1: it has no sequence.
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
