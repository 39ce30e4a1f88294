"""What an expire lets through, makes depend on arrival, and forgets."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest

from andes_spark.law.columns import ARRIVAL, KeyColumns, arrival
from andes_spark.law.expiry import ExpireEvent, Expiry
from andes_spark.law.fold import EXPIRE, NONE, Chain, Fate, Folded, Start, fold
from andes_spark.law.winners import TruncateEvent
from andes_spark.model.mod import Op

COLUMNS = KeyColumns(("k",), ("a", "b"))


def mods(*places: tuple[int, int, int]) -> pl.DataFrame:
    """Version and sequence of mods."""
    return pl.DataFrame(
        {"a": [a for _, a, _ in places], "b": [b for _, _, b in places], ARRIVAL: [arrival(v) for v, _, _ in places]}
    )


def flags(frame: pl.DataFrame, expression: pl.Expr) -> list[bool]:
    return frame.select(expression.alias("flag"))["flag"].to_list()


def test_a_mod_at_or_below_the_cut_that_it_meets_is_expired() -> None:
    expiry = Expiry((ExpireEvent(4, (10, 5)), ExpireEvent(6, (9, 9))), cut=(3, 0))
    places = [(3, 3, 0), (3, 3, 1), (3, 10, 5), (5, 10, 5), (5, 10, 6), (5, 9, 99), (7, 10, 5), (7, 10, 6)]
    assert flags(mods(*places), expiry.expired(COLUMNS)) == [True, False, False, True, False, True, True, False]


def test_a_backfill_is_not_expired_and_crosses_the_expires_before_it() -> None:
    expiry = Expiry((ExpireEvent(4, (10, 5)),), cut=(3, 0), backfills=frozenset({3, 5}))
    frame = mods((3, 1, 1), (5, 10, 5), (5, 10, 6), (6, 2, 2))
    assert flags(frame, expiry.expired(COLUMNS)) == [False, False, False, True]
    assert flags(frame, expiry.crossing(COLUMNS)) == [False, True, False, False]
    assert expiry.may_cross
    assert not Expiry((ExpireEvent(4, (10, 5)),), backfills=frozenset({3})).may_cross
    assert not Expiry(cut=(3, 0), backfills=frozenset({3})).may_cross


def test_batches_of_one_version_are_of_one_kind() -> None:
    expiry = Expiry(cut=(3, 0), backfills=frozenset({3}))
    frame = pl.DataFrame({"a": [1, 1, 1], "b": [0, 0, 0], ARRIVAL: [arrival(3, 7), arrival(4), arrival(2, 9)]})
    assert flags(frame, expiry.expired(COLUMNS)) == [False, True, True]


def test_the_cut_is_the_greatest_sequence_of_all_expires() -> None:
    expiry = Expiry((ExpireEvent(4, (10, 5)), ExpireEvent(6, (9, 9))), cut=(3, 0))
    assert [expiry.cut_at(version) for version in (4, 5, 7)] == [(3, 0), (10, 5), (10, 5)]
    assert expiry.new_cut == (10, 5)
    assert Expiry().new_cut is None
    assert Expiry(cut=(3, 0)).new_cut == (3, 0)


def test_deletes_before_an_expire_leave_a_tombstone_above_it_only() -> None:
    expiry = Expiry((ExpireEvent(4, (10, 5)),), backfills=frozenset({5}))
    frame = mods((3, 10, 5), (3, 10, 6), (5, 10, 5))
    assert flags(frame, expiry.kept_after(COLUMNS)) == [False, True, True]
    assert [expiry.forgets(version) for version in (-1, 3, 4)] == [(10, 5), (10, 5), None]


def test_truncates_take_part_as_mods_do_and_are_forgotten_as_deletes_are() -> None:
    expiry = Expiry((ExpireEvent(4, (10, 5)),))
    truncates = [
        TruncateEvent(3, (10, 5)), TruncateEvent(5, (10, 5)), TruncateEvent(5, (10, 5), backfill=True),
        TruncateEvent(5, (11, 0)),
    ]  # fmt: skip
    assert [expiry.takes_part(truncate) for truncate in truncates] == [True, False, True, True]
    assert expiry.watermark([truncates[0]], None) is None
    assert expiry.watermark([truncates[0]], (10, 6)) == (10, 6)
    assert expiry.watermark([truncates[2]], (10, 5)) == (10, 5)
    assert expiry.watermark([], (10, 5)) is None
    assert expiry.watermark([truncates[3]], (1, 1)) == (11, 0)


OPERATIONS = {"U": Op.UPSERT, "D": Op.DELETE, "T": Op.TRUNCATE, "X": EXPIRE}


def folded(steps: str, start: int = NONE, *, exists: bool = False, deleted: bool = False) -> Folded:
    """Fold steps such as ``D7 X10 U3`` of one key, each of a version of its own."""
    parsed = [(OPERATIONS[step[0]], int(step[1:])) for step in steps.split()]
    real = np.array([op in (Op.UPSERT, Op.DELETE) for op, _ in parsed])
    chain = Chain(
        key=np.zeros(len(parsed), np.int64),
        op=np.array([op for op, _ in parsed], np.int64),
        rank=np.array([rank for _, rank in parsed], np.int64),
        partial=np.zeros(len(parsed), np.bool_),
        present=np.ones((len(parsed), 1), np.bool_) & real[:, None],
        source=np.where(real, np.arange(len(parsed)), NONE),
    )
    begin = Start(np.array([exists]), np.array([start]), np.array([99 if exists else NONE]), np.array([deleted]))
    return fold(chain, begin, required=np.zeros(1, np.bool_))


@pytest.mark.parametrize(
    ("steps", "row", "fates"),
    [
        ("D7 X10 U3", 3, [Fate.SUPERSEDED, Fate.LAST]),
        ("U5 D7 X10 U3", 3, [Fate.SUPERSEDED, Fate.SUPERSEDED, Fate.LAST]),
        ("U5 X10 U3", 5, [Fate.LAST, Fate.LATE]),
        ("T8 X10 U3", 3, [Fate.LAST]),
        ("D12 X10 U11", None, [Fate.LAST, Fate.LATE]),
        ("D10 X10 U10", 10, [Fate.SUPERSEDED, Fate.LAST]),
        ("X10 D7 U3", None, [Fate.LAST, Fate.LATE]),
        ("X10 D7 U7", None, [Fate.LAST, Fate.BEATEN]),
        ("X10 D7 X12 U7", 7, [Fate.SUPERSEDED, Fate.LAST]),
        ("D8 X10 T3", None, [Fate.LAST]),
        ("D8 X10 U3 T4", None, [Fate.SUPERSEDED, Fate.SUPERSEDED]),
    ],
)
def test_a_key_is_judged_by_what_the_expire_left(steps: str, row: int | None, fates: list[Fate]) -> None:
    result = folded(steps)
    assert (int(result.rank[0]) if result.exists[0] else None) == row
    real = [number for number, step in enumerate(steps.split()) if step[0] in "UD"]
    assert [Fate(result.fate[number]) for number in real] == fates


def test_what_is_left_of_a_delete() -> None:
    assert [bool(folded(steps).deleted[0]) for steps in ("D7", "D7 X6", "D7 X7", "X7 D7", "D7 X7 T3")] == [
        True, True, False, True, False,
    ]  # fmt: skip
    assert int(folded("D7 X7").rank[0]) == NONE
    assert int(folded("U3", start=8, deleted=True).fate[0]) == Fate.LATE
    assert bool(folded("X8 U3", start=8, deleted=True).exists[0])
    assert int(folded("X8 U3", start=8, exists=True).rank[0]) == 8


@pytest.mark.slow
def test_every_chain_equals_the_chain_in_parts() -> None:
    """What is known between two parts is row, tombstone or watermark, and nothing else: as between two merges."""
    steps = ["U5", "D7", "X8", "U3", "T4", "D2", "U9"]
    for chain in itertools.permutations(steps, 5):
        whole = folded(" ".join(chain))
        for cut in range(1, 5):
            first = folded(" ".join(chain[:cut]))
            second = folded(
                " ".join(chain[cut:]), int(first.rank[0]), exists=bool(first.exists[0]), deleted=bool(first.deleted[0])
            )
            assert (whole.exists[0], whole.rank[0], whole.deleted[0]) == (
                second.exists[0], second.rank[0], second.deleted[0],
            ), (chain, cut)  # fmt: skip
