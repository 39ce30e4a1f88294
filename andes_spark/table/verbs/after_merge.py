"""Advisory work after a merge: the checkpoint, and the note for the next reader."""

from __future__ import annotations

import msgspec

from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.log.advisory import Advisory
from andes_spark.log.lease import MergeLease, MergeNote
from andes_spark.run.steps import Steps
from andes_spark.table.open_table import OpenTable

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


def release(open_table: OpenTable, lease: MergeLease, note: MergeNote | None) -> None:
    """Release the lease, and leave the note with the checkpoint that was written last."""
    checkpoint = open_table.base.checkpoint
    lease.release(note if note is None else msgspec.structs.replace(note, checkpoint=checkpoint))
