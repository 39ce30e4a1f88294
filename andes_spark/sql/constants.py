"""Constants of a text: conversion of written numbers, strings and times to values of a kind.

Times are accepted in one format only, since Spark reads others with the time zone of its session.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import isfinite

from andes_spark.sql.kinds import BINARY, DATE, DOUBLE, LOCAL_TIME, TIME, Exact, Kind
from andes_spark.sql.refusal import Source, shortened
from andes_spark.sql.tree import Value

_SUFFIXED = {"TINYINT": range(-(2**7), 2**7), "SMALLINT": range(-(2**15), 2**15), "BIGINT": range(-(2**63), 2**63)}
_EPOCH = datetime(1970, 1, 1)
_DATE = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"[ T]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?"
_ZONE = r" ?(Z|UTC|[+-]\d{2}:\d{2})"
_WRITTEN = re.compile(rf"({_DATE})({_CLOCK})?(?:{_ZONE})?")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")


def number(source: Source, digits: str, *, negative: bool = False, suffix: str = "") -> Value:
    """Parse a number as Spark does: with an exponent a double, with a point a decimal, else a whole number.

    Args:
        source: source of the text, for messages.
        digits: the number without a sign.
        negative: whether the sign is a minus.
        suffix: SQL type of a suffix of letters; empty for none.

    Raises:
        OptionError: a number out of the range of its type.
    """
    written = f"-{digits}" if negative else digits
    if suffix == "DOUBLE" or (not suffix and "e" in digits.lower()):
        if not isfinite(float(written)):
            raise source.error(f"the number {shortened(written)} is too large for a double")
        return Value(DOUBLE, float(written))
    value = Decimal(written)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if suffix in _SUFFIXED and (exponent != 0 or int(value) not in _SUFFIXED[suffix]):
        raise source.error(f"the number {shortened(written)} is not a {suffix}")
    scale = max(-exponent, 0)
    unscaled = int("".join(map(str, value.as_tuple().digits))) * 10 ** max(exponent, 0)
    unscaled = -unscaled if value.is_signed() else unscaled
    kind = Exact(scale, unscaled, unscaled)
    if not kind.fits():
        raise source.error(f"the number {shortened(written)} has more than the 38 digits of a decimal")
    return Value(kind, unscaled)


def day(source: Source, written: str) -> Value:
    """Parse a date, ``2026-01-31``.

    Raises:
        OptionError: another format, or not a date of the calendar.
    """
    parts = _WRITTEN.fullmatch(written)
    if parts is None or parts[2] or parts[3]:
        raise source.error(f"DATE {written!r} is not a day: write it as DATE '2026-01-31'")
    try:
        return Value(DATE, (date.fromisoformat(written) - _EPOCH.date()).days)
    except ValueError as error:
        raise source.error(f"DATE {written!r} is not a day: {error}") from error


def time(source: Source, written: str) -> Value:
    """Parse a timestamp with a zone.

    Raises:
        OptionError: no zone, another format, or not in the calendar.
    """
    parts = _parts(source, "TIMESTAMP", written, "TIMESTAMP '2026-01-31 12:00:00Z' or '... +01:00'")
    if parts[3] is None:
        raise source.error(
            f"TIMESTAMP {written!r} depends on the time zone of the session: say the zone, as in "
            f"TIMESTAMP '{written}Z' or '{written}+01:00', or write TIMESTAMP_NTZ for a time without zone"
        )
    return Value(TIME, _microseconds(source, parts) - _offset(source, parts[3]))


def local_time(source: Source, written: str) -> Value:
    """Parse a timestamp without a zone.

    Raises:
        OptionError: a zone, another format, or not in the calendar.
    """
    parts = _parts(source, "TIMESTAMP_NTZ", written, "TIMESTAMP_NTZ '2026-01-31 12:00:00'")
    if parts[3] is not None:
        raise source.error(f"TIMESTAMP_NTZ {written!r} has a zone: leave it out, or write TIMESTAMP")
    return Value(LOCAL_TIME, _microseconds(source, parts))


def literal(kind: Kind, written: str) -> str | None:
    """Return a text as a literal of a day or a time, an example if it is neither; None for other kinds."""
    parts = _WRITTEN.fullmatch(written)
    day, clock, zone = (None, None, None) if parts is None else parts.groups()
    day, clock, zone = day or "2026-01-31", clock or " 00:00:00", zone or "Z"
    words: dict[Kind, str] = {
        DATE: f"DATE '{day}'",
        TIME: f"TIMESTAMP '{day}{clock}{zone}'",
        LOCAL_TIME: f"TIMESTAMP_NTZ '{day}{clock}'",
    }
    return words.get(kind)


def binary(source: Source, digits: str) -> Value:
    """Parse binary from hexadecimal digits.

    Raises:
        OptionError: other characters, or an odd number of digits.
    """
    if not _HEX.fullmatch(digits):
        raise source.error(f"X{shortened(digits)!r} is not bytes: write two hexadecimal digits for each")
    return Value(BINARY, bytes.fromhex(digits))


def _parts(source: Source, word: str, written: str, example: str) -> re.Match[str]:
    parts = _WRITTEN.fullmatch(written)
    if parts is None or parts[2] is None:
        raise source.error(f"{word} {shortened(written)!r} is not a time: write it as {example}")
    return parts


def _microseconds(source: Source, parts: re.Match[str]) -> int:
    try:
        return (datetime.fromisoformat(parts[1] + parts[2]) - _EPOCH) // timedelta(microseconds=1)
    except ValueError as error:
        raise source.error(f"{parts[0]!r} is not a time: {error}") from error


def _offset(source: Source, zone: str) -> int:
    """Offset of a zone from UTC in microseconds."""
    if zone in ("Z", "UTC"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:])
    # Spark accepts offsets up to 18 hours.
    if minutes >= 60 or hours * 60 + minutes > 18 * 60:
        raise source.error(f"the zone {zone} is not an offset from UTC of at most 18 hours")
    sign = -1 if zone[0] == "-" else 1
    return sign * (hours * 60 + minutes) * 60_000_000
