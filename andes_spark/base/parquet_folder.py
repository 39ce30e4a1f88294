"""The Parquet files of a folder without a Delta log, as files of a Delta table: columns, partitions, statistics.

Nothing is rewritten, so that only types are taken that every reader of the table reads from the files as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from andes_spark.delta.actions import Action, add
from andes_spark.delta.partition_values import parse_partition_value, partition_value
from andes_spark.delta.statistics import indexed_columns, statistics
from andes_spark.errors import (
    FileDamagedError,
    LogDamagedError,
    NoSuchTableError,
    OptionError,
    SchemaMismatchError,
    TableExistsError,
    UnsupportedTableError,
)
from andes_spark.schema.arrow_types import leaf_paths
from andes_spark.schema.schema import Schema, simple_string
from andes_spark.schema.types import Array, DataType, Field, Map, Struct
from andes_spark.storage.interface import ObjectInfo, Storage
from andes_spark.storage.parquet import open_parquet
from andes_spark.storage.scheduler import in_windows

_NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
_NAMED = 3
_LOGS = {"_spark_metadata": "Structured Streaming", ".hoodie": "Hudi", "_delta_log": "Delta", "_andes": "andes_spark"}
"""Folders of logs that say which files of a folder count."""
_PARTITION_TYPES = frozenset({"string", "tinyint", "smallint", "int", "bigint", "date", "boolean"})


@dataclass(frozen=True)
class FolderFile:
    """A Parquet file of the folder.

    Attributes:
        info: path, size and time of the file.
        metadata: footer of the file.
        schema: columns of the file.
        partition: values of the partition columns, as text of the Delta log.
    """

    info: ObjectInfo
    metadata: pq.FileMetaData
    schema: pa.Schema
    partition: Mapping[str, str | None]


@dataclass(frozen=True)
class ParquetFolder:
    """The Parquet files of a folder, which become a table.

    Attributes:
        schema: columns of all files, then the partition columns; all may be NULL.
        partition_by: names of the partition columns.
        files: the files.
    """

    schema: Schema
    partition_by: tuple[str, ...]
    files: tuple[FolderFile, ...]

    def adds(self, configuration: Mapping[str, str]) -> list[Action]:
        """Build an ``add`` for each file, with the statistics of its footer.

        Args:
            configuration: properties of the Delta table, which name the columns with statistics.
        """
        indexed = indexed_columns(self.schema, self.partition_by, configuration) - set(_floating(self.schema))
        return [_add(file, indexed) for file in self.files]


def read_folder(storage: Storage, partitions: Schema) -> ParquetFolder:
    """Read the footers of all Parquet files of a folder.

    Args:
        storage: the folder.
        partitions: columns of its partition folders, with types.

    Raises:
        NoSuchTableError: there is no Parquet file.
        TableExistsError: there are other files, or the log of another format; ``paths``.
        OptionError: folders of partitions and ``partitions`` do not fit together.
        SchemaMismatchError: files with different types of a column; ``path``.
        UnsupportedTableError: a type that cannot be read in place; ``column``.
        FileDamagedError: a file cannot be read.
    """
    listed = list(_listed(storage))
    if not listed:
        raise NoSuchTableError(
            f"{storage.url}: there is neither a Delta table nor a Parquet file here; check the path",
            table=storage.url,
        )
    _check_folders(storage.url, listed, partitions)
    files: list[FolderFile] = []
    fields: dict[str, Field] = {}
    for info, answer in in_windows(storage.scheduler, lambda info: _footer(storage, info), listed):
        metadata, schema = answer.result()
        _merge(fields, schema, storage.url, info.path)
        files.append(FolderFile(info, metadata, schema, _partition(storage.url, info.path, partitions)))
    both = [name for name in partitions.names if name in fields]
    if both:
        raise UnsupportedTableError(
            f"{storage.url}: the files hold the partition column {both[0]!r}, and so do the names of their folders; "
            "create a table in another folder, with these files as data",
            table=storage.url,
            column=both[0],
        )
    columns = (*fields.values(), *(replace(field, nullable=True) for field in partitions))
    return ParquetFolder(Schema(columns), partitions.names, tuple(files))


def _listed(storage: Storage) -> Iterator[ObjectInfo]:
    others: list[str] = []
    for info in storage.list():
        parts = info.path.split("/")
        log = next((part for part in parts if part in _LOGS), None)
        if log is not None:
            within = "/".join(parts[: parts.index(log)])
            where = f"the folder {within} in it" if within else "the folder"
            raise TableExistsError(
                f"{storage.url}: {where} has a log of {_LOGS[log]} ({log}), which says which files count; read the "
                "table by that, and create a table in another folder with its rows as data",
                table=storage.url,
                paths=(info.path,),
            )
        if any(part.startswith(".") or (part.startswith("_") and "=" not in part) for part in parts):
            continue  # hidden from Spark and other readers
        if parts[-1].endswith((".parquet", ".parq")):
            yield info
        else:
            others.append(info.path)
    if others:
        raise TableExistsError(
            f"{storage.url}: the folder holds files that are not Parquet ({_few(others)}); move them away",
            table=storage.url,
            paths=tuple(others[:_NAMED]),
        )


def _check_folders(table: str, files: list[ObjectInfo], partitions: Schema) -> None:
    for info in files:
        folders = info.path.split("/")[:-1]
        names = tuple(unquote(folder.partition("=")[0]) for folder in folders)
        if not all("=" in folder for folder in folders):
            raise OptionError(
                f"{table}: {info.path} lies in a folder that is no partition (name=value); move the files up",
                option="path",
            )
        if names == partitions.names:
            continue
        if names and not partitions.names:
            ddl = ", ".join(f"{name} STRING" for name in names)
            raise OptionError(
                f'{table}: the files lie in folders of partitions; say their columns and types, as partitions="{ddl}"',
                option="partitions",
            )
        raise OptionError(
            f"{table}: partitions names the columns {list(partitions.names)}, and {info.path} lies in folders of "
            f"{list(names)}",
            option="partitions",
        )


def _footer(storage: Storage, info: ObjectInfo) -> tuple[pq.FileMetaData, pa.Schema]:
    try:
        parquet = open_parquet(storage, info.path, footer=None)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise FileDamagedError(
            f"{storage.url}: {info.path} is no Parquet file that can be read ({error}); move it away, or restore it",
            table=storage.url,
            path=info.path,
        ) from error
    return parquet.metadata, _moments(parquet, storage.url, info.path)


def _moments(parquet: pq.ParquetFile, table: str, path: str) -> pa.Schema:
    """Columns of a file; times stored as INT96, which have no zone there, are moments in UTC as to Spark."""
    columns = (parquet.schema.column(number) for number in range(len(parquet.schema)))
    int96 = {column.path for column in columns if column.physical_type == "INT96"}
    nested = next((name for name in int96 if name not in parquet.schema_arrow.names), None)
    if nested is not None:
        raise _not_in_place(table, path, nested, "a nested INT96 time")
    fields = [
        field.with_type(pa.timestamp("us", "UTC")) if field.name in int96 else field.remove_metadata()
        for field in parquet.schema_arrow
    ]
    for leaf, kind in leaf_paths(fields):
        refused = pat.is_unsigned_integer(kind) or pat.is_fixed_size_binary(kind)
        if refused or (pat.is_timestamp(kind) and kind.unit == "ns"):
            raise _not_in_place(table, path, leaf, f"of the type {kind}")
    return pa.schema(fields)


def _not_in_place(table: str, path: str, column: str, problem: str) -> UnsupportedTableError:
    return UnsupportedTableError(
        f"{table}: column {column!r} is {problem} in {path}, which not every reader of a Delta table reads; create a "
        "table in another folder, with these files as data",
        table=table,
        column=column,
        path=path,
    )


def _merge(fields: dict[str, Field], schema: pa.Schema, table: str, path: str) -> None:
    """Add the columns of a file to those of the files before it."""
    for field in Schema.from_arrow(schema):
        column = Field(field.name, _relaxed(field.type))
        known = fields.setdefault(field.name, column)
        if known.type != column.type:
            raise SchemaMismatchError(
                f"{table}: column {field.name!r} is {simple_string(column.type)} in {path}, and "
                f"{simple_string(known.type)} in files before it; create a table in another folder, with these files "
                "as data",
                wrong_type={field.name: (simple_string(known.type), simple_string(column.type))},
                path=path,
                table=table,
            )


def _relaxed(type_: DataType) -> DataType:
    """The same type, with all its parts nullable: files differ in that."""
    match type_:
        case Array(element):
            return Array(_relaxed(element), True)
        case Map(key, value):
            return Map(_relaxed(key), _relaxed(value), True)
        case Struct(fields):
            return Struct(tuple(Field(field.name, _relaxed(field.type)) for field in fields))
    return type_


def _partition(table: str, path: str, partitions: Schema) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for folder, field in zip(path.split("/")[:-1], partitions, strict=True):
        if simple_string(field.type) not in _PARTITION_TYPES:
            raise OptionError(
                f"{table}: partitions has the column {field.name!r} of the type {simple_string(field.type)}, whose "
                "names of folders readers interpret differently; use STRING, an integer, DATE or BOOLEAN",
                option="partitions",
            )
        text = unquote(folder.partition("=")[2])
        try:
            value = None if text == _NULL_FOLDER else parse_partition_value(text, field.type)
        except LogDamagedError as error:
            raise OptionError(f"{table}: {path}: {error.message}; correct partitions", option="partitions") from error
        values[field.name] = partition_value(value, field.type)
    return values


def _add(file: FolderFile, indexed: frozenset[tuple[str, ...]]) -> Action:
    return add(
        file.info.path,
        size=file.info.size,
        modified_ms=file.info.modified_ms,
        statistics=statistics(file.metadata, file.schema, indexed),
        partition_values=file.partition,
    )


def _floating(fields: Iterable[Field], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Columns of floating-point numbers, whose ranges in footers differ between writers where there is a NaN."""
    for field in fields:
        path = (*above, field.name)
        if isinstance(field.type, Struct):
            yield from _floating(field.type.fields, path)
        elif simple_string(field.type) in ("float", "double"):
            yield path


def _few(paths: list[str]) -> str:
    return ", ".join(paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
