"""What another writer did to the base: its rows counted, and whether they can be rows of this table."""

from __future__ import annotations

from dataclasses import dataclass, replace

from andes_spark.base.adopt import CheckedRows, check_rows
from andes_spark.base.foreign import ForeignChange, same_columns
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta.actions import Action
from andes_spark.delta.state import DeltaState
from andes_spark.errors import AndesError, OptionError
from andes_spark.log.line import newest_base, taken_in
from andes_spark.model.definition import Definition
from andes_spark.model.files import SideFile
from andes_spark.table.history.travel import gone_files
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.columns import definition_with
from andes_spark.table.repair.difference import RowCounts, changed_rows, count_rows

SHARE = 8
"""Part of the byte budget that keys take in memory; each has several forms there at once."""


@dataclass(frozen=True)
class ForeignWrite:
    """Changes of another writer above the newest state with the rows of the log alone.

    Attributes:
        change: the first change.
        base: newest state of the base with the rows of the log alone.
        before: state before the change; another one than ``base`` if earlier changes were taken in and are not merged.
        newest: state of the Delta table after all changes.
        lost_files: files of the state before that do not exist any more.
        counts: rows that differ; None if the two states cannot be compared.
        obstacle: why the state cannot be taken in; None if it can.
        definition: definition of the table with its columns; None if it cannot be taken in.
        adds: files to be added again with the number of their rows, if it is taken in.
        tombstones, ends_truncate: of an earlier take-in that is not merged.
    """

    change: ForeignChange
    base: BaseSnapshot
    before: BaseSnapshot
    newest: DeltaState
    lost_files: tuple[str, ...]
    counts: RowCounts | None
    obstacle: str | None
    definition: Definition | None
    adds: list[Action]
    tombstones: tuple[SideFile, ...] = ()
    ends_truncate: bool = False

    def text(self) -> str:
        """Describe the changes."""
        description = f"Delta version {self.change.delta_version} ({self.change.operation}) is another writer's and "
        description += self.change.effect
        if self.newest.version > self.change.delta_version:
            description += f"; its changes go up to Delta version {self.newest.version}"
        if self.counts is not None:
            return f"{description}: {self.counts.text()}"
        if self.lost_files:
            reason = f"{len(self.lost_files)} files of the state before it are gone, such as {self.lost_files[0]}"
            return f"{description}; how many rows differ cannot be told, since {reason}"
        return f"{description}; how many rows differ cannot be told"


def look_at(open_table: OpenTable, base: BaseSnapshot, change: ForeignChange) -> ForeignWrite:
    """Look at the changes of another writer; reads the keys of all rows after them, and the files that differ.

    Args:
        open_table: the table.
        base: newest state with the rows of the log alone.
        change: the first change that the log has not taken in.
    """
    newest = open_table.base.newest
    assert newest is not None
    versions = open_table.log.pending(base.applied, open_table.log.head)
    take_in = taken_in(versions)
    before = base if take_in is None else replace(open_table.base.after_take_in(*take_in), state=change.before)
    lost_files = tuple(gone_files(open_table.storage, before.state))
    checked = _checked(open_table, base.applied, newest, change)
    definition: Definition | None = None
    if isinstance(checked, CheckedRows):
        try:
            definition = definition_with(open_table, before.state, newest, base.applied)
        except OptionError as error:
            checked = error
    comparable = not lost_files and isinstance(checked, CheckedRows)
    counts = _counted(open_table, before, newest) if comparable else None
    return ForeignWrite(
        change,
        base,
        before,
        newest,
        lost_files,
        counts,
        checked.message if isinstance(checked, AndesError) else _obstacle(open_table, base),
        definition,
        [] if isinstance(checked, AndesError) else checked.adds,
        () if take_in is None else tuple(take_in[1].tombstones),
        ends_truncate=take_in is not None and take_in[1].ends_truncate,
    )


def _checked(
    open_table: OpenTable, applied: int, newest: DeltaState, change: ForeignChange
) -> CheckedRows | AndesError:
    """Check whether the rows of a state can be rows of this table; return the error if they cannot."""
    if change.unreadable is not None:
        return change.unreadable
    shape, budget = open_table.shape_at(applied), open_table.settings.byte_budget
    try:
        return check_rows(open_table.storage, newest.files, shape, memory_bytes=budget // SHARE)
    except AndesError as error:  # whatever it is: the changes can be taken back
        return error


def _counted(open_table: OpenTable, before: BaseSnapshot, newest: DeltaState) -> RowCounts | None:
    """Count the rows that differ; None if columns have other types now."""
    shape = open_table.shape_at(before.applied)
    try:
        return count_rows(changed_rows(open_table, shape, before.state.files, newest.files))
    except AndesError:
        if same_columns(before.state, newest):
            raise
        return None


def _obstacle(open_table: OpenTable, base: BaseSnapshot) -> str | None:
    versions = open_table.log.pending(base.applied, open_table.log.head)
    if newest_base(versions, base.applied) is not None:
        return "a version that is not merged restores or sets aside what the changed state contains"
    return None
