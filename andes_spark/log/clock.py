"""The store's clock: what dates a manifest is compared with it first.

Times of manifests order versions, and say how long batch ids and tombstones are kept. The clock of one machine
that is far off would be in the log for good, since time never runs backwards there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from andes_spark.errors import ClockError
from andes_spark.log.log import Log
from andes_spark.log.probing import HINT
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.interface import ObjectInfo, Storage

TOLERANCE_MS = 5 * 60 * 1000
_RECHECK_MS = 10 * 60 * 1000
_DRIFT_MS = 1000
"""Difference between the machine's clock and its monotonic one from which on it is checked anew."""
PROBE = "_andes_clock"
"""Object that a create puts to see the time that the store gives it, and deletes again."""


@dataclass(frozen=True)
class CheckedClock:
    """A clock that agreed with the store's; only :func:`check_clock` makes one.

    Attributes:
        now: milliseconds since 1970 UTC.
    """

    now: Callable[[], int]


class StoreClock:
    """Checks the clock of one process against a store's, and again from time to time.

    Whether this machine's clock is right is no property of a batch: while it runs evenly, it stays so.

    Args:
        log: of the table.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._checked: tuple[float, int] | None = None

    def check(self, *, begun: int, written: str | None = None) -> CheckedClock:
        """Check the clock as :func:`check_clock` does, if the last check is old or the clock was set since."""
        ticks, now = time.monotonic(), self._log.clock()
        if self._checked is not None:
            passed_ms = 1000 * (ticks - self._checked[0])
            if passed_ms < _RECHECK_MS and abs(now - self._checked[1] - passed_ms) < _DRIFT_MS:
                _check_head(self._log, now)
                return CheckedClock(self._log.clock)
        clock = check_clock(self._log, begun=begun, written=written)
        self._checked = (ticks, now)
        return clock


def check_clock(log: Log, *, begun: int, written: str | None = None) -> CheckedClock:
    """Compare this machine's clock, and the time of the head, with the clock of the store.

    Args:
        log: of the table; refreshed, or of a table that is being created.
        begun: this machine's time before ``written`` was written; a batch may take hours.
        written: path of a file that this attempt wrote; None where it wrote none, then an object is put.

    Raises:
        ClockError: this machine's clock, or the time of the head, is further off than the tolerance.
    """
    stored = log.storage.info(written) if written is not None else None
    if stored is None:
        begun, stored = log.clock(), _probe(log)
    now = log.clock()
    if stored is not None and not begun - TOLERANCE_MS <= stored.modified_ms <= now + TOLERANCE_MS:
        off = ((begun if stored.modified_ms < begun else now) - stored.modified_ms) / 1000
        raise ClockError(
            f"{log.table}: this machine's clock is {off:+.0f} s from the store's; set it right, since versions are "
            "ordered in time",
            table=log.table,
            off_seconds=off,
        )
    if log.head >= 0:
        _check_head(log, max(now, stored.modified_ms if stored is not None else now))
    return CheckedClock(log.clock)


def _check_head(log: Log, now: int) -> None:
    ahead = log.manifest(log.head).time - now
    if ahead > TOLERANCE_MS:
        raise ClockError(
            f"{log.table}: version {log.head} is dated {ahead / 1000:.0f} s after the store's time, and later versions "
            "would be too; if the store's clock is wrong, set it right, else restore the log as it was before that "
            "version",
            table=log.table,
            version=log.head,
            off_seconds=ahead / 1000,
        )


def _probe(log: Log) -> ObjectInfo | None:
    """An object put just now: the hint where there is a log; the head's manifest where the store shows no other."""
    if log.head < 0:
        return _probe_new(log.storage)
    log.storage.put(HINT, msgspec.json.encode({"version": log.head}), sync=False)
    return log.storage.info(HINT) or log.storage.info(manifest_path(log.head))


def _probe_new(storage: Storage) -> ObjectInfo | None:
    storage.put(PROBE, b"{}", sync=False)
    try:
        return storage.info(PROBE)
    finally:
        storage.delete([PROBE])
