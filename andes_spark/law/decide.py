"""Outcome of each winner, by its base row, its tombstone and the watermarks.

At equal sequence a tombstone or a watermark beats the mod, and the mod beats the base row.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from andes_spark.law.columns import BASE_FILE, BASE_ROW, WINNER, KeyColumns
from andes_spark.law.order import above, equal
from andes_spark.model.mod import OP, Op

LATE = "_andes_late"
EQUAL = "_andes_equal"
BURIED = "_andes_buried"
BEATEN = "_andes_beaten"


@dataclass(frozen=True)
class Decision:
    """Winners by outcome: frames with the locations of base rows, in the order of the winners.

    Attributes:
        inserted: upserts of keys without a row.
        updated: upserts that replace a row of the base.
        equal: upserts at the same sequence as their base row: unchanged if all columns are equal, else updated.
        deleted: deletes in effect, with or without a row.
        late: winners below the sequence of the base row or tombstone.
        beaten: upserts at the sequence of a delete of their key, which stays in effect.
        cleared: upserts in effect whose key has a tombstone.
        ties: upserts at the sequence of their base row.
    """

    inserted: pl.DataFrame
    updated: pl.DataFrame
    equal: pl.DataFrame
    deleted: pl.DataFrame
    late: pl.DataFrame
    beaten: pl.DataFrame
    cleared: pl.DataFrame

    @property
    def ties(self) -> int:
        """Number of upserts at the sequence of their base row or of a delete."""
        return self.equal.height + self.beaten.height


def decide(winners: pl.DataFrame, columns: KeyColumns, *, located: pl.DataFrame, tombstones: pl.DataFrame) -> Decision:
    """Determine the outcome of each winner.

    Args:
        winners: result of ``pick_winners``: one row per key, all above the watermarks.
        columns: names of the key and sequence columns.
        located: base rows of the winners, none of them at or below a watermark: ``WINNER`` (row
            number in ``winners``), ``BASE_FILE``, ``BASE_ROW`` and ``columns.base_sequence()``.
        tombstones: key columns and ``columns.tombstone_sequence()``, one row per key; may hold other keys.

    Returns:
        Frames with the columns of ``winners``, ``BASE_FILE`` and ``BASE_ROW`` (NULL without a base row).
    """
    rows = winners.with_row_index(WINNER).with_columns(pl.col(WINNER).cast(pl.Int64))
    rows = rows.join(located, on=WINNER, how="left", maintain_order="left")
    sequence = [pl.col(name) for name in columns.sequence]
    buried: pl.Expr = pl.lit(False)
    late: pl.Expr = pl.lit(False)
    same: pl.Expr = pl.lit(False)
    beaten: pl.Expr = pl.lit(False)
    if columns.sequence:
        base = [pl.col(name) for name in columns.base_sequence()]
        late = above(base, sequence).fill_null(False)
        same = equal(base, sequence).fill_null(False)
        if tombstones.height:
            rows = rows.join(tombstones, on=columns.key, how="left", maintain_order="left", nulls_equal=False)
            tombstone = [pl.col(name) for name in columns.tombstone_sequence()]
            buried = tombstone[0].is_not_null()
            at_tombstone = equal(tombstone, sequence).fill_null(False)
            beaten = at_tombstone & (pl.col(OP) == int(Op.UPSERT)) & ~late
            late = late | above(tombstone, sequence).fill_null(False) | (at_tombstone & ~beaten)
    rows = rows.with_columns(late.alias(LATE), same.alias(EQUAL), buried.alias(BURIED), beaten.alias(BEATEN))
    holds = rows.filter(~pl.col(LATE) & ~pl.col(BEATEN))
    upserts = holds.filter(pl.col(OP) == int(Op.UPSERT))
    has_row = pl.col(BASE_ROW).is_not_null()
    return Decision(
        inserted=upserts.filter(~has_row),
        updated=upserts.filter(has_row & ~pl.col(EQUAL)),
        equal=upserts.filter(has_row & pl.col(EQUAL)),
        deleted=holds.filter(pl.col(OP) == int(Op.DELETE)),
        late=rows.filter(pl.col(LATE)),
        beaten=rows.filter(pl.col(BEATEN)),
        cleared=upserts.filter(pl.col(BURIED)),
    )


def no_located(columns: KeyColumns, winners: pl.DataFrame) -> pl.DataFrame:
    """Return an empty frame of located rows, with the types of ``winners``' sequences."""
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        WINNER: pl.Int64,
        BASE_FILE: pl.Int32,
        BASE_ROW: pl.Int64,
    }
    for name, base in zip(columns.sequence, columns.base_sequence(), strict=True):
        schema[base] = winners.schema[name]
    return pl.DataFrame(schema=schema)
