"""The live files of a Delta table: a segment in columns, and the files that were added since as objects.

States of consecutive versions share the segment, so that a commit costs what it changes, and a table of 100,000 files
keeps no Python objects for them. When many files were added or removed, a new segment is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from andes_spark.delta.action_columns import ADD
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.ranges import UNKNOWN, Ranges, partition_ranges, range_type, read_statistics
from andes_spark.delta.segment import Segment
from andes_spark.schema.arrow_values import indices_of
from andes_spark.schema.schema import DataType

Ints = npt.NDArray[np.int64]
_LOOSE = 1024
"""Number of changes to the segment above which a new one is built, at least."""
_LOOSE_SHARE = 8
"""Part of the segment that may have changed."""
_MEMBERS = frozenset(field.name for field in ADD)


class Files(Mapping[str, DataFile]):
    """Live files by their path in the table's folder (decoded), in the order in which they were added. Immutable.

    A file has a position: 0 for the first. ``DataFile`` objects are made when they are asked for.

    Args:
        segment: files in columns.
        rows: rows of the segment that are live, ascending; None for all.
        added: later files.
    """

    def __init__(self, segment: Segment, rows: Ints | None = None, added: Mapping[str, DataFile] | None = None) -> None:
        self.segment = segment
        self.rows = np.arange(len(segment)) if rows is None else rows
        self.added: Mapping[str, DataFile] = {} if added is None else added
        self._list = list(self.added.values())

    @classmethod
    def of(cls, files: Iterable[DataFile]) -> Files:
        """Build the set of these files."""
        return cls(no_files().segment, added={file.location: file for file in files})

    def __repr__(self) -> str:
        return f"<Files: {len(self)}>"

    def __len__(self) -> int:
        return len(self.rows) + len(self._list)

    def __iter__(self) -> Iterator[str]:
        yield from self.segment.locations.take(indices_of(self.rows)).to_pylist()
        yield from self.added

    def __contains__(self, location: object) -> bool:
        return isinstance(location, str) and (location in self.added or self.live_row(location) is not None)

    def __getitem__(self, location: str) -> DataFile:
        if location in self.added:
            return self.added[location]
        row = self.live_row(location)
        if row is None:
            raise KeyError(location)
        return self.segment.file(row)

    def __reduce__(self) -> tuple[Any, ...]:
        return Files.of, (list(self.values()),)

    def live_row(self, location: str) -> int | None:
        """Return the row of a live file in the segment; None if it is not there."""
        row = self.segment.row(location) if len(self.segment) else None
        if row is None:
            return None
        at = int(np.searchsorted(self.rows, row))
        return row if at < len(self.rows) and self.rows[at] == row else None

    def at(self, position: int) -> DataFile:
        """Return the file at a position."""
        if position < len(self.rows):
            return self.segment.file(int(self.rows[position]))
        return self._list[position - len(self.rows)]

    def pick(self, positions: Ints) -> Files:
        """Return the files at ascending positions."""
        split = int(np.searchsorted(positions, len(self.rows)))
        added = (self._list[int(position) - len(self.rows)] for position in positions[split:])
        return Files(self.segment, self.rows[positions[:split]], {file.location: file for file in added})

    @property
    def sizes(self) -> Ints:
        """The size of each file in bytes."""
        return self._joined(self.segment.sizes, [file.size for file in self._list])

    @property
    def arrow_bytes(self) -> Ints:
        """Size of the rows of each file in Arrow's memory format."""
        return self._joined(self.segment.arrow_bytes, [file.arrow_bytes for file in self._list])

    @property
    def records(self) -> Ints:
        """Number of records of each file, deleted ones included; ``ranges.UNKNOWN`` where it is not known."""
        added = [UNKNOWN if file.num_records is None else file.num_records for file in self._list]
        return self._joined(self.segment.records if len(self.segment) else np.zeros(0, np.int64), added)

    @property
    def deleted(self) -> Ints:
        """Number of deleted rows of each file."""
        return self._joined(
            self.segment.deleted, [0 if file.vector is None else file.vector.cardinality for file in self._list]
        )

    def ranges(self, name: str, type_: DataType, *, partition: bool) -> Ranges | None:
        """Return the ranges of a column in each file; None if the type has none, or no file has one."""
        if range_type(type_) is None:
            return None
        parts = []
        if len(self.rows):
            ranges = self.segment.ranges(name, type_, partition=partition)
            parts.append(None if ranges is None else ranges.pick(self.rows))
        if self._list:
            parts.append(_ranges_of(self._list, name, type_, partition=partition))
        known = [part for part in parts if part is not None]
        if not known:
            return None
        joined = known[0] if len(known) == 1 else known[0].followed_by(known[1])
        return joined if joined.known else None

    def _joined(self, column: Ints, added: list[int]) -> Ints:
        return np.concatenate([column[self.rows], np.array(added, np.int64)])


def _ranges_of(files: Iterable[DataFile], name: str, type_: DataType, *, partition: bool) -> Ranges | None:
    if partition:
        return partition_ranges([file.partition_values.get(name) for file in files], type_)
    _, ranges = read_statistics([file.stats_text for file in files], {name: type_})
    return ranges.get(name)


class Changes:
    """Files of a state under construction.

    Args:
        files: those of the state before.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._removed: set[int] = set()
        self._added = dict(files.added)

    def get(self, location: str) -> DataFile | None:
        """Return the live file of a path, None if there is none."""
        if location in self._added:
            return self._added[location]
        row = self._files.live_row(location)
        return None if row is None or row in self._removed else self._files.segment.file(row)

    def remove(self, location: str) -> None:
        """Remove a live file."""
        if self._added.pop(location, None) is None:
            row = self._files.live_row(location)
            if row is not None:
                self._removed.add(row)

    def put(self, file: DataFile) -> None:
        """Add a file, or replace the one of its path."""
        if file.location not in self._added:
            self.remove(file.location)
        self._added[file.location] = file

    def files(self) -> Files:
        """Return the files after all changes."""
        segment, rows = self._files.segment, self._files.rows
        if self._removed:
            rows = np.setdiff1d(rows, np.fromiter(self._removed, np.int64, len(self._removed)), assume_unique=True)
        changes = len(self._added) + len(segment) - len(rows)
        if changes <= max(_LOOSE, len(segment) // _LOOSE_SHARE):
            return Files(segment, rows, self._added)
        return _compacted(Files(segment, rows, self._added))


def _compacted(files: Files) -> Files:
    """Move the files that columns can represent to the segment."""
    plain = {path: file for path, file in files.added.items() if set(file.add) <= _MEMBERS}
    try:
        more = Segment.of_actions([file.add for file in plain.values()])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return files
    others = {path: file for path, file in files.added.items() if path not in plain}
    return Files(files.segment.extended(files.rows, more), added=others)


@cache
def no_files() -> Files:
    """Return an empty set of files.

    Not a constant: a first Arrow array imports pandas where it is installed, which takes half a second.
    """
    return Files(Segment.of_actions([]))
