"""Conversion of PostgreSQL's types and printed values to the columns of mods.

Values arrive as PostgreSQL prints them (ISO date style, hexadecimal ``bytea``) and are converted to Arrow
columns exactly: numbers are never converted to floating point in between.

=================================  ==========================  ==========================================
PostgreSQL                         column                      values
=================================  ==========================  ==========================================
smallint, integer, bigint, oid     short, integer, long, long
real, double precision             float, double
numeric(p, s), p up to 38          decimal(p, s)               exact
boolean                            boolean
date                               date                        years 1 to 9999
timestamp with time zone           timestamp                   microseconds since 1970 in UTC
timestamp without time zone        timestamp_ntz               microseconds, no zone
bytea                              binary
all others: text, varchar, uuid,   string                      as PostgreSQL prints them: an array as
json, jsonb, arrays, enums, ...                                ``{a,b}``, a document as its text
=================================  ==========================  ==========================================
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from andes_spark.errors import UnsupportedTableError
from andes_spark.schema.schema import DataType, Decimal, Primitive

_TYPES = {
    "smallint": "short",
    "integer": "integer",
    "bigint": "long",
    "oid": "long",
    "real": "float",
    "double precision": "double",
    "boolean": "boolean",
    "bytea": "binary",
    "date": "date",
    "timestamp with time zone": "timestamp",
    "timestamp without time zone": "timestamp_ntz",
}
_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_PRECISION = re.compile(r"^(timestamp)\(\d\)")
_MAX_PRECISION = 38


def column_type(name: str, *, column: str) -> DataType:
    """Return the type of a column for a PostgreSQL type name such as ``numeric(18,4)`` or ``text[]``.

    Raises:
        UnsupportedTableError: a ``numeric`` without a fixed scale, or of more than 38 digits;
            ``feature``, ``column``.
    """
    if name.startswith("numeric") and not name.endswith("]"):
        match = _NUMERIC.fullmatch(name)
        precision, scale = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 0 <= scale <= precision <= _MAX_PRECISION or not precision:
            raise UnsupportedTableError(
                f"column {column!r} is {name}, which no decimal type holds for all values: give the schema "
                "yourself, with a decimal that is wide enough or with a string",
                feature="numeric",
                column=column,
            )
        return Decimal(precision, scale)
    return Primitive(_TYPES.get(_PRECISION.sub(r"\1", name), "string"))


def to_column(values: Sequence[Any], type_: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Convert printed values to an Arrow column.

    Args:
        values: a string, a boolean or None for each row; numbers as strings.
        type_: Arrow type of a plain column.

    Raises:
        ValueError: a value that the type cannot hold (pyarrow's ``ArrowInvalid`` is one).
        TypeError: a boolean for another type, or text for a boolean.
    """
    if pat.is_boolean(type_) or pat.is_string(type_):
        return pa.array(values, type_)
    if pat.is_binary(type_):
        return pa.array([None if value is None else bytes.fromhex(value) for value in values], type_)
    try:
        return pa.array(values, pa.string()).cast(type_)
    except pa.ArrowInvalid:
        if not pat.is_timestamp(type_) or type_.tz is None:
            raise
        # Offsets of historical local times have seconds: 1890-01-01 00:00:00+00:53:28.
        return pa.array([None if value is None else _with_zone(value) for value in values], type_)


def find_bad(values: Sequence[Any], type_: pa.DataType) -> int | None:
    """Return the position of the first value that the type cannot hold, or None."""
    return next((at for at, value in enumerate(values) if not _fits(value, type_)), None)


def is_same(one: Any, other: Any, type_: pa.DataType) -> bool:
    """Return whether two printed values are equal values of a column, such as the decimals 1.0 and 1.00."""
    if one == other or one is None or other is None:
        return bool(one == other)
    return bool(pat.is_decimal(type_) and decimal.Decimal(one) == decimal.Decimal(other))


def is_supported(type_: pa.DataType) -> bool:
    """Return whether a column of this Arrow type can be filled from PostgreSQL's printed values."""
    return any(test(type_) for test in _SUPPORTED)


def _fits(value: Any, type_: pa.DataType) -> bool:
    try:
        to_column([value], type_)
    except (ValueError, TypeError):
        return False
    return True


def _with_zone(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time stamp without a zone: {text}")
    return moment


_SUPPORTED: tuple[Callable[[pa.DataType], bool], ...] = (
    pat.is_boolean,
    pat.is_string,
    pat.is_binary,
    pat.is_signed_integer,
    pat.is_floating,
    pat.is_decimal,
    pat.is_date32,
    pat.is_timestamp,
)
