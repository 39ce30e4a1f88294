"""The page index of Parquet files: its place, by the footer, and its entries for the pages of a column.

Format: https://github.com/apache/parquet-format/blob/master/PageIndex.md and ``parquet.thrift``. The index lies
between pages and footer, where no page checksum covers it; see ``parquet.index_ranges`` for the checksum of ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from andes_spark.storage.thrift import read_struct

Path = tuple[str, ...]

_MAGIC = b"PAR1"
_ENDING = 8
"""Number of bytes after the footer: its length and the magic."""

# Numbers of fields in ``parquet.thrift``.
_ROW_GROUPS = 4
_COLUMNS, _ROWS = 1, 3
_META_DATA, _OFFSET_INDEX, _OFFSET_INDEX_LENGTH, _COLUMN_INDEX, _COLUMN_INDEX_LENGTH = 3, 4, 5, 6, 7
_PATH = 3
_NULL_PAGES, _MINIMA, _MAXIMA, _ORDER, _NULL_COUNTS = 1, 2, 3, 4, 5
_LOCATIONS = 1
_OFFSET, _COMPRESSED_SIZE, _FIRST_ROW = 1, 2, 3


@dataclass(frozen=True)
class Span:
    """A range of bytes in a file."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """Position after the last byte."""
        return self.offset + self.length


@dataclass(frozen=True)
class ChunkIndex:
    """Index of one column in one row group.

    Attributes:
        row_group: number of the row group.
        path: path of the column, with Parquet's names for the parts of lists and maps.
        rows: rows in the row group.
        column_index: range of the pages' extremes and null counts; None if not written.
        offset_index: range of the pages' places; None if not written.
    """

    row_group: int
    path: Path
    rows: int
    column_index: Span | None
    offset_index: Span | None


@dataclass(frozen=True)
class PageBounds:
    """A column index, by page.

    Attributes:
        null_pages: whether a page holds NULLs only; it has no extremes then.
        minima, maxima: extremes in Parquet's plain encoding, maybe wider than the values.
        null_counts: number of NULLs per page; None if not written.
        ascending: whether minima and maxima are known to ascend.
    """

    null_pages: tuple[bool, ...]
    minima: tuple[bytes, ...]
    maxima: tuple[bytes, ...]
    null_counts: tuple[int, ...] | None
    ascending: bool


@dataclass(frozen=True)
class PagePlace:
    """Place of a page: its bytes, header included, and its first row within the row group."""

    span: Span
    first_row: int


def footer_of(ending: bytes | memoryview) -> memoryview:
    """Extract the footer from the last bytes of a file.

    Raises:
        ValueError: the file does not end as Parquet files do, or the footer begins before these bytes.
    """
    view = memoryview(ending)
    if len(view) < _ENDING or view[-4:] != _MAGIC:
        raise ValueError("the bytes do not end as a Parquet file does")
    length = int.from_bytes(view[-_ENDING:-4], "little")
    if length > len(view) - _ENDING:
        raise ValueError(f"the footer has {length} bytes, of which {len(view) - _ENDING} are here")
    return view[len(view) - _ENDING - length : len(view) - _ENDING]


def page_index(footer: bytes | memoryview) -> list[ChunkIndex]:
    """Find the page index of every column in every row group, in the order of the footer.

    Args:
        footer: serialized ``FileMetaData``, as :func:`footer_of` gives it.

    Raises:
        ValueError: the bytes are no footer.
    """
    try:
        groups = read_struct(footer)[0][_ROW_GROUPS]
        return [
            _chunk_index(number, group[_ROWS], chunk)
            for number, group in enumerate(groups)
            for chunk in group[_COLUMNS]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the footer lacks what every Parquet file has: {error!r}") from error


def read_page_bounds(data: bytes | memoryview) -> PageBounds:
    """Read a column index.

    Raises:
        ValueError: the bytes are no column index.
    """
    try:
        values = read_struct(data)[0]
        nulls = values.get(_NULL_COUNTS)
        bounds = PageBounds(
            null_pages=tuple(values[_NULL_PAGES]),
            minima=tuple(values[_MINIMA]),
            maxima=tuple(values[_MAXIMA]),
            null_counts=None if nulls is None else tuple(nulls),
            ascending=values[_ORDER] == 1,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"a column index that lacks something: {error!r}") from error
    sizes = {len(bounds.null_pages), len(bounds.minima), len(bounds.maxima), len(nulls or bounds.minima)}
    if len(sizes) != 1:
        raise ValueError("a column index whose lists differ in length")
    return bounds


def read_page_places(data: bytes | memoryview) -> tuple[PagePlace, ...]:
    """Read an offset index.

    Raises:
        ValueError: the bytes are no offset index, or pages overlap or leave gaps.
    """
    try:
        places = tuple(
            PagePlace(Span(page[_OFFSET], page[_COMPRESSED_SIZE]), page[_FIRST_ROW])
            for page in read_struct(data)[0][_LOCATIONS]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an offset index that lacks something: {error!r}") from error
    for one, two in itertools.pairwise(places):
        if two.first_row <= one.first_row or two.span.offset < one.span.end:
            raise ValueError("an offset index whose pages do not follow each other")
    return places


def _chunk_index(row_group: int, rows: int, chunk: Mapping[int, Any]) -> ChunkIndex:
    return ChunkIndex(
        row_group=row_group,
        path=tuple(part.decode() for part in chunk[_META_DATA][_PATH]),
        rows=rows,
        column_index=_span(chunk, _COLUMN_INDEX, _COLUMN_INDEX_LENGTH),
        offset_index=_span(chunk, _OFFSET_INDEX, _OFFSET_INDEX_LENGTH),
    )


def _span(chunk: Mapping[int, Any], offset: int, length: int) -> Span | None:
    return Span(chunk[offset], chunk[length]) if offset in chunk and length in chunk else None
