"""Winners among pending mods: the greatest mod of each key.

Greatest by sequence; at equal sequence a delete beats an upsert, and between upserts the later batch wins.
Keys with a partial mod have no single winner: all their mods are passed to ``fold``. So are those of keys with a
backfilled mod that an expire among the pending versions lets through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from andes_spark.law.columns import ARRIVAL, PARTIAL, KeyColumns, arrival, same_key_as_next
from andes_spark.law.order import above
from andes_spark.model.mod import OP, Op


@dataclass(frozen=True)
class TruncateEvent:
    """A truncate of a batch, at its sequence; empty without ``sequence_by``."""

    version: int
    sequence: tuple[Any, ...] = ()
    batch: int = 0
    backfill: bool = False

    @property
    def arrival(self) -> int:
        """Place of its batch in the order of all batches."""
        return arrival(self.version, self.batch)


@dataclass(frozen=True)
class Winners:
    """Pending mods by outcome.

    Attributes:
        rows: one mod per key, full rows only, sorted by key.
        folds: all mods of keys with a partial mod, or with one that crosses an expire, sorted by key.
        superseded: number of mods beaten by another pending mod.
        ties: number of superseded upserts at the sequence of an upsert of a later batch or of a delete of an
            earlier one.
        ties_with_deletes: number of superseded upserts at the sequence of a delete.
        late: number of keys with their greatest mod at or below a truncate.
    """

    rows: pl.DataFrame
    folds: pl.DataFrame
    superseded: int
    ties: int
    late: int
    ties_with_deletes: int = 0


def pick_winners(
    mods: pl.DataFrame,
    columns: KeyColumns,
    *,
    truncates: tuple[TruncateEvent, ...] = (),
    watermark: tuple[Any, ...] | None = None,
    crossing: pl.Expr | None = None,
) -> Winners:
    """Pick the winners among pending mods.

    Args:
        mods: narrow frame of upserts and deletes, any order.
        columns: names of the key and sequence columns.
        truncates: truncates among the pending versions.
        watermark: truncate watermark of the base, if any.
        crossing: expression for mods that cross an expire; None if there are none.
    """
    needs_fold = pl.col(PARTIAL) if crossing is None else pl.col(PARTIAL) | crossing
    folding = mods.filter(needs_fold)
    if folding.height:
        folded = folding.select(columns.key).unique()
        folds = mods.join(folded, on=columns.key, how="semi", nulls_equal=False).sort(columns.key)
        mods = mods.join(folded, on=columns.key, how="anti", nulls_equal=False)
    else:
        folds = mods.clear()
    # Without sequence_by the arrival is the sequence: it comes before the operation.
    order = [*columns.sequence, OP, ARRIVAL] if columns.sequence else [ARRIVAL]
    ordered = mods.sort([*columns.key, *order], maintain_order=True)
    beaten = ordered.select(same_key_as_next(columns.key).alias("beaten"))["beaten"]
    superseded = int(beaten.sum())
    ties, with_deletes = _ties(ordered, columns) if superseded and columns.sequence else (0, 0)
    rows = ordered.filter(~beaten) if superseded else ordered
    alive = rows.filter(outlives(columns, truncates, watermark))
    dead = rows.height - alive.height
    if columns.sequence:
        return Winners(alive, folds, superseded, ties, dead, with_deletes)
    return Winners(alive, folds, superseded + dead, 0, 0)


def outlives(columns: KeyColumns, truncates: tuple[TruncateEvent, ...], watermark: tuple[Any, ...] | None) -> pl.Expr:
    """Return whether a mod is above every truncate; without ``sequence_by``, not before the batch of the last one."""
    if not columns.sequence:
        last = max((event.arrival for event in truncates), default=-1)
        return pl.col(ARRIVAL) >= last
    bound = greatest(truncates, watermark)
    if bound is None:
        return pl.lit(True)
    return above([pl.col(name) for name in columns.sequence], [pl.lit(value) for value in bound])


def greatest(truncates: tuple[TruncateEvent, ...], watermark: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """Return the greatest sequence among truncates with one, and a watermark."""
    bounds = [event.sequence for event in truncates if event.sequence]
    if watermark is not None:
        bounds.append(watermark)
    return max(bounds, default=None)


def _ties(ordered: pl.DataFrame, columns: KeyColumns) -> tuple[int, int]:
    """Count the upserts beaten by an upsert or an earlier delete of equal sequence, and those beaten by a delete."""
    tie = same_key_as_next(columns.narrow) & (pl.col(OP) == int(Op.UPSERT))
    deleted = pl.col(OP).shift(-1) == int(Op.DELETE)
    with_delete = tie & deleted & (pl.col(ARRIVAL) > pl.col(ARRIVAL).shift(-1))
    upserts, deletes = ordered.select(
        (tie & ~deleted).fill_null(False).sum().alias("upserts"), with_delete.fill_null(False).sum().alias("deletes")
    ).row(0)
    return int(upserts) + int(deletes), int(deletes)
