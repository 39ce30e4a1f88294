"""The pending versions that a roll-up repeats."""

from __future__ import annotations

from collections.abc import Sequence

from andes_spark.model.events import PendingVersion, files_of

_ROLLED_ENTRIES = 1_000
"""Maximum number of entries and versions in a roll-up; older ones are in the roll-ups before it."""


def first_rolled(applied: int, last: int) -> int:
    """Version after which a roll-up collects pending versions; older ones would exceed its limit."""
    return max(min(applied, last), last - _ROLLED_ENTRIES)


def newest(versions: Sequence[PendingVersion]) -> list[PendingVersion]:
    """The newest versions, up to the limit of a roll-up."""
    room = _ROLLED_ENTRIES
    kept: list[PendingVersion] = []
    for version in reversed(versions):
        room -= len(list(files_of(version.events))) + 1
        if room < 0:
            break
        kept.append(version)
    return kept[::-1]
