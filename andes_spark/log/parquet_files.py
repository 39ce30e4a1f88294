"""Parquet files that prove themselves when read: page checksums for the data, one checksum for the footer.

Parquet's page checksums cover no footer, whose statistics decide which row groups are read and whose schema
decides what the values mean. So whoever refers to a file also keeps its *footer mark*: the length of the file's
end (footer, length word and magic) and the CRC-32 of those bytes, as ``1130-9f2c01ab``.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.storage.base import Storage

ROW_GROUP_ROWS = 128 * 1024
_MAGIC = b"PAR1"
_MARK = re.compile(r"(\d{1,12})-([0-9a-f]{8})")


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
    tables: Iterator[pa.Table],
    schema: pa.Schema,
    *,
    statistics: Sequence[str] | bool = True,
) -> Written:
    """Write tables of one schema to a new file with page checksums; durable when this returns.

    Args:
        storage: the table's folder.
        path: of the file.
        tables: its rows.
        schema: of all tables.
        statistics: columns that get statistics in the footer.
    """
    with storage.open_output(path) as sink:
        writer = pq.ParquetWriter(
            sink,
            schema,
            compression="zstd",
            write_page_checksum=True,
            use_dictionary=[
                field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_nested(field.type)
            ],
            write_statistics=statistics if statistics is True else list(statistics or ()),
            store_schema=False,
        )
        with writer:
            for table in tables:
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        metadata = writer.writer.metadata
        sink.close()
    return Written(metadata, sink.bytes_written, sink.sha256, _mark(_end_of(metadata)))


def open_parquet(storage: Storage, path: str, *, footer: str | None) -> pq.ParquetFile:
    """Open a file for reading: its footer compared with the mark now, its pages checked as they are read.

    Args:
        storage: the table's folder.
        path: of the file.
        footer: its footer mark; None for a file of another writer, whose footer is believed.

    Raises:
        NotFoundError: there is none.
        pa.ArrowInvalid: it is no Parquet file, or its footer is not the one that was written.
        OSError, UnicodeDecodeError: as pyarrow does for damaged files.
    """
    source = storage.open_input(path)
    metadata = None if footer is None else _checked_footer(source, footer)
    return pq.ParquetFile(
        source,
        metadata=metadata,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit="us",
        pre_buffer=True,
    )


def _checked_footer(source: pa.NativeFile, mark: str) -> pq.FileMetaData:
    found = _MARK.fullmatch(mark)
    if found is None:
        raise pa.ArrowInvalid(f"{mark!r} is no footer mark")
    length, size = int(found[1]), source.size()
    if length > size:
        raise pa.ArrowInvalid(f"it has {size} bytes, its footer alone had {length}")
    source.seek(size - length)
    end = source.read_buffer(length)
    if _mark(end) != mark:
        raise pa.ArrowInvalid("the checksum of its footer is wrong")
    return pq.read_metadata(pa.BufferReader(end))


def _end_of(metadata: pq.FileMetaData) -> bytes:
    """The end of the file that has this footer: what ``write_metadata_file`` writes, but for the first magic."""
    sink = io.BytesIO()
    metadata.write_metadata_file(sink)
    return sink.getvalue()[len(_MAGIC) :]


def _mark(end: bytes | pa.Buffer) -> str:
    return f"{len(end)}-{zlib.crc32(end):08x}"
