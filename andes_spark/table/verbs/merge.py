"""Merge: rounds of pending versions folded into the base, and the advisory work that follows.

Compaction, further rounds, the checkpoint and the lease follow the first commit of a merge and are advisory: their
failures are reported in the result and never raised, see ``log.advisory``.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field, replace
from functools import partial

from andes_spark.base.merge.compact import compact
from andes_spark.base.merge.finish import Merged, Upto, finish_merge
from andes_spark.base.merge.merge import rehearse
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.base.undo import writable_again
from andes_spark.errors import (
    ClockError,
    CommitConflictError,
    CommitError,
    DamagedError,
    ForeignWriteError,
    MergeBlockedError,
    MissingPackageError,
    NotFoundError,
    StorageError,
    UnsupportedTableError,
)
from andes_spark.log.advisory import Advisory
from andes_spark.log.lease import MergeNote
from andes_spark.log.line import line, up_to, whole_versions
from andes_spark.log.pending import ModsInMemory, pending_of
from andes_spark.model.events import mods_of
from andes_spark.model.merge_cost import MergeDecision
from andes_spark.model.results import CompactResult, MergeCounts, MergeResult, WrittenBytes
from andes_spark.run.steps import Steps
from andes_spark.table.history.travel import evaluable
from andes_spark.table.open_table import BeforeMerge, OpenTable
from andes_spark.table.verbs.after_merge import checkpoint, release, show_faces
from andes_spark.table.verbs.ahead import MergeAhead, PlannedAhead
from andes_spark.table.verbs.due import is_long, merge_decision
from andes_spark.table.verbs.overtaken import add_version, plan_and_finish

NOT_CONTENT = (
    ClockError,
    CommitError,
    DamagedError,
    ForeignWriteError,
    MissingPackageError,
    NotFoundError,
    StorageError,
    UnsupportedTableError,
)
"""Failures of a merge that are not caused by the content of a version."""
_SAME_WORK = "others may do the same work at the same time"


def merge_after_apply(
    open_table: OpenTable,
    ahead: MergeAhead | None,
    *,
    requested: bool | None,
    in_memory: ModsInMemory,
    advisory: Advisory,
) -> MergeResult | None:
    """Merge after an apply if the caller or the table's policy requires it; a failure is part of the result.

    Args:
        open_table: the table.
        ahead: plan of the merge, and answers of requests before the commit.
        requested: request of the caller; None for the policy.
        in_memory: mod files that are in memory.
        advisory: receives the failure.
    """
    if requested is False:
        return None

    def merge() -> MergeResult | None:
        decision = None if requested else merge_decision(open_table)
        if decision is not None and not decision.due:
            return _waiting(open_table, decision)
        merged = run_merge(open_table, in_memory=in_memory, at_head=True, ahead=ahead)
        return replace(merged, decision=decision)

    before = len(advisory.failures)
    result = advisory.run("merging it", merge, consequence="the next merge takes it")
    if len(advisory.failures) == before:
        return result
    error = advisory.failures[-1].error
    return MergeResult("failed", applied=open_table.log.applied, delta_version=-1, error=error)


def _waiting(open_table: OpenTable, decision: MergeDecision) -> MergeResult | None:
    """Return the result of a merge that the policy defers; None if merges are manual or nothing is pending."""
    if decision.reason in ("manual", "nothing pending"):
        return None
    base = open_table.base.newest
    delta_version = -1 if base is None else base.version
    return MergeResult("waiting", applied=open_table.log.applied, delta_version=delta_version, decision=decision)


def run_merge(
    open_table: OpenTable,
    *,
    in_memory: ModsInMemory | None = None,
    at_head: bool = False,
    ahead: MergeAhead | None = None,
) -> MergeResult:
    """Merge pending versions, in up to ``settings.merge_rounds`` rounds while others are appended.

    Args:
        open_table: the table.
        in_memory: mod files that are in memory.
        at_head: whether the head in memory was just read or committed.
        ahead: plan of the merge, and answers of requests before the commit; None to read and plan now.

    Raises:
        MergeBlockedError: a version cannot be merged; ``version``.
        ForeignWriteError: another writer changed rows or columns of the base.
        UnsupportedTableError: the base has a feature that this library does not write.
        CommitConflictError: other merges committed first too often.
        AndesError: a read or write failed; the base is not changed.
    """
    steps = open_table.begin("merge", open_table.log.head)
    if ahead is not None:
        steps = ahead.steps
    advisory = Advisory(open_table.table)
    before = ahead.before if ahead is not None else None
    before = before or open_table.ask_before_merge()
    lease = before.lease
    with steps.step("read log and base"):
        start = _start(open_table, before, ahead, advisory, at_head=at_head)
    if isinstance(start, MergeResult):
        return replace(start, steps=steps.done)
    if start.long and advisory.run("taking the merge lease", lease.acquire, consequence=_SAME_WORK) is False:
        return MergeResult("skipped", applied=open_table.log.applied, delta_version=-1, steps=steps.done)
    try:
        rounds = _run_rounds(open_table, start, steps, advisory, in_memory)
    except BaseException:
        if start.long:
            advisory.run("releasing the merge lease", partial(lease.release, None), consequence=_SAME_WORK)
        raise
    if start.long or rounds.note is not None:
        leave_note, scheduler = partial(release, open_table, lease, rounds.note), open_table.storage.scheduler
        advisory.later(scheduler, "releasing the merge lease", leave_note, consequence=_SAME_WORK)
    return _result(open_table, rounds, steps, advisory)


@dataclass(frozen=True)
class _Start:
    """Where a merge starts.

    Attributes:
        base: newest state of the base.
        planned: plan of the first round; None to plan it now.
        long: whether others are told of the merge.
    """

    base: BaseSnapshot
    planned: PlannedAhead | None
    long: bool


def _start(
    open_table: OpenTable, before: BeforeMerge, ahead: MergeAhead | None, advisory: Advisory, *, at_head: bool
) -> _Start | MergeResult:
    """Read log and base; a result if there is nothing to merge, or another merge is running."""
    newer = None if at_head else open_table.log.ask_newer(check_head=False)
    if advisory.run("reading the merge lease", before.held.result, consequence=_SAME_WORK):
        return MergeResult("skipped", applied=open_table.log.applied, delta_version=-1)
    base = before.base.result()
    head = open_table.log.head if newer is None else open_table.log.take_newer(newer)
    void = open_table.base.is_void(base)
    if void:
        base = open_table.base.snapshot()
    open_table.log.applied = base.applied
    if base.applied > head:
        head = open_table.log.refresh()
    versions = open_table.log.pending(base.applied, head)
    if base.applied >= head:
        return MergeResult("nothing", base.applied, base.version)
    planned = None if ahead is None or void else ahead.take()
    long = planned is None and (open_table.contended or is_long(open_table, base, versions))
    return _Start(base, planned, long)


@dataclass(frozen=True)
class _Rounds:
    """The committed rounds of one merge.

    Attributes:
        last: the last round; None if another merge left nothing to do.
        newest: Delta version after it and its compaction.
    """

    last: Merged | None = None
    counts: MergeCounts = field(default_factory=MergeCounts)
    compaction: CompactResult = field(default_factory=CompactResult)
    written: WrittenBytes = field(default_factory=WrittenBytes)
    newest: int | None = None

    @property
    def note(self) -> MergeNote | None:
        """Note for the next reader of the table."""
        if self.last is None:
            return None
        return MergeNote(
            delta_version=self.last.entry.version,
            commit_id=self.last.entry.commit_id,
            applied=self.last.applied,
            newest=self.newest,
        )


def _run_rounds(
    open_table: OpenTable, start: _Start, steps: Steps, advisory: Advisory, in_memory: ModsInMemory | None
) -> _Rounds:
    """Run the first round, which may fail, and the advisory work after it.

    A merge with the lease also merges versions that other writers committed meanwhile, since they skipped their merges.
    """
    # Among other writers the lease was waited for: what was read before it is old.
    newest = None if start.long and open_table.contended else start.base
    merged = _merge_once(open_table, steps, in_memory, newest, start.planned)
    if merged is None:
        return _Rounds()
    rounds = _compacted(open_table, _Rounds(merged, merged.counts, written=merged.written), steps, advisory)
    for _ in range(open_table.settings.merge_rounds - 1 if start.long else 0):
        newer = advisory.run(
            "merging newer versions",
            lambda: (
                None
                if open_table.log.refresh() <= open_table.log.applied
                else _merge_once(open_table, steps, in_memory)
            ),
            consequence="the next merge takes them",
        )
        if newer is None:
            break
        rounds = replace(
            rounds,
            last=newer,
            counts=rounds.counts.plus(newer.counts),
            written=rounds.written.plus(newer.written),
        )
        rounds = _compacted(open_table, rounds, steps, advisory)
    checkpoint(open_table, steps, advisory, start.base.version)
    show_faces(open_table, advisory)
    return replace(rounds, newest=open_table.base.in_memory().version)


def _compacted(open_table: OpenTable, rounds: _Rounds, steps: Steps, advisory: Advisory) -> _Rounds:
    def run() -> CompactResult:
        base = open_table.base.in_memory()
        return compact(open_table.base_context(base.applied), base, steps=steps, committed=open_table.base.advance)

    compaction = advisory.run(
        "compacting",
        run,
        consequence="reads are slower until a later merge does it",
    )
    if compaction is None:
        return rounds
    written = rounds.written.plus(WrittenBytes(rewritten=compaction.bytes_added))
    return replace(rounds, compaction=rounds.compaction.plus(compaction), written=written)


def _merge_once(
    open_table: OpenTable,
    steps: Steps,
    in_memory: ModsInMemory | None,
    newest: BaseSnapshot | None = None,
    planned: PlannedAhead | None = None,
) -> Merged | None:
    """Commit one merge up to the head; return None if nothing is pending.

    Args:
        open_table: the table.
        steps: collector of steps.
        in_memory: mod files that are in memory.
        newest: the base as it was read just now, the head with it; both are asked for where it is None.
        planned: plan of this merge on ``newest``.

    Raises:
        MergeBlockedError: the content of a version cannot be merged.
    """
    try:
        return _merge_to(open_table, steps, in_memory, newest=newest, planned=planned)
    except NOT_CONTENT:
        raise
    except Exception as error:
        blocked = _blocked(open_table, steps)
        if blocked is None:
            raise
        raise blocked from error


def _merge_to(
    open_table: OpenTable,
    steps: Steps,
    in_memory: ModsInMemory | None,
    last: int | None = None,
    newest: BaseSnapshot | None = None,
    planned: PlannedAhead | None = None,
) -> Merged | None:
    """Commit one merge up to a version, by default the head; it is planned again after another commit."""
    tried: int | None = None
    for _ in range(open_table.settings.commit_attempts):
        if newest is None:
            open_table.base.ask()
            newer = open_table.log.ask_newer(check_head=False)
            newest = open_table.base.snapshot()
            open_table.log.take_newer(newer)
            if open_table.base.is_void(newest):
                newest = open_table.base.snapshot()
            if newest.version == tried and last is None:
                # The record of this version cannot be used; that of the next one is not written yet.
                add_version(open_table)
        follows = open_table.base.require_mergeable(newest)
        head = open_table.log.head
        open_table.log.check_writable()
        version = head if last is None else last
        if newest.applied >= version:
            open_table.log.pending(newest.applied, head)
            open_table.log.applied = newest.applied
            return None
        base_context = open_table.base_context(version)
        reopened = tuple(writable_again(follows, newest.state)) if newest.foreign is not None else ()
        upto = Upto(version, open_table.log.commit_id(version), newest, follows, reopened)
        if planned is not None:
            plan, record = planned
            assert plan.version == version
            merged = finish_merge(base_context, plan, upto, steps=steps, record=record)
        else:
            merged = plan_and_finish(open_table, upto, steps, in_memory)
        if merged is not None:
            open_table.log.applied = version
            open_table.base.advance(merged.entry, merged.record)
            return merged
        open_table.met_writer(True)
        tried, newest, planned = newest.version, None, None
    raise CommitConflictError(
        f"{open_table.table}: other merges were first {open_table.settings.commit_attempts} times; merge again",
        table=open_table.table,
    )


def _blocked(open_table: OpenTable, steps: Steps) -> MergeBlockedError | None:
    """Find the version that cannot be merged, merge those before it, and return the error that names it.

    The version is found by rehearsals of merges up to earlier versions; None if all of them succeed.
    """
    head = open_table.log.head
    base, versions = evaluable(open_table, open_table.base.snapshot(), head)
    candidates = [version.version for version in line(versions) if mods_of(version.events)]

    def fails(last: int) -> Exception | None:
        context = open_table.base_context(last)
        pending = pending_of(up_to(versions, last), context.shape.versions, context.shape.columns)
        try:
            rehearse(context, base, pending, last, steps=Steps(open_table.storage))
        except NOT_CONTENT:
            raise
        except Exception as failure:  # noqa: BLE001 - whatever it is, its version is looked for
            return failure
        return None

    at = bisect.bisect_left(candidates, True, key=lambda last: fails(last) is not None)
    if at == len(candidates):
        return None
    version, why = candidates[at], fails(candidates[at])
    before = [number for number in whole_versions(versions) if number < version]
    if before:
        _merge_to(open_table, steps, None, before[-1])
    return MergeBlockedError(
        f"{open_table.table}: version {version} cannot be merged, since its mods cannot be written to the base: {why}; "
        f"set_aside(version={version}) (andes table set-aside) takes its mods out, then send them corrected as a new "
        "batch",
        table=open_table.table,
        version=version,
    )


def _result(open_table: OpenTable, rounds: _Rounds, steps: Steps, advisory: Advisory) -> MergeResult:
    open_table.pending_reads = 0
    if rounds.last is None:
        snapshot = open_table.base.snapshot()
        failures = advisory.report("nothing was left to merge")
        return MergeResult("nothing", snapshot.applied, snapshot.version, steps=steps.done, advisory=failures)
    return MergeResult(
        "merged",
        applied=rounds.last.applied,
        delta_version=open_table.base.in_memory().version,
        counts=rounds.counts,
        compaction=rounds.compaction,
        steps=steps.done,
        advisory=advisory.report("the merge is committed"),
        written=rounds.written,
    )
