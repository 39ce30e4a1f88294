"""Winners among pending mods, and what becomes of them against rows, tombstones and truncates."""

from __future__ import annotations

import itertools
import random
from typing import Any

import polars as pl
import pytest

from andes_spark.law.columns import ARRIVAL, BASE_FILE, BASE_ROW, FILE, PARTIAL, ROW, WINNER, KeyColumns
from andes_spark.law.decide import decide, no_located
from andes_spark.law.order import above, dense_ranks, equal
from andes_spark.law.winners import TruncateEvent, pick_winners
from andes_spark.model.mod import OP, Op

ONE = KeyColumns(("k",), ("s",))
NONE = KeyColumns(("k",), ())
U, D = int(Op.UPSERT), int(Op.DELETE)


def mods(*rows: tuple[int, int, int, int], partial: tuple[int, ...] = ()) -> pl.DataFrame:
    """Mods of k, s, op, version; ``partial`` numbers those that leave columns out."""
    return pl.DataFrame(
        [(*row, 0, number, number in partial) for number, row in enumerate(rows)],
        schema={
            "k": pl.Int64,
            "s": pl.Int64,
            OP: pl.Int8,
            ARRIVAL: pl.Int64,
            FILE: pl.Int32,
            ROW: pl.Int64,
            PARTIAL: pl.Boolean,
        },
        orient="row",
    )


def won(rows: pl.DataFrame) -> list[int]:
    return rows[ROW].to_list()


@pytest.mark.parametrize(
    ("rows", "winner", "ties"),
    [
        ([(1, 5, U, 1), (1, 6, U, 2)], 1, 0),
        ([(1, 6, U, 1), (1, 5, U, 2)], 0, 0),
        ([(1, 5, U, 1), (1, 5, U, 2)], 1, 1),
        ([(1, 5, D, 1), (1, 5, U, 2)], 0, 1),
        ([(1, 5, U, 1), (1, 5, D, 2)], 1, 0),
        ([(1, 5, D, 1), (1, 5, D, 2)], 1, 0),
        ([(1, 5, U, 1), (1, 5, U, 2), (1, 5, U, 3)], 2, 2),
        ([(1, 5, U, 1), (1, 5, U, 3), (1, 5, D, 2)], 2, 2),
    ],
)
def test_the_greatest_mod_of_a_key_wins_in_any_order(rows: list[Any], winner: int, ties: int) -> None:
    for order in itertools.permutations(range(len(rows))):
        winners = pick_winners(mods(*(rows[i] for i in order)), ONE)
        assert won(winners.rows) == [order.index(winner)]
        assert (winners.superseded, winners.ties, winners.late) == (len(rows) - 1, ties, 0)


def test_without_a_sequence_the_version_decides() -> None:
    rows = [(1, 9, D, 1), (1, 1, U, 2), (2, 1, U, 1), (2, 1, D, 2)]
    for order in itertools.permutations(range(4)):
        winners = pick_winners(mods(*(rows[i] for i in order)), NONE)
        assert sorted(order[i] for i in won(winners.rows)) == [1, 3]
        assert (winners.superseded, winners.ties) == (2, 0)


def test_truncates_beat_what_is_at_or_below_them_in_any_version() -> None:
    rows = mods((1, 4, U, 1), (2, 5, U, 9), (3, 6, U, 1), (4, 5, D, 1), (5, 6, D, 1))
    winners = pick_winners(rows, ONE, truncates=(TruncateEvent(3, (2,)), TruncateEvent(2, (5,))))
    assert (won(winners.rows), winners.late) == ([2, 4], 3)
    assert won(pick_winners(rows, ONE, watermark=(5,)).rows) == [2, 4]
    assert won(pick_winners(rows, ONE, truncates=(TruncateEvent(3, (4,)),), watermark=(5,)).rows) == [2, 4]
    # Without a sequence, the mods of the truncate's batch come after it.
    winners = pick_winners(mods((1, 0, U, 1), (2, 0, U, 2), (3, 0, U, 3)), NONE, truncates=(TruncateEvent(0, batch=2),))
    assert (won(winners.rows), winners.superseded) == ([1, 2], 1)


