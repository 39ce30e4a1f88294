"""Exact JSON forms of key and sequence values, used for the ranges in manifests.

Integers, booleans and strings are JSON values of the same type; decimals are strings; dates are days and
timestamps microseconds since 1970; binary is hex.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

LONGEST_QUOTED = 256
"""Maximum length of a string in characters, or of a binary in bytes, in the range of a manifest."""

_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


def to_json(scalar: pa.Scalar) -> Any:
    """Convert a non-null Arrow scalar of a key or sequence type to JSON."""
    kind = scalar.type
    if pa.types.is_timestamp(kind):
        return scalar.cast(pa.timestamp("us", kind.tz)).value
    value = scalar.as_py()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime.date):
        return value.toordinal() - _EPOCH_DAY
    if isinstance(value, bytes):
        return value.hex()
    return value


def from_json(value: Any, kind: pa.DataType) -> pa.Scalar:
    """Convert the JSON form of :func:`to_json` to an Arrow scalar."""
    if pa.types.is_timestamp(kind):
        return pa.scalar(value, pa.int64()).cast(kind)
    if pa.types.is_date(kind):
        return pa.scalar(value, pa.int32()).cast(kind)
    if pa.types.is_decimal(kind):
        return pa.scalar(Decimal(value), kind)
    if pa.types.is_binary(kind):
        return pa.scalar(bytes.fromhex(value), kind)
    return pa.scalar(value, kind)


def unscaled(value: int | str, kind: pa.DataType) -> int | str:
    """Convert a JSON form to the form of file bounds: decimals to unscaled integers, others unchanged."""
    if not pa.types.is_decimal(kind):
        return value
    sign, digits, exponent = Decimal(value).as_tuple()
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    return int(number * 10 ** (int(exponent) + kind.scale))


def quote(row: Sequence[pa.Scalar]) -> list[Any] | None:
    """Convert a tuple of scalars to JSON; None if a value is too long for a manifest."""
    values = [to_json(scalar) for scalar in row]
    if any(isinstance(value, str) and len(value) > LONGEST_QUOTED for value in values):
        return None
    return values


def shown(value: Any) -> Any:
    """Convert a value of a row to readable JSON, in the forms of docs/formats.md."""
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat()
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [shown(element) for element in value]
    if isinstance(value, dict):
        return {name: shown(member) for name, member in value.items()}
    return value


def python_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Convert rows to Python values; times out of Python's range become text, invalid strings bytes."""
    columns = [_python_values(column) for column in rows.columns]
    return [dict(zip(rows.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        values = [_python_value(scalar) for scalar in column]
    return values


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        # A time out of the range of Python's calendar, or a string that is not UTF-8.
        return scalar.cast(_printable_type(scalar.type)).as_py()


def _printable_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_map(kind):
        return pa.map_(_printable_type(kind.key_type), _printable_type(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_printable_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _printable_type(field.type)) for field in kind])
    return kind


def json_rows(rows: pa.Table) -> list[str]:
    """Convert rows of any types to JSON objects."""
    return [json.dumps(shown(row), ensure_ascii=False, default=str) for row in python_rows(rows)]
