"""Matching of keys with those of row groups: by binary search of sorted numbers, else by a join."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark.base.keys import Ints, Keys, KeyWords
from andes_spark.law.columns import BASE_ROW, WINNER

_PAIRS = 2
"""Maximum number of candidate pairs per row and key for a comparison; beyond it, keys are joined."""

Matches = tuple[Ints, Ints]
"""Row numbers, and the number of each row's winner."""


@dataclass(frozen=True)
class KeyLookup:
    """Keys to look up in the base.

    Attributes:
        keys: key columns and WINNER, sorted by key.
        integers: the same keys as int64, if the key is one column of integers, dates or timestamps.
        lowest: smallest value of the first sequence column among the winners, in the units of
            ``stats.bounds``; None: read every sequence.
        no_sequence: NULL in each of the base's sequence columns, for files whose sequences are not read.
        places_only: whether no sequence is needed.
    """

    keys: pl.DataFrame
    integers: Ints | None
    lowest: Any
    no_sequence: pl.DataFrame
    places_only: bool = False

    @cached_property
    def arrow(self) -> list[pa.Array]:
        """The key columns as Arrow arrays, in the order of the key."""
        return [self.keys[name].to_arrow() for name in self.keys.columns if name != WINNER]

    @cached_property
    def most_selective_column(self) -> str | None:
        """Key column with the most distinct values; None for a key of one column."""
        names = [name for name in self.keys.columns if name != WINNER]
        return max(names, key=lambda name: self.keys[name].n_unique()) if len(names) > 1 else None


def match(parts: Sequence[tuple[int, Keys]], keys: KeyLookup) -> Matches:
    """Find the rows with one of the keys; return row numbers and the numbers of their winners.

    Args:
        parts: keys of row groups, each with the number of its first row.
        keys: to look up.
    """
    matches: list[Matches] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    joined: list[tuple[int, pl.DataFrame]] = []
    for start, part in parts if keys.keys.height else ():
        part_matches = None
        if part.packed is not None:
            if keys.integers is not None:
                part_matches = part.packed.find(keys.integers)
        elif part.mapped is not None and part.mapped.num_rows:
            part_matches = _among_sorted(part.mapped, part.words, keys) if part.words is not None else None
            if part_matches is None:
                joined.append((start, _frame(part.mapped)))
        elif part.integers is not None:
            if keys.integers is not None and len(part.integers):
                part_matches = _among_integers(part.integers, keys.integers)
        elif part.frame is not None and part.frame.height:
            part_matches = _among_sorted(part.frame, part.words, keys) if part.words is not None else None
            if part_matches is None:
                joined.append((start, part.frame))
        if part_matches is not None:
            rows, winners = part_matches
            matches.append((rows + start, winners))
    if joined:
        matches.append(_among_any(joined, keys))
    return np.concatenate([rows for rows, _ in matches]), np.concatenate([winners for _, winners in matches])


def _among_integers(values: Ints, keys: Ints) -> Matches:
    start, end = np.searchsorted(keys, [values[0], values[-1]], side="left")
    end = min(int(end) + 1, len(keys))
    candidates = keys[start:end]
    at = np.searchsorted(values, candidates)
    hit = np.flatnonzero(values[np.minimum(at, len(values) - 1)] == candidates)
    return at[hit], hit + start


def _frame(rows: pl.DataFrame | pa.Table) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        return rows
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _among_sorted(rows: pl.DataFrame | pa.Table, words: KeyWords, keys: KeyLookup) -> Matches | None:
    """Match by the words of both sides; None if too many keys share a word. Both frames are sorted by key.

    Keys of other types than text and integers have no words; times in keys are of the years 1 to 9999.
    """
    low, high = _within(_frame(rows.slice(0, 1)), _frame(rows.slice(len(rows) - 1)), keys.keys)
    if low == high:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    key_words = words.normalizer.words([column.slice(low, high - low) for column in keys.arrow])
    first = np.searchsorted(words.values, key_words, side="left")
    count = np.searchsorted(words.values, key_words, side="right") - first
    total = int(count.sum())
    if total > _PAIRS * (len(rows) + len(key_words)):
        return None
    numbers = np.repeat(np.arange(low, high), count)
    at = np.arange(total) + np.repeat(first - np.cumsum(count) + count, count)
    # Equal words imply equal keys only if the words are exact, for keys of their normalizer.
    same = np.ones(total, np.bool_)
    candidates = rows[at] if isinstance(rows, pl.DataFrame) else _frame(rows.take(pa.array(at)))
    for name in candidates.columns:
        same &= (candidates[name] == keys.keys[name][numbers]).to_numpy()
    return at[same], keys.keys[WINNER].to_numpy()[numbers[same]]


def _within(first: pl.DataFrame, last: pl.DataFrame, keys: pl.DataFrame) -> tuple[int, int]:
    """Return the range of the keys between the keys of two rows, the first and the last one; all are sorted by key."""
    columns = [keys[name] for name in first.columns]

    def key(number: int) -> tuple[Any, ...]:
        return tuple(column[number] for column in columns)

    numbers = range(keys.height)
    low = bisect_left(numbers, first.row(0), key=key)
    return low, bisect_right(numbers, last.row(0), lo=low, key=key)


def _among_any(parts: Sequence[tuple[int, pl.DataFrame]], keys: KeyLookup) -> Matches:
    """Match by a join with all rows."""
    numbers = np.concatenate([np.arange(start, start + frame.height) for start, frame in parts])
    frame = pl.concat([frame for _, frame in parts], rechunk=False).with_row_index(BASE_ROW)
    if keys.most_selective_column is not None:
        # One column first: a join on several copies them into one, for every row.
        frame = frame.join(
            keys.keys.select(keys.most_selective_column).unique(), on=keys.most_selective_column, how="semi"
        )
    joined = frame.join(keys.keys, on=frame.columns[1:], how="inner")
    return numbers[joined[BASE_ROW].to_numpy()], joined[WINNER].to_numpy()
