"""Schemas of a table over time: columns identified by field ids, and rows adapted from one schema to another."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from andes_spark.schema.arrow_types import field_to_arrow
from andes_spark.schema.schema import Schema
from andes_spark.schema.types import Array, DataType, Field, Map, Struct


@dataclass(frozen=True)
class Node:
    """A column, or a part of a nested type, with its field id.

    Attributes:
        field_id: id of the column, unique in a table for all time.
        field: name and type; elements, keys and values have Arrow's names.
        children: fields of a struct, element of an array, or key and value of a map.
    """

    field_id: int
    field: Field
    children: tuple[Node, ...]


@dataclass(frozen=True)
class SchemaVersion:
    """A current or earlier schema of a table.

    Attributes:
        id: id of the schema.
        schema: columns of the schema.
        field_ids: field ids of the columns and all parts of nested types, depth first.
    """

    id: int
    schema: Schema
    field_ids: tuple[int, ...]

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The columns with their field ids, in order."""
        ids = iter(self.field_ids)
        return tuple(_node(field, ids) for field in self.schema)

    @cached_property
    def _by_name(self) -> Mapping[str, Node]:
        return {node.field.name: node for node in self.nodes}

    @cached_property
    def _by_id(self) -> Mapping[int, Node]:
        return {node.field_id: node for node in self.nodes}

    def node(self, name: str) -> Node:
        """Return the column with a name."""
        return self._by_name[name]

    def counterpart(self, node: Node) -> Node | None:
        """Return the column of this schema with the same field id, if any."""
        return self._by_id.get(node.field_id)


@dataclass(frozen=True)
class SchemaVersions:
    """All schemas of a table's files, and the schema of rows that are read.

    Attributes:
        by_id: schemas by id.
        current_id: id of the schema of rows that are read.
    """

    by_id: Mapping[int, SchemaVersion]
    current_id: int

    @property
    def current(self) -> SchemaVersion:
        """The schema that files of all versions are adapted to when they are read."""
        return self.by_id[self.current_id]


def one_version(schema: Schema) -> SchemaVersions:
    """Return the versions of a schema that never changed: id 0, field ids from 1."""
    return SchemaVersions({0: SchemaVersion(0, schema, first_ids(schema))}, 0)


def first_ids(schema: Schema) -> tuple[int, ...]:
    """Return field ids of a new table: 1, 2, ... depth first."""
    return tuple(range(1, 1 + sum(_size(field.type) for field in schema)))


def numbered_node(field: Field, first_id: int) -> Node:
    """Number a new column and the parts of its type, depth first."""
    return _node(field, itertools.count(first_id))


def with_field_ids(version: SchemaVersion, arrow: pa.Schema) -> pa.Schema:
    """Add ``PARQUET:field_id`` to the columns of a version and all parts of nested types; keep other columns."""
    known = {node.field.name: node for node in version.nodes}
    return pa.schema([_marked(field, known[field.name]) if field.name in known else field for field in arrow])


def numbered(schema: pa.Schema) -> pa.Schema:
    """Return number plain columns with ``PARQUET:field_id`` 1, 2, ..., for files whose schema is part of the format."""
    return pa.schema(
        [field.with_metadata({"PARQUET:field_id": str(number)}) for number, field in enumerate(schema, start=1)]
    )


def sources(written: SchemaVersion, current: SchemaVersion, names: Iterable[str]) -> dict[str, str | None]:
    """Map each name to the column's name in a file of schema ``written``; None if the file has no such column."""
    origins: dict[str, str | None] = {}
    for name in names:
        origin = written.counterpart(current.node(name))
        origins[name] = None if origin is None else origin.field.name
    return origins


