"""Rows in the order of their key: runs are put in order as they are, all else is sorted."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from andes_spark.base import runs as module
from andes_spark.base.runs import ordered, sorted_pieces
from andes_spark.schema import arrow_types


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
        ([(2, "a"), (6, "a"), (1, "a"), (4, "a"), (5, "a")], 4),
        ([(1, "b"), (1, "c"), (1, "a"), (1, "d")], 3),
        ([(2, "a"), (1, "a"), (1, "a"), (2, "a")], 2),
    ],
)
def test_runs_are_cut_where_another_goes_on(
    keys: list[tuple[int, str]], pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_A_PIECE", 1)
    sorted_parts = sorted_pieces(table(*keys), ["a", "b"])
    assert [key for piece in sorted_parts for key in keys_of(piece)] == sorted(keys)
    assert len(sorted_parts) == pieces


@pytest.mark.parametrize("seed", range(50))
def test_rows_of_any_order_are_sorted(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rnd = random.Random(seed)
    monkeypatch.setattr(module, "ROWS_A_PIECE", rnd.choice((1, 3, 10)))
    keys = [(rnd.randrange(6), rnd.choice(("", "a", "é", "\U0001f600", "zz"))) for _ in range(rnd.randrange(40))]
    if seed % 2:
        parts: list[list[tuple[int, str]]] = [[] for _ in range(rnd.randint(1, 8))]
        for key in keys:
            rnd.choice(parts).append(key)
        keys = [key for part in parts for key in sorted(part)]
    rows = table(*keys)
    sorted_rows = ordered(rows, ["a", "b"])
    assert keys_of(sorted_rows) == sorted(keys)
    assert sorted(sorted_rows["n"].to_pylist()) == list(range(len(keys)))


def test_many_runs_are_sorted() -> None:
    keys = [(n % 2, "") for n in range(100)]
    assert len(sorted_pieces(table(*keys), ["a"])) == 1


def test_nulls_are_sorted_too() -> None:
    assert ordered(pa.table({"a": [3, None, 1]}), ["a"])["a"].to_pylist() == [None, 1, 3]
    assert ordered(pa.table({"a": [3.0, -1.0, 1.0]}), ["a"])["a"].to_pylist() == [-1.0, 1.0, 3.0]


def test_text_beyond_two_gigabytes_is_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow cannot join its chunks with the 32-bit offsets of plain text; the limit is lowered to see the same path."""
    monkeypatch.setattr(arrow_types, "_MOST_BYTES", 10)
    rows = pa.table({"a": pa.chunked_array([["b" * 9, "c" * 9], ["a" * 9]])})
    assert arrow_types.whole(rows["a"]).type == pa.large_string()
    assert arrow_types.whole(rows["a"].cast(pa.binary())).type == pa.large_binary()
    assert [value[0] for value in ordered(rows, ["a"])["a"].to_pylist()] == ["a", "b", "c"]
