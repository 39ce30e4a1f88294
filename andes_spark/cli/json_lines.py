"""Rows as JSON lines, converted by column; the values are those of ``plain``."""

from __future__ import annotations

import datetime
import io
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from andes_spark.cli.plain import to_json
from andes_spark.model.values import python_rows

_YEARS = (datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999))
_EPOCH = datetime.datetime(1970, 1, 1)
_ROWS = 100_000


def json_lines(rows: pa.RecordBatch) -> str:
    """Format rows as JSON objects, one per line; an empty text if there are none."""
    return "".join(
        _lines(pa.Table.from_batches([rows.slice(first, _ROWS)])) for first in range(0, rows.num_rows, _ROWS)
    )


def _lines(rows: pa.Table) -> str:
    names = rows.column_names
    if not names or len(set(names)) < len(names) or not all(map(_is_columnar, rows.columns)):
        return "".join(f"{to_json(row)}\n" for row in python_rows(rows))
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    buffer = io.BytesIO()
    frame.select(_json_column(name, dtype) for name, dtype in frame.schema.items()).write_ndjson(buffer)
    return buffer.getvalue().decode()


def _is_columnar(column: pa.ChunkedArray) -> bool:
    """Whether polars writes the values of a column as ``plain`` does; false for nested types and special values."""
    kind = column.type
    if pat.is_floating(kind):
        return bool(pc.all(pc.is_finite(column), skip_nulls=True).as_py() is not False)
    if pat.is_timestamp(kind) or pat.is_date(kind):
        return _in_calendar(column)
    if pat.is_string(kind):
        return _is_text(column)
    return bool(pat.is_integer(kind) or pat.is_boolean(kind) or pat.is_decimal128(kind) or pat.is_binary(kind))


def _in_calendar(column: pa.ChunkedArray) -> bool:
    days = pat.is_date(column.type)
    numbers = (
        column.cast(pa.date32()).cast(pa.int32())
        if days
        else column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    )
    bounds = pc.min_max(numbers).as_py()
    unit = datetime.timedelta(days=1) if days else datetime.timedelta(microseconds=1)
    first, last = ((moment - _EPOCH) // unit for moment in _YEARS)
    return bounds["min"] is None or (first <= bounds["min"] and bounds["max"] <= last)


def _is_text(column: pa.ChunkedArray) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _json_column(name: str, dtype: Any) -> pl.Expr:
    column = pl.col(name)
    if dtype in (pl.Float32, pl.Float64):
        return column.cast(pl.Float64)
    if dtype == pl.Binary:
        return column.bin.encode("base64")
    if isinstance(dtype, pl.Decimal):
        return column.cast(pl.String)
    if dtype == pl.Date:
        return column.dt.strftime("%Y-%m-%d")
    if isinstance(dtype, pl.Datetime):
        text = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else column
        seconds = text.dt.strftime("%Y-%m-%dT%H:%M:%S")
        fraction = pl.when(text.dt.microsecond() == 0).then(pl.lit("")).otherwise(text.dt.strftime("%.6f"))
        return (seconds + fraction + ("Z" if dtype.time_zone else "")).alias(name)
    return column
