"""Repair: what other writers or damage did to the base is found, and undone from the log.

Nothing is guessed: changes of other writers are undone only if the caller says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.model.display import Displayed
from andes_spark.model.repair_options import UNDO, RepairOptions
from andes_spark.model.results import Step
from andes_spark.run.steps import Steps
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.foreign import ForeignWrite, look_at
from andes_spark.table.repair.undo import bring_back, last_writable, rebuild

_CHOICES = 'repair(foreign="undo") takes it back'


@dataclass(frozen=True, repr=False)
class RepairResult(Displayed):
    """Result of a repair.

    Attributes:
        findings: what was wrong; empty if nothing was.
        actions: what was done about it; in a dry run, what would be done.
        version: newest version of the log.
        delta_version: Delta version of the base.
        dry_run: whether nothing was written.
        steps: measurements of the steps.
    """

    findings: tuple[str, ...]
    actions: tuple[str, ...]
    version: int
    delta_version: int
    dry_run: bool = False
    steps: tuple[Step, ...] = ()

    def summary(self) -> str:
        """See ``Displayed``."""
        return "; ".join(self.actions or self.findings) or "there is nothing to repair"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        done = "would be done" if self.dry_run else "done"
        lists = {"found": self.findings, done: self.actions}
        versions = {"version": str(self.version), "base": f"Delta version {self.delta_version}"}
        return {**{name: "\n".join(texts) or "nothing" for name, texts in lists.items()}, **versions}


def repair(open_table: OpenTable, options: RepairOptions) -> RepairResult:
    """Repair a table; see ``ModTable.repair``."""
    return _Repair(open_table, options, open_table.begin("repair", open_table.log.head)).run()


class _Repair:
    """One repair."""

    def __init__(self, open_table: OpenTable, options: RepairOptions, steps: Steps) -> None:
        self._open_table = open_table
        self._options = options
        self._steps = steps
        self._findings: list[str] = []
        self._actions: list[str] = []

    def run(self) -> RepairResult:
        open_table = self._open_table
        with self._steps.step("read log and base"):
            base = open_table.base.snapshot()
            open_table.check_log()
        if base.foreign is not None:
            with self._steps.step("compare the rows"):
                write = look_at(open_table, base, base.foreign)
            self._findings.append(write.text())
            self._repair_foreign(write)
        elif base.unwritable is not None:
            self._repair_features(base, base.unwritable)
        if not self._options.dry_run:
            base = open_table.base.snapshot()
        return RepairResult(
            tuple(self._findings),
            tuple(self._actions),
            open_table.log.head,
            base.version,
            self._options.dry_run,
            self._steps.done,
        )

    def _chosen(self, finding: str) -> bool:
        """Whether the changes of other writers are to be undone; a dry run without a choice names the choices."""
        if self._options.foreign == UNDO:
            return True
        if not self._options.dry_run:
            table = self._open_table.table
            raise OptionError(
                f"{table}: {finding}. Stop that writer; then {_CHOICES}", table=table, option="foreign", value=None
            )
        self._actions.append(_CHOICES)
        return False

    def _repair_foreign(self, write: ForeignWrite) -> None:
        if not self._chosen(write.text()):
            return
        base = write.base
        if not write.lost:
            self._actions.append(f"the base gets the files and columns of Delta version {base.version} again")
            if not self._options.dry_run:
                with self._steps.step("commit to Delta"):
                    bring_back(self._open_table, write.newest, base.state, base.applied)
            return
        self._actions.append("the base is built again from an older state and the mods since")
        if not self._options.dry_run:
            rebuild(self._open_table, write.newest, base, self._steps)

    def _repair_features(self, base: BaseSnapshot, reason: UnsupportedTableError) -> None:
        """Bring back the properties before the features that keep this library from writing the base."""
        self._findings.append(reason.message)
        if not self._chosen(reason.message):
            return
        self._actions.append(f"the base gets the properties from before {reason.feature} again")
        if not self._options.dry_run:
            with self._steps.step("commit to Delta"):
                goal = last_writable(self._open_table, base.state)
                bring_back(self._open_table, base.state, goal, base.applied)
