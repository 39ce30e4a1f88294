"""When a merge runs, for how many rounds, and what follows it: checkpoint, packing, the note left behind."""

from __future__ import annotations

import os
import socket
import uuid
import warnings

import msgspec

from andes_spark.base.base import LEASE, MergeNote
from andes_spark.base.checkpoint import write_checkpoint
from andes_spark.base.merge import Merged, merge_pending
from andes_spark.base.pack import pack
from andes_spark.base.steps import Steps
from andes_spark.errors import CommitConflictError, FileDamagedError, StorageError
from andes_spark.log.pending import Warm, pending_of
from andes_spark.model.durations import parse_duration
from andes_spark.model.results import MergeCounts, MergeResult, PackResult
from andes_spark.table.context import Context

LEASE_MS = 2 * 60 * 1000


def merge_if_due(context: Context, *, wanted: bool | None, warm: Warm) -> MergeResult | None:
    """Merge after an apply, as the table's policy or the caller says; a failure is a result and a warning."""
    if wanted is False or (wanted is None and not is_due(context)):
        return None
    try:
        return run_merge(context, warm=warm)
    except Exception as error:  # noqa: BLE001 - the batch is committed: nothing may make it look lost
        warnings.warn(
            f"{context.table}: the batch is applied, but merging it failed: {error}; the next merge takes it",
            RuntimeWarning,
            stacklevel=4,
        )
        return MergeResult("failed", applied=context.log.applied, delta_version=-1, error=error)


def is_due(context: Context) -> bool:
    """Whether the table's merge policy asks for a merge now."""
    policy = context.definition.merge
    if policy == "manual":
        return False
    if policy == "always":
        return True
    applied = context.base.snapshot().applied
    if applied >= context.log.head:
        return False
    waited_ms = context.log.clock() - context.log.manifest(applied + 1).time
    return waited_ms >= parse_duration(policy, option="merge").total_seconds() * 1000


def run_merge(context: Context, *, warm: Warm | None = None) -> MergeResult:
    """Merge pending versions; goes on while others are appended, at most ``settings.merge_rounds`` times.

    Raises:
        ForeignWriteError: another writer changed rows of the base.
        CommitConflictError: other merges were first, too often.
        AndesError: reading or writing failed; the base is as it was.
    """
    steps = context.begin("merge", context.log.head)
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4()}"
    with steps.step("read log and base"):
        note = _note(context)
        if _held(context, note):
            return MergeResult("skipped", applied=context.log.applied, delta_version=-1, steps=steps.done)
        snapshot = context.base.snapshot()
        context.log.applied = snapshot.applied
        head = context.log.refresh()
        if snapshot.applied > head:
            context.log.pending(snapshot.applied, head)
        if snapshot.applied >= head:
            return MergeResult("nothing", snapshot.applied, snapshot.version, steps=steps.done)
    _leave(context, _under_way(note, owner, context.log.clock() + LEASE_MS))
    merged: Merged | None = None
    try:
        merged, counts, packed = _rounds(context, steps, warm)
    finally:
        done = MergeNote(delta_version=merged.delta_version, commit_id=merged.commit_id) if merged else None
        _leave(context, done or MergeNote(delta_version=note.delta_version, commit_id=note.commit_id))
    snapshot = context.base.snapshot()
    return MergeResult(
        "merged" if merged else "nothing",
        applied=snapshot.applied,
        delta_version=snapshot.version,
        counts=counts,
        pack=packed,
        steps=steps.done,
    )


def _rounds(context: Context, steps: Steps, warm: Warm | None) -> tuple[Merged | None, MergeCounts, PackResult]:
    counts, last = MergeCounts(), None
    packed = PackResult()
    kernel = context.kernel()
    before = context.base.snapshot().version
    for _ in range(context.settings.merge_rounds):
        merged = _once(context, steps, warm)
        if merged is None:
            break
        counts, last = counts.plus(merged.counts), merged
        packed = packed.plus(pack(kernel, context.base.snapshot(), steps=steps))
        if context.log.refresh() <= context.log.applied:
            break
    if last is not None:
        _checkpoint(context, steps, before)
    return last, counts, packed


def _once(context: Context, steps: Steps, warm: Warm | None) -> Merged | None:
    """One committed merge, planned anew as often as another commit is first; None if nothing is pending."""
    kernel = context.kernel()
    for _ in range(context.settings.commit_attempts):
        snapshot = context.base.snapshot()
        context.base.require_ours(snapshot)
        head = context.log.refresh()
        if snapshot.applied >= head:
            context.log.pending(snapshot.applied, head)
            context.log.applied = snapshot.applied
            return None
        versions = context.log.pending(snapshot.applied, head)
        pending = pending_of(versions, kernel.shape.arrow, kernel.shape.columns)
        merged = merge_pending(kernel, snapshot, pending, head, steps=steps, warm=warm)
        if merged is not None:
            context.log.applied = head
            return merged
    raise CommitConflictError(
        f"{context.table}: other merges were first {context.settings.commit_attempts} times; merge again",
        table=context.table,
    )


def _checkpoint(context: Context, steps: Steps, before: int) -> None:
    """Write a checkpoint if one has become due since Delta version ``before``."""
    interval = context.settings.checkpoint_interval
    version = context.base.snapshot().version
    if version // interval > before // interval:
        with steps.step("checkpoint"):
            try:
                write_checkpoint(context.storage, version)
            except (StorageError, FileDamagedError) as error:
                # The merge is committed, and no reader needs the checkpoint: nothing may make the merge look lost.
                warnings.warn(str(error), RuntimeWarning, stacklevel=4)


def _note(context: Context) -> MergeNote:
    data = context.storage.find(LEASE)
    if data is None:
        return MergeNote()
    try:
        return msgspec.json.decode(data, type=MergeNote)
    except msgspec.DecodeError:
        return MergeNote()


def _held(context: Context, note: MergeNote) -> bool:
    """Whether another merge seems to be under way: its note is fresh, and its process, if it is here, lives."""
    if note.owner is None or note.until is None or note.until < context.log.clock():
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


def _leave(context: Context, note: MergeNote) -> None:
    """Write the note, which is advisory: a failure must not make a merge that is committed look lost."""
    try:
        context.storage.put(LEASE, msgspec.json.encode(note), sync=False)
    except StorageError as error:
        warnings.warn(
            f"{context.table}: {LEASE} cannot be written: {error}; others may do the same work at the same time",
            RuntimeWarning,
            stacklevel=4,
        )
