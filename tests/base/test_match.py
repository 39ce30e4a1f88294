"""Keys sought in row groups: binary search and join find the same rows."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import polars as pl
import pytest

from andes_spark.base import match as module
from andes_spark.base.keys import Keys, KeyWords
from andes_spark.base.match import KeyLookup, match
from andes_spark.law.columns import WINNER
from andes_spark.law.keys.normalized import normalizer

TEXT = ["", "a", "a\0", "aa", "b", "é", "ê", "z", "\U0001f600", "zz"]


def frame_of(keys: list[tuple[Any, ...]], kinds: list[type[pl.DataType]]) -> pl.DataFrame:
    names = [f"k{i}" for i in range(len(kinds))]
    return pl.DataFrame(keys, schema=dict(zip(names, kinds, strict=True)), orient="row")


def wanted_of(frame: pl.DataFrame) -> KeyLookup:
    keys = frame.sort(frame.columns).with_row_index(WINNER).with_columns(pl.col(WINNER).cast(pl.Int64))
    return KeyLookup(keys, None, None, pl.DataFrame())


def searched(frame: pl.DataFrame) -> Keys:
    """Keys of a row group that is sorted by key."""
    columns = [frame[name].to_arrow() for name in frame.columns]
    normalizer_of_rows = normalizer(columns)
    return Keys(
        None,
        frame,
        None if normalizer_of_rows is None else KeyWords(normalizer_of_rows, normalizer_of_rows.words(columns)),
    )


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

    rows = sorted({key() for _ in range(chance.choice([1, 5, 60]))}, key=lambda words: [str(v).encode() for v in words])
    whole = frame_of(rows, kinds)
    whole = whole.sort(whole.columns)
    cut = chance.randrange(whole.height + 1)
    pieces = [(7, whole[:cut]), (7 + cut, whole[cut:])]
    requested = wanted_of(frame_of(list({key() for _ in range(chance.choice([0, 1, 20]))}), kinds))
    by_join = match([(start, Keys(None, piece)) for start, piece in pieces], requested)
    monkeypatch.setattr(module, "_among_any", None)
    monkeypatch.setattr(module, "_PAIRS", 1_000)
    by_search = match([(start, searched(piece)) for start, piece in pieces], requested)
    assert sorted(zip(*map(np.ndarray.tolist, by_search), strict=True)) == sorted(
        zip(*map(np.ndarray.tolist, by_join), strict=True)
    )
    places = {row: 7 + at for at, row in enumerate(whole.rows())}
    expected = {places[row[1:]]: row[0] for row in requested.keys.rows() if row[1:] in places}
    assert dict(zip(*map(np.ndarray.tolist, by_search), strict=True)) == expected


def test_a_key_that_stands_twice_is_found_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_among_any", None)
    rows = frame_of([("a", 1), ("a", 2), ("a", 2), ("b", 0)], [pl.String, pl.Int32])
    matches = match([(0, searched(rows))], wanted_of(frame_of([("a", 2)], [pl.String, pl.Int32])))
    assert [column.tolist() for column in matches] == [[1, 2], [0, 0]]


@pytest.mark.parametrize("pairs", [0, 1_000], ids=["joined", "compared"])
def test_keys_of_one_word_are_told_apart(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAIRS", pairs)
    rows = frame_of([(f"{'x' * 600}{number:03d}",) for number in range(0, 100, 2)], [pl.String])
    keys = searched(rows)
    assert keys.words is not None
    assert len(set(keys.words.values.tolist())) == 1
    matches = match(
        [(5, keys)], wanted_of(frame_of([(f"{'x' * 600}{number:03d}",) for number in (3, 4, 98)], [pl.String]))
    )
    assert sorted(zip(*map(np.ndarray.tolist, matches), strict=True)) == [(7, 1), (54, 2)]
