"""The line of a version: the versions that determine its rows, of which restores leave out others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from andes_spark.model.events import PendingVersion, Restore, SetAside, TakeIn
from andes_spark.model.manifest import Manifest

Version = TypeVar("Version", PendingVersion, Manifest)


def restored(version: PendingVersion | Manifest) -> int | None:
    """Return the version that a version restores; None if it restores none."""
    return next((event.version for event in version.events if isinstance(event, Restore)), None)


def line(versions: Sequence[PendingVersion]) -> list[PendingVersion]:
    """Select the versions that determine the rows of the last one: not those between a restore and what it restores.

    Args:
        versions: oldest first.
    """
    return list(walk(reversed(versions)))[::-1]


def walk(newest_first: Iterable[Version]) -> Iterator[Version]:
    """Yield the versions of the line of the first one, newest first; see :func:`line`."""
    end: int | None = None
    for version in newest_first:
        if end is None or version.version <= end:
            end = restored(version)
            yield version


def newest_base(versions: Sequence[PendingVersion], applied: int) -> int | None:
    """Return the newest version that a base may contain to evaluate these versions on it; None for no limit.

    The base may contain versions that were set aside, or left out by a restore; later snapshots do not contain them.

    Args:
        versions: those after ``applied``, oldest first.
        applied: version that the base contains.
    """
    bounds = []
    for version in line(versions):
        for event in version.events:
            if isinstance(event, SetAside) and event.version <= applied:
                bounds.append(event.version - 1)
            if isinstance(event, Restore) and event.version < applied:
                bounds.append(event.version)
    return min(bounds, default=None)


def taken_in(versions: Sequence[PendingVersion]) -> tuple[PendingVersion, TakeIn] | None:
    """Find the last version of the line that takes a state of the base in, with the event; None if none does."""
    for version in reversed(line(versions)):
        for event in version.events:
            if isinstance(event, TakeIn):
                return version, event
    return None


def whole_versions(versions: Sequence[PendingVersion]) -> list[int]:
    """Return the possible last versions of a merge: all of the line but those from a version set aside to its event."""
    selected = line(versions)
    excluded = [
        (event.version, version.version)
        for version in selected
        for event in version.events
        if isinstance(event, SetAside)
    ]
    numbers = (version.version for version in selected)
    return [number for number in numbers if not any(first <= number < end for first, end in excluded)]


def up_to(versions: Sequence[PendingVersion], last: int) -> list[PendingVersion]:
    """Return the versions of the line up to ``last``, without those that any of them sets aside."""
    selected = line(versions)
    excluded = {event.version for version in selected for event in version.events if isinstance(event, SetAside)}
    return [version for version in selected if version.version <= last and version.version not in excluded]


def difference(read: Callable[[int], Sequence[PendingVersion]], earlier: int, later: int) -> dict[int, PendingVersion]:
    """Find the versions with mods that determine the rows of one of two versions, and not those of the other.

    These are the versions between the two, without restores and versions set aside. A restore adds those that it
    leaves out, a set-aside the version that it excludes. Rows of keys that none of them names are equal.

    Args:
        read: function that returns the versions after a version up to ``later``, oldest first.
        earlier: version.
        later: version at or above ``earlier``.
    """
    low = earlier
    while True:
        versions = {version.version: version for version in read(low)}
        older = line([version for number, version in versions.items() if number <= earlier])
        newer = line(list(versions.values()))
        ends = [_end(selected, low) for selected in (older, newer)]
        numbers = {version.version for version in older} ^ {version.version for version in newer}
        aside = {
            event.version for number in numbers for event in versions[number].events if isinstance(event, SetAside)
        }
        reach = min(aside, default=low + 1) - 1
        if ends[0] == ends[1] and reach >= low:
            return {number: versions[number] for number in sorted(numbers | aside)}
        low = min(*ends, reach)


def _end(selected: Sequence[PendingVersion], low: int) -> int:
    """Version at or below ``low`` with which a line goes on."""
    target = restored(selected[0]) if selected else None
    return low if target is None else min(low, target)
