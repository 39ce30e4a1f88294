"""Options of the verbs that keep a table small and fast; see ``model.options``."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from andes_spark.errors import OptionError
from andes_spark.model.durations import parse_duration
from andes_spark.model.options import COUNT, FLAG, INTEGER, NAME, SECONDS, Kind, Options, is_text, option


def _duration(value: Any) -> datetime.timedelta:
    return value if isinstance(value, datetime.timedelta) else parse_duration(value, option="retain")


DURATION = Kind(
    'a duration such as "7 days"',
    lambda value: is_text(value) or (isinstance(value, datetime.timedelta) and value >= datetime.timedelta()),
    _duration,
)


AGE = Kind(
    'a duration such as "30 days"',
    DURATION.fits,
    lambda value: value if isinstance(value, datetime.timedelta) else parse_duration(value, option="older_than"),
)
ANYTHING = Kind("a sequence", lambda value: True, lambda value: value)

MOST_DAYS = 366
"""Longest age of a pin: a reader that is forgotten must not keep a version for ever."""
_DAYS = Kind(
    f"a number of days from 1 to {MOST_DAYS}", lambda value: COUNT.fits(value) and 1 <= value <= MOST_DAYS, int, "count"
)


@dataclass(frozen=True)
class PinOptions(Options):
    """Options of ``pin``."""

    version: int | None = option(INTEGER.or_none(), None, help="Version to keep; by default the newest.")
    days: int = option(_DAYS, 7, help=f"Number of days for which it is kept, up to {MOST_DAYS}.")


@dataclass(frozen=True)
class VacuumOptions(Options):
    """Options of ``vacuum``."""

    retain: datetime.timedelta = option(
        DURATION,
        "7 days",
        help="Versions that were the newest within this time stay readable, and files written within it stay.",
        metavar="DURATION",
    )
    dry_run: bool = option(FLAG, False, help="Only say what would be deleted; nothing is written.")


@dataclass(frozen=True)
class ExpireOptions(Options):
    """Options of ``expire``."""

    up_to: Any = option(
        ANYTHING, None, help="Sequence up to which deletes are forgotten, in place of an age.", metavar="SEQUENCE"
    )
    older_than: datetime.timedelta | None = option(
        AGE.or_none(),
        None,
        help="Deletes of versions of this age are forgotten; by default that of the table's lateness.",
        metavar="DURATION",
    )
    dry_run: bool = option(FLAG, False, help="Only say what would be forgotten; nothing is written.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.up_to is not None and self.older_than is not None:
            raise OptionError("up_to and older_than both say what to forget; leave one of them out", option="up_to")


@dataclass(frozen=True)
class ForgetOptions(Options):
    """Options of ``forget``."""

    condition: str | None = option(
        NAME.or_none(), None, help="Forget the keys of the rows that meet this condition, in SQL.", metavar="SQL"
    )
    confirm: str | None = option(
        NAME.or_none(), None, help="Name of the table's folder, or its URL; needed unless for a dry run."
    )
    dry_run: bool = option(FLAG, False, help="Only say what names the keys; nothing is written.")


@dataclass(frozen=True)
class CompactOptions(Options):
    """Options of ``compact``."""

    max_bytes: int | None = option(
        COUNT.or_none(), None, help="Bytes of files that may be written anew; by default as many as it takes."
    )
    dry_run: bool = option(FLAG, False, help="Only say which files are worn; nothing is written.")


@dataclass(frozen=True)
class MaintainOptions(Options):
    """Options of ``maintain``."""

    max_bytes: int | None = option(
        COUNT.or_none(), None, help="Bytes of files that compaction may write anew; by default as many as it takes."
    )
    max_seconds: float | None = option(
        SECONDS.or_none(), None, help="Time after which no further step is begun; by default all are."
    )
    retain: datetime.timedelta = option(
        DURATION, "7 days", help="As for vacuum: how long released versions stay readable.", metavar="DURATION"
    )
    dry_run: bool = option(FLAG, False, help="Only say what is due; nothing is written.")
