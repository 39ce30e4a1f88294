"""CSV files with a header as rows; an empty field is NULL, a quoted empty field the empty string."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection
from typing import Any, cast

import pyarrow as pa
import pyarrow.csv

from andes_spark.errors import SchemaMismatchError
from andes_spark.inputs.locations import InputFile

# Arrow's message for a text that cannot be converted to its column's type; columns are counted from 0.
_NO_VALUE = re.compile(r"In CSV column #(\d+): (?:CSV conversion error to )?(.*)", re.DOTALL)
_BLOCK_BYTES = 16 * 1024 * 1024
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read(file: InputFile, known: pa.Schema, text: Collection[str]) -> pa.Table:
    """Read the rows of a file into memory.

    Args:
        file: with a header, comma-separated, in UTF-8.
        known: columns of the table, whose types text is read as; other columns get the type that Arrow infers.
        text: columns that are read as text.

    Raises:
        SchemaMismatchError: a value does not fit its column, or the delimiter is not a comma; ``path``.
        FileDamagedError: the file cannot be read as CSV.
    """
    types = {field.name: pa.string() if field.name in text else field.type for field in known}
    header = _header(file)
    _check_delimiter(file, header, known)
    with file.reading("CSV"):
        try:
            with file.open_unpacked() as source:
                return pa.csv.read_csv(
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
            raise file.wrong_value(f"column {column!r}: {wrong[2]}", column) from error


def _header(file: InputFile) -> list[str]:
    """Names of the columns in the first non-empty line; an empty list if it cannot be read."""
    try:
        with file.open_unpacked() as source, io.BufferedReader(cast(Any, source)) as lines:
            text = io.TextIOWrapper(lines, "utf-8-sig", "replace", newline="")
            return next((row for row in csv.reader(text) if row), [])
    except (OSError, EOFError, csv.Error, ValueError):
        return []


def _check_delimiter(file: InputFile, header: list[str], known: pa.Schema) -> None:
    if len(header) != 1 or header[0] in known.names:
        return
    delimiter = next((candidate for candidate in _OTHER_DELIMITERS if candidate in header[0]), None)
    if delimiter is not None:
        raise SchemaMismatchError(
            f"{file.path}: its header is the one column {header[0]!r}: values seem to be separated by "
            f"{_OTHER_DELIMITERS[delimiter]}, and CSV files are read with commas; read it with a reader that takes "
            "the delimiter, such as polars.scan_csv, and give the result, or convert the file",
            path=file.path,
            extra=(header[0],),
        )
