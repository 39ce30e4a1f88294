"""Key and sequence values as JSON, exactly: the form in which manifests quote ranges.

Integers, booleans and strings are themselves; decimals are strings; dates are days and timestamps microseconds
since 1970; binary is hex.
"""

from __future__ import annotations

import datetime
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
