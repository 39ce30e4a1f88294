"""Schemas that commands read from files."""

from __future__ import annotations

from pathlib import Path

from andes_spark.errors import FileDamagedError
from andes_spark.inputs import parquet_files
from andes_spark.inputs.locations import WRONG, files_at
from andes_spark.schema.schema import Schema


def read_schema_file(path: str) -> Schema:
    """Read a schema from a file: Parquet, Spark's StructType as ``.json``, else DDL.

    Raises:
        FileDamagedError: the file cannot be read.
        OptionError, UnsupportedTableError: the schema is not valid or not supported.
    """
    if Path(path).suffix == ".parquet":
        return parquet_files.schema_of(files_at([path], None, suffixes=None)[0])
    try:
        text = Path(path).read_text("utf-8")
    except WRONG as error:
        raise FileDamagedError(f"{path} cannot be read as text: {error}", path=path) from error
    return Schema.from_json(text) if Path(path).suffix == ".json" else Schema.from_ddl(text)
