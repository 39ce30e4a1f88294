"""Search for a version by its time: times of manifests never decrease, so a few rounds of requests suffice."""

from __future__ import annotations

from collections.abc import Sequence

from andes_spark.errors import NoSuchVersionError, OptionError, VersionExpiredError
from andes_spark.log.log import Log
from andes_spark.model.display import moment
from andes_spark.model.manifest import Manifest

_PROBES = 16
"""Maximum number of manifests that are read in parallel."""


def version_at(log: Log, time: int, text: str) -> int:
    """Find the newest version that was committed at a time or before it.

    Args:
        log: refreshed only if the version may be newer than those in memory.
        time: milliseconds since 1970.
        text: the same as text, for errors.

    Raises:
        OptionError: the time is after that of the newest version; ``option``.
        NoSuchVersionError: it is before version 0.
        VersionExpiredError: it is before the oldest readable version; ``floor``.
    """
    if log.manifest(log.head).time <= time:
        log.refresh()
        newest = log.manifest(log.head)
        if newest.time < time:
            raise OptionError(
                f"{log.table}: timestamp {text} is after version {newest.version}, the newest, which was committed at "
                f"{_text(newest.time)}; leave it out for the newest rows",
                table=log.table,
                option="timestamp",
            )
        if newest.time == time:
            return newest.version
    floor = log.manifest(log.head).floor
    times = {manifest.version: manifest.time for manifest in log.in_memory() if manifest.version >= floor}
    while True:
        low = max((version for version, at in times.items() if at <= time), default=floor - 1)
        high = min(version for version, at in times.items() if at > time)
        if high - low == 1:
            break
        times |= {manifest.version: manifest.time for manifest in log.some(_between(low, high))}
    if low < floor:
        raise _too_early(log.table, text, log.manifest(floor))
    return low


def _between(low: int, high: int) -> Sequence[int]:
    """Select versions between two that lead to neighbours in the fewest rounds, as few of them as possible."""
    gap = high - low
    rounds = 1
    while (_PROBES + 1) ** rounds < gap:
        rounds += 1
    parts = 2
    while parts**rounds < gap:
        parts += 1
    return sorted({low + gap * part // parts for part in range(1, parts)} - {low})


def _too_early(table: str, timestamp: str, oldest: Manifest) -> NoSuchVersionError | VersionExpiredError:
    text = f"{table}: timestamp {timestamp} is before version {oldest.version}, the oldest"
    if oldest.version == 0:
        return NoSuchVersionError(
            f"{text}, which was committed at {_text(oldest.time)}: the table did not exist yet", table=table
        )
    return VersionExpiredError(
        f"{text} that can be read, which was committed at {_text(oldest.time)}", table=table, floor=oldest.version
    )


def _text(time: int) -> str:
    at = moment(time)
    assert at is not None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
