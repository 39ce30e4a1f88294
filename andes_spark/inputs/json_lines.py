"""JSON lines as rows, with exact values: the forms that ``andes table read --output json`` writes.

============================  ==========================================================
integer, boolean, string      themselves
decimal                       a number, or a string with all of its scale
float, double                 a number; NaN and the infinities are the strings NaN, Infinity, -Infinity
date, timestamp               ISO 8601; ``timestamp`` with a zone, ``timestamp_ntz`` without
binary                        a string in Base64
array, struct                 an array, an object
map                           an object, or an array of pairs of key and value
============================  ==========================================================
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Collection
from decimal import Decimal
from typing import Any

import pyarrow as pa

from andes_spark.inputs.locations import WRONG, InputFile

_FINER = re.compile(r"[.,]\d{7}")


def read(file: InputFile, known: pa.Schema, text: Collection[str]) -> pa.Table:
    """Read a file with one JSON object per line into memory; its columns are the fields of all lines.

    Args:
        file: in UTF-8.
        known: columns of the table, whose types values are read as; others get the type that Arrow infers.
        text: columns that are read as text if one of their values does not fit.

    Raises:
        SchemaMismatchError: a value does not fit its column; ``path``, ``column``.
        FileDamagedError: a line is not a JSON object.
    """
    with file.reading("JSON lines"):
        rows = [_object(line, number) for number, line in enumerate(file.lines(), start=1) if line.strip()]
        names = dict.fromkeys(name for row in rows for name in row)
        return pa.table({name: _column([row.get(name) for row in rows], name, known, text, file) for name in names})


def parsed(value: Any, type_: pa.DataType) -> Any:
    """Convert a JSON value to the Python value for an Arrow type.

    Raises:
        ValueError, TypeError, ArithmeticError: the value does not fit the type.
    """
    if value is None:
        return None
    if pa.types.is_list(type_):
        return [parsed(item, type_.value_type) for item in _a(list, value)]
    if pa.types.is_map(type_):
        items = value.items() if isinstance(value, dict) else _a(list, value)
        return [(parsed(key, type_.key_type), parsed(item, type_.item_type)) for key, item in items]
    if pa.types.is_struct(type_):
        fields = {field.name: field.type for field in type_}
        unknown = sorted(set(_a(dict, value)) - set(fields))
        if unknown:
            raise ValueError(f"unknown fields {unknown}")
        return {name: parsed(value.get(name), field_type) for name, field_type in fields.items()}
    return _parsed_leaf(value, type_)


def _parsed_leaf(value: Any, type_: pa.DataType) -> Any:
    if pa.types.is_timestamp(type_):
        if _FINER.search(_a(str, value)):
            raise ValueError(f"{value!r} is finer than a microsecond")
        moment = datetime.datetime.fromisoformat(value)
        if (moment.tzinfo is None) != (type_.tz is None):
            raise ValueError(f"{value!r} {'needs a' if type_.tz else 'must have no'} time zone")
        return moment
    if pa.types.is_date(type_):
        return datetime.date.fromisoformat(_a(str, value))
    if pa.types.is_binary(type_):
        return base64.b64decode(_a(str, value), validate=True)
    if pa.types.is_string(type_):
        return _a(str, value)
    if isinstance(value, bool) != pa.types.is_boolean(type_):
        raise TypeError(f"{value!r} is no {type_}")
    if pa.types.is_decimal(type_):
        return Decimal(value)
    if pa.types.is_floating(type_):
        return _parsed_float(value, type_)
    return _a(bool if pa.types.is_boolean(type_) else int, value)


def _parsed_float(value: Any, type_: pa.DataType) -> float:
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        raise TypeError(f"{value!r} is no {type_}")
    number = float(value)
    # Python and Arrow turn numbers that are too large into infinities.
    if not isinstance(value, str) and not math.isfinite(pa.scalar(number, type_).as_py()):
        raise ValueError(f"{value} is too large for {type_}")
    return number


def _a(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_float=Decimal, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number}: not a JSON object")
    return row


def _once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(fields)
    if len(row) < len(fields):
        raise ValueError("a field stands twice in one object")
    return row


def _column(values: list[Any], name: str, known: pa.Schema, text: Collection[str], file: InputFile) -> pa.Array:
    if name not in known.names:
        return pa.array([float(value) if isinstance(value, Decimal) else value for value in values])
    try:
        return pa.array([parsed(value, known.field(name).type) for value in values], known.field(name).type)
    except WRONG as error:
        if name not in text:
            raise file.wrong_value(f"column {name!r}: {error}", name) from error
        return pa.array([None if value is None else str(value) for value in values], pa.string())
