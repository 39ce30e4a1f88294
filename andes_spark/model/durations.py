"""Durations such as ``"30 days"`` in table properties and options."""

from __future__ import annotations

import re
from datetime import timedelta

from andes_spark.errors import OptionError

_FORM = re.compile(r"\s*(\d{1,9})\s*(second|minute|hour|day|week)s?\s*", re.IGNORECASE)


def parse_duration(text: str, *, option: str, also: str = "") -> timedelta:
    """Read a duration: a whole number and one of second, minute, hour, day, week (or their plurals).

    Args:
        text: for example ``"15 minutes"``.
        option: name of the option, for the error.
        also: other values of the option, for the error.

    Raises:
        OptionError: not a duration.

    >>> parse_duration("15 minutes", option="merge")
    datetime.timedelta(seconds=900)
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise OptionError(
            f'{option}: "{text}" is not {also}a duration; write a number and a unit, such as "15 minutes" or "30 days"',
            option=option,
            value=text,
        )
    return timedelta(**{f"{match[2].lower()}s": int(match[1])})
