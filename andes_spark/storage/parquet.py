"""Parquet files of one layout, verified when they are read.

Layout: row groups of about a million rows, at most 128 MiB of Arrow data; pages of 4,096 rows with a page index; the
sort order in the footer; zstd; timestamps as int64.

Page checksums cover neither the footer, whose statistics decide which row groups are read and whose schema decides
what the values mean, nor the page index, in which one wrong bit hides a key. So the log entry of a file holds its
*footer mark*: the length of the file's end (footer, length word and magic) and the CRC-32 of those bytes, then offset,
length and CRC-32 of the whole page index, or, where it is large, of each run of bytes that holds the index of key and
sequence: ``1130-9f2c01ab/98120-512-0be1f3a2``.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.schema.arrow_types import leaf_paths
from andes_spark.storage.interface import Storage
from andes_spark.storage.page_index import Span, footer_of, page_index
from andes_spark.storage.scheduler import Asked

GROUP_ROWS = 1024 * 1024
GROUP_BYTES = 128 * 1024 * 1024
"""Arrow bytes of a row group, the unit that a writer keeps in memory and that Spark reads in one task."""
PAGE_ROWS = 4096
"""Rows per page. Shorter pages make look-ups of single keys faster and scans of whole columns slower."""
_INDEX_BYTES = 1024 * 1024
"""Size up to which one checksum covers the whole page index, whose parts need not be found then."""
_INTEGER_DIGITS = 18
_SAMPLE = 16 * 1024
_BUFFER_BYTES = 1024 * 1024
"""Bytes that a writer gathers before it calls Python."""
_STREAM_BYTES = 64 * 1024
"""Bytes of each column that are read together from a file that is read in batches."""
_MARK = re.compile(r"(\d{1,12})-([0-9a-f]{8})((?:/\d{1,15}-\d{1,12}-[0-9a-f]{8})*)")


@dataclass(frozen=True)
class Written:
    """A file that was written and is durable.

    Attributes:
        metadata: its footer.
        bytes: its size.
        sha256: hex, over the bytes as written.
        footer: its footer mark.
    """

    metadata: pq.FileMetaData
    bytes: int
    sha256: str
    footer: str


def write_parquet(
    storage: Storage,
    path: str,
    table: pa.Table,
    schema: pa.Schema,
    *,
    sorted_by: Sequence[str] = (),
    marked: Collection[str] = (),
    statistics: Sequence[str] | bool = True,
    encodings: Mapping[str, str] | None = None,
    group_rows: int = GROUP_ROWS,
    properties: Mapping[str, str] | None = None,
) -> Written:
    """Write a table to a new file; durable when this returns.

    Args:
        storage: the table's folder.
        path: path of the file.
        table: its rows.
        schema: schema of the table, with field ids.
        sorted_by: columns that the rows are sorted by, ascending, NULLs first.
        marked: columns whose page index is part of the footer mark; others may be too.
        statistics: columns that get statistics in the footer and in the page index.
        encodings: Parquet encodings by column; others get a dictionary where they are strings.
        group_rows: maximum rows of a row group.
        properties: names and values in the footer, for readers.
    """
    special = dict(encodings or {})
    leaves = [leaf for leaf, _ in leaf_paths(schema)]
    with storage.open_output(path) as sink:
        ending = _Ending(sink)
        # Never closed: that would close the sink too, which creates the file even after an error.
        buffer = pa.BufferedOutputStream(pa.PythonFile(ending, "w"), _BUFFER_BYTES)
        writer = pq.ParquetWriter(
            buffer,
            schema,
            compression="zstd",
            write_page_checksum=True,
            write_page_index=True,
            max_rows_per_page=PAGE_ROWS,
            sorting_columns=[pq.SortingColumn(leaves.index(name), nulls_first=True) for name in sorted_by] or None,
            use_dictionary=[
                leaf for leaf, kind in leaf_paths(schema) if leaf not in special and pa.types.is_string(kind)
            ],
            column_encoding=special,
            # As Spark writes them: smaller than bytes, and faster to read.
            store_decimal_as_integer=True,
            write_statistics=statistics if statistics is True else list(statistics or ()),
            store_schema=False,
        )
        with writer:
            writer.write_table(table, row_group_size=min(group_rows, _group_rows(table)))
            writer.add_key_value_metadata(dict(properties or {}))
            ending.begin(buffer.tell())
        metadata = writer.writer.metadata
        buffer.flush()
        sink.close()
    return Written(metadata, sink.bytes_written, sink.sha256, _mark(ending, marked))


class _Ending:
    """A wrapper of a file that also keeps the bytes from a position on."""

    closed = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._position = 0
        self._parts: list[bytes] = []
        self.start: int | None = None

    def begin(self, position: int) -> None:
        """Keep the bytes from this position on."""
        self.start = position

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        if self.start is not None:
            self._parts.append(bytes(data[max(0, self.start - self._position) :]))
        self._position += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: bytes are passed on at once."""

    def close(self) -> None:
        """Do nothing: only the caller closes, and thereby creates, the file."""

    def bytes(self) -> bytes:
        """Bytes from that position on."""
        return b"".join(self._parts)


