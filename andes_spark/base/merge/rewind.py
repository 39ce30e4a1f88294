"""Rewinding the base: a merge that starts from an older state than the newest one.

Needed where a version was set aside while a merge took it in: that version is in the newest state of the base and
in no later snapshot, so the next merge starts from the state before it. Both steps are one Delta commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.paths import decode_path


def rewound(
    current: Mapping[str, DataFile], start: Mapping[str, DataFile], changes: Iterable[Action], *, timestamp_ms: int
) -> list[Action]:
    """Return the actions that lead from the newest files of a table to what ``changes`` make of older ones.

    Args:
        current: the newest files, by location.
        start: the files that ``changes`` were planned on, by location.
        changes: removes and adds.
        timestamp_ms: milliseconds since 1970.
    """
    goal = dict(start)
    added: list[DataFile] = []
    for change in changes:
        if "remove" in change:
            del goal[decode_path(change["remove"]["path"])]
        else:
            added.append(DataFile.from_add(change["add"]))
    goal.update({file.location: file for file in added})
    leaving = [file for location, file in current.items() if not _same(file, goal.get(location))]
    coming = [file for location, file in goal.items() if not _same(file, current.get(location))]
    return [
        *(actions.remove(file, timestamp_ms=timestamp_ms) for file in leaving),
        *({"add": {**file.add, "dataChange": True}} for file in coming),
    ]


def _same(file: DataFile, other: DataFile | None) -> bool:
    return other is not None and file.vector == other.vector