def adapted(
    table: pa.Table, written: SchemaVersion, current: SchemaVersion, names: Sequence[str]
) -> dict[str, pa.ChunkedArray]:
    """Adapt rows of schema ``written`` to the current schema: added columns are NULL, widened ones are cast."""
    columns: dict[str, pa.ChunkedArray] = {}
    for name in names:
        target = current.node(name)
        origin = written.counterpart(target)
        kind = field_to_arrow(target.field).type
        if origin is None:
            columns[name] = pa.chunked_array([pa.nulls(table.num_rows, kind)], kind)
            continue
        column = table[origin.field.name]
        if not is_same(origin, target):
            chunks = [_adapted(chunk, origin, target) for chunk in column.chunks]
            column = pa.chunked_array(chunks, kind)
        columns[name] = column
    return columns


def _size(type_: DataType) -> int:
    match type_:
        case Struct():
            return 1 + sum(_size(field.type) for field in type_.fields)
        case Array():
            return 1 + _size(type_.element)
        case Map():
            return 1 + _size(type_.key) + _size(type_.value)
    return 1


def _node(field: Field, ids: Iterator[int]) -> Node:
    number = next(ids)
    match field.type:
        case Struct():
            parts: tuple[Field, ...] = field.type.fields
        case Array():
            parts = (Field("element", field.type.element, field.type.contains_null),)
        case Map():
            parts = (
                Field("key", field.type.key, nullable=False),
                Field("value", field.type.value, field.type.value_contains_null),
            )
        case _:
            parts = ()
    return Node(number, field, tuple(_node(part, ids) for part in parts))


def is_same(origin: Node, target: Node) -> bool:
    """Return whether values need no conversion: the parts have equal ids, names and types."""
    return (
        len(origin.children) == len(target.children)
        and all(
            one.field_id == two.field_id and one.field.name == two.field.name and is_same(one, two)
            for one, two in zip(origin.children, target.children, strict=True)
        )
        and (bool(origin.children) or origin.field.type == target.field.type)
    )


def _adapted(array: pa.Array, origin: Node, target: Node) -> pa.Array:
    if is_same(origin, target):
        return array
    kind = field_to_arrow(target.field).type
    match target.field.type:
        case Struct():
            return _struct(array, origin, target, kind)
        case Array():
            array = _whole(array)
            values = _adapted(array.values, origin.children[0], target.children[0])
            return pa.ListArray.from_arrays(array.offsets, values, type=kind, mask=_mask(array))
        case Map():
            array = _whole(array)
            keys = _adapted(array.keys, origin.children[0], target.children[0])
            items = _adapted(array.items, origin.children[1], target.children[1])
            return pa.MapArray.from_arrays(array.offsets, keys, items, type=kind, mask=_mask(array))
    return array.cast(kind)


def _struct(array: pa.StructArray, origin: Node, target: Node, kind: pa.StructType) -> pa.Array:
    written = {child.field_id: (position, child) for position, child in enumerate(origin.children)}
    parts = []
    for child, field in zip(target.children, kind, strict=True):
        if child.field_id in written:
            position, part = written[child.field_id]
            parts.append(_adapted(array.field(position), part, child))
        else:
            parts.append(pa.nulls(len(array), field.type))
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=_mask(array))


def _whole(array: pa.Array) -> pa.Array:
    """Return the array with offsets that begin at 0."""
    return pa.concat_arrays([array, array.slice(0, 0)]) if array.offset else array


def _mask(array: pa.Array) -> pa.BooleanArray | None:
    return array.is_null() if array.null_count else None


def _marked(field: pa.Field, node: Node) -> pa.Field:
    kind, children = field.type, node.children
    if pa.types.is_struct(kind):
        kind = pa.struct([_marked(kind.field(i), child) for i, child in enumerate(children)])
    elif pa.types.is_map(kind):
        kind = pa.map_(_marked(kind.key_field, children[0]), _marked(kind.item_field, children[1]))
    elif pa.types.is_list(kind):
        kind = pa.list_(_marked(kind.value_field, children[0]))
    return field.with_type(kind).with_metadata({**(field.metadata or {}), "PARQUET:field_id": str(node.field_id)})