def _group_rows(table: pa.Table) -> int:
    """Rows of a row group."""
    fitting = GROUP_BYTES * table.num_rows // max(1, int(table.nbytes))
    return max(1, min(GROUP_ROWS, int(fitting)))


def compact_encodings(table: pa.Table) -> dict[str, str]:
    """Choose encodings by column for files that only this library reads: smaller and faster to write than plain ones.

    Strings that repeat in a sample get a dictionary.
    """
    encodings = {}
    for field in table.schema:
        kind = field.type
        as_integer = pa.types.is_decimal(kind) and kind.precision <= _INTEGER_DIGITS
        if as_integer or pa.types.is_integer(kind) or pa.types.is_temporal(kind):
            encodings[field.name] = "DELTA_BINARY_PACKED"
        elif pa.types.is_float32(kind) or pa.types.is_float64(kind):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
        elif (pa.types.is_string(kind) or pa.types.is_binary(kind)) and not _repeats(table[field.name]):
            encodings[field.name] = "DELTA_BYTE_ARRAY"
    return encodings


def readable_encodings(table: pa.Table) -> dict[str, str]:
    """Choose encodings, by column, for files that any engine reads: strings that rarely repeat get no dictionary.

    Parquet writers would build one for each row group before they discard it.
    """
    return {
        field.name: "PLAIN"
        for field in table.schema
        if pa.types.is_string(field.type) and not _repeats(table[field.name])
    }


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether a dictionary makes a column smaller, by a sample of neighbouring rows."""
    sample = column.slice(max(0, len(column) - _SAMPLE) // 2, _SAMPLE)
    return bool(4 * pc.count_distinct(sample, mode="all").as_py() <= 3 * len(sample))


def open_parquet(
    storage: Storage,
    path: str,
    *,
    footer: str | None,
    streamed: bool = False,
    source: Asked[pa.NativeFile] | None = None,
) -> pq.ParquetFile:
    """Open a file: its footer is compared with the mark now, its pages are checked as they are read.

    Args:
        storage: the table's folder.
        path: path of the file.
        footer: its footer mark; None for a file of another writer, whose footer is not checked.
        streamed: whether it will be read in batches, with a small buffer for each column; else the bytes of all
            requested row groups are fetched at once.
        source: the file, whose opening was requested before; None to open it here.

    Raises:
        NotFoundError: there is no such file.
        pa.ArrowInvalid: it is no Parquet file, or its footer is not the one that was written.
        OSError, UnicodeDecodeError: as pyarrow does for damaged files.
    """
    opened = storage.open_input(path) if source is None else source.result()
    metadata = None if footer is None else _checked_footer(opened, footer)
    return pq.ParquetFile(
        opened,
        metadata=metadata,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit="us",
        pre_buffer=not streamed,
        buffer_size=_STREAM_BYTES if streamed else 0,
    )


def check_page_index(storage: Storage, path: str, *, footer: str) -> None:
    """Compare the page index of key and sequence with the file's footer mark.

    Raises:
        NotFoundError: there is no such file.
        pa.ArrowInvalid: the index is not the one that was written.
    """
    with storage.open_input(path) as source:
        for span, checksum in index_ranges(footer):
            source.seek(span.offset)
            check_index(source.read_buffer(span.length), span, checksum)


def check_index(data: memoryview | pa.Buffer, span: Span, checksum: str) -> None:
    """Compare a part of a page index with its checksum in the footer mark.

    Raises:
        pa.ArrowInvalid: they differ.
    """
    if _crc(data) != checksum:
        raise pa.ArrowInvalid(f"the checksum of its page index at byte {span.offset} is wrong")


def footer_length(mark: str) -> int:
    """Read the length of a file's end from its footer mark: footer, length word and magic."""
    return int(_match(mark)[1])


