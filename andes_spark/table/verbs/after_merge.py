"""Advisory work after a merge: the checkpoint, the note for the next reader, and readers of other formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.log.advisory import Advisory
from andes_spark.log.lease import MergeLease, MergeNote
from andes_spark.model.options import ICEBERG
from andes_spark.run.steps import Steps
from andes_spark.table.open_table import OpenTable
from andes_spark.table.shown import shown_of

CHECKPOINT_INTERVALS = {False: 10, True: 5}
"""Default number of Delta commits between two checkpoints, on a local and on a remote store."""


def checkpoint(open_table: OpenTable, steps: Steps, advisory: Advisory, before: int) -> None:
    """Write a checkpoint if one has become due since Delta version ``before``."""
    interval = open_table.settings.checkpoint_interval or CHECKPOINT_INTERVALS[open_table.is_remote]
    state = open_table.base.in_memory().state
    if state.version // interval > before // interval:
        consequence = "the next merge that is due for one tries again"

        def write() -> None:
            if write_checkpoint(open_table.storage, state, now_ms=open_table.log.clock()):
                open_table.base.checkpoint = state.version

        def begin() -> None:
            with steps.step("checkpoint"):
                advisory.later(open_table.storage.scheduler, "writing a checkpoint", write, consequence=consequence)

        advisory.run("writing a checkpoint", begin, consequence=consequence)


def show_faces(open_table: OpenTable, advisory: Advisory) -> None:
    """Show the state of the base in memory to the readers of other formats that the definition names."""
    if ICEBERG not in open_table.definition.faces or open_table.face_after_merges.paused:
        return
    step, consequence = "synchronizing the Iceberg face", "its readers see the merge before; the next merge tries again"

    def begin() -> None:
        catch_up = open_table.face_after_merges.begin(shown_of(open_table, open_table.base.in_memory()))
        advisory.later(open_table.storage.scheduler, step, catch_up, consequence=consequence)

    advisory.run(step, begin, consequence=consequence)


def begin_faces(open_table: OpenTable) -> OpenTable:
    """Show the newest state of the base, as after a merge: a failure is a warning. Returns the table."""
    if open_table.definition.faces:
        advisory = Advisory(open_table.table)
        advisory.run("reading the base", open_table.base.snapshot, consequence="the next merge begins the faces")
        show_faces(open_table, advisory)
        advisory.report("the table is there")
    return open_table


@contextmanager
def without_faces(open_table: OpenTable) -> Iterator[None]:
    """Let merges within the block show nothing, and what was begun before end."""
    if not open_table.definition.faces:
        yield
        return
    open_table.storage.scheduler.settle()
    open_table.face_after_merges.paused = True
    try:
        yield
    finally:
        open_table.face_after_merges.paused = False


def release(open_table: OpenTable, lease: MergeLease, note: MergeNote | None) -> None:
    """Release the lease, and leave the note with the checkpoint that was written last."""
    checkpoint = open_table.base.checkpoint
    lease.release(note if note is None else msgspec.structs.replace(note, checkpoint=checkpoint))
