"""Choice of the sequence of an expire: the highest of old versions below all that arrived within an age."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from andes_spark.base.files import TableShape
from andes_spark.log.line import walk
from andes_spark.log.log import Log
from andes_spark.log.mod_files import open_entry, read_as
from andes_spark.log.pending import typed_sequence
from andes_spark.log.readable import floor_of
from andes_spark.model.events import Mods, SetAside
from andes_spark.model.files import Entry
from andes_spark.model.manifest import Manifest
from andes_spark.storage.interface import Storage

_AT_ONCE = 256
"""Number of manifests that are read at a time, from the newest downwards."""
_OLD_VERSIONS = 1024
"""Number of versions beyond the age that are looked at, so that a long history costs no more than a short one."""

Values = tuple[object, ...]


@dataclass(frozen=True)
class Choice:
    """Sequence of an expire.

    Attributes:
        sequence: sequence up to which it forgets; None if there is none.
        reason: why there is none; empty if there is one.
    """

    sequence: Values | None
    reason: str = ""


def choose_sequence(
    log: Log, storage: Storage, shape: TableShape, age: datetime.timedelta, cut: Values | None
) -> Choice:
    """Choose the sequence up to which deletes are forgotten: below all that arrived within an age.

    Of versions that a restore left out or that were set aside nothing counts, and of others the mods above the cut:
    those at or below it have taken no part, or an expire before has judged them. The newest version counts as within
    the age, so that one absurd sequence, such as the year 9999, does not cut off what still arrives.

    Args:
        log: log of the table.
        storage: the table's folder; files are read only where a version has mods on both sides of the cut.
        shape: shape of the table.
        age: age of the versions whose deletes may be forgotten, by the times of manifests.
        cut: sequence of the expires before; None for none.

    Raises:
        FileDamagedError: such a file is not what was committed.
    """
    young_since = log.clock() - int(age.total_seconds() * 1000)
    floor = floor_of(log)
    lowest: Values | None = None
    highest: Values | None = None
    old_versions = 0
    for manifest in _line(log):
        young = manifest.time > young_since or lowest is None
        old_versions += not young
        if old_versions > _OLD_VERSIONS:
            break
        for entry in _mod_files(manifest):
            bounds = _bounds(entry, shape)
            if bounds is None and young:
                return Choice(None, f"the sequences of version {manifest.version} are not known since a forget")
            if bounds is None or (cut is not None and bounds[1] <= cut):
                continue
            if young:
                if cut is None or bounds[0] > cut:
                    low = bounds[0]
                elif manifest.version > floor:
                    low = _lowest_above(cut, entry, storage, shape)
                else:
                    return Choice(
                        None, f"a vacuum released version {manifest.version}, of which mods are above the cut"
                    )
                lowest = low if lowest is None else min(lowest, low)
            elif lowest is not None and bounds[1] < lowest:
                highest = bounds[1] if highest is None else max(highest, bounds[1])
    if highest is not None:
        return Choice(highest)
    if lowest is None:
        return Choice(None, "no version has mods above the cut" if cut is not None else "no version has mods")
    return Choice(None, f"of that age no version is below {', '.join(map(str, lowest))}, which arrived since")


def _line(log: Log) -> Iterator[Manifest]:
    """Yield the versions that determine the rows, newest first: none set aside or left out by a restore."""
    aside: set[int] = set()
    for manifest in walk(_newest_first(log)):
        aside.update(event.version for event in manifest.events if isinstance(event, SetAside))
        if manifest.version not in aside:
            yield manifest


def _newest_first(log: Log) -> Iterator[Manifest]:
    for last in range(log.head, -1, -_AT_ONCE):
        yield from reversed(log.manifests(max(0, last - _AT_ONCE + 1), last))


def _mod_files(manifest: Manifest) -> list[Entry]:
    return [entry for event in manifest.events if isinstance(event, Mods) for entry in event.files]


def _bounds(entry: Entry, shape: TableShape) -> tuple[Values, Values] | None:
    """Lowest and highest sequence of a file; None if they are not known."""
    if entry.low_sequence is None or entry.high_sequence is None:
        return None
    low, high = (
        typed_sequence(sequence, shape.arrow, shape.columns) for sequence in (entry.low_sequence, entry.high_sequence)
    )
    return low, high


def _lowest_above(cut: Values, entry: Entry, storage: Storage, shape: TableShape) -> Values:
    """Lowest sequence above the cut in a file that has some."""
    columns = shape.columns.sequence
    file = open_entry(storage, entry, table=shape.table)
    rows = read_as(file, entry, table=shape.table, schemas=shape.versions, columns=columns)
    sequences = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    return min(sequence for sequence in sequences if sequence > cut)