def check_footer(ending: memoryview | pa.Buffer, mark: str) -> None:
    """Compare the end of a file with its footer mark.

    Raises:
        pa.ArrowInvalid: they differ.
    """
    if _crc(ending) != _match(mark)[2]:
        raise pa.ArrowInvalid("the checksum of its footer is wrong")


def index_ranges(mark: str) -> list[tuple[Span, str]]:
    """Read the ranges of the page index of key and sequence, with their CRC-32 in hex, from a footer mark."""
    ranges = (part.split("-") for part in _match(mark)[3].split("/")[1:])
    return [(Span(int(offset), int(length)), checksum) for offset, length, checksum in ranges]


def _match(mark: str) -> re.Match[str]:
    match = _MARK.fullmatch(mark)
    if match is None:
        raise pa.ArrowInvalid(f"{mark!r} is no footer mark")
    return match


def _checked_footer(source: pa.NativeFile, mark: str) -> pq.FileMetaData:
    length, size = footer_length(mark), source.size()
    if length > size:
        raise pa.ArrowInvalid(f"it has {size} bytes, its footer alone had {length}")
    source.seek(size - length)
    end = source.read_buffer(length)
    check_footer(end, mark)
    return pq.read_metadata(pa.BufferReader(end))


def _mark(ending: _Ending, marked: Collection[str]) -> str:
    """Build the footer mark of a new file."""
    data, start = ending.bytes(), ending.start or 0
    footer = footer_of(data)
    end = bytes(data[-len(footer) - 8 :])
    index = Span(start, len(data) - len(end))
    if not marked or not index.length:
        spans = []
    elif index.length <= _INDEX_BYTES:
        spans = [index]
    else:
        spans = list(_runs(_index_spans(footer, marked)))
    parts = [f"{len(end)}-{_crc(end)}"]
    for span in spans:
        checksum = _crc(data[span.offset - start : span.end - start])
        parts.append(f"{span.offset}-{span.length}-{checksum}")
    return "/".join(parts)


def _index_spans(footer: memoryview, columns: Collection[str]) -> Iterator[Span]:
    for chunk in page_index(footer):
        if len(chunk.path) == 1 and chunk.path[0] in columns:
            yield from filter(None, (chunk.column_index, chunk.offset_index))


def _runs(spans: Iterator[Span]) -> Iterator[Span]:
    """Join adjacent spans."""
    last: Span | None = None
    for span in sorted(spans, key=lambda span: span.offset):
        if last is not None and last.end == span.offset:
            last = Span(last.offset, last.length + span.length)
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


def _crc(data: bytes | memoryview | pa.Buffer) -> str:
    return f"{zlib.crc32(data):08x}"
