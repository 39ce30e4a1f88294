"""New definitions of a table: each function returns the definition after one change, or refuses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from andes_spark.errors import OptionError
from andes_spark.model.definition import Definition, TableSchema
from andes_spark.model.durations import parse_duration
from andes_spark.model.events import Alter
from andes_spark.model.options import ICEBERG
from andes_spark.schema import evolution
from andes_spark.schema.evolution import Evolved
from andes_spark.schema.names import validate_columns
from andes_spark.schema.schema import DataType
from andes_spark.schema.versions import SchemaVersion, SchemaVersions
from andes_spark.sync.iceberg.representable import require_faces, require_representable
from andes_spark.table.open_table import shape_of


@dataclass(frozen=True)
class Defined:
    """A definition that may be changed.

    Attributes:
        definition: the definition.
        versions: its schemas.
    """

    definition: Definition
    versions: SchemaVersions

    @classmethod
    def of(cls, definition: Definition, table: str) -> Defined:
        """Return a definition of a table with its schemas."""
        return cls(definition, shape_of(definition, table).versions)

    @property
    def schema(self) -> SchemaVersion:
        """The schema of the definition, which new rows have."""
        return self.versions.current

    @property
    def narrow(self) -> tuple[str, ...]:
        """Names of key and sequence columns."""
        return (*self.definition.primary_key, *self.definition.sequence_by)

    def has(self, column: str | Sequence[str], type_: DataType) -> bool:
        """Return whether there is a column of this type."""
        node = evolution.find(self.schema, evolution.path_of(self.schema, column))
        return node is not None and node.field.type == type_

    def with_column(self, column: str | Sequence[str], type_: DataType, comment: str | None) -> Definition:
        """Add a nullable column, or a field of a struct."""
        evolved = evolution.with_column(
            self.schema,
            evolution.path_of(self.schema, column),
            type_,
            comment=comment,
            last_field_id=self.definition.last_field_id,
            earlier=self.versions.by_id.values(),
        )
        return self._evolved(evolved)

    def widened(self, column: str | Sequence[str], type_: DataType) -> Definition:
        """Give a column a wider type."""
        path = evolution.path_of(self.schema, column)
        if path[0] in self.definition.partition_by:
            raise OptionError(f"{path[0]!r} is a partition column, whose type stays", column=path[0])
        last = self.definition.last_field_id
        return self._evolved(evolution.widened(self.schema, path, type_, narrow=self.narrow, last_field_id=last))

    def commented(self, column: str | Sequence[str], comment: str | None) -> Definition:
        """Set or remove the comment of a column."""
        path = evolution.path_of(self.schema, column)
        last = self.definition.last_field_id
        return self._evolved(evolution.commented(self.schema, path, comment, last_field_id=last))

    def without(self, column: str | Sequence[str]) -> Definition:
        """Drop a column."""
        path = evolution.path_of(self.schema, column)
        used = (*self.narrow, *self.definition.partition_by)
        last = self.definition.last_field_id
        return self._evolved(evolution.without(self.schema, path, used=used, last_field_id=last))

    def _evolved(self, evolved: Evolved) -> Definition:
        """The definition with another schema, unless it is equal.

        Raises:
            OptionError: columns that no table can have.
            UnsupportedTableError: columns that a face of the table cannot represent.
        """
        old = self.definition
        validate_columns(
            evolved.schema,
            old.primary_key,
            sequence_by=old.sequence_by,
            partition_by=old.partition_by,
            text_sequence=True,
        )
        if evolved.schema == self.schema.schema:
            return old
        number = 1 + max(schema.id for schema in old.schemas)
        if ICEBERG in old.faces:
            columns = SchemaVersion(number, evolved.schema, evolved.field_ids)
            require_representable(columns, old.primary_key, old.partition_by)
        schema = TableSchema(id=number, struct=evolved.schema.to_json(), field_ids=evolved.field_ids)
        return msgspec.structs.replace(
            old, schemas=(*old.schemas, schema), schema_id=number, last_field_id=evolved.last_field_id
        )

    def with_settings(self, values: Mapping[str, Any]) -> Definition:
        """Set policies, the comment of the table, and properties, which are added to those that are there.

        Raises:
            OptionError: a policy or duration that does not exist.
            MissingPackageError: a package that a face needs is not installed.
            UnsupportedTableError: a column that a face cannot represent.
        """
        merge = values.get("merge")
        if merge is not None and merge not in ("always", "auto", "manual"):
            parse_duration(merge, option="merge", also='"always", "auto", "manual" or ')
        for name in ("lateness", "batch_retention"):
            if name in values:
                parse_duration(values[name], option=name)
        new = dict(values)
        if "properties" in values:
            new["properties"] = {**self.definition.properties, **values["properties"]}
        if values.get("faces"):
            require_faces(self.schema, self.definition.primary_key, self.definition.partition_by)
        return msgspec.structs.replace(self.definition, **new)

    def without_settings(self, names: Sequence[str]) -> Definition:
        """Remove properties, or the comment of the table by the name ``comment``.

        Raises:
            OptionError: no such property; ``option``, ``value``.
        """
        properties = dict(self.definition.properties)
        comment = self.definition.comment
        for name in names:
            if name in properties:
                del properties[name]
            elif name == "comment":
                comment = None
            else:
                known = ", ".join(sorted(properties)) or "none"
                raise OptionError(
                    f"there is no property {name!r} to unset: there are {known}", option="name", value=name
                )
        return msgspec.structs.replace(self.definition, properties=properties, comment=comment)


def changed_members(before: Definition, after: Definition) -> list[str]:
    """Return the names of the members that differ, without the list of schemas and the greatest field id."""
    names = [name for name in Definition.__struct_fields__ if name not in ("schemas", "last_field_id")]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def alter_event(before: Definition, after: Definition) -> Alter:
    """Return the event of the version that changes a definition."""
    return Alter(schema_id=after.schema_id, before=before.schema_id, changed=changed_members(before, after))
