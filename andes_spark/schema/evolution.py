"""Changes of a schema: columns added, widened, commented and dropped, with field ids that are never used again.

A path names a column, or a part of a nested type: ``("address", "zip")``, ``("lines", "element", "price")``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from andes_spark.errors import OptionError
from andes_spark.schema import casts
from andes_spark.schema.names import resolve
from andes_spark.schema.schema import Schema
from andes_spark.schema.types import Array, DataType, Decimal, Field, Map, Struct, simple_string
from andes_spark.schema.versions import Node, SchemaVersion, is_same, numbered_node

Path: TypeAlias = tuple[str, ...]
_COMMENT = "comment"


@dataclass(frozen=True)
class Evolved:
    """A schema after a change, with its field ids.

    Attributes:
        schema: columns after the change.
        field_ids: field ids of the columns and all parts of nested types, depth first.
        last_field_id: greatest field id used so far.
    """

    schema: Schema
    field_ids: tuple[int, ...]
    last_field_id: int


def path_of(version: SchemaVersion, column: str | Sequence[str]) -> Path:
    """Return the path that a text or a list of names stands for, with the spelling of the parts that exist.

    A text is the name of a column, or else split at its dots if its first part is a column.
    """
    names = version.schema.names
    if not isinstance(column, str):
        parts = tuple(column)
    elif resolve(column, names) is not None:
        parts = (column,)
    else:
        parts = tuple(column.split("."))
        parts = parts if resolve(parts[0], names) is not None else (column,)
    return _spelled(version.nodes, parts)


def _spelled(nodes: Sequence[Node], parts: Path) -> Path:
    if not parts:
        return ()
    name = resolve(parts[0], [node.field.name for node in nodes])
    if name is None:
        return parts
    node = next(node for node in nodes if node.field.name == name)
    return (name, *_spelled(node.children, parts[1:]))


def with_column(
    version: SchemaVersion,
    path: Path,
    type_: DataType,
    *,
    comment: str | None,
    last_field_id: int,
    earlier: Iterable[SchemaVersion] = (),
) -> Evolved:
    """Add a nullable column at the end, or a field at the end of a struct.

    Args:
        version: the schema before.
        path: of the new column; all but its last part exist.
        type_: its type.
        comment: its comment; None for none.
        last_field_id: greatest field id used so far.
        earlier: all schemas that the table had.

    Raises:
        OptionError: the parent is not a struct, or the name is or was in use there; ``column``.
    """
    name, shown = path[-1], ".".join(path)
    metadata: dict[str, Any] = {} if comment is None else {_COMMENT: comment}
    node = numbered_node(Field(name, type_, nullable=True, metadata=metadata), last_field_id + 1)
    parent = None if len(path) == 1 else _find(version, path[:-1])
    if parent is not None and not isinstance(parent.field.type, Struct):
        kind = simple_string(parent.field.type)
        raise OptionError(f"{'.'.join(path[:-1])!r} is {kind}, no struct to add a field to", column=shown)
    for schema in (version, *earlier):
        for other in _siblings(schema, parent):
            if other.field.name.lower() == name.lower():
                state = "is there already" if schema is version else "was dropped, and files still hold its values"
                raise OptionError(f"a column {other.field.name!r} {state}: choose another name", column=shown)
    if parent is None:
        nodes = (*version.nodes, node)
    else:
        nodes = _changed(version.nodes, path[:-1], lambda old: replace(old, children=(*old.children, node)))
    return _evolved(nodes, last_field_id + sum(1 for _ in _ids([node])))


def widened(
    version: SchemaVersion, path: Path, type_: DataType, *, narrow: Sequence[str], last_field_id: int
) -> Evolved:
    """Give a column, or a part of a nested type, a wider type.

    Args:
        version: the schema before.
        path: of the column.
        type_: its new type.
        narrow: names of key and sequence columns: their order must stay what it is in files of the old type.
        last_field_id: greatest field id used so far.

    Raises:
        OptionError: no such column, or a type that does not hold every value of the old one; ``column``.
    """
    node, shown = _find(version, path), ".".join(path)
    old = node.field.type
    wider = old != type_ and not node.children and not isinstance(type_, Struct | Array | Map)
    if not (wider and casts.widens(old, type_)):
        raise OptionError(
            f"{shown!r} is {simple_string(old)}, which cannot become {simple_string(type_)}: a wider type holds every "
            "value of the old one; for another type add a column, and fill it by mods",
            column=shown,
        )
    if path[0] in narrow and not (_counts(old) == _counts(type_)):
        raise OptionError(
            f"{shown!r} is part of the key or sequence, and {simple_string(old)} cannot become {simple_string(type_)} "
            "there: only wider integers and decimals of the same scale can",
            column=shown,
        )
    nodes = _changed(version.nodes, path, lambda node: replace(node, field=replace(node.field, type=type_)))
    return _evolved(nodes, last_field_id)


def commented(version: SchemaVersion, path: Path, comment: str | None, *, last_field_id: int) -> Evolved:
    """Set the comment of a column, or of a field of a struct; None removes it.

    Raises:
        OptionError: no such column; ``column``.
    """
    _find(version, path)
    if path[-1] in ("element", "key", "value") and not _is_field(version, path):
        raise OptionError(f"{'.'.join(path)!r} is a part of an array or map, which has no comment", column=path[0])

    def change(node: Node) -> Node:
        metadata = {name: value for name, value in node.field.metadata.items() if name != _COMMENT}
        if comment is not None:
            metadata[_COMMENT] = comment
        return replace(node, field=replace(node.field, metadata=metadata))

    return _evolved(_changed(version.nodes, path, change), last_field_id)


def without(version: SchemaVersion, path: Path, *, used: Sequence[str], last_field_id: int) -> Evolved:
    """Drop a column, or a field of a struct.

    Args:
        version: the schema before.
        path: of the column.
        used: names of key, sequence and partition columns.
        last_field_id: greatest field id used so far.

    Raises:
        OptionError: no such column, one in use, or the only one; ``column``.
    """
    _find(version, path)
    shown = ".".join(path)
    if path[0] in used:
        raise OptionError(f"{shown!r} is a key, sequence or partition column, which stay", column=shown)
    if len(path) > 1 and not _is_field(version, path):
        raise OptionError(f"{shown!r} is a part of an array or map, not a field of a struct", column=shown)
    parent = None if len(path) == 1 else _find(version, path[:-1])
    if parent is not None and len(parent.children) == 1:
        raise OptionError(f"{shown!r} is the only field of its struct: drop {'.'.join(path[:-1])!r}", column=shown)
    return _evolved(_changed(version.nodes, path, lambda _: None), last_field_id)


def rewrites(before: SchemaVersion, after: SchemaVersion) -> bool:
    """Return whether files of a schema hold a column in another type than a later schema, nested parts included.

    Readers of Delta take a column that a file lacks for NULL, and ignore a column that the table lacks; of other types
    not all of them know.
    """
    pairs = ((before.counterpart(node), node) for node in after.nodes)
    return any(old is not None and not is_same(old, new) for old, new in pairs)


def find(version: SchemaVersion, path: Path) -> Node | None:
    """Return the column of a path; None if there is none."""
    nodes: Sequence[Node] = version.nodes
    node = None
    for name in path:
        node = next((node for node in nodes if node.field.name == name), None)
        if node is None:
            return None
        nodes = node.children
    return node


def _find(version: SchemaVersion, path: Path) -> Node:
    """As :func:`find`; raises OptionError where there is none."""
    node = find(version, path)
    if node is not None:
        return node
    depth = next(depth for depth in range(len(path)) if find(version, path[: depth + 1]) is None)
    parent = find(version, path[:depth])
    nodes = version.nodes if parent is None else parent.children
    where = "" if parent is None else f" in {'.'.join(path[:depth])!r}"
    names = ", ".join(node.field.name for node in nodes) or "none"
    raise OptionError(f"no column {path[depth]!r}{where}: there are {names}", column=".".join(path))


def _is_field(version: SchemaVersion, path: Path) -> bool:
    """Whether a path of an existing part is a column or a field of a struct."""
    return len(path) == 1 or isinstance(_find(version, path[:-1]).field.type, Struct)


def _siblings(schema: SchemaVersion, parent: Node | None) -> Sequence[Node]:
    """Columns of a schema, or the fields of the same struct in it."""
    if parent is None:
        return schema.nodes
    return next((node.children for node in _all(schema.nodes) if node.field_id == parent.field_id), ())


def _all(nodes: Iterable[Node]) -> Iterable[Node]:
    for node in nodes:
        yield node
        yield from _all(node.children)


def _changed(nodes: Sequence[Node], path: Path, change: Callable[[Node], Node | None]) -> tuple[Node, ...]:
    """Change the node of a path, and the types that contain it; None removes it."""
    result: list[Node] = []
    for node in nodes:
        if node.field.name != path[0]:
            result.append(node)
            continue
        if len(path) > 1:
            changed: Node | None = replace(node, children=_changed(node.children, path[1:], change))
        else:
            changed = change(node)
        if changed is not None:
            result.append(_retyped(changed))
    return tuple(result)


def _retyped(node: Node) -> Node:
    """Derive the type of a nested node from its children."""
    type_, children = node.field.type, node.children
    if isinstance(type_, Struct):
        type_ = Struct(tuple(child.field for child in children))
    elif isinstance(type_, Array):
        type_ = Array(children[0].field.type, type_.contains_null)
    elif isinstance(type_, Map):
        type_ = Map(children[0].field.type, children[1].field.type, type_.value_contains_null)
    return replace(node, field=replace(node.field, type=type_))


def _ids(nodes: Iterable[Node]) -> Iterable[int]:
    return (node.field_id for node in _all(nodes))


def _evolved(nodes: Sequence[Node], last_field_id: int) -> Evolved:
    return Evolved(Schema(tuple(node.field for node in nodes)), tuple(_ids(nodes)), last_field_id)


def _counts(type_: DataType) -> object:
    """What the order of values depends on: equal for whole numbers, and for decimals of one scale."""
    if isinstance(type_, Decimal):
        return type_.scale
    return "whole numbers" if simple_string(type_) in ("tinyint", "smallint", "int", "bigint") else type_
