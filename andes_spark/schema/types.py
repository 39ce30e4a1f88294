"""Types of columns: the types of Spark that Delta and Parquet can store, and their JSON.

The JSON is that of Spark's ``StructType``, which the Delta protocol ("Schema Serialization Format") uses for
``schemaString``. Unsupported types are refused by name, never mapped to a similar type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from andes_spark.errors import OptionError, UnsupportedTableError

MAX_DEPTH = 64
MAX_DECIMAL_PRECISION = 38

# JSON name -> name in SQL (Spark's ``typeName`` and ``simpleString``).
_PRIMITIVES = {
    "boolean": "boolean",
    "byte": "tinyint",
    "short": "smallint",
    "integer": "int",
    "long": "bigint",
    "float": "float",
    "double": "double",
    "string": "string",
    "binary": "binary",
    "date": "date",
    "timestamp": "timestamp",
    "timestamp_ntz": "timestamp_ntz",
}


@dataclass(frozen=True)
class Primitive:
    """A type without parameters, named as in Spark's JSON: ``long``, not ``bigint``.

    Raises:
        OptionError: not the name of a primitive type.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in _PRIMITIVES:
            raise OptionError(f"no primitive type {self.name!r}: use one of {', '.join(_PRIMITIVES)}")


@dataclass(frozen=True)
class Decimal:
    """Exact numbers of ``precision`` digits, ``scale`` of them after the point.

    Raises:
        OptionError: unless 1 <= precision <= 38 and 0 <= scale <= precision.
    """

    precision: int
    scale: int

    def __post_init__(self) -> None:
        if not (1 <= self.precision <= MAX_DECIMAL_PRECISION and 0 <= self.scale <= self.precision):
            raise OptionError(
                f"decimal({self.precision},{self.scale}) cannot be used: "
                "the precision must be 1 to 38, the scale 0 to the precision"
            )


@dataclass(frozen=True)
class Array:
    """A list of elements of one type.

    Attributes:
        element: type of the elements.
        contains_null: whether elements may be NULL.
    """

    element: DataType
    contains_null: bool = True


@dataclass(frozen=True)
class Map:
    """Pairs of key and value, in stored order; keys are never null."""

    key: DataType
    value: DataType
    value_contains_null: bool = True


@dataclass(frozen=True)
class Field:
    """A named column, or a named part of a struct.

    Attributes:
        name: name, as it was spelled.
        type: type of the values.
        nullable: whether values may be NULL.
        metadata: JSON object, kept unchanged and read-only; Spark SQL itself writes the key ``comment`` only.
    """

    name: str
    type: DataType
    nullable: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def comment(self) -> str | None:
        """The comment of the column; None if it has none."""
        comment = self.metadata.get("comment")
        return None if comment is None else str(comment)


@dataclass(frozen=True)
class Struct:
    """A tuple of named fields in a fixed order, any of which may be nullable."""

    fields: tuple[Field, ...]


DataType: TypeAlias = Primitive | Decimal | Array | Map | Struct

BOOLEAN = Primitive("boolean")
BYTE = Primitive("byte")
SHORT = Primitive("short")
INTEGER = Primitive("integer")
LONG = Primitive("long")
FLOAT = Primitive("float")
DOUBLE = Primitive("double")
STRING = Primitive("string")
BINARY = Primitive("binary")
DATE = Primitive("date")
TIMESTAMP = Primitive("timestamp")
TIMESTAMP_NTZ = Primitive("timestamp_ntz")


def simple_string(type_: DataType) -> str:
    """Return the type as text, in the form of Spark's ``simpleString``: ``array<struct<a:int,b:string>>``."""
    match type_:
        case Primitive(name):
            return _PRIMITIVES[name]
        case Decimal(precision, scale):
            return f"decimal({precision},{scale})"
        case Array(element):
            return f"array<{simple_string(element)}>"
        case Map(key, value):
            return f"map<{simple_string(key)},{simple_string(value)}>"
        case Struct(fields):
            return f"struct<{','.join(f'{f.name}:{simple_string(f.type)}' for f in fields)}>"


def type_to_json(type_: DataType) -> Any:
    """Return the type as a JSON value (``json.dumps`` it), with keys in the order of Spark's JVM side."""
    match type_:
        case Primitive(name):
            return name
        case Decimal(precision, scale):
            return f"decimal({precision},{scale})"
        case Array(element, contains_null):
            return {"type": "array", "elementType": type_to_json(element), "containsNull": contains_null}
        case Map(key, value, value_contains_null):
            return {
                "type": "map",
                "keyType": type_to_json(key),
                "valueType": type_to_json(value),
                "valueContainsNull": value_contains_null,
            }
        case Struct(fields):
            return {"type": "struct", "fields": [field_to_json(f) for f in fields]}


def field_to_json(field_: Field) -> dict[str, Any]:
    """Return the field as a JSON object."""
    return {
        "name": field_.name,
        "type": type_to_json(field_.type),
        "nullable": field_.nullable,
        "metadata": dict(field_.metadata),
    }


