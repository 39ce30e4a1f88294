"""What a face needs of a table, checked before it is created or altered: later, only a synchronization would tell."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from andes_spark.schema.versions import SchemaVersion
from andes_spark.sync.iceberg.avro import FORMATS, fastavro, manifest_schema
from andes_spark.sync.iceberg.schemas import iceberg_schema


def require_representable(version: SchemaVersion, keys: Collection[str], partition_by: Sequence[str]) -> None:
    """Refuse columns that Iceberg cannot represent.

    Raises:
        UnsupportedTableError: ``feature``, ``column``.
    """
    iceberg_schema(version, keys, 0)
    manifest_schema([(name, version.node(name).field.type) for name in partition_by], FORMATS[0])


def require_faces(version: SchemaVersion, keys: Collection[str], partition_by: Sequence[str]) -> None:
    """Refuse a table that this process cannot show to readers of Iceberg.

    Raises:
        MissingPackageError: fastavro is not installed.
        UnsupportedTableError: ``feature``, ``column``.
    """
    fastavro()
    require_representable(version, keys, partition_by)
