"""Input files in Parquet, read in batches.

Times stored as INT96, which Spark writes by default, have no zone; they are read as UTC, as Spark does.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.inputs.locations import InputFile
from andes_spark.schema.schema import Schema
from andes_spark.storage.calendar import check_calendar

_BATCH_ROWS = 64 * 1024
_BUFFER_BYTES = 1024 * 1024


def read(file: InputFile, part_bytes: int) -> Iterator[pa.Table]:
    """Read the rows in batches, at least one.

    Raises:
        FileDamagedError: the file cannot be read.
        UnsupportedTableError: days of another calendar.
    """
    with file.reading("Parquet"):
        # Without a buffer, the column chunks of a whole row group are in memory.
        parquet = pq.ParquetFile(file.open(), buffer_size=_BUFFER_BYTES, coerce_int96_timestamp_unit="us")
        check_calendar(parquet, path=file.path)
        schema = _schema(parquet)
        yield schema.empty_table()
        for batch in parquet.iter_batches(batch_size=_batch_rows(parquet.metadata, part_bytes)):
            yield pa.Table.from_batches([batch]).cast(schema)


def schema_of(file: InputFile) -> Schema:
    """Read the columns of a file.

    Raises:
        FileDamagedError: the file is not Parquet.
        UnsupportedTableError: the type of a column cannot be stored.
    """
    with file.reading("Parquet"):
        schema = _schema(pq.ParquetFile(file.open(), coerce_int96_timestamp_unit="us"))
    return Schema.from_arrow(schema)


def _batch_rows(metadata: pq.FileMetaData, part_bytes: int) -> int:
    sizes = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    row_bytes = max((group.total_byte_size // max(1, group.num_rows) for group in sizes), default=1)
    return max(1, min(_BATCH_ROWS, part_bytes // (4 * max(1, row_bytes))))


def _schema(parquet: pq.ParquetFile) -> pa.Schema:
    """Columns of a file, without metadata."""
    columns = (parquet.schema.column(number) for number in range(len(parquet.schema)))
    moments = {column.path for column in columns if column.physical_type == "INT96"}
    return pa.schema(
        [
            field.with_type(pa.timestamp("us", "UTC")) if field.name in moments else field.remove_metadata()
            for field in parquet.schema_arrow
        ]
    )
