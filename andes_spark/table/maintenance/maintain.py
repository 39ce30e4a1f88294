"""All upkeep that is due, for a scheduler: a merge, compaction, a vacuum."""

from __future__ import annotations

import time
from dataclasses import dataclass

from andes_spark.model.display import Displayed
from andes_spark.model.merge_cost import MergeDecision
from andes_spark.model.results import MergeResult
from andes_spark.model.upkeep_options import CompactOptions, MaintainOptions, VacuumOptions
from andes_spark.table.maintenance.compaction import CompactionResult, compaction
from andes_spark.table.maintenance.vacuum import VacuumResult, vacuum
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.due import due_now
from andes_spark.table.verbs.merge import run_merge


@dataclass(frozen=True, repr=False)
class MaintainResult(Displayed):
    """Result of a maintenance, as ``ModTable.maintain`` returns it.

    Attributes:
        decision: whether a merge was due by the table's merge policy.
        merge: result of the merge; None without one.
        compaction: result of the compaction; None if the time was over.
        vacuum: result of the vacuum; None if the time was over.
        left: names of the steps that are left, since the time or the bytes were over.
        dry_run: whether nothing was written.
    """

    decision: MergeDecision
    merge: MergeResult | None
    compaction: CompactionResult | None
    vacuum: VacuumResult | None
    left: tuple[str, ...] = ()
    dry_run: bool = False

    def summary(self) -> str:
        """See ``Displayed``."""
        return "; ".join(f"{name}: {text}" for name, text in self._texts().items())

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return self._texts()

    def _texts(self) -> dict[str, str]:
        parts = {"compaction": self.compaction, "vacuum": self.vacuum}
        left = {"left": ", ".join(self.left)} if self.left else {}
        return {
            "merge": str(self.decision) if self.merge is None else self.merge.summary(),
            **{name: part.summary() for name, part in parts.items() if part is not None},
            **left,
        }


def maintain(open_table: OpenTable, options: MaintainOptions) -> MaintainResult:
    """Do the upkeep that is due; see ``ModTable.maintain``."""
    begun = time.monotonic()

    def goes_on() -> bool:
        return options.max_seconds is None or time.monotonic() - begun < options.max_seconds

    decision, merged = due_now(open_table), None
    left: list[str] = []
    if decision.due and not options.dry_run:
        merged = run_merge(open_table) if goes_on() else None
        left += [] if merged is not None else ["merge"]
    compacted = vacuumed = None
    if goes_on():
        chosen = CompactOptions(max_bytes=options.max_bytes, dry_run=options.dry_run)
        compacted = compaction(open_table, chosen, goes_on=goes_on)
    if compacted is None or (compacted.worn and not options.dry_run):
        left.append("compaction")
    if goes_on():
        vacuumed = vacuum(open_table, VacuumOptions(retain=options.retain, dry_run=options.dry_run))
    else:
        left.append("vacuum")
    return MaintainResult(decision, merged, compacted, vacuumed, tuple(left), options.dry_run)
