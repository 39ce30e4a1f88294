"""Conversion of Arrow tables to DataFrames of other libraries, without a change of values."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.errors import MissingPackageError

_NULLABLE = {"bool": "boolean", "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64"}


def polars_frame(rows: pa.Table) -> pl.DataFrame:
    """Convert rows to a polars DataFrame."""
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame


def pandas_frame(rows: pa.Table) -> Any:
    """Convert rows to a pandas DataFrame.

    Integers and booleans with NULLs become pandas' nullable types: by default they would become floating point
    numbers, which cannot represent all 64-bit integers.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    try:
        frame = rows.to_pandas(integer_object_nulls=True)
    except ImportError as error:
        raise MissingPackageError("pandas is not installed: pip install 'pandas>=2.2,<3'", package="pandas") from error
    for field in rows.schema:
        if str(field.type) in _NULLABLE and rows[field.name].null_count:
            frame[field.name] = frame[field.name].astype(_NULLABLE[str(field.type)])
    return frame
