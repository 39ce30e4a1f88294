"""Damage beside the base: merge records and their tombstones are made again from the log.

A record is a function of the log up to its version, so a merge up to there, without its commit, gives the same one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from andes_spark.base.merge.finish import put_record, record_of
from andes_spark.base.merge.merge import drop_changes, plan_merge
from andes_spark.base.records import read_record
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta.log import load_state
from andes_spark.errors import AndesError
from andes_spark.log.pending import pending_of
from andes_spark.model.merge_record import MERGES, MergeRecord, merge_record_path, no_record
from andes_spark.run.steps import Steps
from andes_spark.table.maintenance.files_of import named_by_record
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.lost import lost_deletes
from andes_spark.table.repair.undo import intact

_RECORD = re.compile(rf"{MERGES}/(\d{{20}})-([0-9a-f-]+)\.json")


def damaged_records(open_table: OpenTable, damaged: Collection[str]) -> list[int]:
    """Return the versions whose records are damaged, or name damaged files that can be made again; oldest first."""
    storage, versions = open_table.storage, set[int]()
    mendable = set(damaged).difference(lost_deletes(open_table, damaged))
    for path in {*damaged, *(info.path for info in storage.list(MERGES))}:
        match = _RECORD.fullmatch(path)
        version = -1 if match is None else int(match[1])
        if match is None or version > open_table.log.head or open_table.log.commit_id(version) != match[2]:
            continue
        record = _readable(open_table, version, match[2])
        if path in damaged or record is None or any(file in mendable for file in named_by_record(record)):
            versions.add(version)
    return sorted(versions)


def _readable(open_table: OpenTable, version: int, commit_id: str) -> MergeRecord | None:
    try:
        return read_record(open_table.storage, open_table.table_id, version, commit_id)
    except AndesError:
        return None


def write_again(open_table: OpenTable, versions: Sequence[int], damaged: Collection[str], steps: Steps) -> None:
    """Write the records of some versions again, with their tombstones.

    Args:
        open_table: the table.
        versions: in ascending order.
        damaged: files that cannot be used.
        steps: of the operation.
    """
    try:
        for position, version in enumerate(versions):
            commit_id = open_table.log.commit_id(version)
            base, pending = intact(open_table, _before(open_table, version, versions[position:]), version, damaged)
            context = open_table.base_context(version)
            mods = pending_of(pending, context.shape.versions, context.shape.columns)
            planned = plan_merge(context, base, mods, version, steps=steps, in_memory=None)
            open_table.storage.scheduler.barrier()
            open_table.storage.delete([merge_record_path(version, commit_id)])
            put_record(context, record_of(context, planned, commit_id))
            drop_changes(open_table.storage, planned)
    finally:
        open_table.forget_base()  # Else a record that stands in for a damaged one would be merged on.


def _before(open_table: OpenTable, version: int, damaged: Sequence[int]) -> BaseSnapshot:
    """Newest state of the base that contains no version from ``version`` on."""
    open_table.forget_base()
    applied = load_state(open_table.storage).txns.get(open_table.table_id, 0)
    if applied in damaged:
        open_table.base.assume(_stand_in(open_table, applied))
    open_table.base.snapshot()
    return open_table.base.older(version - 1)


def _stand_in(open_table: OpenTable, version: int) -> MergeRecord:
    """An empty record, in memory alone, so that older states can be found; nothing is evaluated on it."""
    empty = no_record(open_table.table_id)
    return MergeRecord(
        format=empty.format, table_id=empty.table_id, version=version, commit_id=open_table.log.commit_id(version)
    )
