"""Schemas of a table as Iceberg's: types, field ids, identifier fields, partition spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from andes_spark.errors import UnsupportedTableError
from andes_spark.schema.types import Array, Decimal, Map, Primitive, Struct, simple_string
from andes_spark.schema.versions import Node, SchemaVersion

Json = dict[str, Any]

FIRST_PARTITION_ID = 1000
"""Field id of the first partition field: Iceberg's writers begin here, above the ids of columns in manifests."""
SPEC_ID = 0
MOST_FIELD_ID = 2_147_483_447
"""Greatest field id of a column: Iceberg reserves those above it."""
_PRIMITIVES = {
    "boolean": "boolean",
    "byte": "int",
    "short": "int",
    "integer": "int",
    "long": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "binary": "binary",
    "date": "date",
    "timestamp": "timestamptz",
    "timestamp_ntz": "timestamp",
}


def iceberg_schema(version: SchemaVersion, keys: Collection[str], schema_id: int) -> Json:
    """Return a schema in the JSON form of Iceberg's table metadata.

    Args:
        version: the schema with its field ids.
        keys: names of the key columns, which become identifier fields.
        schema_id: id of the schema in the metadata.

    Raises:
        UnsupportedTableError: what Iceberg cannot represent; ``feature``, ``column``.
    """
    _refuse_ambiguous(version.nodes)
    return {
        "type": "struct",
        "schema-id": schema_id,
        "identifier-field-ids": sorted(version.node(name).field_id for name in keys),
        "fields": [_field(node, required=node.field.name in keys) for node in version.nodes],
    }


def partition_spec(version: SchemaVersion, partition_by: Sequence[str]) -> list[Json]:
    """Return the fields of the partition spec: the value of each partition column itself."""
    return [
        {
            "name": name,
            "transform": "identity",
            "source-id": version.node(name).field_id,
            "field-id": FIRST_PARTITION_ID + position,
        }
        for position, name in enumerate(partition_by)
    ]


def iceberg_type(node: Node, path: str, *, inside: bool = False) -> Any:
    """Return the type of a column in the JSON form of a schema.

    Args:
        node: the column, or a part of a nested one.
        path: its dotted path, for messages.
        inside: whether it is part of an optional column.

    Raises:
        UnsupportedTableError: a type that Iceberg lacks; ``feature``, ``column``.
    """
    if node.field_id > MOST_FIELD_ID:
        raise refusal(f"the field id {node.field_id}, which Iceberg reserves,", "field id", path)
    below = inside or node.field.nullable
    match node.field.type:
        case Primitive(name) if name in _PRIMITIVES:
            return _PRIMITIVES[name]
        case Decimal(precision, scale):
            return f"decimal({precision}, {scale})"
        case Struct():
            return {"type": "struct", "fields": [_field(child, path=path, inside=below) for child in node.children]}
        case Array(_, contains_null):
            (element,) = node.children
            return {
                "type": "list",
                "element-id": element.field_id,
                "element": iceberg_type(element, f"{path}.element", inside=below),
                "element-required": not contains_null,
            }
        case Map(_, _, value_contains_null):
            key, value = node.children
            return {
                "type": "map",
                "key-id": key.field_id,
                "key": iceberg_type(key, f"{path}.key", inside=below),
                "value-id": value.field_id,
                "value": iceberg_type(value, f"{path}.value", inside=below),
                "value-required": not value_contains_null,
            }
    name = simple_string(node.field.type)
    raise refusal(f"the type {name}", name, path)


def leaf_nodes(nodes: Iterable[Node], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yield the columns that are no structs with their paths, those within structs too, not those of lists and maps."""
    for node in nodes:
        here = (*path, node.field.name)
        if isinstance(node.field.type, Struct):
            yield from leaf_nodes(node.children, here)
        elif not isinstance(node.field.type, Array | Map):
            yield here, node


def _field(node: Node, *, required: bool = False, path: str = "", inside: bool = False) -> Json:
    """A column, or a field of a struct. Within an optional column none is required.

    It has no value where the column is NULL, and PyIceberg (``BoundIsNull``, ``BoundNotNull``) decides ``IS NULL`` by
    ``required`` alone.
    """
    field = node.field
    here = f"{path}.{field.name}" if path else field.name
    value: Json = {
        "id": node.field_id,
        "name": field.name,
        "required": required or not (field.nullable or inside),
        "type": iceberg_type(node, here, inside=inside),
    }
    return value if field.comment is None else {**value, "doc": field.comment}


def _refuse_ambiguous(nodes: Iterable[Node]) -> None:
    """Iceberg finds columns by dotted paths: ``a.b`` must not be a column beside a struct ``a`` with a field ``b``."""
    counts = Counter(_paths(nodes, ""))
    path = next((path for path, count in counts.items() if count > 1), None)
    if path is not None:
        raise refusal("a name with a dot that is also the path of a nested field", "ambiguous name", path)


def _paths(nodes: Iterable[Node], prefix: str) -> Iterator[str]:
    for node in nodes:
        names = {Array: ("element",), Map: ("key", "value")}.get(type(node.field.type))
        yield f"{prefix}{node.field.name}"
        if names is None:
            yield from _paths(node.children, f"{prefix}{node.field.name}.")
            continue
        for name, child in zip(names, node.children, strict=True):
            yield f"{prefix}{node.field.name}.{name}"
            yield from _paths(child.children, f"{prefix}{node.field.name}.{name}.")


def refusal(subject: str, feature: str, column: str) -> UnsupportedTableError:
    """Return the error for a column that Iceberg cannot represent."""
    return UnsupportedTableError(
        f"column {column!r} has {subject} and cannot be shown to readers of Iceberg; change the column, or leave "
        "Iceberg's readers to read the table through Delta",
        feature=f"iceberg: {feature}",
        column=column,
    )
