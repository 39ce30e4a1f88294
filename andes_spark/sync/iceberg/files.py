"""Entries of manifests for the data files of the base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.delta.data_file import DataFile
from andes_spark.delta.partition_values import parse_partition_value
from andes_spark.errors import FileDamagedError, UnsupportedTableError
from andes_spark.schema.types import DataType
from andes_spark.schema.versions import SchemaVersion, with_field_ids
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.sync.iceberg.avro import ADDED, DATA, avro_name, partition_number
from andes_spark.sync.iceberg.bounds import file_metrics
from andes_spark.sync.iceberg.schemas import Json

FACE_FOLDER = "_andes/iceberg"
"""Location of the Iceberg table in the table's folder: Delta's readers and VACUUM pass it by."""
_FIELD_ID = b"PARQUET:field_id"


@dataclass(frozen=True)
class Columns:
    """Columns of the table, as entries of manifests need them.

    Attributes:
        version: schema with its field ids.
        partition: name and type of the partition columns.
    """

    version: SchemaVersion
    partition: Sequence[tuple[str, DataType]]

    def partition_of(self, file: DataFile) -> Json:
        """Return the partition values of a file by the names that they have in Avro."""
        return {
            avro_name(name): partition_number(parse_partition_value(file.partition_values.get(name), type_))
            for name, type_ in self.partition
        }


@dataclass(frozen=True)
class Stamp:
    """Snapshot and sequence number of new entries."""

    snapshot_id: int
    sequence: int

    def entry(self, data_file: Json) -> Json:
        """Return an entry of a file that the snapshot adds."""
        return {
            "status": ADDED,
            "snapshot_id": self.snapshot_id,
            "sequence_number": self.sequence,
            "file_sequence_number": self.sequence,
            "data_file": data_file,
        }


def root_url(storage: Storage) -> str:
    """Return the table's folder as readers of Iceberg name it."""
    url = storage.url.rstrip("/")
    return f"s3://{url.removeprefix('s3a://')}" if url.startswith("s3a://") else url


def file_url(storage: Storage, path: str) -> str:
    """Return a file of the table's folder as readers of Iceberg name it."""
    return f"{root_url(storage)}/{path}"


def data_entries(
    storage: Storage, files: Iterable[DataFile], columns: Columns, stamp: Stamp
) -> tuple[list[Json], dict[str, pa.Schema]]:
    """Return entries of data files, and the schemas of those without field ids, each once, by location.

    The footers of files of other writers are read, by one request each.

    Raises:
        UnsupportedTableError: a file of another writer has field ids of its own; ``path``, ``feature``.
        FileDamagedError: a file of another writer is missing or damaged; ``path``.
    """
    chosen = list(files)
    foreign = [file for file in chosen if file.footer is None]

    def read(file: DataFile) -> tuple[int, pa.Schema | None]:
        return _foreign_footer(storage, file, columns.version)

    records: dict[str, int] = {}
    unnumbered: dict[str, tuple[str, pa.Schema]] = {}
    for file, answer in in_windows(storage.scheduler, read, foreign):
        records[file.path], schema = answer.result()
        if schema is not None:
            unnumbered.setdefault(str(schema), (file.location, schema))
    entries = []
    for file in chosen:
        count = records.get(file.path, file.num_records)
        assert count is not None, "files of this library have statistics"
        data_file = {
            "content": DATA,
            "file_path": file_url(storage, file.location),
            "file_format": "PARQUET",
            "partition": columns.partition_of(file),
            "record_count": count,
            "file_size_in_bytes": file.size,
            **file_metrics(file, columns.version, count),
        }
        entries.append(stamp.entry(data_file))
    return entries, dict(unnumbered.values())


def _foreign_footer(storage: Storage, file: DataFile, version: SchemaVersion) -> tuple[int, pa.Schema | None]:
    """Number of rows of a file of another writer; its schema if columns have no field ids.

    Others must have those of the table.
    """
    try:
        with storage.open_input(file.location) as source, pq.ParquetFile(source) as parquet:
            schema, records = parquet.schema_arrow, int(parquet.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise FileDamagedError(
            f"{storage.url}: {file.location} cannot be read: {error}; restore it from a backup",
            table=storage.url,
            path=file.location,
        ) from error
    bare = pa.schema([_without_ids(field) for field in schema])
    own = dict(_ids(with_field_ids(version, bare)))
    foreign = {path: number for path, number in _ids(schema) if number is not None}
    if any(own.get(path) != number for path, number in foreign.items()):
        raise UnsupportedTableError(
            f"{storage.url}: {file.location}, of another writer, has field ids that are not those of the table, by "
            "which readers of Iceberg would read its columns; compact the table, or write the file anew",
            table=storage.url,
            path=file.location,
            feature="iceberg: field ids of another writer",
        )
    lacks = any(number is None for _, number in _ids(schema))
    return records, schema.remove_metadata() if lacks else None


def _ids(fields: Iterable[pa.Field], prefix: str = "") -> Iterable[tuple[str, str | None]]:
    for field in fields:
        number = (field.metadata or {}).get(_FIELD_ID)
        path = f"{prefix}{field.name}"
        yield path, None if number is None else number.decode()
        yield from _ids(_children(field.type), f"{path}.")


def _children(type_: pa.DataType) -> list[pa.Field]:
    if pa.types.is_map(type_):
        return [type_.key_field, type_.item_field]
    return [type_.field(position) for position in range(type_.num_fields)]


def _without_ids(field: pa.Field) -> pa.Field:
    return field.remove_metadata()
