"""Rows in the order of their key: runs are put in order as they are, all else is sorted."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from andes_spark.base import runs as module
from andes_spark.base.runs import ordered, sorted_runs
from andes_spark.spark.load import Loaded, meeting


def table(*keys: tuple[int, str]) -> pa.Table:
    return pa.table({"a": [key[0] for key in keys], "b": [key[1] for key in keys], "n": range(len(keys))})


def keys_of(rows: pa.Table) -> list[tuple[int, str]]:
    return list(zip(rows["a"].to_pylist(), rows["b"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("keys", "pieces"),
    [
        ([], 1),
        ([(1, "a")], 1),
        ([(1, "a"), (1, "b"), (2, "a")], 1),
        ([(2, "a"), (2, "b"), (1, "x"), (1, "y")], 2),
        ([(3, "a"), (2, "b"), (1, "x")], 3),
        ([(1, "b"), (1, "c"), (1, "a"), (1, "d")], 1),  # they overlap
        ([(2, "a"), (1, "a"), (1, "a")], 2),
    ],
)
def test_runs_follow_each_other(keys: list[tuple[int, str]], pieces: int) -> None:
    found = sorted_runs(table(*keys), ["a", "b"])
    assert len(found) == pieces
    assert [key for piece in found for key in keys_of(piece)] == sorted(keys)


@pytest.mark.parametrize("seed", range(50))
def test_rows_of_any_order_are_sorted(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RUNS", 5)
    rnd = random.Random(seed)
    keys = [(rnd.randrange(6), rnd.choice(("", "a", "é", "\U0001f600", "zz"))) for _ in range(rnd.randrange(40))]
    pieces = rnd.randint(1, 8)
    if seed % 2:
        keys.sort()
        cut = sorted(rnd.randrange(len(keys) + 1) for _ in range(pieces - 1))
        parts = [keys[low:high] for low, high in zip([0, *cut], [*cut, len(keys)], strict=True)]
        rnd.shuffle(parts)
        keys = [key for part in parts for key in part]
    rows = table(*keys)
    found = ordered(rows, ["a", "b"])
    assert keys_of(found) == sorted(keys)
    assert sorted(found["n"].to_pylist()) == list(range(len(keys)))


def test_nulls_are_sorted_too() -> None:
    rows = pa.table({"a": [3, None, 1]})
    assert ordered(rows, ["a"])["a"].to_pylist() == [None, 1, 3]


@pytest.mark.parametrize("seed", range(30))
def test_pieces_that_may_share_a_key_are_found(seed: int) -> None:
    rnd = random.Random(seed)
    pieces = []
    for _ in range(rnd.randint(1, 6)):
        edges = sorted(rnd.sample(range(100), 2 * rnd.randint(1, 3)))
        pieces.append(Loaded([], [((low,), (high,)) for low, high in zip(edges[::2], edges[1::2], strict=True)]))
    keys = [{n for (low,), (high,) in each.ranges for n in range(low, high + 1)} for each in pieces]
    expected = [
        piece
        for number, piece in enumerate(pieces)
        if any(keys[number] & other for place, other in enumerate(keys) if place != number)
    ]
    found = meeting(pieces)
    assert all(any(each is piece for each in found) for piece in expected)
    # Ranges of one piece never overlap, so that whoever meets a range meets another piece's.
    assert len(found) == len(expected)
