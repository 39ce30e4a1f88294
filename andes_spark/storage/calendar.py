"""Parquet files of Spark with days of the hybrid calendar: Julian before 15 October 1582, Gregorian since.

Spark 2 and 3.0 wrote it, and later releases do in the mode LEGACY; the footer says so, and Spark alone converts the
values when it reads them. Only values before the switch differ, of times those before 1900 too, by their zone.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from andes_spark.errors import UnsupportedTableError

_VERSION, _DAYS, _INT96 = (b"org.apache.spark." + name for name in (b"version", b"legacyDateTime", b"legacyINT96"))
_GREGORIAN, _GREGORIAN_INT96 = b"3.0.0", b"3.1.0"
"""Releases of Spark from which files are Gregorian unless the footer says otherwise."""
_FIRST_DATE = datetime.date(1582, 10, 15)
_FIRST_TIME = datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC)


def check_calendar(parquet: pq.ParquetFile, *, path: str, table: str | None = None) -> None:
    """Refuse a file with values that only Spark reads as what they are.

    Args:
        parquet: the file; columns without statistics, such as INT96, are read if its footer names the hybrid calendar.
        path: path of the file, for messages.
        table: folder of its table, for messages.

    Raises:
        UnsupportedTableError: ``column``, ``feature``.
    """
    stored = parquet.metadata.metadata or {}
    version = stored.get(_VERSION)
    hybrid = _DAYS in stored or (version is not None and version < _GREGORIAN)
    hybrid_int96 = _INT96 in stored or (version is not None and version < _GREGORIAN_INT96)
    if not hybrid and not hybrid_int96:
        return
    for number in range(len(parquet.schema)):
        column = parquet.schema.column(number)
        first = _first_of(column)
        if first is None or not (hybrid_int96 if column.physical_type == "INT96" else hybrid):
            continue
        if any(_is_before(parquet, group, number, first) for group in range(parquet.num_row_groups)):
            file = path if table is None else f"{table}: {path}"
            raise UnsupportedTableError(
                f"{file} was written by Spark in the calendar before the Gregorian one, and its column {column.path!r} "
                f"has values before {first:%Y-%m-%d}, which are other days there; write these rows anew by Spark, with "
                "spark.sql.parquet.datetimeRebaseModeInWrite and int96RebaseModeInWrite = CORRECTED",
                table=table,
                path=path,
                column=column.path,
                feature="legacyDateTime",
            )


def _first_of(column: pq.ColumnSchema) -> datetime.date | None:
    """The first value that is the same in both calendars; None if the column holds neither dates nor moments."""
    kind = json.loads(column.logical_type.to_json())
    if kind["Type"] == "Date":
        return _FIRST_DATE
    return _FIRST_TIME if column.physical_type == "INT96" or kind.get("isAdjustedToUTC") else None


def _is_before(parquet: pq.ParquetFile, group: int, number: int, first: datetime.date) -> bool:
    """Whether a column has a value before another one in a row group; read where there are no statistics."""
    chunk = parquet.metadata.row_group(group).column(number)
    if chunk.num_values == 0:
        return False
    if chunk.statistics is not None and chunk.statistics.has_min_max:
        lowest: Any = chunk.statistics.min
    else:
        read = parquet.read_row_group(group, columns=[chunk.path_in_schema], use_threads=False)
        lowest = pc.min(_leaf(read.column(0))).as_py()
    if isinstance(lowest, datetime.datetime):
        lowest = lowest.replace(tzinfo=datetime.UTC)
    return lowest is not None and lowest < first


def _leaf(column: pa.ChunkedArray) -> pa.Array:
    """The values of a nested column of which one member was read; a map is read as a list then."""
    values = column.combine_chunks()
    while pat.is_nested(values.type):
        values = values.flatten()[0] if pat.is_struct(values.type) else values.flatten()
    return values
