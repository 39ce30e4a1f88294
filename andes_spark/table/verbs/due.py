"""The merge policy of a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from andes_spark.base.merge.plan import row_width
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta.files import Files
from andes_spark.model.durations import parse_duration
from andes_spark.model.events import QUIET, PendingVersion, files_of, mods_of
from andes_spark.model.merge_cost import LOCAL, REMOTE, BaseCost, MergeDecision, PendingCost, decide_merge
from andes_spark.model.values import unscaled
from andes_spark.settings import MIB
from andes_spark.table.open_table import OpenTable

LONG_BYTES = 64 * MIB


def merge_decision(open_table: OpenTable) -> MergeDecision:
    """Decide whether a merge is due by the table's merge policy.

    Sends requests for ``"auto"`` only, if the base was not read yet, and for an age.
    """
    policy = open_table.definition.merge
    if policy == "manual":
        return MergeDecision(False, "manual")
    if policy == "always":
        return MergeDecision(True, "always")
    if policy == "auto":
        snapshot, head = open_table.base.in_memory(), open_table.log.head
        decision = decide_on(open_table, snapshot, _pending(open_table, snapshot, head))
        open_table.merges_wait = decision.reason == "cheaper later"
        return decision
    applied = open_table.roll_ups.assumed_applied()
    waiting = open_table.log.head - applied
    if waiting <= 0:
        return MergeDecision(False, "nothing pending")
    left = parse_duration(policy, option="merge").total_seconds() - _waited(open_table, applied)
    return MergeDecision(left <= 0, "staleness", waiting, due_in_seconds=left)


def due_now(open_table: OpenTable) -> MergeDecision:
    """Decide by the policy for the newest log and base: tags and vacuums alone are nothing to merge."""
    log, base = open_table.log, open_table.base.snapshot()
    head = log.refresh()
    log.applied = base.applied
    if all(isinstance(event, QUIET) for version in _pending(open_table, base, head) for event in version.events):
        return MergeDecision(False, "nothing pending")
    return merge_decision(open_table)


def may_merge(open_table: OpenTable, requested: bool | None) -> bool:
    """Return whether an apply is likely to end with a merge, so that the base is read while the batch is written.

    Args:
        open_table: the table.
        requested: request of the caller; None for the policy.
    """
    if requested is not None:
        return requested
    policy = open_table.definition.merge
    return policy == "always" or (policy == "auto" and not open_table.merges_wait)


def decide_on(open_table: OpenTable, base: BaseSnapshot, versions: Sequence[PendingVersion]) -> MergeDecision:
    """Decide by the policy ``"auto"`` for a base and the versions that are pending on it; sends no request.

    Args:
        open_table: the table.
        base: state of the base.
        versions: pending versions, oldest first; the last one may not be committed yet.
    """
    shape, settings = open_table.shape(), open_table.settings
    files = base.state.files
    records = np.maximum(files.records, 0)
    size = BaseCost(
        rows=int(records.sum()),
        files=len(files),
        key_bytes=row_width(shape.arrow, shape.columns.narrow),
        unread_rows=int(records[_unread(open_table, files)].sum()),
    )
    pending = [
        PendingCost(sum(file.rows for file in entries), sum(file.bytes for file in entries))
        for entries in (mods_of(version.events) for version in versions)
    ]
    return decide_merge(
        pending,
        size,
        REMOTE if open_table.is_remote else LOCAL,
        reads_per_version=settings.auto_merge_reads,
        reads=open_table.pending_reads,
        waited_seconds=_waited(open_table, base.applied),
        staleness_seconds=settings.auto_merge_seconds,
        most_bytes=max(1, settings.byte_budget // 4),
    )


def _pending(open_table: OpenTable, base: BaseSnapshot, head: int) -> list[PendingVersion]:
    return open_table.log.pending(base.applied, head) if base.applied < head else []


def _waited(open_table: OpenTable, applied: int) -> float:
    """Seconds since the oldest version that the base lacks; 0 if it lacks none."""
    if applied >= open_table.log.head:
        return 0.0
    return (open_table.log.clock() - open_table.log.manifest(applied + 1).time) / 1000


def is_long(open_table: OpenTable, base: BaseSnapshot, versions: Iterable[PendingVersion]) -> bool:
    """Return whether a merge takes the lease and is not planned ahead: it has to read more than ``LONG_BYTES``.

    Args:
        open_table: the table.
        base: state to merge into.
        versions: pending versions.
    """
    pending = list(versions)
    mods = sum(file.arrow_bytes for version in pending for file in files_of(version.events))
    files = base.state.files
    if mods + int(files.sizes.sum()) <= LONG_BYTES:
        return False
    near = files.pick(np.flatnonzero(_near(open_table, files, pending)))
    return bool(mods + int(near.sizes[_unread(open_table, near)].sum()) > LONG_BYTES)


def _unread(open_table: OpenTable, files: Files) -> npt.NDArray[np.bool_]:
    """Files whose keys are not in memory."""
    keys = open_table.base_context().keys
    return np.array([keys.layout(path) is None for path in files], np.bool_)


def _near(open_table: OpenTable, files: Files, versions: Iterable[PendingVersion]) -> npt.NDArray[np.bool_]:
    """Files whose range of the first key column overlaps that of any file of mods."""
    shape, name = open_table.shape(), open_table.shape().columns.key[0]
    ranges = files.ranges(name, shape.schema.field(name).type, partition=name in shape.partition_by)
    flags = np.zeros(len(files), np.bool_)
    for entry in (entry for version in versions for entry in mods_of(version.events)):
        if ranges is None or entry.keys is None or entry.truncates:  # a truncate reads the sequences of all files
            return np.ones(len(files), np.bool_)
        kind = shape.arrow.field(name).type
        flags |= ranges.overlap(unscaled(entry.keys.low[0], kind), unscaled(entry.keys.high[0], kind))
    return flags
