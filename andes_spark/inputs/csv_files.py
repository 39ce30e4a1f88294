"""CSV files with a header as rows; an empty field is NULL, a quoted empty field the empty string."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.csv

from andes_spark.errors import SchemaMismatchError
from andes_spark.inputs.columns import Columns
from andes_spark.inputs.locations import WRONG, InputFile
from andes_spark.schema.differences import refuse_repeated

# Arrow's message for a text that cannot be converted to its column's type; columns are counted from 0.
_NO_VALUE = re.compile(r"In CSV column #(\d+): (?:CSV conversion error to )?(.*)", re.DOTALL)
_NO_ZONE = re.compile(r"expected a zone offset in ('.*?')\. If")
_BLOCK_BYTES = 16 * 1024 * 1024
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read(file: InputFile, columns: Columns) -> pa.Table:
    """Read the rows of a file into memory.

    Args:
        file: with a header, comma-separated, in UTF-8.
        columns: columns of the table, whose types text is read as.

    Raises:
        SchemaMismatchError: a value does not fit its column, or the delimiter is not a comma; ``path``.
        FileDamagedError: the file cannot be read as CSV.
    """
    header = _header(file)
    if len(header) == 1 and columns.named(header[0]) is None:
        _check_delimiter(file, header[0])
    fields = {name: field for name in header if (field := columns.named(name)) is not None}
    local_times = [name for name, field in fields.items() if columns.takes_local_times(field)]
    types = {name: field.type for name, field in fields.items()}
    types |= {name: pa.string() for name, field in fields.items() if name in local_times or columns.may_be_text(field)}
    with file.reading("CSV"):
        try:
            with file.open_unpacked() as source:
                table = pa.csv.read_csv(
                    cast(Any, source),
                    read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
                    parse_options=pa.csv.ParseOptions(newlines_in_values=True),
                    convert_options=pa.csv.ConvertOptions(
                        column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
                    ),
                )
        except pa.ArrowInvalid as error:
            wrong = _NO_VALUE.search(str(error))
            if wrong is None:
                raise
            number = int(wrong[1])
            column = header[number] if number < len(header) else f"#{number}"
            raise file.wrong_value(f"column {column!r}: {_in_words(wrong[2])}", column) from error
        if any(columns.named(name) is not None for name in set(table.column_names) - set(fields)):
            raise ValueError("its header cannot be read")
        refuse_repeated(table.column_names)
        return _with_times(table, local_times, columns, file)


def _with_times(table: pa.Table, names: Sequence[str], columns: Columns, file: InputFile) -> pa.Table:
    """Convert columns of texts to times in the zone of the options."""
    for name in names:
        try:
            times = columns.times(table[name].combine_chunks())
        except WRONG as error:
            raise file.wrong_value(f"column {name!r}: {error}", name) from error
        table = table.set_column(table.column_names.index(name), name, times)
    return table


def _in_words(problem: str) -> str:
    """Replace Arrow's advice on times without a zone, which is about calls of its own."""
    text = _NO_ZONE.search(problem)
    return problem if text is None else f"{text[1]} has no time zone; give time_zone for times without one"


def _header(file: InputFile) -> list[str]:
    """Names of the columns in the first line that is not empty; an empty list if they cannot be read."""
    try:
        with file.open_unpacked() as source, io.BufferedReader(cast(Any, source)) as lines:
            text = io.TextIOWrapper(lines, "utf-8-sig", "replace", newline="")
            return next((row for row in csv.reader(text) if row), [])
    except (OSError, EOFError, csv.Error, ValueError):
        return []


def _check_delimiter(file: InputFile, column: str) -> None:
    """Refuse a header of one column that seems to hold the names of several."""
    delimiter = next((candidate for candidate in _OTHER_DELIMITERS if candidate in column), None)
    if delimiter is not None:
        raise SchemaMismatchError(
            f"{file.path}: its header is the one column {column!r}: values seem to be separated by "
            f"{_OTHER_DELIMITERS[delimiter]}, and CSV files are read with commas; convert it to commas, or give it "
            f"as Parquet or JSON lines (in Python give polars.scan_csv(path, separator={delimiter!r}))",
            path=file.path,
            extra=(column,),
        )
