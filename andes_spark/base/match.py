"""Keys sought among those of row groups: by binary search of numbers where these are sorted, else by a join."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.base.keys import Ints, Keys, KeyWords
from andes_spark.law.columns import BASE_ROW, WINNER

_PAIRS = 2
"""So many pairs for each row and key, of the same word, are compared; if there are more, a join takes less time."""

_FEW = 64
"""Up to so many pairs are compared one by one: polars takes a tenth of a millisecond to begin."""

Found = tuple[Ints, Ints]


@dataclass(frozen=True)
class Wanted:
    """Keys to be found in the base.

    Attributes:
        keys: key columns and WINNER, sorted by key.
        integers: the same keys as int64, where the key is one column of integers, dates or timestamps.
        lowest: smallest value of the first sequence column among the winners, in the units of
            ``stats.bounds``; None: read every sequence.
        unread: NULL in each of the base's sequence columns, for files whose sequences are not read.
    """

    keys: pl.DataFrame
    integers: Ints | None
    lowest: Any
    unread: pl.DataFrame

    @cached_property
    def arrow(self) -> list[pa.Array]:
        """The key columns."""
        return [self.keys[name].to_arrow() for name in self.keys.columns if name != WINNER]

    @cached_property
    def telling(self) -> str | None:
        """The key column with the most values among them, where the key has several."""
        names = [name for name in self.keys.columns if name != WINNER]
        return max(names, key=lambda name: self.keys[name].n_unique()) if len(names) > 1 else None


def match(parts: Sequence[tuple[int, Keys]], keys: Wanted) -> Found:
    """Row numbers with a wanted key, and the number of its winner.

    Args:
        parts: keys of row groups, each with the number of its first row.
        keys: what to look for.
    """
    found: list[Found] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    joined: list[tuple[int, pl.DataFrame]] = []
    for start, part in parts if keys.keys.height else ():
        here = None
        if part.integers is not None:
            if keys.integers is not None and len(part.integers):
                here = _among_integers(part.integers, keys.integers)
        elif part.frame is not None and part.frame.height:
            here = _among_sorted(part.frame, part.words, keys) if part.words is not None else None
            if here is None:
                joined.append((start, part.frame))
        if here is not None:
            found.append((here[0] + start, here[1]))
    if joined:
        found.append(_among_any(joined, keys))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([winners for _, winners in found])


def _among_integers(values: Ints, wanted_values: Ints) -> Found:
    start, end = np.searchsorted(wanted_values, [values[0], values[-1]], side="left")
    end = min(int(end) + 1, len(wanted_values))
    mine = wanted_values[start:end]
    at = np.searchsorted(values, mine)
    hit = np.flatnonzero(values[np.minimum(at, len(values) - 1)] == mine)
    return at[hit], hit + start


def _among_sorted(frame: pl.DataFrame, words: KeyWords, wanted: Wanted) -> Found | None:
    """The same by the words of both; None where too many keys share one. Both frames are sorted by key.

    Keys of other types than text and integers have no words; times in keys are of the years 1 to 9999.
    """
    low, high = _within(frame, wanted.keys)
    if low == high:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    mine = words.normalizer.words([column.slice(low, high - low) for column in wanted.arrow])
    first = np.searchsorted(words.values, mine, side="left")
    count = np.searchsorted(words.values, mine, side="right") - first
    total = int(count.sum())
    if total > _PAIRS * (frame.height + len(mine)):
        return None
    numbers = np.repeat(np.arange(low, high), count)
    rows = np.arange(total) + np.repeat(first - np.cumsum(count) + count, count)
    # Equal words are equal keys only where the words are exact, and for keys that they were made for.
    same = np.ones(total, np.bool_)
    for name in frame.columns:
        same &= _equal(frame[name], rows, wanted.keys[name], numbers)
    return rows[same], wanted.keys[WINNER].to_numpy()[numbers[same]]


def _within(frame: pl.DataFrame, keys: pl.DataFrame) -> tuple[int, int]:
    """Where the keys from the first row's to the last one's are; both frames are sorted by key."""
    columns = [keys[name] for name in frame.columns]

    def key(number: int) -> tuple[Any, ...]:
        return tuple(column[number] for column in columns)

    numbers = range(keys.height)
    low = bisect_left(numbers, frame.row(0), key=key)
    return low, bisect_right(numbers, frame.row(-1), lo=low, key=key)


def _equal(held: pl.Series, rows: Ints, sought: pl.Series, numbers: Ints) -> npt.NDArray[np.bool_]:
    """Which of some pairs of values are equal."""
    if len(rows) > _FEW:
        return (held[rows] == sought[numbers]).to_numpy()
    return np.array(
        [held[row] == sought[at] for row, at in zip(rows.tolist(), numbers.tolist(), strict=True)], np.bool_
    )


def _among_any(parts: Sequence[tuple[int, pl.DataFrame]], keys: Wanted) -> Found:
    """The same by a join with all rows."""
    numbers = np.concatenate([np.arange(start, start + frame.height) for start, frame in parts])
    frame = pl.concat([frame for _, frame in parts], rechunk=False).with_row_index(BASE_ROW)
    if keys.telling is not None:
        # One column first: to join on several, polars copies them all into one, for every row.
        frame = frame.join(keys.keys.select(keys.telling).unique(), on=keys.telling, how="semi")
    joined = frame.join(keys.keys, on=frame.columns[1:], how="inner")
    return numbers[joined[BASE_ROW].to_numpy()], joined[WINNER].to_numpy()
