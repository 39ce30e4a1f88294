"""Reading data files of the base: columns with their row numbers, whichever engine wrote the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.base.remedies import BY_REPAIR
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.files import Files
from andes_spark.delta.partition_values import parse_partition_value
from andes_spark.errors import FileDamagedError, NotFoundError
from andes_spark.law.columns import KeyColumns
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.log.pending_rows import take
from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import SchemaVersions
from andes_spark.storage.calendar import check_calendar
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import open_parquet

Ints = npt.NDArray[np.int64]
SortedValues: TypeAlias = "npt.NDArray[np.integer[Any]] | pl.Series"


@dataclass(frozen=True)
class TableShape:
    """Properties of a table for reading and writing its base; sent to tasks.

    Attributes:
        table: URL, for messages.
        schema: its columns.
        partition_by: names of the partition columns.
        columns: key and sequence.
        versions: all schemas that files may have; ``schema`` is the current one of them.
    """

    table: str
    schema: Schema
    partition_by: tuple[str, ...]
    columns: KeyColumns
    versions: SchemaVersions

    @cached_property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of the rows, with all columns of the table in its order."""
        return self.schema.to_arrow()

    @property
    def required(self) -> npt.NDArray[np.bool_]:
        """Per column, whether it must not be NULL."""
        return np.array([not field.nullable for field in self.schema], np.bool_)


@dataclass(frozen=True)
class NumberedFile:
    """A file of the base; sent to tasks.

    Attributes:
        number: of the file in the state of the base, used to identify rows.
        path: in the table's folder, decoded.
        file: from the Delta log.
    """

    number: int
    path: str
    file: DataFile

    @property
    def is_encoded(self) -> bool:
        """Whether the log encodes its path: polars overlooks the deletion vector of such a file."""
        return self.file.path != self.path


class NumberedFiles(Sequence[NumberedFile]):
    """Files of the base, all or some, with their numbers; objects are made when they are asked for. Sent to tasks.

    Args:
        files: these files.
        numbers: their numbers, ascending; None for 0, 1, 2 ...
    """

    def __init__(self, files: Files, numbers: Ints | None = None) -> None:
        self.files = files
        self.numbers = np.arange(len(files)) if numbers is None else numbers

    def __repr__(self) -> str:
        return f"<NumberedFiles: {len(self)}>"

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, position: int) -> NumberedFile: ...

    @overload
    def __getitem__(self, position: slice) -> NumberedFiles: ...

    def __getitem__(self, position: int | slice) -> NumberedFile | NumberedFiles:
        if isinstance(position, slice):
            return self.pick(np.arange(len(self))[position])
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        position %= len(self)
        file = self.files.at(position)
        return NumberedFile(int(self.numbers[position]), file.location, file)

    def __reduce__(self) -> tuple[Any, ...]:
        return NumberedFiles, (self.files, self.numbers)

    def pick(self, positions: Sequence[int] | Ints) -> NumberedFiles:
        """Return some of these files, by ascending positions."""
        at = np.asarray(positions, np.int64)
        return NumberedFiles(self.files.pick(at), self.numbers[at])

    def numbered(self, number: int) -> NumberedFile:
        """Return the file with a number, which is one of these."""
        return self[int(np.searchsorted(self.numbers, number))]


def numbered_files(files: Files) -> NumberedFiles:
    """Number the live files of a state of the base."""
    return NumberedFiles(files)


def group_ranges(metadata: pq.FileMetaData, column: str) -> list[tuple[int, Any, Any]]:
    """Return the row groups of a file, each with the range of a column by the footer; None if it lacks the range."""
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    ranges: list[tuple[int, Any, Any]] = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(names.index(column)).statistics if column in names else None
        if statistics is not None and statistics.has_min_max:
            ranges.append((group, statistics.min, statistics.max))
        else:
            ranges.append((group, None, None))
    return ranges


def holds(ordered: SortedValues, low: Any, high: Any) -> bool:
    """Return whether one of the sorted values lies between two values, which may be of another type than these."""
    if isinstance(ordered, np.ndarray):
        start = int(np.searchsorted(ordered, low))
        return start < len(ordered) and bool(ordered[start] <= high)
    example = ordered[0] if len(ordered) else low
    if type(example) is not type(low):
        return True
    start = int(ordered.search_sorted(low, side="left"))
    return start < len(ordered) and bool(ordered[start] <= high)


