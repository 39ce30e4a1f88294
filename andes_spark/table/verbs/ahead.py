"""The merge of a batch, planned before the batch is committed.

The rows, deletion vectors and tombstones of the merge are written beside the mods, and its record beside the manifest,
by whose commit id it is named. They count if the batch is committed as the version that the plan was made for, on the
base that it was made on: then the Delta entry, the commit of the merge, refers to them. In every other case they are
deleted, and the merge is planned anew after the commit. A plan that fails never fails the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from andes_spark.base.merge.finish import drop_record, start_record
from andes_spark.base.merge.merge import Planned, drop_changes, drop_planned, plan_merge
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.log.advisory import Advisory
from andes_spark.log.line import newest_base, taken_in
from andes_spark.log.pending import ModsInMemory, pending_of
from andes_spark.model.events import PendingVersion, mods_of
from andes_spark.model.manifest import Manifest
from andes_spark.model.merge_record import MergeRecord
from andes_spark.model.mod import BatchId
from andes_spark.storage.scheduler import Asked
from andes_spark.table.open_table import BeforeMerge, OpenTable
from andes_spark.table.verbs.due import decide_on, is_long, may_merge

T = TypeVar("T")
PlannedAhead = tuple[Planned, Asked[MergeRecord] | None]
"""A plan, and its record where that was written beside the manifest."""


class MergeAhead:
    """Work before the commit of an apply that its merge can use.

    Args:
        open_table: the table.
        advisory: advisory steps of the apply; takes the deletion of files of a plan that was given up.
        requested: request of the caller; None for the table's merge policy.

    Attributes:
        before: answers of requests that run while the batch is written; None if a merge is not likely.
        steps: steps of the merge.
        overtaken: whether another writer changed the base meanwhile.
    """

    def __init__(self, open_table: OpenTable, advisory: Advisory, *, requested: bool | None) -> None:
        self._open_table = open_table
        self._advisory = advisory
        self._planned: Planned | None = None
        self._record: Asked[MergeRecord] | None = None
        self._commit_id = ""
        self._is_committed = False
        self._deletions: list[Callable[[], None]] = []
        self.overtaken = False
        self._requested = requested
        self.before = open_table.ask_before_merge() if may_merge(open_table, requested) else None
        self.steps = open_table.new_steps()

    def plan(self, version: PendingVersion, batch_id: BatchId | None, in_memory: ModsInMemory) -> None:
        """Plan the merge of a batch that is written but not committed, if that is little work.

        Args:
            version: the batch as the version after the head.
            batch_id: of the batch.
            in_memory: its mods.
        """
        if self.before is not None and not self._open_table.contended:
            self._planned = self._attempted(
                "planning the merge", partial(self._plan, self.before, version, batch_id, in_memory)
            )

    def _plan(
        self, before: BeforeMerge, version: PendingVersion, batch_id: BatchId | None, in_memory: ModsInMemory
    ) -> Planned | None:
        open_table = self._open_table
        if batch_id is not None and open_table.ledger.find(batch_id) is not None:
            return None
        if any(entry.path not in in_memory for entry in mods_of(version.events)):
            return None
        # A base in memory is compared with the stored one later, see ``settle``.
        base = open_table.base.in_memory() if open_table.base.newest is not None else before.base.result()
        if base.applied >= version.version or base.foreign is not None or base.unwritable is not None:
            return None
        versions = [*open_table.log.pending(base.applied, version.version - 1), version]
        if newest_base(versions, base.applied) is not None or taken_in(versions) is not None:
            return None
        if is_long(open_table, base, versions):
            return None
        by_cost = self._requested is None and open_table.definition.merge == "auto"
        if by_cost and not decide_on(open_table, base, versions).due:
            return None
        context = open_table.base_context()
        pending = pending_of(versions, context.shape.versions, context.shape.columns)
        return plan_merge(context, base, pending, version.version, steps=self.steps, in_memory=in_memory)

    def base(self) -> BaseSnapshot | None:
        """Return the newest state of the base; None if it is not asked for, or cannot be read."""
        return None if self.before is None else self._attempted("reading the base", self.before.base.result)

    def is_overtaken(self) -> bool:
        """Return whether another writer changed the base since the merge was planned on it.

        The base is read here if it was not before, and our last Delta entry once more.
        """
        planned, before = self._planned, self.before
        if planned is None or before is None:
            return False
        newest = self.base()
        base = planned.base.state
        moved = newest is None or (newest.version, newest.state.commit_id) != (base.version, base.commit_id)
        self.overtaken = newest is not None and moved
        if moved:
            self.drop()
        return self.overtaken

    def settle(self, head: int) -> None:
        """Wait for the files of the plan; give it up unless it holds for a commit after ``head``."""
        planned, before = self._planned, self.before
        if planned is None or before is None:
            return
        written = partial(self._is_written, before)
        if head != planned.version - 1 or not self._attempted("writing the files of the merge", written):
            self.drop()

    def _is_written(self, before: BeforeMerge) -> bool:
        """Wait for all files; False if another merge is running."""
        if before.held.result():
            return False
        self._open_table.storage.scheduler.barrier()
        return True

    def _attempted(self, step: str, function: Callable[[], T]) -> T | None:
        """Result of a function; None if it failed: the steps that follow meet the error again, and report it."""
        return Advisory(self._open_table.table).run(step, function, consequence="it is planned after the commit")

    def start_record(self, manifest: Manifest) -> None:
        """Start to write the record of the merge beside a manifest, if the plan was made for its version."""
        planned = self._planned
        if planned is not None and self._record is None and manifest.version == planned.version:
            self._commit_id = manifest.commit_id
            context = self._open_table.base_context()
            self._record = self._attempted(
                "starting to write the merge record", partial(start_record, context, planned, manifest.commit_id)
            )

    def committed(self, manifest: Manifest) -> None:
        """Give the plan up unless the batch was committed as the version that it was made for."""
        planned = self._planned
        if planned is None:
            return
        self._is_committed = (manifest.version, manifest.commit_id) == (planned.version, self._commit_id)
        if not self._is_committed:
            self.drop()

    def drop(self) -> None:
        """Give the plan up, whose version is another manifest's or not committed; :meth:`end` deletes its files."""
        planned, record = self._planned, self._record
        self._planned = self._record = None
        storage = self._open_table.storage
        if planned is None:
            return
        # A file that could not be written must not keep the batch from being committed.
        storage.scheduler.forget(sorted(planned.files))
        if record is None:
            self._deletions.append(partial(drop_planned, storage, planned))
        else:
            self._deletions.append(partial(drop_record, storage, planned, self._commit_id, record))

    def take(self) -> PlannedAhead | None:
        """Return the plan with its record, to be finished now; None if its version is not known to be committed."""
        if not self._is_committed:
            return None
        planned, self._planned = self._planned, None
        return None if planned is None else (planned, self._record)

    def end(self) -> None:
        """Delete the files of a plan that was given up, after the caller has its result.

        If the outcome of the commit is unknown, nothing is deleted.
        """
        if self._planned is not None and self._is_committed:
            # Its record counts.
            self._deletions.append(partial(drop_changes, self._open_table.storage, self._planned))
        for deletion in self._deletions:
            self._advisory.later(
                self._open_table.storage.scheduler,
                "deleting files of a merge that was given up",
                deletion,
                consequence="they take up space, and nothing refers to them",
            )

    def delete(self) -> None:
        """Delete the files of the plan now: the batch is refused."""
        self.drop()
        for deletion in self._deletions:
            deletion()
