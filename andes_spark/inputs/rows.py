"""Conversion of callers' rows to Arrow tables; a Spark DataFrame is recognized and not converted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.errors import OptionError
from andes_spark.inputs.columns import Columns
from andes_spark.inputs.files import FileRows
from andes_spark.inputs.python_values import table_of_dicts
from andes_spark.schema.schema import Schema
from andes_spark.settings import STORE_SECONDS
from andes_spark.storage.s3_options import Access

ACCEPTED = (
    "a Spark, pandas or polars DataFrame, a polars LazyFrame, a pyarrow Table, RecordBatch, RecordBatchReader or "
    "Dataset, a DuckDB relation or another object with __arrow_c_stream__, a list of dicts, or the path, glob or "
    "folder of Parquet, CSV or JSON lines files, or a list of these"
)


@dataclass(frozen=True)
class Reading:
    """Options of reading rows.

    Attributes:
        part_bytes: Arrow bytes of the tables into which a stream is cut.
        schema: columns of the table, whose types files of CSV and JSON and Python values are read as; None: unknown.
        text: columns of files that are read as text, for a later cast.
        time_zone: zone of times without a zone in files.
        storage_options: access to input files on S3.
        store_seconds: time for which a failed request to S3 is repeated.
        option: name of the argument with the rows, for messages.
    """

    part_bytes: int
    schema: Schema | None = None
    text: frozenset[str] = frozenset()
    time_zone: str | None = None
    storage_options: Access | None = None
    store_seconds: float = STORE_SECONDS
    option: str = "mods"

    @property
    def columns(self) -> Columns:
        """Columns of the table as which files are read; none if they are unknown."""
        known = pa.schema([]) if self.schema is None else self.schema.to_arrow()
        return Columns(known, self.text, self.time_zone)


def is_spark(value: Any) -> bool:
    """Return whether a value is a Spark DataFrame, classic or Connect; pyspark is not imported."""
    return _is_a(value, "pyspark.sql", "DataFrame")


def arrow_tables(rows: Any, reading: Reading) -> Iterator[pa.Table]:
    """Yield the rows as Arrow tables, at least one; streams and files are read lazily.

    Raises:
        OptionError: the value is no kind of rows, or polars or Arrow cannot read it.
        FileDamagedError, NotFoundError, SchemaMismatchError: a file cannot be read; ``path``.
    """
    files = _files(rows, reading)
    if files is not None:
        tables = files.batches(reading.columns, reading.part_bytes, store_seconds=reading.store_seconds)
        yield from _cut(tables, reading)
    elif isinstance(rows, pa.Table):
        yield rows
    elif isinstance(rows, pa.RecordBatch):
        yield pa.Table.from_batches([rows])
    elif isinstance(rows, pl.DataFrame):
        _refuse_objects(rows.schema, reading)
        with _readable("the polars DataFrame", reading):
            table = rows.to_arrow()
        yield table
    elif _is_a(rows, "pandas", "DataFrame"):
        yield _from_pandas(rows, reading)
    elif isinstance(rows, list | tuple) and all(isinstance(row, Mapping) for row in rows):
        yield table_of_dicts(rows, reading.schema, option=reading.option)
    else:
        yield from _cut(_stream(rows, reading), reading)


def _files(rows: Any, reading: Reading) -> FileRows | None:
    if isinstance(rows, FileRows):
        return rows
    paths = [rows] if isinstance(rows, str | os.PathLike) else rows
    if isinstance(paths, list | tuple) and paths and all(isinstance(path, str | os.PathLike) for path in paths):
        texts = tuple(os.fspath(path) for path in paths)
        if all(isinstance(text, str) for text in texts):
            return FileRows(texts, storage_options=reading.storage_options)
    return None


def _stream(rows: Any, reading: Reading) -> Iterator[pa.Table]:
    """Batches of a stream as tables, at least one."""
    name = type(rows).__name__
    with _readable(f"the {name}", reading):
        if isinstance(rows, pl.LazyFrame):
            yield from _of_lazy_frame(rows, reading)
            return
        if isinstance(rows, pa.RecordBatchReader):
            reader = rows
        elif _is_a(rows, "pyarrow", "Dataset"):
            reader = _scanner(rows).to_reader()
        elif hasattr(rows, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(rows)
        elif hasattr(rows, "__arrow_c_array__"):
            yield pa.Table.from_batches([pa.record_batch(rows)])
            return
        else:
            raise OptionError(f"{reading.option}: give {ACCEPTED}; this is {_described(rows)}", option=reading.option)
        yield reader.schema.empty_table()
        for batch in reader:
            yield pa.Table.from_batches([batch], reader.schema)


def _scanner(dataset: Any) -> Any:
    """Scanner of a pyarrow Dataset that reads one fragment at a time, without read-ahead of row groups."""
    from pyarrow import dataset as datasets

    if not isinstance(getattr(dataset, "format", None), datasets.ParquetFileFormat):
        return dataset.scanner(batch_readahead=1, fragment_readahead=1, use_threads=False)
    options = datasets.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
    return dataset.scanner(batch_readahead=1, fragment_readahead=1, use_threads=False, fragment_scan_options=options)


def _refuse_objects(schema: pl.Schema, reading: Reading) -> None:
    """Refuse columns of Python objects, of which polars gives Arrow the addresses in memory."""
    for name, kind in schema.items():
        if kind == pl.Object:
            raise OptionError(
                f"{reading.option}: the column {name!r} holds Python objects (Object in polars); convert it to a type "
                "of values first",
                option=reading.option,
                column=name,
            )


def _of_lazy_frame(frame: pl.LazyFrame, reading: Reading) -> Iterator[pa.Table]:
    empty = True
    for batch in frame.collect_batches(maintain_order=True):
        empty = False
        _refuse_objects(batch.schema, reading)
        yield batch.to_arrow(compat_level=pl.CompatLevel.oldest())
    if empty:
        schema = frame.collect_schema()
        _refuse_objects(schema, reading)
        yield schema.to_frame().to_arrow()


def _cut(tables: Iterable[pa.Table], reading: Reading) -> Iterator[pa.Table]:
    """Combine and cut tables to about ``part_bytes``; only a single empty table is yielded if there are no rows."""
    parts: list[pa.Table] = []
    size = 0
    columns: pa.Table | None = None
    some = False
    for table in tables:
        columns = table.slice(0, 0)
        if parts and not columns.schema.equals(parts[0].schema):
            yield pa.concat_tables(parts)
            parts, size, some = [], 0, True
        for piece in _pieces(table, reading.part_bytes):
            if parts and size + piece.nbytes > reading.part_bytes:
                whole = pa.concat_tables(parts)
                parts, size, some = [], 0, True
                yield whole
                del whole
            parts.append(piece)
            size += piece.nbytes
    if parts:
        yield pa.concat_tables(parts)
    elif columns is not None and not some:
        yield columns


def _pieces(table: pa.Table, part_bytes: int) -> Iterator[pa.Table]:
    if table.num_rows == 0:
        return
    count = max(1, min(table.num_rows, -(-table.nbytes // part_bytes)))
    rows = -(-table.num_rows // count)
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


@contextmanager
def _readable(input_name: str, reading: Reading) -> Iterator[None]:
    """Convert errors of polars and Arrow to OptionError; errors of the caller's own code are raised unchanged."""
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        raise OptionError(f"{reading.option}: {input_name} cannot be read: {error}", option=reading.option) from error


def _from_pandas(frame: Any, reading: Reading) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise OptionError(
            f"{reading.option}: the pandas DataFrame has no form in Arrow: {error}; give each column one name and one "
            "type",
            option=reading.option,
        ) from error


def _is_a(value: Any, package: str, name: str) -> bool:
    """Whether a value is an instance of a class of a package, without importing the package."""
    return any(
        kind.__name__ == name and (kind.__module__ + ".").startswith((f"{package}.", f"{package}._"))
        for kind in type(value).__mro__
    )


def _described(value: Any) -> str:
    if isinstance(value, list | tuple):
        kinds = sorted({type(element).__name__ for element in value})
        return f"a {type(value).__name__} of {', '.join(kinds)}"
    return f"a {type(value).__name__}"