def test_all_mods_of_a_key_with_a_partial_are_folded() -> None:
    winners = pick_winners(mods((1, 5, U, 1), (2, 5, U, 1), (1, 4, U, 2), (1, 3, D, 3), partial=(2,)), ONE)
    assert sorted(won(winners.folds)) == [0, 2, 3]
    assert won(winners.rows) == [1]
    assert winners.superseded == 0


def test_no_mods_have_no_winners() -> None:
    winners = pick_winners(mods(), ONE)
    assert (winners.rows.height, winners.folds.height, winners.superseded, winners.late) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("op", "base", "tomb", "kind"),
    [
        (U, None, None, "inserted"),
        (U, 4, None, "updated"),
        (U, 5, None, "equal"),
        (U, 6, None, "late"),
        (D, None, None, "deleted"),
        (D, 4, None, "deleted"),
        (D, 5, None, "deleted"),
        (D, 6, None, "late"),
        (U, None, 4, "inserted"),
        (U, None, 5, "beaten"),
        (U, None, 6, "late"),
        (D, None, 4, "deleted"),
        (D, None, 5, "late"),
        (D, None, 6, "late"),
    ],
)
def test_a_winner_against_its_row_and_its_tombstone(op: int, base: int | None, tomb: int | None, kind: str) -> None:
    winners = mods((7, 5, op, 3))
    located = no_located(ONE, winners)
    if base is not None:
        row = pl.DataFrame({WINNER: [0], BASE_FILE: [2], BASE_ROW: [8], ONE.base_sequence()[0]: [base]})
        located = row.cast(dict(located.schema))  # type: ignore[arg-type]
    tombstones = pl.DataFrame({"k": [1, 7], ONE.tombstone_sequence()[0]: [99, tomb]}).drop_nulls()
    decision = decide(winners, ONE, located=located, tombstones=tombstones)
    kinds = ("inserted", "updated", "equal", "deleted", "late", "beaten")
    assert {field: getattr(decision, field).height for field in kinds} == {field: int(field == kind) for field in kinds}
    assert decision.cleared.height == (kind == "inserted" and tomb is not None)
    assert decision.ties == (kind in ("equal", "beaten"))


def test_a_base_row_whose_sequence_was_not_read_is_lower() -> None:
    winners = mods((7, 5, U, 3))
    located = pl.DataFrame({WINNER: [0], BASE_FILE: [0], BASE_ROW: [1], ONE.base_sequence()[0]: [None]})
    located = located.cast(dict(no_located(ONE, winners).schema))  # type: ignore[arg-type]
    none = pl.DataFrame(schema={"k": pl.Int64, ONE.tombstone_sequence()[0]: pl.Int64})
    assert decide(winners, ONE, located=located, tombstones=none).updated.height == 1


def test_tuples_compare_as_in_python() -> None:
    values = [(a, b, c) for a in (1, 2) for b in (-1, 0) for c in (5, 6)]
    pairs = list(itertools.product(values, values))
    frame = pl.DataFrame([(*x, *y) for x, y in pairs], schema=["a", "b", "c", "d", "e", "f"], orient="row")
    left, right = [pl.col(n) for n in "abc"], [pl.col(n) for n in "def"]
    answers = frame.select(above(left, right).alias("above"), equal(left, right).alias("equal"))
    assert answers["above"].to_list() == [x > y for x, y in pairs]
    assert answers["equal"].to_list() == [x == y for x, y in pairs]


def test_dense_ranks_order_across_frames() -> None:
    rnd = random.Random(1)
    parts = [[(rnd.choice([1, 2, None]), rnd.choice("xyz")) for _ in range(rnd.randint(0, 9))] for _ in range(4)]
    frames = [pl.DataFrame(part, schema={"a": pl.Int64, "b": pl.String}, orient="row") for part in parts]
    distinct = sorted({values for part in parts for values in part if values[0] is not None})  # type: ignore[type-var]
    for part, ranks in zip(parts, dense_ranks(frames), strict=True):
        assert ranks.tolist() == [distinct.index(values) if values[0] is not None else -1 for values in part]
