"""A file that this library wrote, as its pages: where each page is, verified, and bytes read when they are needed.

What places a page is verified: the page index of key and sequence by the footer mark; that of other columns by the
footer (their pages follow each other from the first byte of the column to the last) and by the rows of the verified
columns, or by the headers of the pages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from andes_spark.storage.page_index import (
    ChunkIndex,
    Footer,
    PageBounds,
    Path,
    Span,
    footer_of,
    read_footer,
    read_page_bounds,
    read_page_places,
)
from andes_spark.storage.parquet import check_footer, check_index, footer_length, index_ranges
from andes_spark.storage.ranges import ByteRanges, Range

Ints = npt.NDArray[np.int64]
Rows: TypeAlias = tuple[Ints, Ints]
"""Ranges of rows of a file, ascending and apart: first rows, and the rows after the last ones."""

WHOLE_BYTES = 1024 * 1024
"""Size up to which a file, or all that lies behind its first index, is read at once."""


@dataclass(frozen=True)
class Pages:
    """Pages of one column in one row group.

    Attributes:
        chunk: of the footer.
        rows: number of the first row of each page within the row group, then the number of rows.
        edges: offset of each page, then the end of the last one.
        verified: whether ``rows`` is known to be right; else the headers of the pages are compared with it.
    """

    chunk: ChunkIndex
    rows: Ints
    edges: Ints
    verified: bool


@dataclass
class FileIndex:
    """Page index of one file; the places of further columns are added when they are read. Threads may share it.

    Attributes:
        footer: of the file.
        group_rows: number of the first row of each row group, then the number of rows.
        bounds: extremes of the pages of the marked columns, by row group and column.
        pages: places of pages, by row group and path.
        chunks: the footer's, by top-level column and row group.
        derived: what callers derived from the index, kept with it.
    """

    footer: Footer
    group_rows: Ints
    bounds: Mapping[tuple[int, str], PageBounds]
    pages: dict[tuple[int, Path], Pages] = field(default_factory=dict)
    chunks: Mapping[str, tuple[tuple[ChunkIndex, ...], ...]] = field(default_factory=dict)
    derived: dict[object, Any] = field(default_factory=dict)

    def has_bounds(self, column: str) -> bool:
        """Return whether the pages of a marked column have known extremes in every row group."""
        return all((group, column) in self.bounds for group in range(len(self.footer.rows)))

    @property
    def bytes(self) -> int:
        """The estimated memory of the index in bytes."""
        arrays = sum(int(pages.rows.nbytes + pages.edges.nbytes) for pages in list(self.pages.values()))
        texts = sum(120 * len(bounds.minima) for bounds in self.bounds.values())
        return 1_000 + 400 * len(self.footer.chunks) + arrays + texts


class PagedFile:
    """A file to be read by pages.

    Args:
        ranges: of its bytes.
        size: of the file.
        mark: its footer mark.
        marked: columns whose page index is part of the mark.
        index: read before; None to read it.

    Attributes:
        covers: pages that hold the rows that were asked for last, by column.
    """

    def __init__(
        self, ranges: ByteRanges, size: int, mark: str, marked: Collection[str], index: FileIndex | None = None
    ) -> None:
        self._ranges = ranges
        self._size = size
        self._mark = mark
        self._marked = marked
        self._index = index
        self.covers: dict[str, tuple[Rows, Any]] = {}

    def open(self) -> None:
        """Read footer and page index, unless they are known.

        Raises:
            NotFoundError: there is no such file.
            pa.ArrowInvalid: they are not what was written.
        """
        if self._index is None:
            footer = (self._size - footer_length(self._mark), self._size)
            spans = index_ranges(self._mark)
            first = min([footer[0], *(span.offset for span, _ in spans)])
            if footer[0] < 0:
                raise pa.ArrowInvalid(f"it has {self._size} bytes, its footer alone had {footer_length(self._mark)}")
            if self._size <= WHOLE_BYTES:
                self._ranges.load([(0, self._size)])
            elif self._size - first <= WHOLE_BYTES:
                self._ranges.load([(first, self._size)])
            else:
                self._ranges.load([footer, *((span.offset, span.end) for span, _ in spans)])
            self._index = self._read_index(footer, spans)

    @property
    def index(self) -> FileIndex:
        """The page index; the file is open."""
        assert self._index is not None
        return self._index

    def _read_index(self, footer_range: Range, spans: Sequence[tuple[Span, str]]) -> FileIndex:
        ending = self._ranges.view(*footer_range)
        check_footer(ending, self._mark)
        for span, checksum in spans:
            check_index(self._view(span), span, checksum)
        covered = [span for span, _ in spans]
        try:
            footer = read_footer(footer_of(ending))
            index = FileIndex(footer, np.cumsum([0, *footer.rows]), {}, chunks=_by_column(footer))
            bounds = {}
            for chunk in footer.chunks:
                name = chunk.path[0]
                is_marked = len(chunk.path) == 1 and name in self._marked
                if not is_marked or chunk.column_index is None or not _covers(covered, chunk):
                    continue
                pages = self._read_places(chunk, None)
                extremes = read_page_bounds(self._view(chunk.column_index))
                if pages is not None and len(extremes.minima) == len(pages.rows) - 1:
                    index.pages[chunk.row_group, chunk.path] = pages
                    bounds[chunk.row_group, name] = extremes
        except ValueError as error:
            raise pa.ArrowInvalid(f"its footer or page index cannot be read: {error}") from error
        index.bounds = bounds
        return index

    def _view(self, span: Span) -> memoryview:
        return self._ranges.view(span.offset, span.end)

    def missing_index(self, columns: Iterable[str]) -> list[Range]:
        """Return the ranges of the file that place the pages of columns and are not read yet."""
        return [
            (chunk.offset_index.offset, chunk.offset_index.end)
            for chunk in self._chunks(columns)
            if chunk.offset_index is not None and (chunk.row_group, chunk.path) not in self.index.pages
        ]

    def _chunks(self, columns: Iterable[str]) -> Iterator[ChunkIndex]:
        for name in columns:
            for group in self.index.chunks.get(name, ()):
                yield from group

    def take_index(self, columns: Iterable[str]) -> None:
        """Read the places of pages of columns from loaded ranges.

        Raises:
            pa.ArrowInvalid: they are not what was written.
        """
        known = self.index.pages
        for chunk in self._chunks(columns):
            place = (chunk.row_group, chunk.path)
            if place in known:
                continue
            verified = [known[key].rows for key in list(known) if key[0] == chunk.row_group and known[key].verified]
            pages = self._read_places(chunk, verified) if chunk.offset_index is not None else None
            known[place] = _whole(chunk) if pages is None else pages

    def _read_places(self, chunk: ChunkIndex, verified: Sequence[Ints] | None) -> Pages | None:
        """Places of the pages of a chunk; None where they cannot be relied on.

        Args:
            chunk: of the footer.
            verified: rows of pages of other columns that are right; None if the index is covered by the mark.
        """
        assert chunk.offset_index is not None
        try:
            places = read_page_places(self._view(chunk.offset_index))
        except ValueError as error:
            raise pa.ArrowInvalid(f"the page index of {'.'.join(chunk.path)!r} cannot be read: {error}") from error
        edges = np.r_[places.offsets, chunk.pages.end]
        rows = np.r_[places.first_rows, chunk.rows]
        in_order = len(places) and rows[0] == 0 and rows[-2] < rows[-1]
        if not in_order or edges[0] != chunk.pages.offset + chunk.dictionary_bytes:
            raise pa.ArrowInvalid(f"the page index of {'.'.join(chunk.path)!r} does not fit its footer")
        if not np.array_equal(np.diff(edges), places.sizes):
            raise pa.ArrowInvalid(f"the page index of {'.'.join(chunk.path)!r} does not fit its footer")
        right = verified is None or any(np.array_equal(rows, other) for other in verified)
        if not right and len(chunk.path) > 1:
            return None
        return Pages(chunk, rows, edges, right)

    def column(self, name: str, group: int) -> tuple[Pages, ...]:
        """Return the pages of the leaves of a column of the file, which have the same rows.

        Leaves whose pages have different rows are one page each.
        """
        leaves = tuple(self.index.pages[group, chunk.path] for chunk in self.index.chunks[name][group])
        if all(np.array_equal(leaf.rows, leaves[0].rows) for leaf in leaves[1:]):
            return leaves
        return tuple(_whole(leaf.chunk) for leaf in leaves)

    def load(self, ranges: Iterable[Range]) -> None:
        """Read ranges of bytes."""
        self._ranges.load(ranges)

    def view(self, start: int, end: int) -> memoryview:
        """Return the bytes that were loaded."""
        return self._ranges.view(start, end)


def _by_column(footer: Footer) -> dict[str, tuple[tuple[ChunkIndex, ...], ...]]:
    """Chunks by top-level column and row group."""
    chunks: dict[str, list[list[ChunkIndex]]] = {name: [[] for _ in footer.rows] for name in footer.columns}
    for chunk in footer.chunks:
        chunks[chunk.path[0]][chunk.row_group].append(chunk)
    return {name: tuple(map(tuple, groups)) for name, groups in chunks.items()}


def _whole(chunk: ChunkIndex) -> Pages:
    """All pages of a chunk as one, placed by the footer."""
    start = chunk.pages.offset + chunk.dictionary_bytes
    return Pages(chunk, np.array([0, chunk.rows]), np.array([start, chunk.pages.end]), verified=True)


def _covers(spans: Iterable[Span], chunk: ChunkIndex) -> bool:
    """Whether the index of a chunk lies within verified spans."""
    parts = (chunk.column_index, chunk.offset_index)
    return all(
        part is not None and any(span.offset <= part.offset and part.end <= span.end for span in spans)
        for part in parts
    )
