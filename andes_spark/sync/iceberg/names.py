"""Name mapping: the field ids of columns in files without field ids, those of other writers.

Readers need an id for every column of such a file, also for one that no snapshot shows: without it PyIceberg refuses
the file, and DuckDB reads NULLs in other columns. So the mapping has the columns of all schemas of the table, and those
that only files have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from andes_spark.errors import UnsupportedTableError
from andes_spark.schema.types import Array, Map, Struct
from andes_spark.schema.versions import Node, SchemaVersion
from andes_spark.sync.iceberg.schemas import MOST_FIELD_ID, Json

_MAPPING, _UNNUMBERED = "schema.name-mapping.default", "andes.files_without_ids"
_UTC = (None, "UTC", "Etc/UTC", "+00:00")


@dataclass(frozen=True)
class Names:
    """Names by which readers find columns in files without field ids.

    Attributes:
        mapping: the name mapping in its JSON form.
        unnumbered: whether a snapshot of the face may name a file without field ids.
    """

    mapping: Sequence[Json]
    unnumbered: bool

    def properties(self) -> dict[str, str]:
        """Return the properties of the table metadata that hold the names."""
        return {_MAPPING: json.dumps(self.mapping), _UNNUMBERED: json.dumps(self.unnumbered)}

    def after(self, versions: Iterable[SchemaVersion], files: Mapping[str, pa.Schema]) -> Names:
        """Return the names of the next snapshot.

        Args:
            versions: schemas of the table, the one that the snapshot shows first.
            files: schemas of new files without field ids, by location.

        Raises:
            UnsupportedTableError: a file has a column that no schema names, of a type that Iceberg lacks; ``path``,
                ``feature``, ``column``.
        """
        mapping = merged(name_mapping(versions), self.mapping)
        for location, schema in files.items():
            unused = _Unused(min([MOST_FIELD_ID + 1, *_file_ids(mapping)]), location)
            mapping = merged(mapping, [unused.entry(field, mapping) for field in schema])
        return Names(mapping, self.unnumbered or bool(files))

    def is_moved(self, versions: Iterable[SchemaVersion]) -> bool:
        """Return whether a name now stands for another column: files of earlier snapshots would be read by it."""
        before = dict(_paths(self.mapping))
        return self.unnumbered and any(
            before.get(path, number) != number for path, number in _paths(name_mapping(versions))
        )


NO_NAMES = Names((), unnumbered=False)


def stored_names(properties: Mapping[str, str]) -> Names | None:
    """Return the names in the properties of a table metadata; None if these do not tell about files.

    Raises:
        ValueError: they cannot be decoded.
    """
    if _UNNUMBERED not in properties:
        return None
    try:
        names = Names(json.loads(properties[_MAPPING]), json.loads(properties[_UNNUMBERED]))
        list(_paths(names.mapping))
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return names


def name_mapping(versions: Iterable[SchemaVersion]) -> list[Json]:
    """Return the mapping of the columns of all schemas; a name in several stands for its column in the first one."""
    mapping: list[Json] = []
    for version in versions:
        mapping = merged(mapping, [_of_node(node, node.field.name) for node in version.nodes])
    return mapping


def merged(first: Sequence[Json], second: Iterable[Json]) -> list[Json]:
    """Add the names of a second mapping that the first lacks. An id has one entry, as Iceberg's Java library asks."""
    entries = [{**entry, "names": list(entry["names"])} for entry in first]
    by_name = {name: entry for entry in entries for name in entry["names"]}
    by_id = {entry["field-id"]: entry for entry in entries}
    for other in second:
        for name in other["names"]:
            entry = by_name.get(name)
            if entry is None:
                entry = by_id.setdefault(other["field-id"], {"field-id": other["field-id"], "names": []})
                entries += [] if entry["names"] else [entry]
                entry["names"].append(name)
                by_name[name] = entry
            fields = merged(entry.get("fields", ()), other.get("fields", ()))
            entry.update({"fields": fields} if fields else {})
    return entries


def _of_node(node: Node, name: str) -> Json:
    value: Json = {"field-id": node.field_id, "names": [name]}
    names: Sequence[str] = ()
    match node.field.type:
        case Struct():
            names = [child.field.name for child in node.children]
        case Array():
            names = ["element"]
        case Map():
            names = ["key", "value"]
    fields = [_of_node(child, name) for name, child in zip(names, node.children, strict=True)]
    return {**value, "fields": fields} if fields else value


def _paths(mapping: Iterable[Json], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    for entry in mapping:
        for name in entry["names"]:
            yield (*prefix, name), entry["field-id"]
            yield from _paths(entry.get("fields", ()), (*prefix, name))


def _file_ids(mapping: Iterable[Json]) -> Iterator[int]:
    """Ids of columns that only files have: a table's own count from 1, these from the greatest one downwards."""
    return (number for _, number in _paths(mapping) if number > MOST_FIELD_ID // 2)


class _Unused:
    """Field ids for the columns of a file that no schema names.

    Args:
        least: field id above the next one.
        location: location of the file, for messages.
    """

    def __init__(self, least: int, location: str) -> None:
        self._least = least
        self._location = location

    def entry(self, field: pa.Field, mapping: Iterable[Json], name: str | None = None, path: str = "") -> Json:
        """Return the entry of a column: with the ids of the mapping where it has the names, with unused ones else."""
        own = field.name if name is None else name
        here = f"{path}.{own}" if path else own
        known = next((entry for entry in mapping if own in entry["names"]), None)
        if known is None:
            self._require_readable(field.type, here)
            self._least -= 1
        number = self._least if known is None else known["field-id"]
        value: Json = {"field-id": number, "names": [own]}
        inner = () if known is None else known.get("fields", ())
        fields = [self.entry(child, inner, part, here) for part, child in _parts(field.type)]
        return {**value, "fields": fields} if fields else value

    def _require_readable(self, type_: pa.DataType, column: str) -> None:
        if _parts(type_) or _is_readable(type_):
            return
        raise UnsupportedTableError(
            f"{self._location}, of another writer, has the column {column!r} of type {type_}, which is not part of the "
            "table and has no type of Iceberg: readers of Iceberg cannot read the file; compact the table, or write "
            "the file anew without the column",
            path=self._location,
            feature="iceberg: column of another writer",
            column=column,
        )


def _parts(type_: pa.DataType) -> list[tuple[str, pa.Field]]:
    if pa.types.is_struct(type_):
        return [(field.name, field) for field in type_]
    if pa.types.is_map(type_):
        return [("key", type_.key_field), ("value", type_.item_field)]
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return [("element", type_.value_field)]
    return []


def _is_readable(type_: Any) -> bool:
    kinds = pa.types
    if kinds.is_timestamp(type_):
        return type_.tz in _UTC
    checks = (
        kinds.is_boolean, kinds.is_integer, kinds.is_float32, kinds.is_float64, kinds.is_string, kinds.is_large_string,
        kinds.is_binary, kinds.is_large_binary, kinds.is_date32, kinds.is_decimal128,
    )  # fmt: skip
    return any(check(type_) for check in checks)
