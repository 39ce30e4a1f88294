"""Pinning a version: it stays readable for some days, whatever a vacuum releases."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from itertools import groupby

from andes_spark.errors import VersionExpiredError
from andes_spark.log.clock import TOLERANCE_MS
from andes_spark.log.dropped import refuse_gone
from andes_spark.log.log import Log
from andes_spark.log.pins import StoredPin, day_of, is_of_table, new_owner, stored_pins
from andes_spark.log.readable import floor_of, is_tagged
from andes_spark.model.display import Displayed, Listing, count_text
from andes_spark.model.upkeep_options import PinOptions
from andes_spark.table.open_table import OpenTable

_SURE = datetime.timedelta(days=2)
"""Time for which another pin must hold, so that a vacuum under way has seen it as one that holds, by any clock."""


@dataclass(frozen=True, repr=False)
class PinResult(Displayed):
    """Result of pinning a version, or of removing its pins, as ``ModTable.pin`` and ``unpin`` return it.

    Attributes:
        version: version that is kept, or that is not kept any more.
        until: last day on which the version is kept, in UTC; None if pins were removed.
        removed: number of pins that were removed.
    """

    version: int
    until: datetime.date | None
    removed: int = 0

    def summary(self) -> str:
        """See ``Displayed``."""
        if self.until is not None:
            return f"version {self.version} is kept until {self.until}"
        mood = "was" if self.removed == 1 else "were"
        return f"{count_text(self.removed, 'pins')} of version {self.version} {mood} removed"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {"pin": self.summary()}


@dataclass(frozen=True, repr=False)
class PinnedVersion(Displayed):
    """A version with pins, as ``ModTable.pins`` lists it.

    Attributes:
        version: version that is kept.
        until: last day on which one of the pins holds, in UTC.
        pins: number of pins of the version.
    """

    version: int
    until: datetime.date
    pins: int

    def summary(self) -> str:
        """See ``Displayed``."""
        return f"version {self.version}: {count_text(self.pins, 'pins')}, until {self.until}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {"version": str(self.version), "until": str(self.until), "pins": str(self.pins)}


def pin_version(open_table: OpenTable, options: PinOptions) -> PinResult:
    """Pin a version; see ``ModTable.pin``.

    The object comes before the read of the floor: see ``log.pins``.
    """
    log = open_table.log
    steps = open_table.begin("pin", log.head)
    with steps.step("read the log"):
        # With the stored head: nothing is written into the folder of a table that is gone.
        looks_ahead = options.version is None or options.version > log.head
        head = log.take_newer(log.ask_newer(look_ahead=looks_ahead))
        version = head if options.version is None else options.version
        log.manifest(version)
        today = day_of(log.clock())
    pin = StoredPin(version, today + datetime.timedelta(days=options.days), new_owner(open_table.table_id))
    with steps.step("write the pin"):
        open_table.storage.put(pin.path, b"{}")
    with steps.step("read the floor"):
        log.refresh()
        kept = _is_kept(open_table, pin, today)
    if kept:
        return PinResult(version, pin.until)
    open_table.storage.delete([pin.path])
    if options.version is None:
        return pin_version(open_table, options)  # the newest version is another one now
    raise _expired(log, version)


def _is_kept(open_table: OpenTable, pin: StoredPin, today: datetime.date) -> bool:
    """Whether no vacuum up to now can have missed a pin of a version."""
    log, version = open_table.log, pin.version
    if version >= floor_of(log) or is_tagged(log, version):
        return True
    others = [other for other in stored_pins(open_table.storage) if other.version == version and other != pin]
    # A pin that was put about when the version was released may be one that the vacuum did not see, and about to fail.
    seen_ms = _released_ms(log, version) - 2 * TOLERANCE_MS if others else 0
    return any(other.until >= today + _SURE and other.put_ms < seen_ms for other in others)


def _released_ms(log: Log, version: int) -> int:
    """Time of the first version whose floor is above a version, in milliseconds since 1970."""
    first, last = version + 1, log.head
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if log.manifest(middle).floor > version else (middle + 1, last)
    return log.manifest(last).time


def unpin(open_table: OpenTable, version: int) -> PinResult:
    """Remove the pins of a version; see ``ModTable.unpin``."""
    open_table.begin("unpin", open_table.log.head)
    storage, table_id = open_table.storage, open_table.table_id
    pins = [pin for pin in stored_pins(storage) if pin.version == version and is_of_table(pin, table_id)]
    if not pins:
        refuse_gone(storage, table_id)
    storage.delete(pin.path for pin in pins)
    return PinResult(version, None, len(pins))


def pins(open_table: OpenTable) -> Listing[PinnedVersion]:
    """Return the pinned versions; see ``ModTable.pins``."""
    groups = groupby(stored_pins(open_table.storage), lambda pin: pin.version)
    listed = ((version, list(group)) for version, group in groups)
    return Listing(PinnedVersion(version, max(pin.until for pin in group), len(group)) for version, group in listed)


def _expired(log: Log, version: int) -> VersionExpiredError:
    floor = floor_of(log)
    return VersionExpiredError(
        f"{log.table}: version {version} cannot be pinned: a vacuum, forget or repair released the versions below "
        f"{floor}; pin that one or a later one",
        table=log.table,
        version=version,
        floor=floor,
    )
