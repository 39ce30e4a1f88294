"""Rows of files: paths, globs and folders, on local disk or S3, read one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from andes_spark.errors import OptionError
from andes_spark.inputs import csv_files, json_lines, parquet_files
from andes_spark.inputs.columns import Columns
from andes_spark.inputs.locations import InputFile, files_at
from andes_spark.schema.differences import refuse_repeated
from andes_spark.settings import STORE_SECONDS
from andes_spark.storage.s3_options import Access

FORMATS = ("parquet", "csv", "json", "ndjson")
"""Formats by name; ``ndjson`` is another name of ``json``, which is JSON lines."""

SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json"}


@dataclass(frozen=True)
class FileRows:
    """Rows of files with the same columns.

    Attributes:
        paths: files, globs and folders.
        format: one of ``FORMATS`` for all files; by default derived from the name of each file.
        storage_options: access to S3, see ``storage.open_storage``.
    """

    paths: tuple[str, ...]
    format: str | None = None
    storage_options: Access | None = field(default=None, repr=False)

    def batches(self, columns: Columns, part_bytes: int, *, store_seconds: float = STORE_SECONDS) -> Iterator[pa.Table]:
        """Read the rows of all files, Parquet in batches and other files whole.

        Args:
            columns: columns of the table, whose types the text of CSV and JSON is read as.
            part_bytes: maximum Arrow bytes of a batch.
            store_seconds: time for which a failed request to S3 is repeated.

        Raises:
            NotFoundError: a file does not exist, or no file matches a glob; ``path``.
            FileDamagedError: a file is not of its format; ``path``.
            SchemaMismatchError: a value does not fit its column; ``path``, ``column``.
            OptionError: files have different columns, or the format of a file is unknown.
        """
        first: tuple[InputFile, set[str]] | None = None
        suffixes = None if self.format else tuple(SUFFIXES)
        for file in files_at(self.paths, self.storage_options, suffixes=suffixes, store_seconds=store_seconds):
            for table in _tables(file, format_of(file.path, self.format), columns, part_bytes):
                names = set(table.column_names)
                refuse_repeated(table.column_names)
                if first is not None and names != first[1]:
                    raise _different(file, first[0], names ^ first[1])
                first = first or (file, names)
                yield table


def format_of(path: str, format: str | None) -> str:
    """Return the format of a file: ``format`` if set, else by the suffix of its name without ``.gz``.

    Raises:
        OptionError: the suffix or the format is unknown.
    """
    if format is not None:
        if format not in FORMATS:
            raise OptionError(f"format is one of {', '.join(FORMATS)}, and {format!r} was given", option="format")
        return "json" if format == "ndjson" else format
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise OptionError(
            f"{path}: the name does not say what is in the file; end it in {', '.join(SUFFIXES)}, or give a format "
            "(--format on the command line)",
            path=path,
            option="format",
        )
    return SUFFIXES[suffix]


def suffix_of(path: str) -> str:
    """Return the suffix of a file's name in lower case, without ``.gz``: ``.csv`` for ``Rows.CSV.gz``."""
    stem, suffix = os.path.splitext(path)
    return (os.path.splitext(stem)[1] if suffix.lower() == ".gz" else suffix).lower()


def _tables(file: InputFile, format: str, columns: Columns, part_bytes: int) -> Iterator[pa.Table]:
    if format == "parquet":
        yield from parquet_files.read(file, part_bytes)
    elif format == "csv":
        yield csv_files.read(file, columns)
    else:
        yield json_lines.read(file, columns)


def _different(file: InputFile, first: InputFile, names: set[str]) -> OptionError:
    return OptionError(
        f"{file.path} has other columns than {first.path} (only one of them has {sorted(names)}); give files of one "
        "form at a time",
        path=file.path,
    )
