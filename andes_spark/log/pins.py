"""Pins: objects that keep a version, put by readers without a right to commit.

A pin is a small object named by its version, the last day on which it holds, and an id of its owner. Whoever pins puts
the object first and reads the floor afterwards; a vacuum commits its floor first and lists the pins afterwards. So one
of the two sees the other: a pin that the vacuum did not see fails.
"""

from __future__ import annotations

import datetime
import re
import uuid
from dataclasses import dataclass, field

from andes_spark.storage.interface import Storage

PINS = "_andes/pins"
_HALF = 18
"""Characters of the first half of a UUID."""
_NAME = re.compile(rf"{PINS}/(\d{{20}})\.(\d{{4}}-\d{{2}}-\d{{2}})\.([0-9a-f-]{{36}})")


@dataclass(frozen=True, order=True)
class StoredPin:
    """A pin of a version.

    Attributes:
        version: version that it keeps.
        until: last day on which it holds, in UTC.
        owner: id of the pin, see :func:`new_owner`.
        put_ms: time when it was put, by the store's clock, in milliseconds since 1970.
    """

    version: int
    until: datetime.date
    owner: str
    put_ms: int = field(default=0, compare=False)

    @property
    def path(self) -> str:
        """Path of the object below the table's folder."""
        return f"{PINS}/{self.version:020d}.{self.until.isoformat()}.{self.owner}"

    def holds(self, time_ms: int) -> bool:
        """Return whether the pin holds at a time, in milliseconds since 1970."""
        return day_of(time_ms) <= self.until


def new_owner(table_id: str) -> str:
    """Return an id for a pin: its first half is that of the table's id."""
    return table_id[:_HALF] + str(uuid.uuid4())[_HALF:]


def is_of_table(pin: StoredPin, table_id: str) -> bool:
    """Return whether a pin was put by a handle of a table, and not of another one that was made in the same folder."""
    return pin.owner[:_HALF] == table_id[:_HALF]


def day_of(time_ms: int) -> datetime.date:
    """Return the day of a time in UTC, given in milliseconds since 1970."""
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).date()


def stored_pins(storage: Storage) -> list[StoredPin]:
    """List the pins of a table, those that no longer hold included; one request for up to a thousand."""
    pins = []
    for info in storage.list(PINS):
        match = _NAME.fullmatch(info.path)
        if match is not None:
            until = datetime.date.fromisoformat(match[2])
            pins.append(StoredPin(int(match[1]), until, match[3], info.modified_ms))
    return sorted(pins)
