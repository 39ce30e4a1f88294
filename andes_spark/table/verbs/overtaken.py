"""Merges that a vacuum or another merge overtakes: planned again, on the newest state of the base."""

from __future__ import annotations

from andes_spark.base.merge.finish import Merged, Upto, merge_pending
from andes_spark.errors import DamagedError, NotFoundError
from andes_spark.log.commit import Draft, commit
from andes_spark.log.pending import ModsInMemory, pending_of
from andes_spark.run.steps import Steps
from andes_spark.table.history.travel import evaluable
from andes_spark.table.open_table import OpenTable


def plan_and_finish(open_table: OpenTable, upto: Upto, steps: Steps, in_memory: ModsInMemory | None) -> Merged | None:
    """Plan and commit a merge; return None if it is to be planned again.

    Files of a plan are deleted while it is made only if the base it is made on is no longer the newest one: by a
    vacuum, which commits an entry of the Delta log first.
    """
    context, newest = open_table.base_context(upto.version), upto.newest
    try:
        base, versions = evaluable(open_table, newest, upto.version)
        pending = pending_of(versions, context.shape.versions, context.shape.columns)
        return merge_pending(context, base, pending, upto, steps=steps, in_memory=in_memory)
    except (DamagedError, NotFoundError):
        if open_table.base.snapshot().version == newest.version:
            raise
        return None


def add_version(open_table: OpenTable) -> None:
    """Commit a version without events."""
    log = open_table.log
    draft = Draft(operation="merge", table_id=open_table.table_id)
    clock = open_table.clock.check(begun=log.clock())
    commit(log, draft, clock=clock, admit=lambda manifest: None, roll_up=open_table.roll_ups.make)
