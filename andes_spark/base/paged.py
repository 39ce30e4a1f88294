"""Pages of files of the base that this library wrote: columns of single rows, of many files side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from andes_spark.base.files import NumberedFile, OpenFile, TableShape
from andes_spark.base.keys import KeyCache
from andes_spark.errors import NotFoundError
from andes_spark.log.pending_rows import take
from andes_spark.settings import MIB
from andes_spark.storage.interface import Storage
from andes_spark.storage.page_reader import count_pages, load_rows, read_rows
from andes_spark.storage.paged_file import WHOLE_BYTES, PagedFile, Rows
from andes_spark.storage.parquet import PAGE_ROWS, index_ranges
from andes_spark.storage.scheduler import InlineScheduler

Ints = npt.NDArray[np.int64]
RequestedRows: TypeAlias = tuple[NumberedFile, Rows]
"""A file, and ranges of its rows."""

SHARE = 4
"""A file is read by pages where fewer than one of this many pages are needed."""
FEW_PAGES = 64
"""Number of pages that are faster to read than the key columns of a file are, whatever its size."""
READ_PAGES = 2048
"""Number of pages of all columns that are decoded at a time."""
READ_BYTES = 128 * MIB
"""Arrow bytes of the pages that are decoded at a time, if the operation has no byte budget of its own."""
REQUEST_PAGES = 30
"""Number of pages whose transfer takes as long as a request of a remote store, where many requests run side by side."""
_KEY_BYTES = 4
_DAMAGE = (NotFoundError, pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError)


@dataclass
class PageSource:
    """Reader of pages, for one operation: what it has read of a file stays in memory.

    Attributes:
        storage: the table's folder.
        shape: of the table.
        cache: keeps page indexes for later operations; None for none.
        single_rows: whether rows are read that nobody looks up again soon: files of few pages are read by pages too,
            and no whole key columns for later look-ups while the pages are few.
        most_bytes: Arrow bytes of the pages that are decoded at a time, unless one file needs more.
    """

    storage: Storage
    shape: TableShape
    cache: KeyCache | None = None
    single_rows: bool = False
    most_bytes: int = READ_BYTES
    _files: dict[str, PagedFile] = field(default_factory=dict)
    _whole: dict[str, OpenFile] = field(default_factory=dict)

    def open(self, files: Sequence[NumberedFile]) -> None:
        """Read the page indexes of those files that :meth:`suits`, side by side.

        Raises:
            FileDamagedError: an index or a footer is not what was written.
        """
        answers = []
        for file in files:
            if file.path not in self._files and self.suits(file):
                self._files[file.path] = self._new(file)
                answers.append((file, self.storage.scheduler.ask(self._files[file.path].open)))
        for file, answer in answers:
            try:
                answer.result()
            except _DAMAGE as error:
                raise self.whole(file).damage(error) from error
            self._keep(file)

    def suits(self, file: NumberedFile) -> bool:
        """Return whether a file has an index that is covered by its footer mark, and enough pages to choose from."""
        mark, rows = file.file.footer, file.file.num_records
        if mark is None or rows is None or not index_ranges(mark):
            return False
        return self.single_rows or (rows > SHARE * PAGE_ROWS and file.file.size > WHOLE_BYTES)

    def _new(self, file: NumberedFile) -> PagedFile:
        size, mark = file.file.size, file.file.footer
        assert mark is not None
        index = None if self.cache is None or size <= WHOLE_BYTES else self.cache.find_index(file.path)
        ranges = self.storage.open_ranges(file.path, size)
        return PagedFile(ranges, size, mark, self.shape.columns.narrow, index)

    def _keep(self, file: NumberedFile) -> None:
        index, rows = self._files[file.path].index, file.file.num_records
        if int(index.group_rows[-1]) != rows:
            raise self.whole(file).damage(f"it has {index.group_rows[-1]} rows, {rows} were committed")
        if not index.has_bounds(self.shape.columns.key[0]):
            del self._files[file.path]
        elif self.cache is not None and file.file.size > WHOLE_BYTES:
            self.cache.put_index(file.path, index)

    def file(self, file: NumberedFile) -> PagedFile | None:
        """Return an open file; None for one that is not read by pages."""
        return self._files.get(file.path)

    def whole(self, file: NumberedFile) -> OpenFile:
        """Return a file to be read by row groups."""
        if file.path not in self._whole:
            self._whole[file.path] = OpenFile(self.storage, file.path, file.file, self.shape)
        return self._whole[file.path]

    def pays(self, file: NumberedFile, rows: Rows) -> bool:
        """Return whether a file is read by pages for these rows: it is in memory, or few of its pages hold them."""
        paged = self.file(file)
        if paged is None:
            return False
        needed, all_pages = count_pages(paged, self.shape.columns.key[0], rows)
        return needed * SHARE < all_pages or (self.single_rows and needed <= FEW_PAGES)

    def pays_for_keys(self, file: NumberedFile, rows: Rows) -> bool:
        """As :meth:`pays`, for the keys: once its pages were read as often as it has pages, a file is read whole.

        Its keys are then kept, if there is room, so that later look-ups read none.
        """
        paged = self.file(file)
        if paged is None or not self.pays(file, rows):
            return False
        if self.single_rows or self.cache is None or not self.cache.has_room(_KEY_BYTES * (file.file.num_records or 0)):
            return True
        weight = 1 if isinstance(self.storage.scheduler, InlineScheduler) else REQUEST_PAGES
        needed, all_pages = count_pages(paged, self.shape.columns.key[0], rows)
        return self.cache.note_pages(file.path, needed * weight) <= all_pages

    def pages(self, file: NumberedFile, rows: Rows) -> int:
        """Return the number of pages of a column of an open file that hold rows."""
        return count_pages(self._files[file.path], self.shape.columns.key[0], rows)[0]

    def page_bytes(self, file: NumberedFile) -> int:
        """Estimate the Arrow bytes of all columns of the rows of a page."""
        return PAGE_ROWS * file.file.arrow_bytes // max(1, file.file.num_records or 0)

    def read(self, requested: Sequence[RequestedRows], columns: Sequence[str]) -> list[pa.Table]:
        """Return the columns of rows of open files, in the table's types.

        Raises:
            FileDamagedError: a page or its index is not what was written.
        """
        try:
            return self._read(requested, columns)
        except _DAMAGE as error:
            if len(requested) == 1:
                raise self.whole(requested[0][0]).damage(error) from error
            # One by one: the error names the file.
            return [table for single in requested for table in self.read([single], columns)]

    def _read(self, requested: Sequence[RequestedRows], columns: Sequence[str]) -> list[pa.Table]:
        paged = [(self._files[file.path], rows) for file, rows in requested]
        load_rows(paged, columns, self.storage.scheduler)
        values = dict(read_rows(paged, columns))
        tables = []
        for number, (_, rows) in enumerate(requested):
            count = int((rows[1] - rows[0]).sum())
            arrays = [self._typed(name, values[name][number], count) for name in columns]
            tables.append(pa.table(arrays, schema=pa.schema([self._field(name) for name in columns])))
        return tables

    def _field(self, name: str) -> pa.Field:
        return self.shape.arrow.field(name).with_nullable(True)

    def _typed(self, name: str, column: pa.ChunkedArray | None, rows: int) -> pa.ChunkedArray | pa.Array:
        kind = self.shape.arrow.field(name).type
        if column is None:
            return pa.nulls(rows, kind)
        return column if column.type == kind else column.cast(kind)


def rows_at(
    source: PageSource, requested: Sequence[tuple[NumberedFile, Ints]], columns: Sequence[str]
) -> list[pa.Table]:
    """Read rows of files by number, in that order: by pages where few are needed, else whole row groups.

    Raises:
        FileDamagedError: a file is not what was written.
    """
    source.open([file for file, _ in requested])
    single = [np.unique(rows) for _, rows in requested]
    ranges = [(file, (rows, rows + 1)) for (file, _), rows in zip(requested, single, strict=True)]
    paged = [number for number, (file, rows) in enumerate(ranges) if source.pays(file, rows)]
    ask = source.storage.scheduler.ask
    whole = {
        number: ask(source.whole(file).read_at, columns, rows)
        for number, (file, rows) in enumerate(requested)
        if number not in set(paged)
    }
    tables: dict[int, pa.Table] = {}
    for part in _within_memory(source, [(number, *ranges[number]) for number in paged], len(columns)):
        for number, table in zip(part, source.read([ranges[number] for number in part], columns), strict=True):
            tables[number] = take(table, np.searchsorted(single[number], requested[number][1]))
    return [tables[number] if number in tables else whole[number].result() for number in range(len(requested))]


def _within_memory(
    source: PageSource, requested: Sequence[tuple[int, NumberedFile, Rows]], columns: int
) -> list[list[int]]:
    """Numbers of files in parts whose pages are decoded at once."""
    parts: list[list[int]] = []
    pages_left = bytes_left = 0
    for number, file, rows in requested:
        pages = source.pages(file, rows)
        size = pages * source.page_bytes(file)
        if not parts or columns * pages > pages_left or size > bytes_left:
            parts.append([])
            pages_left, bytes_left = READ_PAGES, source.most_bytes
        parts[-1].append(number)
        pages_left -= columns * pages
        bytes_left -= size
    return parts
