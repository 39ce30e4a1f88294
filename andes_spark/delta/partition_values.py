"""Partition values of the log: the Delta protocol, "Partition Value Serialization"."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

from andes_spark.errors import LogDamagedError, OptionError, UnsupportedTableError
from andes_spark.schema.schema import DataType, Decimal, Primitive, simple_string

_INTEGERS = frozenset({"byte", "short", "integer", "long"})


def partition_value(value: Any, type_: DataType) -> str | None:
    """Convert a value to a partition value of the log, in the one form that every reader accepts.

    Args:
        value: result of pyarrow's ``as_py``; None for null.
        type_: type of the column.

    Raises:
        OptionError: an empty string, which Delta would read as null.
        UnsupportedTableError: a type that cannot partition a table; ``feature``.
    """
    if value is None:
        return None
    if isinstance(type_, Decimal):
        return format(value, f".{type_.scale}f")
    match type_.name if isinstance(type_, Primitive) else None:
        case "byte" | "short" | "integer" | "long":
            return str(int(value))
        case "boolean":
            return "true" if value else "false"
        case "string":
            if value == "":
                raise OptionError("an empty string cannot be a partition value: Delta reads it as NULL")
            return str(value)
        case "date":
            return str(value.isoformat())
        case "timestamp":
            utc = value.astimezone(datetime.UTC).replace(tzinfo=None)
            return f"{utc.isoformat(timespec='microseconds')}Z"
        case "timestamp_ntz":
            return str(value.isoformat(sep=" "))
        case "float" | "double":
            return _java_float(float(value))
    raise _no_partition(type_)


def parse_partition_value(text: str | None, type_: DataType) -> Any:
    """Parse a partition value of the log: a value for ``pa.scalar``, None for null.

    Timestamps have the zone UTC.

    Raises:
        LogDamagedError: not a value of the type.
        UnsupportedTableError: a timestamp without a zone, which readers interpret differently, or a
            type that cannot partition a table; ``feature``.
    """
    if text is None or text == "":
        return None
    try:
        return _parse_partition_value(text, type_)
    except (ValueError, decimal.InvalidOperation) as error:
        raise LogDamagedError(f"partition value {text!r} is no {simple_string(type_)}") from error


def _parse_partition_value(text: str, type_: DataType) -> Any:
    if isinstance(type_, Decimal):
        return decimal.Decimal(text)
    name = type_.name if isinstance(type_, Primitive) else ""
    if name in _INTEGERS:
        return int(text)
    if name == "string":
        return text
    if name == "date":
        return datetime.date.fromisoformat(text)
    if name in ("timestamp", "timestamp_ntz"):
        time = datetime.datetime.fromisoformat(text)
        if name == "timestamp_ntz":
            return time.replace(tzinfo=None)
        if time.tzinfo is None:
            raise UnsupportedTableError(
                f"partition value {text!r} is a timestamp without a time zone: rewrite the partition with a "
                "newer Delta, which writes it in UTC",
                feature="timestamp partition values without a zone",
            )
        return time.astimezone(datetime.UTC)
    if name == "boolean" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if name in ("float", "double"):
        return float(text)
    if name == "boolean":
        raise ValueError(text)
    raise _no_partition(type_)


def _java_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _no_partition(type_: DataType) -> UnsupportedTableError:
    name = simple_string(type_)
    return UnsupportedTableError(
        f"a column of type {name} cannot partition a table: choose another", feature=f"partition by {name}"
    )