def type_from_json(value: Any, *, column: str = "", depth: int = 0) -> DataType:
    """Read a type from parsed JSON.

    Args:
        value: a name, or an object with ``type``.
        column: dotted path for messages.
        depth: nesting depth of ``value``.

    Raises:
        OptionError: the JSON is not a type.
        UnsupportedTableError: a type that this release does not handle; ``feature``, ``column``.
    """
    if depth > MAX_DEPTH:
        raise unsupported("nesting", f"types nested deeper than {MAX_DEPTH}", column)
    if isinstance(value, str):
        return _type_from_name(value, column)
    if not isinstance(value, dict) or "type" not in value:
        raise OptionError(f"column {column!r} has no readable type: {str(value)[:200]}", column=column)
    kind = value["type"]
    if kind == "struct":
        fields = _member(value, "fields", list, column)
        prefix = f"{column}." if column else ""
        return Struct(tuple(field_from_json(f, prefix=prefix, depth=depth + 1) for f in fields))
    if kind == "array":
        element = type_from_json(value.get("elementType"), column=f"{column}.element", depth=depth + 1)
        return Array(element, _member(value, "containsNull", bool, column))
    if kind == "map":
        key = type_from_json(value.get("keyType"), column=f"{column}.key", depth=depth + 1)
        value_type = type_from_json(value.get("valueType"), column=f"{column}.value", depth=depth + 1)
        return Map(key, value_type, _member(value, "valueContainsNull", bool, column))
    if kind == "udt":
        raise unsupported("user-defined type", f"the user-defined type {value.get('class')}", column)
    raise unsupported("type", f"the type {str(kind)[:80]}", column)


def field_from_json(value: Any, *, prefix: str = "", depth: int = 0) -> Field:
    """Read a field from parsed JSON; raises as ``type_from_json`` does."""
    if not isinstance(value, dict):
        raise OptionError(f"not a field of a schema: {str(value)[:200]}")
    name = _member(value, "name", str, prefix)
    column = prefix + name
    metadata = value.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise OptionError(f"the metadata of column {column!r} is not an object", column=column)
    refuse_metadata(metadata, column)
    # CHAR and VARCHAR are read as STRING: only Spark enforces their length, and files do not store it.
    metadata = {name: setting for name, setting in metadata.items() if name != _CHAR_VARCHAR}
    nullable = value.get("nullable", True)
    if not isinstance(nullable, bool):
        raise OptionError(f"'nullable' of column {column!r} is neither true nor false", column=column)
    return Field(name, type_from_json(value.get("type"), column=column, depth=depth), nullable, metadata)


def unsupported(feature: str, subject: str, column: str) -> UnsupportedTableError:
    """Return the error for an unsupported type, to be raised by the caller."""
    return UnsupportedTableError(
        f"column {column!r}: {subject} is not supported; leave the column out or give it another type",
        feature=feature,
        column=column,
    )


def refuse_metadata(metadata: Mapping[str, Any], column: str) -> None:
    """Refuse the metadata of collations, which Spark writes beside a plain type.

    Raises:
        UnsupportedTableError: ``feature``, ``column``.
    """
    # The key of Spark's DataType.COLLATIONS_METADATA_KEY.
    if "__COLLATIONS" in metadata:
        raise unsupported("collation", f"the collation {metadata['__COLLATIONS']}", column)


_CHAR_VARCHAR = "__CHAR_VARCHAR_TYPE_STRING"
"""Metadata key of Spark's CharVarcharUtils for the declared length of a string."""

_TEXT = re.compile(r"(?:var)?char\(\s*\d{1,9}\s*\)")
_DECIMAL = re.compile(r"decimal\(\s*(\d{1,9})\s*,\s*(-?\d{1,9})\s*\)")
_REFUSED = (
    (re.compile(r"interval\b.*|calendar_?interval"), "interval"),
    (re.compile(r"variant"), "variant"),
    (re.compile(r"void|null"), "void"),
    (re.compile(r"string\s+collate\b.*"), "collation"),
    (re.compile(r"time(\(\s*\d+\s*\))?"), "time"),
    (re.compile(r"(geometry|geography)\b.*"), "geospatial"),
)


def _type_from_name(name: str, column: str) -> DataType:
    if name in _PRIMITIVES:
        return Primitive(name)
    if name == "timestamp_ltz":
        return TIMESTAMP
    if name == "decimal":
        return Decimal(10, 0)
    if _TEXT.fullmatch(name):
        return STRING
    if match := _DECIMAL.fullmatch(name):
        return decimal_type(int(match[1]), int(match[2]), column)
    for pattern, feature in _REFUSED:
        if pattern.fullmatch(name):
            raise unsupported(feature, f"the type {name}", column)
    raise unsupported("type", f"the type {name[:80]}", column)


def decimal_type(precision: int, scale: int, column: str) -> Decimal:
    """Return a decimal type with checked precision and scale.

    Raises:
        UnsupportedTableError: out of the range of Spark's decimals; ``feature``, ``column``.
    """
    if 1 <= precision <= MAX_DECIMAL_PRECISION and 0 <= scale <= precision:
        return Decimal(precision, scale)
    raise unsupported("decimal", f"decimal({precision},{scale}) (38 digits at most, scale 0 or more)", column)


def _member(value: Mapping[str, Any], name: str, kind: type, column: str) -> Any:
    member = value.get(name)
    if not isinstance(member, kind):
        raise OptionError(f"{name!r} is missing or malformed in the schema of {column!r}", column=column)
    return member


def holds_map(type_: DataType) -> bool:
    """Return whether a type is a map, or has one at any depth."""
    match type_:
        case Map():
            return True
        case Array(element):
            return holds_map(element)
        case Struct(fields):
            return any(holds_map(field.type) for field in fields)
    return False
