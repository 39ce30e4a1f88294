"""Keys sought in row groups: binary search and join find the same rows."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import polars as pl
import pytest

from andes_spark.base import match as module
from andes_spark.base.keys import Keys
from andes_spark.base.match import Wanted, match
from andes_spark.law.columns import WINNER

TEXT = ["", "a", "a\0", "aa", "b", "é", "ê", "z", "\U0001f600", "zz"]


def frame_of(keys: list[tuple[Any, ...]], kinds: list[type[pl.DataType]]) -> pl.DataFrame:
    names = [f"k{i}" for i in range(len(kinds))]
    return pl.DataFrame(keys, schema=dict(zip(names, kinds, strict=True)), orient="row")


def wanted_of(frame: pl.DataFrame) -> Wanted:
    keys = frame.sort(frame.columns).with_row_index(WINNER).with_columns(pl.col(WINNER).cast(pl.Int64))
    telling = None if frame.width < 2 else max(frame.columns, key=lambda name: frame[name].n_unique())
    return Wanted(keys, None, None, telling, pl.DataFrame())


@pytest.mark.parametrize(
    "kinds", [[pl.String], [pl.String, pl.Int32], [pl.Int64, pl.String], [pl.String, pl.String, pl.Int8]]
)
@pytest.mark.parametrize("seed", range(25))
def test_search_and_join_find_the_same(
    kinds: list[type[pl.DataType]], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)

    def key() -> tuple[Any, ...]:
        return tuple(
            chance.choice(TEXT[: chance.choice([2, 10])]) if kind == pl.String else chance.randrange(-3, 4)
            for kind in kinds
        )

    rows = sorted({key() for _ in range(chance.choice([1, 5, 60]))}, key=lambda each: [str(v).encode() for v in each])
    whole = frame_of(rows, kinds)
    whole = whole.sort(whole.columns)
    cut = chance.randrange(whole.height + 1)
    pieces = [(7, whole[:cut]), (7 + cut, whole[cut:])]
    sought = wanted_of(frame_of(list({key() for _ in range(chance.choice([0, 1, 20]))}), kinds))
    monkeypatch.setattr(module, "_LEAST_ROWS", 0)
    by_join = match([(start, Keys(None, piece)) for start, piece in pieces], sought)
    monkeypatch.setattr(module, "_ROWS_A_SEARCH", 0)
    by_search = match([(start, Keys(None, piece, ordered=True)) for start, piece in pieces], sought)
    assert sorted(zip(*map(np.ndarray.tolist, by_search), strict=True)) == sorted(
        zip(*map(np.ndarray.tolist, by_join), strict=True)
    )
    places = {row: 7 + at for at, row in enumerate(whole.rows())}
    expected = {places[row[1:]]: row[0] for row in sought.keys.rows() if row[1:] in places}
    assert dict(zip(*map(np.ndarray.tolist, by_search), strict=True)) == expected


def test_a_key_that_stands_twice_is_found_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_A_SEARCH", 0)
    rows = frame_of([("a", 1), ("a", 2), ("a", 2), ("b", 0)], [pl.String, pl.Int32])
    found = match([(0, Keys(None, rows, ordered=True))], wanted_of(frame_of([("a", 2)], [pl.String, pl.Int32])))
    assert [each.tolist() for each in found] == [[1, 2], [0, 0]]
