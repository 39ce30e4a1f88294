"""Schema of a table, read from and written to Spark's JSON, Arrow and DDL without a JVM."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from andes_spark.errors import OptionError
from andes_spark.schema import arrow_types, ddl
from andes_spark.schema.types import (
    Array,
    DataType,
    Decimal,
    Field,
    Map,
    Primitive,
    Struct,
    simple_string,
    type_from_json,
    type_to_json,
)

__all__ = [
    "Array",
    "DataType",
    "Decimal",
    "Field",
    "Map",
    "Primitive",
    "Schema",
    "Struct",
    "simple_string",
]


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order. Names are checked by ``schema.names``, not here."""

    fields: tuple[Field, ...]

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __contains__(self, name: object) -> bool:
        return any(field.name == name for field in self.fields)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(field.name for field in self.fields)

    @cached_property
    def nullable(self) -> Schema:
        """Return the columns without NOT NULL."""
        return Schema(tuple(replace(field, nullable=True) for field in self.fields))

    def field(self, name: str) -> Field:
        """Return the column of exactly this name.

        Raises:
            OptionError: no such column; ``column``.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise OptionError(f"no column {name!r}: the columns are {', '.join(self.names)}", column=name)

    def select(self, names: Iterable[str]) -> Schema:
        """Return the named columns, in the order of ``names``; raises as ``field`` does."""
        chosen = tuple(names)
        return self if chosen == self.names else Schema(tuple(self.field(name) for name in chosen))

    def with_required(self, names: Iterable[str]) -> Schema:
        """Return the same columns with the named ones NOT NULL; raises as ``field`` does."""
        required = {self.field(name).name for name in names}
        return Schema(tuple(replace(f, nullable=False) if f.name in required else f for f in self.fields))

    def to_json(self) -> str:
        """Return the JSON of Spark's ``StructType``, in the compact form of Delta's ``schemaString``."""
        return json.dumps(self.to_json_value(), separators=(",", ":"), ensure_ascii=False)

    def to_json_value(self) -> dict[str, Any]:
        """Return the JSON of Spark's ``StructType`` as a value, to be embedded in a document."""
        value: dict[str, Any] = type_to_json(Struct(self.fields))
        return value

    @classmethod
    def from_json(cls, text: str | bytes) -> Schema:
        """Read the JSON of Spark's ``StructType``.

        Raises:
            OptionError: not the JSON of a schema.
            UnsupportedTableError: a type that this release does not handle; ``feature``, ``column``.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise OptionError(f"the schema is not JSON: {error}") from error
        return cls.from_json_value(value)

    @classmethod
    def from_json_value(cls, value: Any) -> Schema:
        """Read parsed JSON; raises as ``from_json`` does."""
        type_ = type_from_json(value)
        if not isinstance(type_, Struct):
            raise OptionError(f"the schema is a {simple_string(type_)}, not a struct of columns")
        return cls(type_.fields)

    def to_arrow(self) -> pa.Schema:
        """Return the Arrow schema of rows in memory, without field metadata."""
        return self._arrow

    @cached_property
    def _arrow(self) -> pa.Schema:
        return pa.schema([arrow_types.field_to_arrow(field) for field in self.fields])

    @classmethod
    def from_arrow(cls, schema: pa.Schema) -> Schema:
        """Return the columns of an Arrow schema, in any encoding.

        Raises:
            UnsupportedTableError: a type without a lossless counterpart in Spark; ``feature``, ``column``.
        """
        return cls(arrow_types.fields_from_arrow(schema))

    def to_ddl(self) -> str:
        """Return the columns as Spark DDL. Metadata other than comments is left out."""
        return ddl.write_columns(self.fields)

    @classmethod
    def from_ddl(cls, text: str) -> Schema:
        """Read a list of columns as in ``CREATE TABLE``: ``id BIGINT NOT NULL, tags ARRAY<STRING>``.

        Raises:
            OptionError: a syntax error; ``position`` is its character offset.
            UnsupportedTableError: a type that this release does not handle; ``feature``, ``column``.
        """
        return cls(ddl.parse_columns(text))
