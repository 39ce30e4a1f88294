"""Actions of the Delta log as Arrow columns: one struct per action, in the types of the checkpoint schema.

Format: the Delta protocol, "Checkpoint Schema".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from andes_spark.schema.arrow_values import array_of

TEXTS = pa.map_(pa.string(), pa.string())
VECTOR = pa.struct(
    [
        ("storageType", pa.string()),
        ("pathOrInlineDv", pa.string()),
        ("offset", pa.int32()),
        ("sizeInBytes", pa.int32()),
        ("cardinality", pa.int64()),
    ]
)
_ROW_TRACKING = [("baseRowId", pa.int64()), ("defaultRowCommitVersion", pa.int64())]
ADD = pa.struct(
    [
        ("path", pa.string()),
        ("partitionValues", TEXTS),
        ("size", pa.int64()),
        ("modificationTime", pa.int64()),
        ("dataChange", pa.bool_()),
        ("stats", pa.string()),
        ("tags", TEXTS),
        ("deletionVector", VECTOR),
        *_ROW_TRACKING,
        ("clusteringProvider", pa.string()),
    ]
)
REMOVE = pa.struct(
    [
        ("path", pa.string()),
        ("deletionTimestamp", pa.int64()),
        ("dataChange", pa.bool_()),
        ("extendedFileMetadata", pa.bool_()),
        ("partitionValues", TEXTS),
        ("size", pa.int64()),
        ("deletionVector", VECTOR),
        *_ROW_TRACKING,
    ]
)


def to_columns(actions: Iterable[Mapping[str, Any]], kind: pa.StructType) -> pa.StructArray:
    """Convert raw actions, member by member, since a table may have very many files; members not in ``kind`` are lost.

    Raises:
        pa.ArrowInvalid, pa.ArrowTypeError: a member is of another type.
    """
    rows = list(actions)
    if not rows:
        return array_of([], kind)
    return pa.StructArray.from_arrays([_member(rows, field) for field in kind], fields=list(kind))


def _member(rows: Sequence[Mapping[str, Any]], field: pa.Field) -> pa.Array:
    return array_of([row.get(field.name) for row in rows], field.type)


def as_kind(rows: pa.StructArray, kind: pa.StructType) -> pa.StructArray:
    """Convert columns of actions to the members and types of another struct; missing members are NULL."""
    if rows.type == kind:
        return rows
    flat = dict(zip((field.name for field in rows.type), rows.flatten(), strict=True))
    members = [
        _cast(flat[field.name], field.type) if field.name in flat else pa.nulls(len(rows), field.type) for field in kind
    ]
    return pa.StructArray.from_arrays(members, fields=list(kind)) if len(rows) else array_of([], kind)


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if values.type == kind:
        return values
    if not pa.types.is_struct(kind):
        return values.cast(kind)
    missing = values.is_null()
    members = {field.name: member for field, member in zip(values.type, values.flatten(), strict=True)}
    parts = [
        members[field.name].cast(field.type) if field.name in members else pa.nulls(len(values), field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=missing)


@dataclass(frozen=True)
class ActionRow:
    """One action, which is read from columns of actions when it is needed."""

    rows: pa.StructArray
    row: int

    def action(self) -> dict[str, Any]:
        """Return the raw action, without members that are NULL."""
        members = {field.name: self.member(field.name) for field in self.rows.type}
        return {name: value for name, value in members.items() if value is not None}

    def member(self, name: str) -> Any:
        """Return a member of the raw action; None if it lacks the member."""
        at = self.rows.type.get_field_index(name)
        return None if at < 0 else plain(self.rows.field(at)[self.row])


def plain(value: pa.Scalar) -> Any:
    """Convert a member of an action to its JSON form."""
    if not value.is_valid:
        return None
    if pa.types.is_map(value.type):
        return dict(value.as_py())
    if pa.types.is_struct(value.type):
        return {name: member for name, member in value.as_py().items() if member is not None}
    return value.as_py()


def union(one: pa.StructType, other: pa.StructType) -> pa.StructType:
    """Return the members of both types, of the type that the first has."""
    names = {field.name for field in one}
    return pa.struct([*one, *(field for field in other if field.name not in names)])
