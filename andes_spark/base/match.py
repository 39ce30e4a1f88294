"""Keys sought among those of row groups: by binary search where these are sorted, else by a join."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from andes_spark.base.keys import Ints, Keys
from andes_spark.law.columns import BASE_ROW, WINNER

_ROWS_A_SEARCH = 4_000
_LEAST_ROWS = 50_000
"""Searches are made while there are fewer than one for so many rows, and a join takes at least as long as for these:
5,000 keys of two strings at random in 5 million rows take as long either way, 100 keys half as long.
"""

Found = tuple[Ints, Ints]


@dataclass(frozen=True)
class Wanted:
    """Keys to be found in the base.

    Attributes:
        keys: key columns and WINNER, sorted by key.
        integers: the same keys as int64, where the key is one column of integers, dates or timestamps.
        lowest: smallest value of the first sequence column among the winners, in the units of
            ``stats.bounds``; None: read every sequence.
        telling: the key column with the most values among them, where the key has several.
        unread: NULL in each of the base's sequence columns, for files whose sequences are not read.
    """

    keys: pl.DataFrame
    integers: Ints | None
    lowest: Any
    telling: str | None
    unread: pl.DataFrame


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
            here = _among_sorted(part.frame, keys.keys) if part.ordered else None
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


def _among_sorted(frame: pl.DataFrame, wanted: pl.DataFrame) -> Found | None:
    """The same by binary search; None where a join takes less time. Both frames are sorted by key."""
    rows, keys = range(frame.height), range(wanted.height)
    held, sought = frame.get_columns(), wanted.select(frame.columns).get_columns()

    def row_key(row: int) -> tuple[Any, ...]:
        return tuple(column[row] for column in held)

    def wanted_key(number: int) -> tuple[Any, ...]:
        return tuple(column[number] for column in sought)

    first = bisect_left(keys, row_key(0), key=wanted_key)
    last = bisect_right(keys, row_key(frame.height - 1), lo=first, key=wanted_key)
    if _ROWS_A_SEARCH * (last - first) > max(frame.height, _LEAST_ROWS):
        return None
    places: list[int] = []
    numbers: list[int] = []
    low = 0
    for number in range(first, last):
        key = wanted_key(number)
        low = bisect_left(rows, key, lo=low, key=row_key)
        for at in itertools.takewhile(lambda row: row_key(row) == key, rows[low:]):  # noqa: B023 - used at once
            places.append(at)
            numbers.append(number)
    return np.array(places, np.int64), wanted[WINNER].to_numpy()[np.array(numbers, np.int64)]


def _among_any(parts: Sequence[tuple[int, pl.DataFrame]], keys: Wanted) -> Found:
    """The same by a join with all rows."""
    numbers = np.concatenate([np.arange(start, start + frame.height) for start, frame in parts])
    frame = pl.concat([frame for _, frame in parts], rechunk=False).with_row_index(BASE_ROW)
    if keys.telling is not None:
        # One column first: to join on several, polars copies them all into one, for every row.
        frame = frame.join(keys.keys.select(keys.telling).unique(), on=keys.telling, how="semi")
    joined = frame.join(keys.keys, on=frame.columns[1:], how="inner")
    return numbers[joined[BASE_ROW].to_numpy()], joined[WINNER].to_numpy()
