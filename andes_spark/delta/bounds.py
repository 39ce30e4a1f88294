"""Bounds of a column in a file, from its statistics, never narrower than the values in the file.

This holds for statistics of any writer: strings may be cut off, times are truncated to milliseconds, and decimals
may have been converted to doubles. Missing or malformed bounds are unknown.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Mapping
from typing import Any

from andes_spark.schema.schema import DataType, Decimal, Primitive

ColumnRange = tuple[int | str | None, int | str | None]

_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_INTEGERS = frozenset({"byte", "short", "integer", "long"})
_LAST_CHARACTER = "\U0010ffff"
# Unscaled decimals below this survive a double, whose 53 bits keep any 15 digits.
_EXACT = 10**15
_MAX_DIGITS = 80


def column_range(statistics: Mapping[str, Any], column: str, type_: DataType) -> ColumnRange:
    """Return bounds of a column in a file: no value of the file lies outside them.

    Args:
        statistics: parsed statistics of the file, as ``DataFile.stats``.
        column: name of a top-level column.
        type_: its type.

    Returns:
        The least and the greatest value, None if unknown. Integers for integer types, days since 1970
        for dates, microseconds since 1970 for timestamps, unscaled integers for decimals; strings in
        code point order (that of Spark and Parquet). Other types have no bounds.
    """
    reader = bound_reader(type_)
    low, high = _member(statistics, "minValues", column), _member(statistics, "maxValues", column)
    if reader is None:
        return None, None
    return reader(low, False), reader(high, True)


def bound_reader(type_: DataType) -> Callable[[Any, bool], int | str | None] | None:
    """Return the function from a JSON bound, and whether it is the upper one, to a comparable value."""
    if isinstance(type_, Decimal):
        scale = type_.scale
        return lambda value, upper: _decimal_bound(value, scale, upper)
    if not isinstance(type_, Primitive):
        return None
    if type_.name in _INTEGERS:
        return _integer_bound
    return {
        "string": _string_bound,
        "date": _date_bound,
        "timestamp": lambda value, upper: _time_bound(value, upper, zoned=True),
        "timestamp_ntz": lambda value, upper: _time_bound(value, upper, zoned=False),
    }.get(type_.name)


def _member(stats: Mapping[str, Any], kind: str, column: str) -> Any:
    values = stats.get(kind)
    return values.get(column) if isinstance(values, dict) else None


def _integer_bound(value: Any, upper: bool) -> int | None:
    return value if type(value) is int else None


def _decimal_bound(value: Any, scale: int, upper: bool) -> int | None:
    """Convert to an unscaled integer, one step of a double wider if the number may have been rounded to one.

    Some writers, among them Delta's own when it changes ``tightBounds``, convert decimals to doubles,
    which keep any 15 digits.
    """
    if type(value) is int:
        value = decimal.Decimal(value) if abs(value) < 10**_MAX_DIGITS else None
    if not isinstance(value, decimal.Decimal) or not value.is_finite() or value.adjusted() > _MAX_DIGITS:
        return None
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    number = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
    shift = exponent + scale
    if shift >= 0:
        unscaled, rest = number * int("1" + "0" * shift), 0
    else:
        unscaled, rest = divmod(number, int("1" + "0" * min(-shift, 2 * _MAX_DIGITS + len(digits))))
    if not rest and abs(unscaled) < _EXACT:
        return unscaled
    step = (abs(unscaled) >> 51) + 1
    return unscaled + step if upper else unscaled - step


def _string_bound(value: Any, upper: bool) -> str | None:
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        return None
    return _above_prefix(value) if upper else value


def _above_prefix(text: str) -> str | None:
    """Return a string above all strings that begin with ``text``, since a maximum may have been cut off."""
    kept = text.rstrip(_LAST_CHARACTER)
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)


def _date_bound(value: Any, upper: bool) -> int | None:
    try:
        return datetime.date.fromisoformat(value).toordinal() - _EPOCH.toordinal()
    except (TypeError, ValueError):
        return None


def _time_bound(value: Any, upper: bool, *, zoned: bool) -> int | None:
    """Convert to microseconds, a millisecond wider, since writers truncate to milliseconds."""
    try:
        time = datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    offset = time.utcoffset()
    if zoned and offset is None:
        return None
    margin = 1_000
    if offset:
        # Spark writes offsets to the minute; those of local mean time have seconds.
        margin += 60_000_000
    micros = (time.replace(tzinfo=None) - (offset or datetime.timedelta()) - _EPOCH) // _MICROSECOND
    return micros + margin if upper else micros - margin
