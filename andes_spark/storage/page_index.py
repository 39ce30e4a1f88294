"""The page index of Parquet files: its place, by the footer, and its entries for the pages of a column.

Format: https://github.com/apache/parquet-format/blob/master/PageIndex.md and ``parquet.thrift``. The index lies
between pages and footer, where no page checksum covers it; see ``parquet.index_ranges`` for the checksum of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from andes_spark.storage.thrift import read_struct

Ints = npt.NDArray[np.int64]
Path = tuple[str, ...]

_MAGIC = b"PAR1"
_ENDING = 8
"""Number of bytes after the footer: its length and the magic."""

# Numbers of fields in ``parquet.thrift``.
_SCHEMA, _ROW_GROUPS = 2, 4
_NAME, _CHILDREN = 4, 5
_COLUMNS, _ROWS = 1, 3
_META_DATA, _OFFSET_INDEX, _OFFSET_INDEX_LENGTH, _COLUMN_INDEX, _COLUMN_INDEX_LENGTH = 3, 4, 5, 6, 7
_TYPE, _ENCODINGS, _PATH, _CODEC, _VALUES, _BYTES, _DATA, _DICTIONARY = 1, 2, 3, 4, 5, 7, 9, 11
_NULL_PAGES, _MINIMA, _MAXIMA, _ORDER = 1, 2, 3, 4
_LOCATIONS = 1
_OFFSET, _COMPRESSED_SIZE, _FIRST_ROW = 1, 2, 3

# A page location in bytes below 128: headers of its three fields, a last byte after each of the first two headers and
# of the third, and the end of the struct.
_LOCATION_BYTES = np.array([0x16, 0x15, 0x16, 0x00], np.uint8)
_LOCATION_ENDS = 7


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes in a file.

    Attributes:
        offset: position of the first byte.
        length: number of bytes.
    """

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The position after the last byte of the range."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class ChunkIndex:
    """Index of one column in one row group, and where its pages are.

    Attributes:
        row_group: number of the row group.
        path: path of the column, with Parquet's names for the parts of lists and maps.
        rows: rows in the row group.
        column_index: range of the pages' extremes and null counts; None if not written.
        offset_index: range of the pages' places; None if not written.
        pages: range of the pages, with that of the dictionary.
        dictionary_bytes: length of the page of the dictionary, the first one; 0 if there is none.
        values: number of values, NULLs included.
        type, codec, encodings: Parquet's numbers for them.
    """

    row_group: int
    path: Path
    rows: int
    column_index: Span | None
    offset_index: Span | None
    pages: Span
    dictionary_bytes: int
    values: int
    type: int
    codec: int
    encodings: tuple[int, ...]


@dataclass(frozen=True)
class Footer:
    """What a footer says of the places of pages.

    Attributes:
        columns: encoded elements of the schema, by name of a top-level column: itself and those below it.
        chunks: of every column in every row group, in the order of the footer.
        rows: number of rows per row group.
    """

    columns: Mapping[str, tuple[bytes, ...]]
    chunks: tuple[ChunkIndex, ...]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class PageBounds:
    """A column index, by page.

    Attributes:
        null_pages: whether a page holds NULLs only; it has no extremes then.
        minima, maxima: extremes in Parquet's plain encoding, maybe wider than the values.
        ascending: whether minima and maxima are known to ascend.
    """

    null_pages: tuple[bool, ...]
    minima: tuple[bytes, ...]
    maxima: tuple[bytes, ...]
    ascending: bool


@dataclass(frozen=True)
class PagePlaces:
    """Places of the pages of one column in one row group.

    Attributes:
        offsets: of the pages, their headers included.
        sizes: in bytes, headers included.
        first_rows: number of their first row within the row group.
    """

    offsets: Ints
    sizes: Ints
    first_rows: Ints

    def __len__(self) -> int:
        return len(self.offsets)


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


def read_footer(footer: bytes | memoryview) -> Footer:
    """Read a footer.

    Args:
        footer: serialized ``FileMetaData``, as :func:`footer_of` gives it.

    Raises:
        ValueError: the bytes are no footer.
    """
    try:
        values = read_struct(footer, encoded=(_SCHEMA,))[0]
        groups = values[_ROW_GROUPS]
        return Footer(
            _columns(values[_SCHEMA]),
            tuple(
                _chunk_index(number, group[_ROWS], chunk)
                for number, group in enumerate(groups)
                for chunk in group[_COLUMNS]
            ),
            tuple(group[_ROWS] for group in groups),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"the footer lacks what every Parquet file has: {error!r}") from error


def page_index(footer: bytes | memoryview) -> tuple[ChunkIndex, ...]:
    """Find the page index of every column in every row group, in the order of the footer.

    Raises:
        ValueError: the bytes are no footer.
    """
    return read_footer(footer).chunks


