"""Pages of many files as one small Parquet file in memory, which pyarrow decodes in one call.

No Python library reads single pages. The pages stay as they are, so that any encoding works and their checksums are
verified; only the footer is new.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.storage.page_index import ChunkIndex
from andes_spark.storage.thrift import (
    binary,
    binary_list,
    i32,
    i32_list,
    i64,
    read_struct,
    struct,
    struct_list,
    write_struct,
)

_MAGIC = b"PAR1"
_MANY_PARTS = 64
"""Number of pages from which threads decode them faster."""
_PAGE_TYPE, _COMPRESSED, _HEADER, _HEADER_V2 = 1, 3, 5, 8


class Miniature:
    """Builder of a file in miniature, row group by row group.

    Args:
        elements: encoded elements of the schema of its columns, see ``page_index.Footer``.
    """

    def __init__(self, elements: Sequence[Sequence[bytes]]) -> None:
        self._elements = elements
        self._parts: list[bytes | memoryview] = [_MAGIC]
        self._size = len(_MAGIC)
        self._chunks: list[bytes] = []
        self._groups: list[bytes] = []
        self._rows = 0

    def add_chunk(self, chunk: ChunkIndex, dictionary: memoryview, pages: Sequence[memoryview], values: int) -> None:
        """Add pages of one column of the current row group.

        Args:
            chunk: that the pages are from.
            dictionary: page of the dictionary; empty if there is none.
            pages: data pages.
            values: number of their values, NULLs included.
        """
        start, data = self._size, self._size + len(dictionary)
        parts = [dictionary, *pages] if len(dictionary) else list(pages)
        self._parts += parts
        self._size += sum(map(len, parts))
        size = self._size - start
        column = [
            i32(1, chunk.type),
            i32_list(2, chunk.encodings),
            binary_list(3, [part.encode() for part in chunk.path]),
            i32(4, chunk.codec),
            i64(5, values),
            i64(6, size),
            i64(7, size),
            i64(9, data),
            *([i64(11, start)] if len(dictionary) else []),
        ]
        self._chunks.append(write_struct([i64(2, start), struct(3, write_struct(column))]))

    def end_group(self, rows: int) -> None:
        """End a row group, with the number of its rows."""
        size = self._size
        self._groups.append(write_struct([struct_list(1, self._chunks), i64(2, size), i64(3, rows)]))
        self._chunks = []
        self._rows += rows

    def read(self) -> pa.Table:
        """Decode all pages.

        Raises:
            pa.ArrowInvalid, OSError: a page is damaged.
        """
        root = write_struct([binary(4, b"schema"), i32(5, len(self._elements))])
        elements = [root, *(element for column in self._elements for element in column)]
        footer = write_struct([i32(1, 2), struct_list(2, elements), i64(3, self._rows), struct_list(4, self._groups)])
        data = b"".join([*self._parts, footer, len(footer).to_bytes(4, "little"), _MAGIC])
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, coerce_int96_timestamp_unit="us")
        table = file.read(use_threads=len(self._parts) > _MANY_PARTS)
        if table.num_rows != self._rows:
            raise pa.ArrowInvalid(f"its pages have {table.num_rows} rows, {self._rows} were expected")
        return table


def page_values(page: memoryview) -> int:
    """Return the number of values of a data page, NULLs included, by its header.

    Raises:
        ValueError: the bytes are not exactly one data page.
    """
    header, length = read_struct(page)
    body = header.get(_HEADER) or header.get(_HEADER_V2)
    if body is None or length + header[_COMPRESSED] != len(page):
        raise ValueError("the bytes are not one data page")
    return int(body[1])
