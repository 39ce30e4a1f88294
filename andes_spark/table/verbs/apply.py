"""Applying a batch: checked, written once, committed as a version; then merged if that is due."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from andes_spark.base.steps import Steps
from andes_spark.batch.conditions import Conditions
from andes_spark.batch.cross_check import CrossCheck, pending_of_part, repeated_truncates, without
from andes_spark.batch.parts import Part, check_quarantine, together, write_part
from andes_spark.batch.prepare import BatchPlan, prepare
from andes_spark.errors import BatchConflictError, ClockError, CommitConflictError, OptionError
from andes_spark.log.advisory import Advisory
from andes_spark.log.clock import CheckedClock, check_clock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.sampling import bucket_bounds
from andes_spark.model.manifest import Batch, Manifest
from andes_spark.model.mod import OP, BatchId
from andes_spark.model.options import ApplyOptions
from andes_spark.model.results import ApplyResult
from andes_spark.schema.differences import refuse_repeated
from andes_spark.schema.names import refuse_reserved
from andes_spark.table.inputs import arrow_parts, is_spark
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.merge import merge_after_apply

CROSS_CHECK_ROWS = 1_000_000
CROSS_CHECK_BYTES = 64


def apply_batch(open_table: OpenTable, mods: Any, options: ApplyOptions) -> ApplyResult:
    """Apply a batch of mods; see ``ModTable.apply``."""
    steps = open_table.begin("apply", open_table.log.head + 1)
    begun = open_table.log.clock()
    with steps.step("read the log"):
        head = open_table.log.refresh()
        open_table.check_log()
        plan = plan_batch(open_table, options)
    warm: dict[str, pa.Table] = {}
    part = _write(open_table, mods, options, plan, head, steps, warm)
    with steps.step("check the clock"):
        clock = _check_clock(open_table, part, begun)
    advisory = Advisory(open_table.table)
    manifest, replayed = _commit(open_table, part, options, plan, clock, steps, advisory)
    if replayed:
        advisory.run(
            "deleting files of the repeated batch",
            lambda: _drop(open_table, part),
            consequence="they take up space, and no version refers to them",
        )
        warm = {}
    # Of a replay too: the first apply may have ended between commit and merge.
    merge = merge_after_apply(open_table, requested=options.merge, warm=warm, advisory=advisory)
    if replayed and merge is not None and merge.status == "nothing":
        merge = None
    return ApplyResult(
        manifest.version,
        manifest.counts,
        replayed=replayed,
        merge=merge,
        steps=steps.done,
        advisory=advisory.report("the batch is applied"),
    )


def plan_batch(open_table: OpenTable, options: ApplyOptions) -> BatchPlan:
    """Check the options of an apply against the table.

    Raises:
        OptionError: options that contradict each other or name no column.
    """
    shape = open_table.shape()
    if options.batch_id is None and not shape.columns.sequence and not options.at_least_once:
        raise OptionError(
            f"{open_table.table}: a table without sequence_by cannot tell a batch that is sent twice: give batch_id, "
            "or at_least_once=True to accept that",
            table=open_table.table,
            option="batch_id",
        )
    if options.column_list is not None and options.except_column_list is not None:
        raise OptionError("give column_list or except_column_list, not both", option="column_list")
    names = shape.schema.names
    if options.columns_to_update in names:
        raise OptionError(
            f"columns_to_update names {options.columns_to_update!r}, a column of the table; it names a column of "
            "the batch that is not stored",
            option="columns_to_update",
        )
    for option in ("column_list", "except_column_list", "ignore_null_updates"):
        _check_names(option, getattr(options, option), names, shape.columns.narrow)
    listed = None
    if options.column_list is not None:
        listed = frozenset(options.column_list) | frozenset(shape.columns.narrow)
    if options.except_column_list is not None:
        listed = frozenset(names) - frozenset(options.except_column_list)
    ignored = options.ignore_null_updates
    if isinstance(ignored, bool):
        ignored = tuple(name for name in names if name not in shape.columns.narrow) if ignored else ()
    covers_all = options.strict_replay or not shape.columns.sequence
    return BatchPlan(
        table=open_table.table,
        schema=shape.schema,
        schema_id=open_table.definition.schema_id,
        columns=shape.columns,
        partition_by=shape.partition_by,
        listed=listed,
        ignore_null=ignored,
        columns_to_update=options.columns_to_update,
        cast=options.cast,
        digest=None if options.batch_id is None else "all" if covers_all else "key",
    )


def _check_names(option: str, given: Any, names: Sequence[str], keyed: Sequence[str]) -> None:
    if given is None or isinstance(given, bool):
        return
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise OptionError(f"{option} names {unknown}, which the table does not have", option=option)
    if option != "column_list" and set(given) & set(keyed):
        raise OptionError(
            f"{option} names {sorted(set(given) & set(keyed))}: key and sequence are part of every mod",
            option=option,
        )


def _write(
    open_table: OpenTable,
    mods: Any,
    options: ApplyOptions,
    plan: BatchPlan,
    head: int,
    steps: Steps,
    warm: dict[str, pa.Table],
) -> Part:
    """Write a batch, whatever it came as; more bad mods than allowed leave nothing behind."""
    if is_spark(mods):
        from andes_spark.spark.frames import PartWriter, write_frame

        writer = PartWriter(open_table.storage, plan, open_table.settings, head, options.on_null_operation)
        with steps.step("write mods"):
            parts = write_frame(open_table.spark_executor(mods), mods, options, writer, warm=warm)
    else:
        parts = _write_arrow(open_table, mods, options, plan, head, steps, warm)
    part = together(parts, plan)
    try:
        check_quarantine(part, plan, allowed=options.max_quarantined)
        if len(parts) > 1:
            with steps.step("check across parts"):
                part = check_across(open_table, part, plan, head)
    except BaseException:
        _drop(open_table, part)
        raise
    return part


def _write_arrow(
    open_table: OpenTable,
    mods: Any,
    options: ApplyOptions,
    plan: BatchPlan,
    head: int,
    steps: Steps,
    warm: dict[str, pa.Table],
) -> list[Part]:
    conditions = Conditions.of(options)
    used = conditions.columns() - set(plan.schema.names)
    if plan.columns_to_update is not None:
        used.discard(plan.columns_to_update)
    parts: list[Part] = []
    offset = 0
    try:
        for rows in arrow_parts(mods, part_bytes=max(open_table.settings.byte_budget // 4, 1)):
            with steps.step("prepare mods"):
                refuse_reserved(rows.column_names, plan.table)
                refuse_repeated(rows.column_names)
                rows = rows.append_column(OP, conditions.evaluate(rows))
                told = [name for name in rows.column_names if name in used]
                prepared = prepare(rows, plan, offset=offset, told=told)
            if prepared.counts.quarantined > options.max_quarantined:
                # Nothing of this part needs to be written to be refused.
                check_quarantine(
                    Part(counts=prepared.counts, reasons=prepared.reasons, examples=prepared.examples),
                    plan,
                    allowed=options.max_quarantined,
                )
            with steps.step("write mods"):
                parts.append(
                    write_part(
                        open_table.storage,
                        prepared,
                        plan,
                        head=head,
                        target_bytes=open_table.settings.target_file_bytes,
                        threads=open_table.settings.threads,
                        warm=warm,
                    )
                )
            offset += rows.num_rows
    except BaseException:
        for part in parts:
            _drop(open_table, part)
        raise
    if len(parts) > 1:
        warm.clear()
    return parts


def check_across(open_table: OpenTable, part: Part, plan: BatchPlan, head: int) -> Part:
    """Look for mods that stand in two parts of a batch; raises as ``CrossCheck``."""
    pending = pending_of_part(part)
    if len(pending.files) < 2:
        return part
    twice = repeated_truncates(open_table.storage, plan, pending)
    if pending.rows == 0:
        return without(open_table.storage, part, plan, twice, head=head)
    executor = open_table.executor()
    # A Spark job costs more than to look at what fits here.
    in_tasks = executor.distributed and pending.rows * CROSS_CHECK_BYTES > open_table.settings.byte_budget
    buckets = max(executor.slots if in_tasks else 1, pending.rows // CROSS_CHECK_ROWS)
    bounds = bucket_bounds(open_table.storage, pending, plan.columns, plan.schema.to_arrow(), buckets, table=plan.table)
    check = CrossCheck(open_table.storage, plan, pending)
    repeats = executor.map(check, bounds, step="check across parts") if in_tasks else [check(each) for each in bounds]
    return without(open_table.storage, part, plan, [*twice, *(each for found in repeats for each in found)], head=head)


def _commit(
    open_table: OpenTable,
    part: Part,
    options: ApplyOptions,
    plan: BatchPlan,
    clock: CheckedClock,
    steps: Steps,
    advisory: Advisory,
) -> tuple[Manifest, bool]:
    """Commit a written batch; the manifest, and whether it is that of an earlier apply of the same batch."""
    batch = None
    if options.batch_id is not None:
        batch = Batch(source=options.batch_id.source, id=options.batch_id.tagged, digest=part.digest.hexdigest())
        with steps.step("look up the batch"):
            before = open_table.ledger.find(options.batch_id)
        if before is not None:
            return _same_batch(open_table, before, batch, part), True
    draft = Draft(
        operation="apply",
        table_id=open_table.table_id,
        counts=part.counts,
        entries=part.entries,
        schema_id=plan.schema_id,
        batch=batch,
        truncate=part.truncate,
        job=options.job,
        commit_id=str(uuid.uuid4()),
    )

    def admit(manifest: Manifest) -> Manifest | None:
        if manifest.definition is not None:
            raise CommitConflictError(
                f"{open_table.table}: version {manifest.version} changed the table's definition while this batch "
                "was written; apply it again",
                table=open_table.table,
                version=manifest.version,
            )
        same = batch and manifest.batch and (manifest.batch.source, manifest.batch.id) == (batch.source, batch.id)
        return _same_batch(open_table, manifest, batch, part) if batch and same else None

    with steps.step("commit"):
        try:
            manifest = commit(
                open_table.log, draft, clock=clock, admit=admit, roll_up=open_table.roll_up, advisory=advisory
            )
        except (BatchConflictError, CommitConflictError):
            _drop(open_table, part)
            raise
    return manifest, manifest.commit_id != draft.commit_id


def _same_batch(open_table: OpenTable, before: Manifest, batch: Batch, part: Part) -> Manifest:
    same = before.batch is not None and before.batch.digest == batch.digest
    if same and before.counts.quarantined == part.counts.quarantined:
        return before
    _drop(open_table, part)
    batch_id = BatchId.from_tagged(batch.source, batch.id)
    raise BatchConflictError(
        f"{open_table.table}: batch ({batch_id.source!r}, {batch_id.id!r}) was applied as version {before.version} "
        "with other content, more or fewer bad mods, or another strict_replay; give new content a new id, and send "
        "the same batch with the same options",
        table=open_table.table,
        version=before.version,
        batch_id=batch_id,
    )


def _check_clock(open_table: OpenTable, part: Part, begun: int) -> CheckedClock:
    """Compare this machine's clock with the store's, by the time that a file of this batch got."""
    try:
        return check_clock(open_table.log, begun=begun, written=next((entry.path for entry in part.entries), None))
    except ClockError:
        _drop(open_table, part)
        raise


def _drop(open_table: OpenTable, part: Part) -> None:
    """Delete files that no manifest refers to, or ever will."""
    open_table.storage.delete(entry.path for entry in part.entries)