def read_page_bounds(data: bytes | memoryview) -> PageBounds:
    """Read a column index.

    Raises:
        ValueError: the bytes are no column index.
    """
    try:
        values = read_struct(data)[0]
        bounds = PageBounds(
            null_pages=tuple(values[_NULL_PAGES]),
            minima=tuple(values[_MINIMA]),
            maxima=tuple(values[_MAXIMA]),
            ascending=values[_ORDER] == 1,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"a column index that lacks something: {error!r}") from error
    if not len(bounds.null_pages) == len(bounds.minima) == len(bounds.maxima):
        raise ValueError("a column index whose lists differ in length")
    return bounds


def read_page_places(data: bytes | memoryview) -> PagePlaces:
    """Read an offset index.

    Raises:
        ValueError: the bytes are no offset index, or pages overlap or do not follow each other.
    """
    places = _plain_places(data)
    if places is None:
        try:
            pages = read_struct(data)[0][_LOCATIONS]
            columns = [[page[field] for page in pages] for field in (_OFFSET, _COMPRESSED_SIZE, _FIRST_ROW)]
            places = PagePlaces(*(np.array(column, np.int64) for column in columns))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"an offset index that lacks something: {error!r}") from error
    ends = places.offsets + places.sizes
    if bool((np.diff(places.first_rows) <= 0).any() or (places.offsets[1:] < ends[:-1]).any()):
        raise ValueError("an offset index whose pages do not follow each other")
    return places


def _plain_places(data: bytes | memoryview) -> PagePlaces | None:
    """Read an offset index whose locations are encoded as most writers do; None for another."""
    view = np.frombuffer(data, np.uint8)
    if len(view) < 2 or view[0] != 0x19:
        return None
    size, start = int(view[1] >> 4), 2
    if size == 0x0F:
        size = shift = 0
        while True:
            if start >= len(view) or shift > 28:
                return None
            byte = int(view[start])
            size |= (byte & 0x7F) << shift
            start, shift = start + 1, shift + 7
            if byte < 0x80:
                break
    ends = np.flatnonzero(view[start:] < 0x80)[: size * _LOCATION_ENDS] + start
    if view[1] & 0x0F != 0x0C or size == 0 or len(ends) < size * _LOCATION_ENDS:
        return None
    ends = ends.reshape(size, _LOCATION_ENDS)
    adjacent = (ends[:, 0] == np.r_[start, ends[:-1, 6] + 1]) & (ends[:, 2] == ends[:, 1] + 1)
    adjacent &= (ends[:, 4] == ends[:, 3] + 1) & (ends[:, 6] == ends[:, 5] + 1)
    if not (adjacent.all() and (view[ends[:, ::2]] == _LOCATION_BYTES).all()):
        return None
    numbers = [_varints(view, ends[:, field - 1] + 1, ends[:, field]) for field in (1, 3, 5)]
    return None if any(number is None for number in numbers) else PagePlaces(*numbers)  # type: ignore[arg-type]


def _varints(view: npt.NDArray[np.uint8], first: Ints, last: Ints) -> Ints | None:
    """Decode zigzag integers that are not negative, by the places of their first and last bytes."""
    lengths = last - first + 1
    longest = int(lengths.max())
    if longest > 8:
        return None
    values = np.zeros(len(first), np.int64)
    for byte in range(longest):
        inside = byte < lengths
        values[inside] |= (view[first[inside] + byte].astype(np.int64) & 0x7F) << (7 * byte)
    return None if bool((values & 1).any()) else values >> 1


def _columns(elements: list[bytes]) -> dict[str, tuple[bytes, ...]]:
    """Split the elements of a schema by top-level column."""
    columns: dict[str, tuple[bytes, ...]] = {}
    at = 1
    while at < len(elements):
        start, open_elements = at, 1
        name = read_struct(elements[at])[0][_NAME].decode()
        while open_elements:
            open_elements += read_struct(elements[at])[0].get(_CHILDREN, 0) - 1
            at += 1
        columns[name] = tuple(elements[start:at])
    return columns


def _chunk_index(row_group: int, rows: int, chunk: Mapping[int, Any]) -> ChunkIndex:
    column = chunk[_META_DATA]
    data, dictionary = column[_DATA], column.get(_DICTIONARY, 0)
    # Some writers set the place of a dictionary to 0 where there is none.
    start = dictionary if 0 < dictionary < data else data
    return ChunkIndex(
        row_group=row_group,
        path=tuple(part.decode() for part in column[_PATH]),
        rows=rows,
        column_index=_span(chunk, _COLUMN_INDEX, _COLUMN_INDEX_LENGTH),
        offset_index=_span(chunk, _OFFSET_INDEX, _OFFSET_INDEX_LENGTH),
        pages=Span(start, column[_BYTES]),
        dictionary_bytes=data - start,
        values=column[_VALUES],
        type=column[_TYPE],
        codec=column[_CODEC],
        encodings=tuple(column[_ENCODINGS]),
    )


def _span(chunk: Mapping[int, Any], offset: int, length: int) -> Span | None:
    return Span(chunk[offset], chunk[length]) if offset in chunk and length in chunk else None
