"""What another writer did to the base: its rows counted, and whether they could be rows of this table."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.base.adopt import check_rows
from andes_spark.base.foreign import ForeignChange
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta.state import DeltaState
from andes_spark.errors import AndesError, BadModsError, DuplicateKeyError, UnsupportedTableError
from andes_spark.table.history.travel import gone_files
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.difference import RowCounts, changed_rows, count_rows

SHARE = 8
"""Part of the byte budget that keys take in memory; each has several forms there at once."""


@dataclass(frozen=True)
class ForeignWrite:
    """Changes of another writer above the newest state with the rows of the log alone.

    Attributes:
        change: the first change.
        base: state before it.
        newest: state of the Delta table after all changes.
        lost: files of the state before that do not exist any more.
        counts: rows that differ; None if the two states cannot be compared.
        obstacle: why the rows after it cannot be rows of this table; None if they can.
    """

    change: ForeignChange
    base: BaseSnapshot
    newest: DeltaState
    lost: tuple[str, ...]
    counts: RowCounts | None
    obstacle: AndesError | None

    def text(self) -> str:
        """Describe the changes."""
        what = f"Delta version {self.change.delta_version} ({self.change.operation}) is another writer's and "
        what += self.change.what
        if self.newest.version > self.change.delta_version:
            what += f"; its changes go up to Delta version {self.newest.version}"
        if self.counts is not None:
            return f"{what}: {self.counts.text()}"
        if self.lost:
            gone = f"{len(self.lost)} files of the state before it are gone, such as {self.lost[0]}"
            return f"{what}; how many rows differ cannot be told, since {gone}"
        return f"{what}; how many rows differ cannot be told: {self.obstacle}"


def look_at(open_table: OpenTable, base: BaseSnapshot, change: ForeignChange) -> ForeignWrite:
    """Look at the changes of another writer; reads the keys of all rows after them, and the files that differ.

    Args:
        open_table: the table.
        base: newest state with the rows of the log alone.
        change: the first change after it.
    """
    newest = open_table.base.newest
    assert newest is not None
    lost = tuple(gone_files(open_table.storage, base.state))
    obstacle = _obstacle(open_table, base, newest, change)
    counts = None
    if not lost and obstacle is None:
        shape = open_table.shape_at(base.applied)
        counts = count_rows(changed_rows(open_table, shape, base.state, newest))
    return ForeignWrite(change, base, newest, lost, counts, obstacle)


def _obstacle(
    open_table: OpenTable, base: BaseSnapshot, newest: DeltaState, change: ForeignChange
) -> AndesError | None:
    """Why the rows of a state cannot be rows of this table; None if they can."""
    if change.unreadable is not None:
        return change.unreadable
    shape, budget = open_table.shape_at(base.applied), open_table.settings.byte_budget
    try:
        check_rows(open_table.storage, newest.files, shape, memory_bytes=budget // SHARE)
    except (BadModsError, DuplicateKeyError, UnsupportedTableError) as error:
        return error
    return None
