"""Points in time as options: datetimes, dates and texts in ISO 8601, with or without a zone; durations."""

from __future__ import annotations

import contextlib
import datetime
import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from andes_spark.errors import OptionError
from andes_spark.model.durations import parse_duration
from andes_spark.model.options import Kind, is_text

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?")


def _read(value: Any) -> datetime.datetime | None:
    """Datetime of a value, without a zone if the value has none; None for other values."""
    if is_text(value):
        try:
            return datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if not isinstance(value, datetime.date) or value != value:  # pandas.NaT is not equal to itself
        return None
    return value if isinstance(value, datetime.datetime) else datetime.datetime.combine(value, datetime.time())


MOMENT = Kind(
    'a datetime, a date, or a text of ISO 8601 such as "2026-11-01T00:00:00Z"',
    lambda value: _read(value) is not None,
    _read,
    "moment",
)


def _read_expiry(value: Any) -> datetime.timedelta | datetime.datetime | None:
    if isinstance(value, datetime.timedelta):
        return value
    if is_text(value):
        with contextlib.suppress(OptionError, OverflowError):
            return parse_duration(value, option="expires")
    return _read(value)


EXPIRY = Kind(
    'a duration such as "90 days", a datetime, or a text of ISO 8601 such as "2027-11-01T00:00:00Z"',
    lambda value: _read_expiry(value) is not None,
    _read_expiry,
    "moment",
)


def milliseconds(moment: datetime.datetime, option: str, *, zone: str | None = None) -> int:
    """Convert a datetime to milliseconds since 1970, rounded down.

    Args:
        moment: with or without a zone.
        option: name of the option, for errors.
        zone: zone of a datetime without one; None to refuse it.

    Raises:
        OptionError: the zone of the datetime is not known, or a change of clocks skips or repeats it; ``option``.
    """
    if moment.utcoffset() is None:
        moment = _in_zone(moment, option, zone)
    return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)


def _in_zone(local: datetime.datetime, option: str, zone: str | None) -> datetime.datetime:
    text = local.replace(tzinfo=None).isoformat()
    known = None if zone is None else _zone(zone)
    if known is None:
        raise OptionError(
            f'{option}: {text} has no zone; write it with one, such as "{text}Z" for UTC or "{text}+02:00"',
            option=option,
            value=text,
        )
    earlier, later = (local.replace(tzinfo=known, fold=fold) for fold in (0, 1))
    if earlier.utcoffset() != later.utcoffset():
        raise OptionError(
            f"{option}: {text} is skipped or repeated by a change of clocks in {zone}; write it with an offset, such "
            f'as "{text}+02:00"',
            option=option,
            value=text,
        )
    return earlier


def _zone(name: str) -> datetime.tzinfo | None:
    """Zone by name or offset, as Spark names it; None for an unknown name."""
    offset = _OFFSET.fullmatch(name)
    if offset is not None:
        span = datetime.timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))
        return datetime.timezone(-span if offset[1] == "-" else span) if span < datetime.timedelta(days=1) else None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
