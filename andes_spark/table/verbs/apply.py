"""Apply: a batch is checked, written once and committed as a version; a merge follows if one is due."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pyarrow as pa

from andes_spark.base.files import TableShape
from andes_spark.batch.parts import Part, delete_unreferenced
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.write import ArrowRows, PartWriter, Source, write_batch
from andes_spark.errors import BatchConflictError, CommitConflictError
from andes_spark.inputs.rows import is_spark
from andes_spark.log.advisory import Advisory
from andes_spark.log.clock import CheckedClock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.fence import copied, fenced, or_fenced
from andes_spark.model.definition import Definition
from andes_spark.model.events import Event, PendingVersion
from andes_spark.model.manifest import Counts, Manifest
from andes_spark.model.options import ApplyOptions
from andes_spark.model.results import ApplyResult
from andes_spark.run.steps import Steps
from andes_spark.table.evolution.definitions import alter_event
from andes_spark.table.evolution.evolve import evolve
from andes_spark.table.open_table import BeforeCommit, OpenTable, shape_of
from andes_spark.table.verbs.ahead import MergeAhead
from andes_spark.table.verbs.batch_plan import arrow_rows, plan_batch
from andes_spark.table.verbs.due import may_merge
from andes_spark.table.verbs.merge import merge_after_apply
from andes_spark.table.verbs.sent_batch import SentBatch


def apply_batch(open_table: OpenTable, mods: Any, options: ApplyOptions) -> ApplyResult:
    """Apply a batch of mods; see ``ModTable.apply``."""
    steps = open_table.begin("apply", open_table.log.head + 1)
    source, shape, definition = _fitting(open_table, mods, options, steps)
    begun = open_table.log.clock()
    with steps.step("read the log"):
        plan = plan_batch(open_table.table, shape, options)
        head = open_table.log.head
        # These requests run while the batch is written; their answers are read before the commit.
        due = may_merge(open_table, options.merge)
        # Where the base is asked for, it tells of other writers as well.
        alone = due and not open_table.contended
        requests = open_table.ask_before_commit(options.batch_id, look_ahead=not alone, reads_base=alone)
        advisory = Advisory(open_table.table)
        ahead = MergeAhead(open_table, advisory, requested=options.merge)
    settings, in_memory = open_table.settings, dict[str, pa.Table]()
    writer = PartWriter(
        open_table.storage, plan, head, settings.target_file_bytes, settings.threads, options.max_quarantined
    )
    with or_fenced(open_table.log, head):
        part = write_batch(
            source,
            writer,
            executor=open_table.executor,
            byte_budget=settings.byte_budget,
            steps=steps,
            in_memory=in_memory,
        )
    attempt = _Attempt(open_table, part, plan, options, advisory, ahead, in_memory, head, definition)
    if definition is None:
        ahead.plan(attempt.pending(head + 1), options.batch_id, in_memory)
    with or_fenced(open_table.log, head):
        manifest, replayed = attempt.commit(requests, head, begun, steps)
        # While the files of a repeated batch exist: their digest tells it from others of its id.
        counts = attempt.counts_in(manifest)
    open_table.met_writer(attempt.overtaken or ahead.overtaken)
    if replayed:
        advisory.run(
            "deleting files of the repeated batch",
            lambda: delete_unreferenced(open_table.storage, [attempt.part]),
            consequence="they take up space, and no version refers to them",
        )
        in_memory.clear()
    # After a replay too: the first apply may have failed between commit and merge.
    merge = merge_after_apply(open_table, ahead, requested=options.merge, in_memory=in_memory, advisory=advisory)
    ahead.end()
    if replayed and merge is not None and merge.status == "nothing":
        merge = None
    return ApplyResult(
        manifest.version,
        counts,
        replayed=replayed,
        merge=merge,
        steps=steps.done,
        advisory=advisory.report("the batch is applied"),
        conflicts=attempt.conflicts,
    )


def _fitting(
    open_table: OpenTable, mods: Any, options: ApplyOptions, steps: Steps
) -> tuple[Source, TableShape, Definition | None]:
    """Return the rows of a batch, the shape of the table for them, and its definition if they change it."""
    source = _source(open_table, mods, options)
    if options.evolve_schema is not None:
        with steps.step("compare the columns"):
            source, definition = evolve(open_table, source, options)
        if definition != open_table.definition:
            return source, shape_of(definition, open_table.table), definition
    return source, open_table.shape(), None


def _source(open_table: OpenTable, mods: Any, options: ApplyOptions) -> Source:
    """Convert the input of an apply to a source of rows."""
    settings = open_table.settings
    if isinstance(mods, ArrowRows):
        return mods
    if is_spark(mods):
        from andes_spark.spark.frames import FrameRows

        return FrameRows(open_table.spark_executor(mods), mods, options, settings.byte_budget)
    return arrow_rows(mods, open_table.shape(), options, settings=settings, storage=open_table.storage)


class _FencedError(Exception):
    """A vacuum was committed that may delete the files of the batch."""


class _Attempt:
    """Commit of a written batch; the files are deleted if the batch is refused.

    Attributes:
        part: the batch; its files are written again if a vacuum may have deleted them.
        conflicts: number of commit attempts that lost their version number to another writer.
        overtaken: whether other writers committed versions while this one was written.
    """

    def __init__(
        self,
        open_table: OpenTable,
        part: Part,
        plan: BatchPlan,
        options: ApplyOptions,
        advisory: Advisory,
        ahead: MergeAhead,
        in_memory: dict[str, pa.Table],
        head: int,
        definition: Definition | None,
    ) -> None:
        self._open_table = open_table
        self.part = part
        self._in_memory = in_memory
        self._advisory = advisory
        self._ahead = ahead
        self.conflicts = 0
        self.overtaken = False
        self._start = head
        self._batch_id = options.batch_id
        self._backfill = options.backfill
        self._batch = SentBatch.of_part(options.batch_id, plan, part, open_table.storage)
        self._changes = () if definition is None else (alter_event(open_table.definition, definition),)
        self._draft = Draft(
            operation="apply",
            table_id=open_table.table_id,
            counts=part.counts,
            events=self._events(part),
            batches=self._batch.stored(),
            definition=definition,
            job=options.job,
            commit_id=str(uuid.uuid4()),
        )

    def _events(self, part: Part) -> tuple[Event, ...]:
        return (*self._changes, *part.events(backfill=self._backfill))

    def pending(self, version: int) -> PendingVersion:
        """The batch as a pending version."""
        return PendingVersion(version=version, commit_id=self._draft.commit_id, events=list(self._draft.events))

    def commit(self, requests: BeforeCommit, planned: int, begun: int, steps: Steps) -> tuple[Manifest, bool]:
        """Commit the batch.

        Args:
            requests: requests that were started before the batch was written.
            planned: head at that time.
            begun: this machine's time before the batch was written.
            steps: collector of steps.

        Returns:
            The manifest, and whether it is the manifest of an earlier apply of the same batch.
        """
        open_table = self._open_table
        try:
            open_table.roll_ups.begin()
            with steps.step("read the log"):
                stored_head = open_table.take_before_commit(requests, self._ahead.base)
                if self._ahead.is_overtaken():
                    stored_head = open_table.log.refresh()
                self.overtaken = stored_head > planned
                before = self._look(stored_head, planned)
            with steps.step("check the clock"):
                clock = open_table.clock.check(begun=begun, written=next((e.path for e in self.part.files), None))
            with steps.step("look up the batch"):
                if before is None and self._batch_id is not None:
                    before = self._with_batch(open_table.ledger.find(self._batch_id))
            if before is not None:
                self._ahead.drop()
                open_table.roll_ups.end(None)
                return before, True
            with steps.step("wait for files"):
                self._ahead.settle(open_table.log.head)
                open_table.storage.scheduler.barrier()
                self._pass_fence()
        except BaseException:
            self._delete()
            raise
        with steps.step("commit"):
            manifest = self._put(clock)
        self._ahead.committed(manifest)
        open_table.roll_ups.end(manifest)
        return manifest, manifest.commit_id != self._draft.commit_id

    def _put(self, clock: CheckedClock) -> Manifest:
        """Commit the batch; its files are written again if a vacuum is committed meanwhile that may delete them."""
        open_table = self._open_table
        while True:
            try:
                return commit(
                    open_table.log,
                    self._draft,
                    clock=clock,
                    admit=self._admit_winner,
                    roll_up=open_table.roll_ups.make,
                    advisory=self._advisory,
                    head_checked=True,
                    beside=self._ahead.start_record,
                )
            except _FencedError:
                try:
                    self._pass_fence()
                except BaseException:
                    self._delete()
                    raise
            except (BatchConflictError, CommitConflictError):
                self._delete()
                raise

    def _pass_fence(self) -> None:
        """Write the files of the batch again if a vacuum up to the head may have deleted them.

        Raises:
            NotFoundError, FileDamagedError: they are gone.
        """
        open_table = self._open_table
        if not fenced(open_table.log, self._start):
            return
        head = open_table.log.head
        copies = copied(open_table.storage, self.part.files, head=head)
        delete_unreferenced(open_table.storage, [self.part])
        mods, refused = (tuple(copies[entry.path] for entry in files) for files in (self.part.mods, self.part.refused))
        self.part = replace(self.part, mods=mods, refused=refused)
        self._batch = SentBatch.of_part(self._batch_id, self._batch.plan, self.part, open_table.storage)
        self._draft = replace(self._draft, events=self._events(self.part))
        for path in [path for path in self._in_memory if path in copies]:
            self._in_memory[copies[path].path] = self._in_memory.pop(path)
        self._start = head

    def counts_in(self, manifest: Manifest) -> Counts:
        """Return the balance of the batch in a version that has it."""
        applied = self._batch.in_version(manifest, self._open_table.shape().versions)
        return manifest.counts if applied is None else applied.counts

    def _delete(self) -> None:
        """Delete the files of a batch that is refused."""
        self._open_table.roll_ups.end(None)
        self._ahead.delete()
        delete_unreferenced(self._open_table.storage, [self.part])

    def _look(self, head: int, planned: int) -> Manifest | None:
        """Check the versions committed while the batch was written; return the one with the same batch, if any."""
        for manifest in self._open_table.log.manifests(planned + 1, head) if head > planned else ():
            before = self._admit(manifest)
            if before is not None:
                return before
        return None

    def _admit_winner(self, manifest: Manifest) -> Manifest | None:
        self.conflicts += 1
        self.overtaken = True
        before = self._admit(manifest)
        if (
            before is None
            and manifest.version == self._open_table.log.head
            and fenced(self._open_table.log, self._start)
        ):
            raise _FencedError
        return before

    def _admit(self, manifest: Manifest) -> Manifest | None:
        if self._draft.definition is not None and manifest.definition is not None:
            raise CommitConflictError(
                f"{self._open_table.table}: version {manifest.version} changed the table's definition while this batch "
                "was to change it too; apply it again",
                table=self._open_table.table,
                version=manifest.version,
            )
        # A batch may be of an earlier schema: each file is read as its own.
        return self._with_batch(manifest)

    def _with_batch(self, manifest: Manifest | None) -> Manifest | None:
        """Return a manifest if it has the same batch."""
        applied = self._batch.in_version(manifest, self._open_table.shape().versions)
        return None if applied is None else manifest
