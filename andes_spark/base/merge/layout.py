"""Choice of the files of the base to write anew, so that a key lies within the ranges of few files.

In each partition, the *run* are those files whose ranges of keys do not overlap and that hold the most rows together.
All others lie *over* the run: merges write them, and each may span all keys. The following keeps their number small:

- a file of the run with many deleted rows, or many rows over it, is written anew with all rows of its range of keys:
  those of the files over it move along, and are marked as deleted there;
- a file over the run is written anew when half of its rows are deleted;
- small files of one size are packed together, as in size-tiered compaction, so that a row is rewritten few times;
- large files that span much of the run are cut into as many files of narrow ranges.

Ranges of keys only decide what is worth writing anew; no row depends on them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from andes_spark.base.files import NumberedFile, TableShape
from andes_spark.delta.data_file import KEYS_TAG, DataFile
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.model.values import from_json, unscaled
from andes_spark.settings import Settings

T = TypeVar("T")

_SMALLEST = 64 * 1024
_CLASS_FACTOR = 4
_WORN_ABOVE = 0.5
"""Share of deleted rows at which a file over the run is written anew."""
_ROWS_ABOVE = 2
"""Number of rows over a file of the run that count as much as one deleted row of it."""
_WIDE_FILES = 8
"""Number of files that are cut together."""
_WIDE_SPAN = 16
"""Number of files of the run that a file must span to be cut."""
_WIDE_PART = 4
"""Part of the run that a file must span to be cut: what was cut is not cut again."""


@dataclass(frozen=True, order=True)
class Span:
    """Range of the keys of a file, in a form that compares as the keys do."""

    low: tuple[Any, ...]
    high: tuple[Any, ...]


@dataclass(frozen=True)
class Pull:
    """A file of the run to write anew with all rows of its range of keys.

    Attributes:
        file: of the run.
        bounds: its range of keys.
        sources: files over it, whose rows in that range move along.
    """

    file: NumberedFile
    bounds: KeyRange
    sources: tuple[NumberedFile, ...]

    def alone(self) -> Pull:
        """Return the same without rows of other files."""
        return replace(self, sources=())


@dataclass(frozen=True)
class Group:
    """Files to write anew together, as ``pieces`` files at least."""

    files: tuple[NumberedFile, ...]
    pieces: int = 1

    @property
    def bytes(self) -> int:
        """The total size of the files in bytes."""
        return sum(file.file.size for file in self.files)


@dataclass(frozen=True)
class Above:
    """A file whose keys overlap those of files in the run.

    Attributes:
        file: the file.
        first, last: positions in the run of the files at which its keys begin and end.
    """

    file: NumberedFile
    first: int
    last: int


class Partition:
    """The files of one partition of the base.

    Attributes:
        run: files of the run, by key.
        above: files over it.
        unknown: files of other writers, whose ranges of keys are not known.
    """

    def __init__(self, files: Iterable[NumberedFile], shape: TableShape) -> None:
        self._key = shape.columns.key
        self._types = tuple(shape.arrow.field(name).type for name in shape.columns.key)
        decimals = [pa.types.is_decimal(kind) for kind in self._types]
        known: list[tuple[Span, NumberedFile]] = []
        self.unknown: list[NumberedFile] = []
        for file in files:
            span = _span(file.file, self._types, any(decimals))
            if span is None:
                self.unknown.append(file)
            else:
                known.append((span, file))
        chosen = _run(known)
        self.run = [file for _, file in chosen]
        self._lows = [span.low for span, _ in chosen]
        numbers = {file.number for file in self.run}
        self.above = [self._above(span, file) for span, file in known if file.number not in numbers]

    def _above(self, span: Span, file: NumberedFile) -> Above:
        return Above(file, self._position(span.low), self._position(span.high))

    def _position(self, key: tuple[Any, ...]) -> int:
        return max(0, bisect_right(self._lows, key) - 1)

    def pulls(self, settings: Settings) -> list[tuple[float, Pull]]:
        """Return worn files of the run, each with its wear."""
        rows_above = self._rows_above()
        pulls = []
        for position, file in enumerate(self.run):
            wear = dead_ratio(file)
            if _weight(file) >= settings.target_file_bytes // _CLASS_FACTOR:
                wear = max(wear, rows_above[position] / max(1, file.file.num_records or 0) / _ROWS_ABOVE)
            if wear >= settings.compact_dead_ratio:
                sources = [above.file for above in self.above if above.first <= position <= above.last]
                pulls.append((wear, Pull(file, self._bounds(position), tuple(sources))))
        return pulls

    def _bounds(self, position: int) -> KeyRange:
        """Range of keys of a file of the run: up to the next one, and from the first and to the last without limit."""
        low = None if position == 0 else self._low(position)
        high = None if position == len(self.run) - 1 else self._low(position + 1)
        return KeyRange(self._key, self._types, low, high)

    def _low(self, position: int) -> tuple[Any, ...]:
        low = (_noted(self.run[position].file) or [[]])[0]
        return tuple(from_json(value, kind).as_py() for value, kind in zip(low, self._types, strict=True))

    def _rows_above(self) -> list[float]:
        """Estimate the rows over each file of the run, spread evenly over the rows of the files that they span."""
        rows = [max(1, file.file.live_records or 0) for file in self.run]
        if not rows:
            return []
        total = [0, *accumulate(rows)]
        change = [0.0] * (len(rows) + 1)
        for above in self.above:
            share = (above.file.file.live_records or 0) / (total[above.last + 1] - total[above.first])
            change[above.first] += share
            change[above.last + 1] -= share
        return [count * density for count, density in zip(rows, accumulate(change), strict=False)]

    def wide(self, settings: Settings, rewritten: set[int]) -> list[NumberedFile]:
        """Return large files that span much of the run, by key."""
        least = max(_WIDE_SPAN, len(self.run) // _WIDE_PART)
        return [
            above.file
            for above in sorted(self.above, key=lambda above: above.first)
            if above.last - above.first + 1 >= least
            and _weight(above.file) >= settings.target_file_bytes // _CLASS_FACTOR
            and above.file.number not in rewritten
        ]


def partitions(files: Iterable[NumberedFile], shape: TableShape) -> list[Partition]:
    """Arrange the files of a base by partition."""
    by_values: dict[tuple[tuple[str, str | None], ...], list[NumberedFile]] = {}
    for file in files:
        values = file.file.partition_values
        by_values.setdefault(tuple(sorted(values.items())) if values else (), []).append(file)
    return [Partition(members, shape) for members in by_values.values()]


def choose_pulls(parts: Iterable[Partition], settings: Settings, *, budget: int) -> list[Pull]:
    """Choose files of the runs to write anew with the rows over them, the most worn first."""
    worn = sorted((pull for part in parts for pull in part.pulls(settings)), key=lambda pull: -pull[0])
    return _within([pull for _, pull in worn], [pull.file.file.size for _, pull in worn], budget)


def choose_groups(
    parts: Iterable[Partition], settings: Settings, *, budget: int, rewritten: set[int], moved: Mapping[int, int]
) -> list[Group]:
    """Choose groups of files to write anew.

    Args:
        parts: partitions of the base.
        settings: settings of the process.
        budget: maximum bytes of all groups but the first.
        rewritten: numbers of files that are written anew already.
        moved: number of rows that leave a file, by number of the file.
    """
    groups: list[Group] = []
    for part in parts:
        rewritten = {*rewritten, *(file.number for group in groups for file in group.files)}
        groups += _worn_groups(part, settings, rewritten, moved)
        rewritten = {*rewritten, *(file.number for group in groups for file in group.files)}
        wide = part.wide(settings, rewritten)
        if len(wide) >= _WIDE_FILES:
            groups.append(Group(tuple(wide[:_WIDE_FILES]), _WIDE_FILES))
            rewritten = {*rewritten, *(file.number for file in wide[:_WIDE_FILES])}
        for members in (part.run, [*(above.file for above in part.above), *part.unknown]):
            groups += _small_groups([file for file in members if file.number not in rewritten], settings)
    return _within(groups, [group.bytes for group in groups], budget)


def _worn_groups(part: Partition, settings: Settings, rewritten: set[int], moved: Mapping[int, int]) -> list[Group]:
    """Files over the run of which half the rows are deleted, and worn files of other writers."""

    def dead(file: NumberedFile) -> float:
        return dead_ratio(file, moved.get(file.number, 0))

    above = [above.file for above in part.above if above.file.number not in rewritten]
    worn = sorted(
        (file for file in above if dead(file) >= _WORN_ABOVE), key=lambda file: file.file.size * (1 - dead(file))
    )
    alone = [
        file for file in part.unknown if file.number not in rewritten and dead(file) >= settings.compact_dead_ratio
    ]
    alone.sort(key=lambda file: -dead(file))
    return [*_groups(worn, settings.target_file_bytes // 2), *(Group((file,)) for file in alone)]


def _weight(file: NumberedFile) -> int:
    """Bytes by which a file counts as small or large: those on the disk, or a quarter of those in memory.

    The writer splits rows by their bytes in memory: files that are far smaller on the disk would be small again.
    """
    return max(file.file.size, file.file.arrow_bytes // _CLASS_FACTOR)


def _small_groups(files: Sequence[NumberedFile], settings: Settings) -> list[Group]:
    classes: dict[int, list[NumberedFile]] = {}
    for file in files:
        if _weight(file) < settings.target_file_bytes // _CLASS_FACTOR:
            classes.setdefault(_size_class(_weight(file)), []).append(file)
    return [
        group
        for members in classes.values()
        if len(members) >= settings.compact_files
        for group in _groups(members, settings.target_file_bytes // 2)
        if len(group.files) > 1
    ]


def _groups(files: Iterable[NumberedFile], most: int) -> list[Group]:
    """Files in groups of at most ``most`` bytes by weight: a group is held in memory while it is written anew."""
    groups: list[list[NumberedFile]] = []
    size = 0
    for file in files:
        if not groups or size + _weight(file) > most:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += _weight(file)
    return [Group(tuple(members)) for members in groups]


def _within(items: Sequence[T], sizes: Sequence[int], budget: int) -> list[T]:
    """Items as long as they fit the budget; the first one is taken whatever its size."""
    fitting: list[T] = []
    spent = 0
    for candidate, size in zip(items, sizes, strict=True):
        if fitting and spent + size > budget:
            continue
        spent += size
        fitting.append(candidate)
    return fitting


def _run(files: Iterable[tuple[Span, NumberedFile]]) -> list[tuple[Span, NumberedFile]]:
    """Files without overlapping ranges that hold the most rows together, by key: weighted interval scheduling."""
    ordered = sorted(files, key=lambda pair: (pair[0].high, pair[0].low, pair[1].path))
    highs = [span.high for span, _ in ordered]
    best = [0]
    before: list[int] = []
    for number, (span, file) in enumerate(ordered):
        before.append(bisect_left(highs, span.low, 0, number))
        best.append(max(best[-1], best[before[-1]] + (file.file.live_records or 0)))
    run: list[tuple[Span, NumberedFile]] = []
    end = len(ordered)
    while end:
        if best[end] > best[end - 1]:
            run.append(ordered[end - 1])
            end = before[end - 1]
        else:
            end -= 1
    return run[::-1]


def _span(file: DataFile, types: Sequence[pa.DataType], decimals: bool) -> Span | None:
    """Read the range of keys that the writer of a file noted; None if it did not."""
    noted = _noted(file)
    if noted is None or len(noted) != 2 or len(noted[0]) != len(types) or len(noted[1]) != len(types):
        return None
    if not decimals:
        return Span(tuple(noted[0]), tuple(noted[1]))
    low, high = (tuple(unscaled(value, kind) for value, kind in zip(key, types, strict=True)) for key in noted)
    return Span(low, high)


def _noted(file: DataFile) -> list[list[Any]] | None:
    tag = file.tag(KEYS_TAG)
    return None if tag is None else msgspec.json.decode(tag, type=list[list[Any]])


def dead_ratio(file: NumberedFile, moved: int = 0) -> float:
    """Return the share of deleted rows, with those that are about to leave the file."""
    rows = file.file.num_records
    deleted = 0 if file.file.vector is None else file.file.vector.cardinality
    return (deleted + moved) / rows if rows else 0.0


def _size_class(size: int) -> int:
    return max(0, math.ceil(math.log(max(size, 1) / _SMALLEST, _CLASS_FACTOR)))
