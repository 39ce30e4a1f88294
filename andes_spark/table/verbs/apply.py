"""Applying a batch: checked, written once, committed as a version; then merged if that is due."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa

from andes_spark.batch.conditions import Conditions
from andes_spark.batch.parts import Part, delete_unreferenced
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.tie_break import TieBreak
from andes_spark.batch.write import ArrowRows, PartWriter, Source, write_batch
from andes_spark.errors import BatchConflictError, ClockError, CommitConflictError
from andes_spark.inputs.rows import Reading, arrow_tables, is_spark
from andes_spark.log.advisory import Advisory
from andes_spark.log.clock import CheckedClock, check_clock
from andes_spark.log.commit import Draft, commit
from andes_spark.model.manifest import Batch, Manifest
from andes_spark.model.mod import BatchId
from andes_spark.model.options import ApplyOptions
from andes_spark.model.results import ApplyResult
from andes_spark.run.steps import Steps
from andes_spark.table.open_table import OpenTable
from andes_spark.table.sessions import input_options
from andes_spark.table.verbs.batch_plan import plan_batch
from andes_spark.table.verbs.merge import merge_after_apply


def apply_batch(open_table: OpenTable, mods: Any, options: ApplyOptions) -> ApplyResult:
    """Apply a batch of mods; see ``ModTable.apply``."""
    steps = open_table.begin("apply", open_table.log.head + 1)
    begun = open_table.log.clock()
    with steps.step("read the log"):
        head = open_table.log.refresh()
        open_table.check_log()
        plan = plan_batch(open_table, options)
    settings, in_memory = open_table.settings, dict[str, pa.Table]()
    writer = PartWriter(
        open_table.storage, plan, head, settings.target_file_bytes, settings.threads, options.max_quarantined
    )
    part = write_batch(
        _source(open_table, mods, options),
        writer,
        executor=open_table.executor,
        byte_budget=settings.byte_budget,
        steps=steps,
        in_memory=in_memory,
    )
    with steps.step("check the clock"):
        clock = _check_clock(open_table, part, begun)
    advisory = Advisory(open_table.table)
    manifest, replayed = _commit(open_table, part, options, plan, clock, steps, advisory)
    if replayed:
        advisory.run(
            "deleting files of the repeated batch",
            lambda: delete_unreferenced(open_table.storage, [part]),
            consequence="they take up space, and no version refers to them",
        )
        in_memory.clear()
    # Of a replay too: the first apply may have ended between commit and merge.
    merge = merge_after_apply(open_table, requested=options.merge, warm=in_memory, advisory=advisory)
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


def _source(open_table: OpenTable, mods: Any, options: ApplyOptions) -> Source:
    """The rows of a batch, whatever they were given as."""
    byte_budget = open_table.settings.byte_budget
    if is_spark(mods):
        from andes_spark.spark.frames import FrameRows

        return FrameRows(open_table.spark_executor(mods), mods, options, byte_budget)
    shape = open_table.shape()
    reading = Reading(
        part_bytes=max(1, byte_budget // 4),
        schema=shape.schema,
        text=frozenset(shape.schema.names) if options.cast else frozenset(),
        storage_options=input_options(open_table.storage),
    )
    return ArrowRows(arrow_tables(mods, reading), Conditions.of(options), TieBreak(options.tie_break_by))


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
        events=part.events,
        batch=batch,
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
            delete_unreferenced(open_table.storage, [part])
            raise
    return manifest, manifest.commit_id != draft.commit_id


def _same_batch(open_table: OpenTable, before: Manifest, batch: Batch, part: Part) -> Manifest:
    same = before.batch is not None and before.batch.digest == batch.digest
    if same and before.counts.quarantined == part.counts.quarantined:
        return before
    delete_unreferenced(open_table.storage, [part])
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
        return check_clock(open_table.log, begun=begun, written=next((entry.path for entry in part.files), None))
    except ClockError:
        delete_unreferenced(open_table.storage, [part])
        raise
