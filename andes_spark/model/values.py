"""Key and sequence values as JSON, exactly: the form in which manifests quote ranges.

Integers, booleans and strings are themselves; decimals are strings; dates are days and timestamps microseconds
since 1970; binary is hex.
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
"""Characters of a string (bytes of a binary) above which a range is left out of a manifest."""

_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()


def to_json(scalar: pa.Scalar) -> Any:
    """JSON form of a non-null Arrow scalar of a key or sequence type."""
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
    """The Arrow scalar that :func:`to_json` made ``value`` of."""
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
    """A quoted value as files' bounds count: decimals by their unscaled integer, others as they are quoted."""
    if not pa.types.is_decimal(kind):
        return value
    sign, digits, exponent = Decimal(value).as_tuple()
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    return int(number * 10 ** (int(exponent) + kind.scale))


def quote(row: Sequence[pa.Scalar]) -> list[Any] | None:
    """JSON forms of a tuple of scalars, or None where one is too long to stand in a manifest."""
    values = [to_json(scalar) for scalar in row]
    if any(isinstance(value, str) and len(value) > LONGEST_QUOTED for value in values):
        return None
    return values


def shown(value: Any) -> Any:
    """A value of a row as JSON that a person or program can read back; the forms are those of docs/formats.md."""
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
        return [shown(each) for each in value]
    if isinstance(value, dict):
        return {name: shown(each) for name, each in value.items()}
    return value


def python_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as Python values; what Python has no value for is told as text (times) or bytes (broken strings)."""
    columns = [_python_values(column) for column in rows.columns]
    return [dict(zip(rows.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    try:
        found: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        found = [_python_value(scalar) for scalar in column]
    return found


def _python_value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        # Times that Python's calendar does not have, which Arrow can write all the same, or bytes that are no text.
        return scalar.cast(_tellable(scalar.type)).as_py()


def _tellable(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_map(kind):
        return pa.map_(_tellable(kind.key_type), _tellable(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_tellable(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _tellable(field.type)) for field in kind])
    return kind


def json_rows(rows: pa.Table) -> list[str]:
    """Rows as JSON objects, whatever they hold."""
    return [json.dumps(shown(row), ensure_ascii=False, default=str) for row in python_rows(rows)]
