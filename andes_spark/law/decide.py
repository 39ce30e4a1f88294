"""What becomes of each winner, seen against its base row, its tombstone and the watermarks.

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
    """What a merge or a read does with winners: frames of winners with their places, sorted as given.

    Attributes:
        inserted: upserts of keys without a row.
        updated: upserts that replace a row of the base.
        equal: upserts at the same sequence as their base row: unchanged if all columns are equal, else updated.
        deleted: deletes that hold, with or without a row.
        late: winners that lose to a greater sequence.
        beaten: upserts at the sequence of a delete of their key, which holds.
        cleared: upserts that hold and whose key has a tombstone.
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
        """Upserts that met a base row or a delete of the same sequence."""
        return self.equal.height + self.beaten.height


def decide(winners: pl.DataFrame, columns: KeyColumns, *, located: pl.DataFrame, tombstones: pl.DataFrame) -> Decision:
    """Decide each winner.

    Args:
        winners: one row per key, as ``pick_winners`` gives them, all above the watermarks.
        columns: which columns are key and sequence.
        located: the base rows that the winners have, none of them at or below a watermark: ``WINNER`` (row
            number in ``winners``), ``BASE_FILE``, ``BASE_ROW`` and ``columns.base_sequence()``.
        tombstones: key columns and ``columns.tombstone_sequence()``, one row per key; may hold other keys.

    Returns:
        Frames with the columns of ``winners``, ``BASE_FILE`` and ``BASE_ROW`` (NULL where no row is).
    """
    rows = winners.with_row_index(WINNER).with_columns(pl.col(WINNER).cast(pl.Int64))
    rows = rows.join(located, on=WINNER, how="left", maintain_order="left")
    mine = [pl.col(name) for name in columns.sequence]
    buried: pl.Expr = pl.lit(False)
    late: pl.Expr = pl.lit(False)
    same: pl.Expr = pl.lit(False)
    beaten: pl.Expr = pl.lit(False)
    if columns.sequence:
        base = [pl.col(name) for name in columns.base_sequence()]
        late = above(base, mine).fill_null(False)
        same = equal(base, mine).fill_null(False)
        if tombstones.height:
            rows = rows.join(tombstones, on=columns.key, how="left", maintain_order="left", nulls_equal=False)
            grave = [pl.col(name) for name in columns.tombstone_sequence()]
            buried = grave[0].is_not_null()
            deleted_here = equal(grave, mine).fill_null(False)
            beaten = deleted_here & (pl.col(OP) == int(Op.UPSERT)) & ~late
            late = late | above(grave, mine).fill_null(False) | (deleted_here & ~beaten)
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
    """An empty frame of located rows, with the types of ``winners``' sequences."""
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        WINNER: pl.Int64,
        BASE_FILE: pl.Int32,
        BASE_ROW: pl.Int64,
    }
    for name, base in zip(columns.sequence, columns.base_sequence(), strict=True):
        schema[base] = winners.schema[name]
    return pl.DataFrame(schema=schema)
