"""Manifests and manifest lists of Iceberg as Avro files: their schemas, with the field ids of the specification."""

from __future__ import annotations

import datetime
import io
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from andes_spark.errors import LogDamagedError, MissingPackageError
from andes_spark.schema.types import DataType, Decimal, Primitive
from andes_spark.sync.iceberg.schemas import FIRST_PARTITION_ID, SPEC_ID, Json, refusal

FORMATS = (2, 3)
"""Versions of Iceberg's specification that can be written."""
LINEAGE_FORMAT = 3
"""Version of Iceberg's specification from which on rows have ids, and deletion vectors stand for position deletes."""
DATA, DELETES = 0, 1
"""Content of a manifest; of an entry, 1 are position deletes or a deletion vector."""
EXISTING, ADDED, DELETED = 0, 1, 2
"""Status of an entry of a manifest."""
_DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OSError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    zlib.error,
)
"""What fastavro raises on damaged files, beside an error of its own."""
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_PLAIN = {
    "boolean": "boolean",
    "byte": "int",
    "short": "int",
    "integer": "int",
    "long": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "date": {"type": "int", "logicalType": "date"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": True},
    "timestamp_ntz": {"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": False},
}


def manifest_schema(partition: Sequence[tuple[str, DataType]], format_version: int) -> Json:
    """Return the Avro schema of a manifest.

    Args:
        partition: name and type of the partition columns.
        format_version: version of Iceberg's specification.

    Raises:
        UnsupportedTableError: Avro has one name for two of them; ``feature``, ``column``.
    """
    names = [avro_name(name) for name, _ in partition]
    for position, (name, _) in enumerate(partition):
        if names[position] in names[:position]:
            other, _ = partition[names.index(names[position])]
            raise refusal(f"the name that {other!r}, another partition column, has in Avro,", "ambiguous name", name)
    fields = [
        _optional(avro_name(name), FIRST_PARTITION_ID + position, _partition_type(type_, position))
        for position, (name, type_) in enumerate(partition)
    ]
    data_file = [
        _required("content", 134, "int"),
        _required("file_path", 100, "string"),
        _required("file_format", 101, "string"),
        _required("partition", 102, {"type": "record", "name": "r102", "fields": fields}),
        _required("record_count", 103, "long"),
        _required("file_size_in_bytes", 104, "long"),
        _optional("value_counts", 109, _pairs(119, 120, "long")),
        _optional("null_value_counts", 110, _pairs(121, 122, "long")),
        _optional("lower_bounds", 125, _pairs(126, 127, "bytes")),
        _optional("upper_bounds", 128, _pairs(129, 130, "bytes")),
        _optional("sort_order_id", 140, "int"),
        _optional("referenced_data_file", 143, "string"),
    ]
    if format_version >= LINEAGE_FORMAT:
        data_file += [
            _optional("first_row_id", 142, "long"),
            _optional("content_offset", 144, "long"),
            _optional("content_size_in_bytes", 145, "long"),
        ]
    return {
        "type": "record",
        "name": "manifest_entry",
        "fields": [
            _required("status", 0, "int"),
            _optional("snapshot_id", 1, "long"),
            _optional("sequence_number", 3, "long"),
            _optional("file_sequence_number", 4, "long"),
            _required("data_file", 2, {"type": "record", "name": "r2", "fields": data_file}),
        ],
    }


_LIST_FIELDS = (
    ("manifest_path", 500, "string"),
    ("manifest_length", 501, "long"),
    ("partition_spec_id", 502, "int"),
    ("content", 517, "int"),
    ("sequence_number", 515, "long"),
    ("min_sequence_number", 516, "long"),
    ("added_snapshot_id", 503, "long"),
    ("added_files_count", 504, "int"),
    ("existing_files_count", 505, "int"),
    ("deleted_files_count", 506, "int"),
    ("added_rows_count", 512, "long"),
    ("existing_rows_count", 513, "long"),
    ("deleted_rows_count", 514, "long"),
)


def list_schema(format_version: int) -> Json:
    """Return the Avro schema of a manifest list."""
    fields = [_required(name, field_id, type_) for name, field_id, type_ in _LIST_FIELDS]
    if format_version >= LINEAGE_FORMAT:
        fields.append(_optional("first_row_id", 520, "long"))
    return {"type": "record", "name": "manifest_file", "fields": fields}


@dataclass(frozen=True)
class ManifestForm:
    """What all manifests of a snapshot have in common.

    Attributes:
        format_version: version of Iceberg's specification.
        schema: Iceberg schema of the table.
        spec: fields of the partition spec.
        avro_schema: see :func:`manifest_schema`.
    """

    format_version: int
    schema: Json
    spec: list[Json]
    avro_schema: Json


def encode_manifest(entries: Iterable[Json], content: int, form: ManifestForm) -> bytes:
    """Encode a manifest.

    Args:
        entries: its entries.
        content: ``DATA`` or ``DELETES``.
        form: what it has in common with others.
    """
    header = {
        "schema": json.dumps(form.schema),
        "schema-id": str(form.schema["schema-id"]),
        "partition-spec": json.dumps(form.spec),
        "partition-spec-id": str(SPEC_ID),
        "format-version": str(form.format_version),
        "content": "deletes" if content == DELETES else "data",
    }
    return _encode(form.avro_schema, entries, header)


def encode_manifest_list(manifests: Iterable[Json], snapshot: Json, format_version: int) -> bytes:
    """Encode the manifest list of a snapshot.

    Args:
        manifests: its rows.
        snapshot: ids, sequence number and, from format 3 on, first row id of the snapshot.
        format_version: version of Iceberg's specification.
    """
    header = {
        "snapshot-id": str(snapshot["snapshot-id"]),
        "parent-snapshot-id": str(snapshot.get("parent-snapshot-id", "null")),
        "sequence-number": str(snapshot["sequence-number"]),
        "format-version": str(format_version),
    }
    if format_version >= LINEAGE_FORMAT:
        header["first-row-id"] = str(snapshot["first-row-id"])
    return _encode(list_schema(format_version), manifests, header)


def decode(data: bytes, path: str) -> list[Json]:
    """Decode a manifest or a manifest list.

    Raises:
        LogDamagedError: the file cannot be decoded; ``path``.
    """
    library = fastavro()
    try:
        return [dict(record) for record in library.reader(io.BytesIO(data))]
    except (*_DAMAGE, library.schema.SchemaParseException) as error:
        raise LogDamagedError(
            f"{path} is no Avro file of the Iceberg face: {error}; delete the folder _andes/iceberg and synchronize "
            "again",
            path=path,
        ) from error


def partition_number(value: Any) -> Any:
    """Return a partition value as Avro stores it: times as microseconds since 1970, others as they are."""
    if isinstance(value, datetime.datetime):
        plain = value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo is not None else value
        return (plain - _EPOCH) // _MICROSECOND
    return value


def avro_name(name: str) -> str:
    """Return a column name as a name of Avro, by the rule of Iceberg's Java library."""
    first = name[:1]
    if not (first.isascii() and (first.isalpha() or first == "_")):
        head = f"_{first}" if first.isascii() and first.isdigit() else _escaped(first)
    else:
        head = first
    tail = (
        character if character.isascii() and (character.isalnum() or character == "_") else _escaped(character)
        for character in name[1:]
    )
    return head + "".join(tail)


def fastavro() -> ModuleType:
    """Return the library for Avro.

    Raises:
        MissingPackageError: fastavro is not installed; ``package``.
    """
    try:
        import fastavro as library
    except ImportError as error:
        raise MissingPackageError(
            "the Iceberg face needs fastavro, which is not installed: pip install 'andes_spark[iceberg]'",
            package="fastavro",
        ) from error
    return library


def _encode(schema: Json, records: Iterable[Json], header: dict[str, str]) -> bytes:
    library = fastavro()
    sink = io.BytesIO()
    library.writer(sink, library.parse_schema(schema), records, codec="deflate", metadata=header)
    return sink.getvalue()


def _required(name: str, field_id: int, type_: Any) -> Json:
    return {"name": name, "type": type_, "field-id": field_id}


def _optional(name: str, field_id: int, type_: Any) -> Json:
    return {"name": name, "type": ["null", type_], "default": None, "field-id": field_id}


def _pairs(key_id: int, value_id: int, type_: str) -> Json:
    """A map with keys of int, which Avro lacks, as Iceberg stores it."""
    fields = [_required("key", key_id, "int"), _required("value", value_id, type_)]
    items = {"type": "record", "name": f"k{key_id}_v{value_id}", "fields": fields}
    return {"type": "array", "items": items, "logicalType": "map"}


def _partition_type(type_: DataType, position: int) -> Any:
    if isinstance(type_, Decimal):
        return {
            "type": "fixed",
            "name": f"decimal_{position}",
            "size": _decimal_bytes(type_.precision),
            "logicalType": "decimal",
            "precision": type_.precision,
            "scale": type_.scale,
        }
    assert isinstance(type_, Primitive)
    return _PLAIN[type_.name]


def _decimal_bytes(precision: int) -> int:
    """Return the least number of bytes that holds every number of that many digits and its sign."""
    greatest: int = 10**precision - 1
    return (greatest.bit_length() + 8) // 8


def _escaped(character: str) -> str:
    return "_x" + format(ord(character), "X") if character else "_"
