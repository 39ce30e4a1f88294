"""What callers may hand in as mods or rows, brought to Arrow; Spark DataFrames are recognized, not touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.errors import OptionError


def is_spark(given: Any) -> bool:
    """Whether something is a Spark DataFrame, classic or Connect; imports nothing."""
    return any(
        kind.__module__.startswith("pyspark.sql") and kind.__name__ == "DataFrame" for kind in type(given).__mro__
    )


def arrow_parts(given: Any, *, part_bytes: int) -> Iterator[pa.Table]:
    """The rows of a pyarrow, polars or pandas object as Arrow tables; more than one only of a stream.

    Args:
        given: pyarrow Table, RecordBatch or RecordBatchReader, polars DataFrame or LazyFrame, pandas DataFrame.
        part_bytes: Arrow bytes above which a stream is cut.

    Raises:
        OptionError: something else, or rows that polars or Arrow cannot read.
    """
    if isinstance(given, pa.RecordBatchReader):
        yield from _cut(given, part_bytes)
    else:
        yield to_arrow(given)


def to_arrow(given: Any) -> pa.Table:
    """The rows of a pyarrow, polars or pandas object as one Arrow table; raises as ``arrow_parts``."""
    if isinstance(given, pa.Table):
        return given
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, pa.RecordBatchReader):
        with _readable("the RecordBatchReader"):
            return given.read_all()
    if isinstance(given, pl.LazyFrame):
        with _readable("the polars LazyFrame"):
            given = given.collect()
    if isinstance(given, pl.DataFrame):
        with _readable("the polars DataFrame"):
            return given.to_arrow()
    if any(kind.__module__.startswith("pandas") and kind.__name__ == "DataFrame" for kind in type(given).__mro__):
        return _from_pandas(given)
    raise OptionError(
        f"rows must be a Spark, polars or pandas DataFrame, or a pyarrow Table or RecordBatchReader, "
        f"not {type(given).__name__}",
        option="mods",
    )


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Say of which rows it is that polars or Arrow cannot read them; errors of the caller's own code pass."""
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        raise OptionError(f"rows: {what} cannot be read: {error}", option="mods") from error


def _from_pandas(frame: Any) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise OptionError(
            f"the pandas DataFrame has no form in Arrow: {error}; give each column one name and one type",
            option="mods",
        ) from error


def _cut(reader: pa.RecordBatchReader, part_bytes: int) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = 0
    some = False
    while True:
        with _readable("the RecordBatchReader"):
            batch = next(reader, None)
        if batch is None:
            break
        held.append(batch)
        size += batch.nbytes
        if size >= part_bytes:
            yield _joined(held, reader.schema)
            held, size, some = [], 0, True
    if held or not some:
        yield _joined(held, reader.schema)


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    with _readable("the RecordBatchReader"):
        return pa.Table.from_batches(batches, schema)
