"""Files that commands read: rows as Parquet, CSV or JSON lines, and schemas."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from andes_spark.cli.plain import parsed
from andes_spark.errors import FileDamagedError, OptionError, SchemaMismatchError
from andes_spark.schema.differences import refuse_repeated
from andes_spark.schema.schema import Schema

FORMATS = ("parquet", "csv", "json")

_BY_SUFFIX = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json"}
# How Arrow says that a text of a CSV file is no value of its column's type; columns are counted from 0.
_NO_VALUE = re.compile(r"In CSV column #(\d+): (?:CSV conversion error to )?(.*)", re.DOTALL)
_BLOCK_BYTES = 16 * 1024 * 1024
_WRONG = (pa.ArrowException, OSError, EOFError, ValueError, TypeError, ArithmeticError)


def format_of(path: str, given: str | None) -> str:
    """The format of a file: as given, else by its name, a ``.gz`` at its end apart.

    Raises:
        OptionError: the name does not say.
    """
    if given is not None:
        return given
    name = Path(path)
    suffix = Path(name.stem).suffix if name.suffix == ".gz" else name.suffix
    if suffix.lower() not in _BY_SUFFIX:
        raise OptionError(
            f"{path}: the name does not say what is in the file; end it in {', '.join(_BY_SUFFIX)}, or pass --format",
            path=path,
        )
    return _BY_SUFFIX[suffix.lower()]


def open_rows(paths: Sequence[str], *, given: str | None, schema: Schema | None, text: Collection[str] = ()) -> Any:
    """The rows of files of one form, one after the other.

    Args:
        paths: files; all with the same columns.
        given: ``parquet``, ``csv`` or ``json``; by default each file's name says.
        schema: columns of the table, which say what the text of CSV and JSON means; None to guess.
        text: columns whose text is left alone, for the library to cast.

    Returns:
        A pyarrow RecordBatchReader; Parquet is streamed, the rest is held in memory.

    Raises:
        FileDamagedError: a file that cannot be read as what it should be; ``path``.
        SchemaMismatchError: a value that its column cannot hold; ``path``, ``column``.
        OptionError: files with different columns; ``path``.
    """
    forms = [format_of(path, given) for path in paths]
    known = pa.schema([]) if schema is None else schema.to_arrow()
    if set(forms) == {"parquet"}:
        return _stream(paths)
    tables = [_read(path, form, known, text) for path, form in zip(paths, forms, strict=True)]
    for table in tables:
        refuse_repeated(table.column_names)
    for path, table in zip(paths, tables, strict=True):
        if set(table.column_names) != set(tables[0].column_names):
            raise _different(path, paths[0])
    return pa.concat_tables(
        [table.select(tables[0].column_names) for table in tables], promote_options="permissive"
    ).to_reader()


def _stream(paths: Sequence[str]) -> Any:
    schemas = [_parquet(path).schema_arrow.remove_metadata() for path in paths]
    for path, schema in zip(paths, schemas, strict=True):
        if not schema.equals(schemas[0]):
            raise _different(path, paths[0])

    def batches() -> Iterator[pa.RecordBatch]:
        for path in paths:
            try:
                for batch in _parquet(path).iter_batches():
                    yield batch.replace_schema_metadata(None)
            except _WRONG as error:
                raise _unreadable(path, "Parquet", error) from error

    return pa.RecordBatchReader.from_batches(schemas[0], batches())


def _parquet(path: str) -> Any:
    try:
        return pq.ParquetFile(path)
    except _WRONG as error:
        raise _unreadable(path, "Parquet", error) from error


def _read(path: str, form: str, known: pa.Schema, text: Collection[str]) -> pa.Table:
    try:
        if form == "parquet":
            return _parquet(path).read().replace_schema_metadata(None)
        return _csv(path, known, text) if form == "csv" else _json(path, known, text)
    except _WRONG as error:
        wrong = _NO_VALUE.search(str(error)) if form == "csv" else None
        if wrong is not None:
            column = _named(path, int(wrong[1]))
            raise _wrong_value(path, f"column {column!r}: {wrong[2]}", column=column) from error
        raise _unreadable(path, "CSV" if form == "csv" else "JSON lines", error) from error


def _csv(path: str, known: pa.Schema, text: Collection[str]) -> pa.Table:
    """A CSV file with a header; nothing between two commas is NULL, a quoted nothing the empty string."""
    types = {field.name: pa.string() if field.name in text else field.type for field in known}
    return pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def _named(path: str, number: int) -> str:
    """The name of a column of a CSV file by its header, or its number where that cannot be read."""
    try:
        with open_compressed(path) as file, io.TextIOWrapper(file, "utf-8-sig", "replace", newline="") as text:
            return next(row for row in csv.reader(text) if row)[number]
    except (*_WRONG, csv.Error, IndexError, StopIteration):
        return f"#{number}"


def _json(path: str, known: pa.Schema, text: Collection[str]) -> pa.Table:
    """A file with one JSON object per line; a field that no line has is no column."""
    with open_compressed(path) as file:
        rows = [_object(line, number) for number, line in enumerate(file, start=1) if line.strip()]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows], name, known, text, path) for name in names})


def open_compressed(path: str) -> IO[bytes]:
    """A file, unpacked if its name ends in ``.gz``."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.endswith(".gz") else open(path, "rb")


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_float=Decimal, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number}: not a JSON object")
    return row


def _once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        raise ValueError("a field stands twice in one object")
    return found


def _column(values: list[Any], name: str, known: pa.Schema, text: Collection[str], path: str) -> pa.Array:
    if name not in known.names:
        return pa.array([float(value) if isinstance(value, Decimal) else value for value in values])
    try:
        return pa.array([parsed(value, known.field(name).type) for value in values], known.field(name).type)
    except _WRONG as error:
        if name not in text:
            raise _wrong_value(path, f"column {name!r}: {error}", column=name) from error
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def read_schema_file(path: str) -> Schema:
    """The columns that a file says: Parquet, Spark's StructType as ``.json``, else DDL.

    Raises:
        FileDamagedError: the file cannot be read.
        OptionError, UnsupportedTableError: it holds no schema that can be used.
    """
    if Path(path).suffix == ".parquet":
        return Schema.from_arrow(_parquet(path).schema_arrow)
    try:
        text = Path(path).read_text("utf-8")
    except _WRONG as error:
        raise _unreadable(path, "text", error) from error
    return Schema.from_json(text) if Path(path).suffix == ".json" else Schema.from_ddl(text)


def _different(path: str, first: str) -> OptionError:
    return OptionError(f"{path} has other columns than {first}; give files of one form at a time", path=path)


def _wrong_value(path: str, what: str, **fields: str) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"{path} holds a value that its column cannot: {what}; mend it, or pass --cast with --max-quarantined to "
        "set such rows aside",
        path=path,
        **fields,
    )


def _unreadable(path: str, form: str, error: BaseException) -> FileDamagedError:
    return FileDamagedError(f"{path} cannot be read as {form}: {error}", path=path)
