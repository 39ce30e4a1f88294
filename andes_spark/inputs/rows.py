"""Rows that callers hand in, brought to Arrow tables; a Spark DataFrame is recognized and not touched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.errors import OptionError
from andes_spark.inputs.files import FileRows
from andes_spark.inputs.python_values import table_of_dicts
from andes_spark.schema.schema import Schema

ACCEPTED = (
    "a Spark, pandas or polars DataFrame, a polars LazyFrame, a pyarrow Table, RecordBatch, RecordBatchReader or "
    "Dataset, a DuckDB relation or another object with __arrow_c_stream__, a list of dicts, or the path, glob or "
    "folder of Parquet, CSV or JSON lines files, or a list of these"
)


@dataclass(frozen=True)
class Reading:
    """How rows are read.

    Attributes:
        part_bytes: Arrow bytes at which a stream is cut into tables.
        schema: columns of the table, by which text of CSV and JSON files and Python values are read; None: unknown.
        text: columns of files whose text is left as it is, for a cast.
        storage_options: access to input files on S3.
        option: name of the argument that the rows were given as, for messages.
    """

    part_bytes: int
    schema: Schema | None = None
    text: frozenset[str] = frozenset()
    storage_options: Mapping[str, str] | None = None
    option: str = "mods"


def is_spark(given: Any) -> bool:
    """Whether something is a Spark DataFrame, classic or Connect; imports nothing."""
    return _is_a(given, "pyspark.sql", "DataFrame")


def arrow_tables(given: Any, reading: Reading) -> Iterator[pa.Table]:
    """The rows as Arrow tables, at least one: several of a stream or of files, read as they are asked for.

    Raises:
        OptionError: something else than rows, or rows that polars or Arrow cannot read.
        FileDamagedError, NotFoundError, SchemaMismatchError: files that cannot be read; ``path``.
    """
    files = _files(given, reading)
    if files is not None:
        yield from _cut(files.batches(reading.schema, reading.text, reading.part_bytes), reading)
    elif isinstance(given, pa.Table):
        yield given
    elif isinstance(given, pa.RecordBatch):
        yield pa.Table.from_batches([given])
    elif isinstance(given, pl.DataFrame):
        with _readable("the polars DataFrame", reading):
            table = given.to_arrow()
        yield table
    elif _is_a(given, "pandas", "DataFrame"):
        yield _from_pandas(given, reading)
    elif isinstance(given, list | tuple) and all(isinstance(row, Mapping) for row in given):
        yield table_of_dicts(given, reading.schema, option=reading.option)
    else:
        yield from _cut(_stream(given, reading), reading)


def _files(given: Any, reading: Reading) -> FileRows | None:
    if isinstance(given, FileRows):
        return given
    paths = [given] if isinstance(given, str | os.PathLike) else given
    if isinstance(paths, list | tuple) and paths and all(isinstance(path, str | os.PathLike) for path in paths):
        texts = tuple(os.fspath(path) for path in paths)
        if all(isinstance(text, str) for text in texts):
            return FileRows(texts, storage_options=reading.storage_options)
    return None


def _stream(given: Any, reading: Reading) -> Iterator[pa.Table]:
    """Batches of a stream as tables, at least one."""
    name = type(given).__name__
    with _readable(f"the {name}", reading):
        if isinstance(given, pl.LazyFrame):
            yield from _of_lazy_frame(given)
            return
        if isinstance(given, pa.RecordBatchReader):
            reader = given
        elif _is_a(given, "pyarrow", "Dataset"):
            reader = _scanner(given).to_reader()
        elif hasattr(given, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(given)
        elif hasattr(given, "__arrow_c_array__"):
            yield pa.Table.from_batches([pa.record_batch(given)])
            return
        else:
            raise OptionError(f"{reading.option}: give {ACCEPTED}; this is {_described(given)}", option=reading.option)
        yield reader.schema.empty_table()
        for batch in reader:
            yield pa.Table.from_batches([batch], reader.schema)


def _scanner(dataset: Any) -> Any:
    """A scanner of a pyarrow Dataset that reads one fragment at a time, and of a Parquet file no row group ahead."""
    from pyarrow import dataset as datasets

    if not isinstance(getattr(dataset, "format", None), datasets.ParquetFileFormat):
        return dataset.scanner(batch_readahead=1, fragment_readahead=1, use_threads=False)
    options = datasets.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
    return dataset.scanner(batch_readahead=1, fragment_readahead=1, use_threads=False, fragment_scan_options=options)


def _of_lazy_frame(frame: pl.LazyFrame) -> Iterator[pa.Table]:
    empty = True
    for batch in frame.collect_batches(maintain_order=True):
        empty = False
        yield batch.to_arrow(compat_level=pl.CompatLevel.oldest())
    if empty:
        yield frame.collect_schema().to_frame().to_arrow()


def _cut(tables: Iterable[pa.Table], reading: Reading) -> Iterator[pa.Table]:
    """Tables of about ``part_bytes``, none of them empty unless all are; columns of one table have one type."""
    held: list[pa.Table] = []
    size = 0
    columns: pa.Table | None = None
    some = False
    for table in tables:
        columns = table.slice(0, 0)
        if held and not columns.schema.equals(held[0].schema):
            yield pa.concat_tables(held)
            held, size, some = [], 0, True
        for piece in _pieces(table, reading.part_bytes):
            if held and size + piece.nbytes > reading.part_bytes:
                whole = pa.concat_tables(held)
                held, size, some = [], 0, True
                yield whole
                del whole
            held.append(piece)
            size += piece.nbytes
    if held:
        yield pa.concat_tables(held)
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
def _readable(what: str, reading: Reading) -> Iterator[None]:
    """Name the rows that polars or Arrow cannot read; errors of the caller's own code pass."""
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        raise OptionError(f"{reading.option}: {what} cannot be read: {error}", option=reading.option) from error


def _from_pandas(frame: Any, reading: Reading) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise OptionError(
            f"{reading.option}: the pandas DataFrame has no form in Arrow: {error}; give each column one name and one "
            "type",
            option=reading.option,
        ) from error


def _is_a(given: Any, package: str, name: str) -> bool:
    """Whether something is of a class of a package that need not be imported."""
    return any(
        kind.__name__ == name and (kind.__module__ + ".").startswith((f"{package}.", f"{package}._"))
        for kind in type(given).__mro__
    )


def _described(given: Any) -> str:
    if isinstance(given, list | tuple):
        kinds = sorted({type(each).__name__ for each in given})
        return f"a {type(given).__name__} of {', '.join(kinds)}"
    return f"a {type(given).__name__}"
