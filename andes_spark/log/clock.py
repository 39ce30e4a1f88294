"""Comparison of the writer's clock with the store's, before it dates a manifest.

Times of manifests order versions and limit the retention of batch ids and tombstones. Time never runs backwards in the
log, so a version with a time far in the future would move all later versions there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from andes_spark.errors import ClockError
from andes_spark.log.log import Log
from andes_spark.log.new_folder import probe
from andes_spark.log.probing import HINT, write_hint
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.interface import ObjectInfo

TOLERANCE_MS = 5 * 60 * 1000
_RECHECK_MS = 10 * 60 * 1000
_DRIFT_MS = 1000
"""Drift between the machine's clock and its monotonic clock that causes another check."""


@dataclass(frozen=True)
class CheckedClock:
    """A clock that agrees with the store's; made by :func:`check_clock` only.

    Attributes:
        now: milliseconds since 1970 UTC.
    """

    now: Callable[[], int]


class StoreClock:
    """Periodic check of the clock of one process against a store's.

    The result of a check is reused while the clock runs evenly.

    Args:
        log: of the table.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._checked: tuple[float, int] | None = None

    def check(self, *, begun: int, written: str | None = None) -> CheckedClock:
        """Check the clock as :func:`check_clock` does, if the last check is old or the clock was set after it."""
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
        written: path of a file that this attempt wrote; without one, an object is put.

    Raises:
        ClockError: this machine's clock, or the time of the head, deviates by more than the tolerance.
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
    """Object put for the check: the hint of an existing log; the head's manifest if the hint is not visible."""
    if log.head < 0:
        return probe(log.storage)
    write_hint(log.storage, log.head)
    return log.storage.info(HINT) or log.storage.info(manifest_path(log.head))