class OpenFile:
    """A data file of the base, opened at its first use."""

    def __init__(self, storage: Storage, path: str, file: DataFile, shape: TableShape) -> None:
        self._storage = storage
        self._shape = shape
        self._file = file
        self._path = path
        self._opened: pq.ParquetFile | None = None
        self._starts: Ints | None = None

    @property
    def _parquet(self) -> pq.ParquetFile:
        # No cached_property: before Python 3.12 all its instances share one lock, and files open one by one.
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self, *, streamed: bool = False) -> pq.ParquetFile:
        file, path = self._file, self._path
        try:
            parquet = open_parquet(self._storage, path, footer=file.footer, streamed=streamed)
        except (NotFoundError, pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
            raise self.damage(error) from error
        rows = parquet.metadata.num_rows
        if file.num_records is not None and rows != file.num_records:
            raise self.damage(f"it has {rows} rows, {file.num_records} were committed")
        return parquet

    @property
    def starts(self) -> Ints:
        """Number of the first row of each row group, and of all rows."""
        if self._starts is None:
            metadata = self._parquet.metadata
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self._starts = np.cumsum([0, *sizes])
        return self._starts

    @property
    def rows(self) -> int:
        """The number of rows in the file, deleted ones included."""
        return int(self.starts[-1])

    def stored_bytes(self, columns: Sequence[str]) -> int:
        """Return the uncompressed bytes of columns by the footer."""
        metadata = self._parquet.metadata
        chunks = [
            metadata.row_group(group).column(number)
            for number in range(metadata.num_columns)
            if metadata.schema.column(number).path in columns
            for group in range(metadata.num_row_groups)
        ]
        return sum(chunk.total_uncompressed_size for chunk in chunks)

    def check_calendar(self) -> None:
        """Refuse a file of another writer with days of another calendar.

        Raises:
            UnsupportedTableError: as ``calendar.check_calendar``.
            FileDamagedError: the file cannot be decoded.
        """
        with self._decoded():
            check_calendar(self._parquet, path=self._path, table=self._shape.table)

    def group_ranges(self, column: str) -> list[tuple[int, Any, Any]]:
        """Return row groups, each with the range of a column by the footer; None if it lacks the range."""
        return group_ranges(self._parquet.metadata, column)

    def groups_within(self, bounds: KeyRange) -> list[int]:
        """Return row groups that may hold keys within a range."""
        return bounds.row_groups(self._parquet)

    def numbers(self, groups: Sequence[int] | None) -> Ints:
        """Return row numbers of some row groups, or of all."""
        if groups is None or len(groups) == len(self.starts) - 1:
            return np.arange(self.rows)
        parts = [np.arange(self.starts[i], self.starts[i + 1]) for i in groups]
        return np.concatenate(parts or [np.zeros(0, np.int64)])

    def read(self, columns: Sequence[str], groups: Sequence[int] | None = None) -> pa.Table:
        """Read columns in the table's types, partition columns included, of all row groups or some.

        Raises:
            FileDamagedError: the file cannot be decoded, or holds other types than the table.
        """
        stored = self._stored(columns)
        with self._decoded():
            # A column named "a" also selects "a.b"; the exact names are picked below.
            if groups is None:
                data = self._parquet.read(columns=stored, use_threads=False)
            else:
                data = self._parquet.read_row_groups(list(groups), columns=stored, use_threads=False)
            return self._rows(data, columns, data.num_rows if stored else len(self.numbers(groups)))

    def batches(
        self, columns: Sequence[str], batch_bytes: int, groups: Sequence[int] | None = None
    ) -> Iterator[pa.Table]:
        """Read columns as :meth:`read` does, in the order of the rows, in tables of about ``batch_bytes``.

        A file above that size is read a page of each column after the other, however large its row groups are.

        Raises:
            FileDamagedError: as :meth:`read`.
        """
        parquet = self._parquet if self._file.size <= batch_bytes else self._open(streamed=True)
        with self._decoded():
            numbers = range(parquet.num_row_groups) if groups is None else groups
            batch_rows = max(1, batch_bytes * parquet.metadata.num_rows // max(1, self._file.arrow_bytes))
            # Values of partition columns come from the log; any stored column gives the number of rows.
            stored = self._stored(columns) or list(self._shape.columns.key[:1])
            for batch in parquet.iter_batches(batch_rows, list(numbers), columns=stored, use_threads=False):
                yield self._rows(pa.Table.from_batches([batch]), columns, batch.num_rows)

    def _stored(self, columns: Sequence[str]) -> list[str]:
        return [name for name in columns if name not in self._shape.partition_by]

    def _rows(self, data: pa.Table, columns: Sequence[str], rows: int) -> pa.Table:
        """Columns of the table from those of the file."""
        arrays = [self._column(data, name, rows) for name in columns]
        return pa.table(arrays, schema=pa.schema([self._nullable(name) for name in columns]))

    @contextmanager
    def _decoded(self) -> Iterator[None]:
        """Name the file in errors of decoding."""
        try:
            yield
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, KeyError) as error:
            raise self.damage(error) from error

    def read_at(self, columns: Sequence[str], rows: Ints) -> pa.Table:
        """Read rows by number, in the order of ``rows``; reads their row groups."""
        group = np.searchsorted(self.starts, rows, side="right") - 1
        groups = np.unique(group)
        data = self.read(columns, groups.tolist())
        sizes = np.diff(self.starts)[groups]
        offset = np.cumsum(np.r_[0, sizes])[:-1]
        return take(data, rows - self.starts[group] + offset[np.searchsorted(groups, group)])

    def _nullable(self, name: str) -> pa.Field:
        return self._shape.arrow.field(name).with_nullable(True)

    def _column(self, data: pa.Table, name: str, rows: int) -> pa.Array | pa.ChunkedArray:
        kind = self._shape.arrow.field(name).type
        if name in self._shape.partition_by:
            text = self._file.partition_values.get(name)
            value = parse_partition_value(text, self._shape.schema.field(name).type)
            return pa.repeat(pa.scalar(value, kind), rows)
        if name not in data.column_names:
            return pa.nulls(rows, kind)
        column = data[name]
        return column if column.type == kind else column.cast(kind)

    def damage(self, error: BaseException | str) -> FileDamagedError:
        """Return the error for a file that is missing, or not what was written."""
        table, path = self._shape.table, self._path
        if isinstance(error, NotFoundError):
            text = f"{table}: {path} is missing: it was deleted by hand or by a vacuum that is not ours; {BY_REPAIR}"
        else:
            text = f"{table}: {path} cannot be read ({error}); {BY_REPAIR}"
        return FileDamagedError(text, table=table, path=path)
