"""Columns as Glue stores them: names in lower case, types in the text form of Hive.

Types are those of "Data types in Amazon Athena"; parts of structs are separated by ``:`` and ``,`` without quotes, see
``TypeInfoUtils`` of Hive and ``TypeInfoParser`` of Trino, so that their names can have word characters only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from andes_spark.errors import UnsupportedTableError
from andes_spark.schema.types import Array, DataType, Map, Primitive, Struct, simple_string
from andes_spark.schema.versions import SchemaVersion
from andes_spark.sync.glue.client import Json

_WORD = re.compile(r"\w+")
DELTA_TYPES = {"timestamp_ntz": "timestamp"}
"""Names of types of the Delta form, where they are not those of Spark: both timestamps are ``timestamp``."""
ICEBERG_TYPES = {**DELTA_TYPES, "byte": "int", "short": "int"}
"""Those of the Iceberg form, whose smallest integer is ``int``."""


def hive_type(type_: DataType, names: Mapping[str, str], path: str) -> str:
    """Return a type in Hive's form: ``array<struct<a:bigint,b:decimal(10,2)>>``.

    Args:
        type_: type of a column, or of a part of it.
        names: names of primitive types that differ from Spark's.
        path: dotted path of the column, for messages.

    Raises:
        UnsupportedTableError: the name of a part of a struct cannot be written in a type; ``feature``, ``column``.
    """
    match type_:
        case Primitive(name) if name in names:
            return names[name]
        case Array(element):
            return f"array<{hive_type(element, names, f'{path}.element')}>"
        case Map(key, value):
            return f"map<{hive_type(key, names, f'{path}.key')},{hive_type(value, names, f'{path}.value')}>"
        case Struct(fields):
            for field in fields:
                if _WORD.fullmatch(field.name) is None:
                    raise refusal(
                        f"{path}.{field.name}",
                        "name",
                        "has a name that Hive's form of types cannot hold: use word characters",
                    )
            parts = (f"{field.name}:{hive_type(field.type, names, f'{path}.{field.name}')}" for field in fields)
            return f"struct<{','.join(parts)}>"
    return simple_string(type_)


def delta_columns(version: SchemaVersion) -> list[Json]:
    """Return the columns of a schema for the Delta form."""
    return [
        _column(node.field.name, hive_type(node.field.type, DELTA_TYPES, node.field.name), node.field.comment)
        for node in version.nodes
    ]


def iceberg_columns(version: SchemaVersion, keys: tuple[str, ...]) -> list[Json]:
    """Return the columns of a schema for the Iceberg form, with their field ids as parameters.

    The parameters are those of ``IcebergToGlueConverter`` in Iceberg's Java library.
    """
    columns = []
    for node in version.nodes:
        field = node.field
        column = _column(field.name, hive_type(field.type, ICEBERG_TYPES, field.name), field.comment)
        optional = field.nullable and field.name not in keys
        column["Parameters"] = {
            "iceberg.field.id": str(node.field_id),
            "iceberg.field.optional": str(optional).lower(),
            "iceberg.field.current": "true",
        }
        columns.append(column)
    return columns


def _column(name: str, type_: str, comment: str | None) -> Json:
    column: Json = {"Name": name.lower(), "Type": type_}
    return column if comment is None else {**column, "Comment": comment}


def refusal(column: str, feature: str, problem: str) -> UnsupportedTableError:
    """Return the error for a column that Glue cannot hold."""
    return UnsupportedTableError(
        f"column {column!r} {problem}, and Glue cannot hold it", feature=f"glue: {feature}", column=column
    )
