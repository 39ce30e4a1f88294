"""What Glue is to say of a table: its entry in the Delta form and in the Iceberg form.

The Delta form is what Athena engine 3 writes for ``CREATE EXTERNAL TABLE ... TBLPROPERTIES ('table_type'='DELTA')``
("Getting started with Delta Lake tables" in the Athena user guide), with the columns that "Synchronizing Delta Lake
metadata" there asks for; Trino writes the same formats (``DELTA_STORAGE_FORMAT`` in ``DeltaLakeMetadata``) and finds
the table by ``spark.sql.sources.provider`` and the SerDe's ``path``; Spark takes the schema from
``spark.sql.sources.schema`` (``HiveExternalCatalog``). Partition columns are columns as all others, and there are no
partition keys, as in Spark and Trino: the Delta log has the partitions.

The Iceberg form is that of ``GlueTableOperations`` in Iceberg's Java library: ``table_type`` and ``metadata_location``.
Columns that were dropped are left out: readers take them for columns of the table (apache/iceberg#16877).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from andes_spark.sync.glue.client import Json
from andes_spark.sync.glue.columns import delta_columns, iceberg_columns
from andes_spark.sync.iceberg.metadata import Shown

Form: TypeAlias = Literal["delta", "iceberg"]

OWN = "andes."
TABLE_ID, APPLIED, VERSION = f"{OWN}table_id", f"{OWN}applied", f"{OWN}version"
COLUMNS, COMMENT = f"{OWN}columns", f"{OWN}comment"
_PRIMARY_KEY, _PARTITION_BY = f"{OWN}primary_key", f"{OWN}partition_by"
PROVIDER, TABLE_TYPE = "spark.sql.sources.provider", "table_type"
METADATA_LOCATION, PREVIOUS_LOCATION = "metadata_location", "previous_metadata_location"
SPARK_SCHEMA = "spark.sql.sources.schema."
_PART = 100_000
"""Number of characters of the schema in one parameter."""
_DELTA_STORAGE = {
    "InputFormat": "org.apache.hadoop.mapred.SequenceFileInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
}
_SERDE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"


@dataclass(frozen=True)
class Entry:
    """What Glue is to say of a table in one form.

    Attributes:
        form: the form.
        table_id: id of the table.
        applied: version of the log that the base contains.
        location: URL of the folder.
        columns: the columns as Glue stores them.
        parameters: parameters of this library and of the form; others in the entry are kept.
        storage: formats and SerDe of the storage descriptor.
        comment: comment of the table.
        prefixes: beginnings of the names of parameters that are this library's; such as are no longer there go.
    """

    form: Form
    table_id: str
    applied: int
    location: str
    columns: Sequence[Json]
    parameters: Mapping[str, str]
    storage: Mapping[str, Json | str]
    comment: str | None
    prefixes: tuple[str, ...]


def delta_entry(shown: Shown, location: str) -> Entry:
    """Return the entry in the Delta form.

    Args:
        shown: state of the base, with the definition as of it.
        location: URL of the table's folder, of scheme ``s3``.

    Raises:
        UnsupportedTableError: a column that Glue cannot hold; ``feature``, ``column``.
    """
    columns = delta_columns(shown.version)
    text = shown.state.metadata.schema_json
    parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
    parameters = {
        "EXTERNAL": "TRUE",
        "classification": "delta",
        TABLE_TYPE: "delta",
        PROVIDER: "delta",
        "spark.sql.partitionProvider": "catalog",
        f"{SPARK_SCHEMA}numParts": str(len(parts)),
        **{f"{SPARK_SCHEMA}part.{number}": part for number, part in enumerate(parts)},
        "delta.lastUpdateVersion": str(shown.state.version),
        **_own_parameters(shown, columns),
    }
    serde = {"SerializationLibrary": _SERDE, "Parameters": {"path": location, "serialization.format": "1"}}
    storage: Mapping[str, Json | str] = {**_DELTA_STORAGE, "SerdeInfo": serde}
    prefixes = (OWN, SPARK_SCHEMA)
    return Entry(
        "delta", shown.table_id, shown.applied, location, columns, parameters, storage, shown.comment, prefixes
    )


def iceberg_entry(shown: Shown, location: str, metadata_location: str) -> Entry:
    """Return the entry in the Iceberg form.

    Args:
        shown: state of the base that the metadata file shows, with the definition as of it.
        location: URL of the face's folder, as the metadata says.
        metadata_location: URL of the newest metadata file.

    Raises:
        UnsupportedTableError: a column that Glue cannot hold; ``feature``, ``column``.
    """
    columns = iceberg_columns(shown.version, shown.keys)
    parameters = {
        "EXTERNAL": "TRUE",
        TABLE_TYPE: "ICEBERG",
        METADATA_LOCATION: metadata_location,
        **_own_parameters(shown, columns),
    }
    return Entry("iceberg", shown.table_id, shown.applied, location, columns, parameters, {}, shown.comment, (OWN,))


def _own_parameters(shown: Shown, columns: Sequence[Json]) -> dict[str, str]:
    written = [[column["Name"], column["Type"], column.get("Comment", "")] for column in columns]
    parameters = {
        TABLE_ID: shown.table_id,
        APPLIED: str(shown.applied),
        VERSION: str(shown.head),
        _PRIMARY_KEY: json.dumps(shown.keys, ensure_ascii=False),
        COLUMNS: json.dumps(written, ensure_ascii=False, separators=(",", ":")),
    }
    if shown.partition_by:
        parameters[_PARTITION_BY] = json.dumps(shown.partition_by, ensure_ascii=False)
    if shown.comment:
        parameters[COMMENT] = shown.comment
    return parameters
