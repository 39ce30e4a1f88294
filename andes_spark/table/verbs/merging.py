"""When a merge runs, for how many rounds, and what follows it: checkpoint, packing, the note left behind."""

from __future__ import annotations

import os
import socket
import uuid
import warnings

import msgspec

from andes_spark.base.merge.compact import compact
from andes_spark.base.merge.merge import Merged, merge_pending
from andes_spark.base.snapshots import LEASE, MergeNote
from andes_spark.base.steps import Steps
from andes_spark.delta.checkpoints import write_checkpoint
from andes_spark.errors import CommitConflictError, FileDamagedError, StorageError
from andes_spark.log.pending import Warm, pending_of
from andes_spark.model.durations import parse_duration
from andes_spark.model.results import CompactResult, MergeCounts, MergeResult
from andes_spark.table.open_table import OpenTable

LEASE_MS = 2 * 60 * 1000


def merge_if_due(open_table: OpenTable, *, wanted: bool | None, warm: Warm) -> MergeResult | None:
    """Merge after an apply, as the table's policy or the caller says; a failure is a result and a warning."""
    if wanted is False or (wanted is None and not is_due(open_table)):
        return None
    try:
        return run_merge(open_table, warm=warm)
    except Exception as error:  # noqa: BLE001 - the batch is committed: nothing may make it look lost
        warnings.warn(
            f"{open_table.table}: the batch is applied, but merging it failed: {error}; the next merge takes it",
            RuntimeWarning,
            stacklevel=4,
        )
        return MergeResult("failed", applied=open_table.log.applied, delta_version=-1, error=error)


def is_due(open_table: OpenTable) -> bool:
    """Whether the table's merge policy asks for a merge now."""
    policy = open_table.definition.merge
    if policy == "manual":
        return False
    if policy == "always":
        return True
    applied = open_table.base.snapshot().applied
    if applied >= open_table.log.head:
        return False
    waited_ms = open_table.log.clock() - open_table.log.manifest(applied + 1).time
    return waited_ms >= parse_duration(policy, option="merge").total_seconds() * 1000


def run_merge(open_table: OpenTable, *, warm: Warm | None = None) -> MergeResult:
    """Merge pending versions; goes on while others are appended, at most ``settings.merge_rounds`` times.

    Raises:
        ForeignWriteError: another writer changed rows of the base.
        CommitConflictError: other merges were first, too often.
        AndesError: reading or writing failed; the base is as it was.
    """
    steps = open_table.begin("merge", open_table.log.head)
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4()}"
    with steps.step("read log and base"):
        note = _note(open_table)
        if _held(open_table, note):
            return MergeResult("skipped", applied=open_table.log.applied, delta_version=-1, steps=steps.done)
        snapshot = open_table.base.snapshot()
        open_table.log.applied = snapshot.applied
        head = open_table.log.refresh()
        if snapshot.applied > head:
            open_table.log.pending(snapshot.applied, head)
        if snapshot.applied >= head:
            return MergeResult("nothing", snapshot.applied, snapshot.version, steps=steps.done)
    _leave(open_table, _under_way(note, owner, open_table.log.clock() + LEASE_MS))
    merged: Merged | None = None
    try:
        merged, counts, packed = _rounds(open_table, steps, warm)
    finally:
        done = MergeNote(delta_version=merged.delta_version, commit_id=merged.commit_id) if merged else None
        _leave(open_table, done or MergeNote(delta_version=note.delta_version, commit_id=note.commit_id))
    snapshot = open_table.base.snapshot()
    return MergeResult(
        "merged" if merged else "nothing",
        applied=snapshot.applied,
        delta_version=snapshot.version,
        counts=counts,
        compaction=packed,
        steps=steps.done,
    )


def _rounds(open_table: OpenTable, steps: Steps, warm: Warm | None) -> tuple[Merged | None, MergeCounts, CompactResult]:
    counts, last = MergeCounts(), None
    packed = CompactResult()
    base_context = open_table.base_context()
    before = open_table.base.snapshot().version
    for _ in range(open_table.settings.merge_rounds):
        merged = _once(open_table, steps, warm)
        if merged is None:
            break
        counts, last = counts.plus(merged.counts), merged
        packed = packed.plus(compact(base_context, open_table.base.snapshot(), steps=steps))
        if open_table.log.refresh() <= open_table.log.applied:
            break
    if last is not None:
        _checkpoint(open_table, steps, before)
    return last, counts, packed


def _once(open_table: OpenTable, steps: Steps, warm: Warm | None) -> Merged | None:
    """One committed merge, planned anew as often as another commit is first; None if nothing is pending."""
    base_context = open_table.base_context()
    for _ in range(open_table.settings.commit_attempts):
        snapshot = open_table.base.snapshot()
        open_table.base.require_ours(snapshot)
        head = open_table.log.refresh()
        if snapshot.applied >= head:
            open_table.log.pending(snapshot.applied, head)
            open_table.log.applied = snapshot.applied
            return None
        versions = open_table.log.pending(snapshot.applied, head)
        pending = pending_of(versions, base_context.shape.arrow, base_context.shape.columns)
        merged = merge_pending(base_context, snapshot, pending, head, steps=steps, warm=warm)
        if merged is not None:
            open_table.log.applied = head
            return merged
    raise CommitConflictError(
        f"{open_table.table}: other merges were first {open_table.settings.commit_attempts} times; merge again",
        table=open_table.table,
    )


def _checkpoint(open_table: OpenTable, steps: Steps, before: int) -> None:
    """Write a checkpoint if one has become due since Delta version ``before``."""
    interval = open_table.settings.checkpoint_interval
    version = open_table.base.snapshot().version
    if version // interval > before // interval:
        with steps.step("checkpoint"):
            try:
                write_checkpoint(open_table.storage, version)
            except (StorageError, FileDamagedError) as error:
                # The merge is committed, and no reader needs the checkpoint: nothing may make the merge look lost.
                warnings.warn(str(error), RuntimeWarning, stacklevel=4)


def _note(open_table: OpenTable) -> MergeNote:
    data = open_table.storage.find(LEASE)
    if data is None:
        return MergeNote()
    try:
        return msgspec.json.decode(data, type=MergeNote)
    except msgspec.DecodeError:
        return MergeNote()


def _held(open_table: OpenTable, note: MergeNote) -> bool:
    """Whether another merge seems to be under way: its note is fresh, and its process, if it is here, lives."""
    if note.owner is None or note.until is None or note.until < open_table.log.clock():
        return False
    host, _, rest = note.owner.partition(":")
    pid = rest.partition(":")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return True
    return int(pid) != os.getpid() and _alive(int(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _under_way(note: MergeNote, owner: str, until: int) -> MergeNote:
    """The note of a merge under way, with what the last one left."""
    return MergeNote(owner=owner, until=until, delta_version=note.delta_version, commit_id=note.commit_id)


def _leave(open_table: OpenTable, note: MergeNote) -> None:
    """Write the note, which is advisory: a failure must not make a merge that is committed look lost."""
    try:
        open_table.storage.put(LEASE, msgspec.json.encode(note), sync=False)
    except StorageError as error:
        warnings.warn(
            f"{open_table.table}: {LEASE} cannot be written: {error}; others may do the same work at the same time",
            RuntimeWarning,
            stacklevel=4,
        )
