"""Commit of several batches as one version: each with its own id, balance and error."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from andes_spark.batch.group import WrittenGroup, write_group
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.prepare import Prepared
from andes_spark.errors import AndesError, BatchConflictError, CommitConflictError
from andes_spark.log.advisory import Advisory
from andes_spark.log.clock import CheckedClock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.fence import fenced
from andes_spark.model.events import PendingVersion
from andes_spark.model.manifest import Batch, Manifest
from andes_spark.model.mod import BatchId
from andes_spark.model.results import ApplyResult, MergeResult
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.ahead import MergeAhead
from andes_spark.table.verbs.merge import merge_after_apply
from andes_spark.table.verbs.sent_batch import SentBatch


@dataclass(frozen=True)
class PreparedBatch:
    """A batch that is ready to be written.

    Attributes:
        batch_id: id of the batch, if it has one.
        plan: plan of the batch.
        prepared: mods and refused rows.
    """

    batch_id: BatchId | None
    plan: BatchPlan
    prepared: Prepared

    @property
    def bytes(self) -> int:
        """The memory of the rows of the batch in bytes."""
        return int(self.prepared.mods.nbytes + self.prepared.quarantined.nbytes)

    @property
    def sent(self) -> SentBatch:
        """Identity, content and balance of the batch."""
        prepared = self.prepared
        return SentBatch(self.batch_id, self.plan, prepared.counts, prepared.digest, lambda: [prepared.mods])


Outcome = ApplyResult | BaseException
"""Result of a batch, or its error."""


def append_batches(
    open_table: OpenTable, batches: Sequence[PreparedBatch], *, merge: bool | None = None, job: str | None = None
) -> list[Outcome]:
    """Commit batches as one version, followed by a merge if one is due; return their outcomes in the same order.

    Batches that were applied before are recognised by their ids and are not part of the version. A batch whose id
    occurs twice among the batches is applied once. An error of the commit is the outcome of all batches that it
    would have contained.

    Args:
        open_table: the table.
        batches: batches in the order of arrival.
        merge: request of the caller; None for the table's merge policy.
        job: name of the job.
    """
    group = _Group(open_table, batches, merge, job)
    group.run()
    merged = group.merged() if group.applied else None
    if group.ahead is not None:
        group.ahead.end()
    group.advisory.report("the batches are applied")
    outcomes = [group.outcomes[number] for number in range(len(batches))]
    return [outcome if isinstance(outcome, BaseException) else group.result(outcome, merged) for outcome in outcomes]


@dataclass(frozen=True)
class _Applied:
    manifest: Manifest
    batch: PreparedBatch
    replayed: bool


class _RepeatedError(Exception):
    """Another writer has committed a batch of the group, or a vacuum that may delete its files."""


class _UnknownOutcomeError(Exception):
    """A commit failed with an error after which the version may exist."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class _Group:
    """Batches on their way to a version.

    Attributes:
        outcomes: where each batch was applied, or its error, by its position.
    """

    open_table: OpenTable
    batches: Sequence[PreparedBatch]
    requested_merge: bool | None
    job: str | None
    outcomes: dict[int, _Applied | BaseException] = field(default_factory=dict)
    in_memory: dict[str, pa.Table] = field(default_factory=dict)
    conflicts: int = 0
    ahead: MergeAhead | None = None

    def __post_init__(self) -> None:
        self.steps = self.open_table.begin("append", self.open_table.log.head + 1)
        self.advisory = Advisory(self.open_table.table)
        self._start = self.open_table.log.head

    @property
    def applied(self) -> bool:
        """Whether any batch is applied, now or before."""
        return any(isinstance(outcome, _Applied) for outcome in self.outcomes.values())

    def run(self) -> None:
        """Commit the batches; a batch that repeats an id of another one is looked up after that one's commit."""
        while len(self.outcomes) < len(self.batches):
            self._resolve(self._recent())
            numbers = self._first_of_each_id()
            if not numbers:
                continue
            try:
                self._commit(numbers)
            except Exception as error:  # noqa: BLE001 - it is the outcome of the batches of the version
                for number in numbers:
                    self.outcomes.setdefault(number, _copied(error))

    def _left(self) -> list[int]:
        return [number for number in range(len(self.batches)) if number not in self.outcomes]

    def _first_of_each_id(self) -> list[int]:
        """Return the batches to commit next: those without an id, and the first one of each id, of one schema."""
        firsts: dict[object, int] = {}
        for number in self._left():
            batch_id = self.batches[number].batch_id
            firsts.setdefault(number if batch_id is None else (batch_id.source, batch_id.tagged), number)
        numbers = sorted(firsts.values())
        # Batches that were prepared before a change of the schema are in a version of their own.
        schemas = [self.batches[number].plan.version.id for number in numbers]
        return [number for number, schema in zip(numbers, schemas, strict=True) if schema == schemas[0]]

    def _recent(self) -> Iterator[tuple[int, Manifest | None]]:
        for number in self._left():
            batch_id = self.batches[number].batch_id
            if batch_id is not None:
                yield number, self.open_table.ledger.find_recent(batch_id)

    def _stored(self, numbers: Iterable[int]) -> Iterator[tuple[int, Manifest | None]]:
        for number in numbers:
            batch_id = self.batches[number].batch_id
            if batch_id is not None:
                yield number, self.open_table.ledger.find(batch_id)

    def _resolve(self, applied: Iterable[tuple[int, Manifest | None]]) -> None:
        """Resolve batches that a version has already: as replays, or with the error of other content."""
        schemas = self.open_table.shape().versions
        for number, manifest in applied:
            batch = self.batches[number]
            try:
                if batch.sent.in_version(manifest, schemas) is not None:
                    assert manifest is not None
                    self.outcomes[number] = _Applied(manifest, batch, replayed=True)
            except BatchConflictError as error:
                self.outcomes[number] = error

    def _commit(self, numbers: list[int]) -> None:
        open_table, steps = self.open_table, self.steps
        checked, begun = open_table.log.head, open_table.log.clock()
        with steps.step("read the log"):
            # These requests run while the mods are written; their answers are read before the commit.
            requests = open_table.ask_before_commit(*(self.batches[number].batch_id for number in numbers))
            if self.ahead is not None:
                self.ahead.end()
            ahead = self.ahead = MergeAhead(open_table, self.advisory, requested=self.requested_merge)
        written = self._write(numbers)
        ahead.plan(PendingVersion(version=checked + 1, commit_id="", events=list(written.events)), None, self.in_memory)
        manifest = None
        try:
            open_table.roll_ups.begin()
            with steps.step("read the log"):
                open_table.take_before_commit(requests)
                ahead.is_overtaken()
            with steps.step("check the clock"):
                clock = open_table.clock.check(begun=begun, written=next((e.path for e in written.files), None))
            while manifest is None:
                with steps.step("look up the batches"):
                    self._resolve(self._stored(numbers))
                left = [number for number in numbers if number not in self.outcomes]
                if left != numbers or fenced(open_table.log, self._start):
                    ahead.drop()
                    self._delete(written)
                    if not left:
                        open_table.roll_ups.end(None)
                        return
                    numbers, written = left, self._write(left)
                with steps.step("wait for files"):
                    ahead.settle(open_table.log.head)
                    for entry in written.files:
                        open_table.storage.scheduler.wait(entry.path)
                manifest = self._put(numbers, written, clock, ahead)
        except _UnknownOutcomeError as unknown:
            # The version may refer to the files.
            raise unknown.error from None
        except BaseException:
            ahead.delete()
            open_table.roll_ups.end(None)
            self._delete(written)
            raise
        ahead.committed(manifest)
        open_table.roll_ups.end(manifest)
        open_table.met_writer(self.conflicts > 0 or ahead.overtaken)
        for number in numbers:
            self.outcomes[number] = _Applied(manifest, self.batches[number], replayed=False)

    def _put(
        self, numbers: list[int], written: WrittenGroup, clock: CheckedClock, ahead: MergeAhead
    ) -> Manifest | None:
        """Commit the version; return None if another writer has committed a batch of it, or a vacuum.

        Raises:
            CommitConflictError: nothing is committed.
            _UnknownOutcomeError: another error, after which the version may be committed.
        """
        open_table = self.open_table
        try:
            with self.steps.step("commit"):
                return commit(
                    open_table.log,
                    self._draft(numbers, written),
                    clock=clock,
                    admit=lambda manifest: self._admit(manifest, numbers),
                    roll_up=open_table.roll_ups.make,
                    advisory=self.advisory,
                    head_checked=True,
                    beside=ahead.start_record,
                )
        except _RepeatedError:
            return None
        except CommitConflictError:
            raise
        except BaseException as error:
            raise _UnknownOutcomeError(error) from error

    def _write(self, numbers: list[int]) -> WrittenGroup:
        settings, group = self.open_table.settings, [self.batches[number] for number in numbers]
        self._start = self.open_table.log.head
        with self.steps.step("write mods"):
            return write_group(
                self.open_table.storage,
                [batch.prepared for batch in group],
                group[0].plan,
                head=self.open_table.log.head,
                target_bytes=settings.target_file_bytes,
                threads=settings.threads,
                in_memory=self.in_memory,
            )

    def _delete(self, written: WrittenGroup) -> None:
        for entry in written.files:
            self.in_memory.pop(entry.path, None)
        self.open_table.storage.delete(entry.path for entry in written.files)

    def _draft(self, numbers: list[int], written: WrittenGroup) -> Draft:
        batches: list[Batch] = []
        for place, number in enumerate(numbers):
            batches += self.batches[number].sent.stored(place)
        return Draft(
            operation="apply",
            table_id=self.open_table.table_id,
            counts=written.counts,
            events=written.events,
            batches=tuple(batches),
            job=self.job,
            commit_id=str(uuid.uuid4()),
        )

    def _admit(self, manifest: Manifest, numbers: list[int]) -> Manifest | None:
        self.conflicts += 1
        ids = {(batch.source, batch.id) for batch in manifest.batches}
        for number in numbers:
            batch_id = self.batches[number].batch_id
            if batch_id is not None and (batch_id.source, batch_id.tagged) in ids:
                raise _RepeatedError
        if manifest.version == self.open_table.log.head and fenced(self.open_table.log, self._start):
            raise _RepeatedError
        return None

    def merged(self) -> MergeResult | None:
        """Merge after the commit, as after an apply."""
        return merge_after_apply(
            self.open_table,
            self.ahead,
            requested=self.requested_merge,
            in_memory=self.in_memory,
            advisory=self.advisory,
        )

    def result(self, applied: _Applied, merged: MergeResult | None) -> ApplyResult:
        """Return the result of a batch."""
        batch, manifest = applied.batch, applied.manifest
        stored = batch.sent.in_version(manifest, self.open_table.shape().versions) if applied.replayed else None
        return ApplyResult(
            manifest.version,
            batch.prepared.counts if stored is None else stored.counts,
            replayed=applied.replayed,
            merge=None if applied.replayed and merged is not None and merged.status == "nothing" else merged,
            steps=self.steps.done,
            advisory=self.advisory.failures,
            conflicts=0 if applied.replayed else self.conflicts,
        )


def _copied(error: Exception) -> Exception:
    """Return an error of the commit for one of its batches, which may be raised in another thread."""
    if not isinstance(error, AndesError):
        return error
    copy = type(error)(error.message, **error.fields)
    copy.__cause__ = error
    return copy
