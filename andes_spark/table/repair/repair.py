"""Repair: what other writers did to the base is found, and undone from the log or taken in.

Nothing is guessed: what becomes of their changes is the caller's choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from andes_spark.base.foreign import ForeignChange
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.errors import (
    AndesError,
    DamagedError,
    ForeignWriteError,
    LogDamagedError,
    NoSuchTableError,
    OptionError,
    UnsupportedTableError,
)
from andes_spark.log.advisory import Advisory
from andes_spark.model.display import Displayed
from andes_spark.model.repair_options import ACCEPT, TAKE_IN, UNDO, RepairOptions
from andes_spark.model.results import AdvisoryFailure, MergeResult, Step
from andes_spark.run.steps import Steps
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.damage import DamageRepair
from andes_spark.table.repair.foreign import ForeignWrite, look_at
from andes_spark.table.repair.lost import release_before
from andes_spark.table.repair.manifests import LostManifest, Manifests
from andes_spark.table.repair.take_in import take_in
from andes_spark.table.repair.undo import bring_back, last_writable, rebuild
from andes_spark.table.verbs.merge import merge_after_apply, run_merge

_TAKES_IN = "makes these rows a version of the table"
_UNDOES = "takes the changes back"


@dataclass(frozen=True, repr=False)
class RepairResult(Displayed):
    """Result of a repair, as ``ModTable.repair`` returns it.

    Attributes:
        findings: what was wrong; empty if nothing was.
        actions: what was done about it; in a dry run, what would be done, of damage what would be mended first.
        left: problems that cannot be mended from the log; each says what to restore.
        version: newest version of the log.
        committed: version that takes changes in, or that the base was built again up to; None if none was committed.
        delta_version: Delta version of the base.
        dry_run: whether nothing was written.
        merge: result of the merge of what was taken in; None without one.
        advisory: failed steps after the commit, which do not affect the repair.
        steps: time and requests by step.
    """

    findings: tuple[str, ...]
    actions: tuple[str, ...]
    left: tuple[str, ...]
    version: int
    delta_version: int
    committed: int | None = None
    dry_run: bool = False
    merge: MergeResult | None = None
    advisory: tuple[AdvisoryFailure, ...] = ()
    steps: tuple[Step, ...] = ()

    def summary(self) -> str:
        """See ``Displayed``."""
        return "; ".join(self.actions or self.findings) or "there is nothing to repair"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        heading = "would be done" if self.dry_run else "done"
        lists = {"found": self.findings, heading: self.actions, **({"left": self.left} if self.left else {})}
        versions = {"version": str(self.version), "base": f"Delta version {self.delta_version}"}
        return {**{name: "\n".join(texts) or "nothing" for name, texts in lists.items()}, **versions}


def repair(open_table: OpenTable, options: RepairOptions) -> tuple[RepairResult, OpenTable]:
    """Repair a table; see ``ModTable.repair``. It is opened anew if manifests were made again."""
    work = _Repair(open_table, options, open_table.begin("repair", open_table.log.head))
    result = work.run()
    return _goes_on(result, open_table, options, work.lost_manifests) if work.made_again else (result, open_table)


def repair_manifests(
    storage: Storage, settings: Settings, options: RepairOptions, error: AndesError
) -> RepairResult | tuple[RepairResult, OpenTable]:
    """Repair a table that cannot be opened; see ``ModTable.repair_folder``.

    Args:
        storage: the table's folder.
        settings: of the process.
        options: of the verb.
        error: of the open; raised again if no manifest is lost.

    Returns:
        The result, with the opened table if its manifests were made again.
    """
    manifests = Manifests(storage, settings)
    try:
        lost_manifests = manifests.find_lost()
    except LogDamagedError as hopeless:
        return RepairResult((error.message,), (), (hopeless.message,), -1, -1, dry_run=options.dry_run)
    if not lost_manifests:
        raise error
    costs = tuple(lost_manifest.cost for lost_manifest in lost_manifests)
    if options.dry_run or options.lost != ACCEPT:
        left = tuple(f'{cost}: restore it, or repair(lost="accept") goes on without it' for cost in costs)
        return RepairResult((error.message,), (), left, -1, -1, dry_run=options.dry_run)
    manifests.make_again(lost_manifests)
    first = RepairResult((error.message,), costs, (), -1, -1)
    return _goes_on(first, None, options, lost_manifests, storage=storage, settings=settings)


def _goes_on(
    first: RepairResult,
    before: OpenTable | None,
    options: RepairOptions,
    lost_manifests: Sequence[LostManifest],
    *,
    storage: Storage | None = None,
    settings: Settings | None = None,
) -> tuple[RepairResult, OpenTable]:
    """Open a table whose manifests were made again, and repair the rest."""
    folder = storage if before is None else before.storage
    chosen = settings if before is None else before.settings
    assert folder is not None
    assert chosen is not None
    open_table = OpenTable.open(
        folder,
        chosen,
        spark=None if before is None else before.spark,
        progress=None if before is None else before.progress,
    )
    second, open_table = repair(open_table, options)
    if not second.left and any(
        lost_manifest.merged and lost_manifest.known is None and lost_manifest.version
        for lost_manifest in lost_manifests
    ):
        run_merge(open_table)
        release_before(open_table, open_table.base.snapshot().applied)
    joined = replace(
        second,
        findings=(*first.findings, *second.findings),
        actions=(*first.actions, *second.actions),
        version=open_table.log.head,
    )
    return joined, open_table


class _Repair:
    """One repair."""

    def __init__(self, open_table: OpenTable, options: RepairOptions, steps: Steps) -> None:
        self._open_table = open_table
        self._options = options
        self._steps = steps
        self._findings: list[str] = []
        self._actions: list[str] = []
        self._left: tuple[str, ...] = ()
        self.lost_manifests: list[LostManifest] = []
        self.made_again = False
        self._committed: int | None = None
        self._merge: MergeResult | None = None
        self._advisory: tuple[AdvisoryFailure, ...] = ()

    def run(self) -> RepairResult:
        open_table = self._open_table
        with self._steps.step("read log and base"):
            base, foreign = self._read()
        if base is not None and foreign is not None:
            self._compare(base, foreign)
        elif base is not None and base.unwritable is not None:
            self._repair_features(base, base.unwritable)
        else:
            self._repair_damage()
            self._repair_hidden()
        if not self._options.dry_run:
            base = self._read()[0]
        return RepairResult(
            tuple(self._findings),
            tuple(self._actions),
            self._left,
            open_table.log.head,
            -1 if base is None else base.version,
            self._committed,
            self._options.dry_run,
            self._merge,
            self._advisory,
            self._steps.done,
        )

    def _read(self) -> tuple[BaseSnapshot | None, ForeignChange | None]:
        """The newest base, and the change of another writer that is not taken in; None if it is damaged."""
        try:
            base = self._open_table.base.snapshot()
            self._open_table.log.refresh()
            if self._open_table.base.is_void(base):
                base = self._open_table.base.snapshot()
            return base, self._open_table.base.taken_foreign(base)
        except (DamagedError, ForeignWriteError, NoSuchTableError):
            return None, None

    def _repair_damage(self) -> None:
        def undo(finding: str) -> bool:
            return self._chosen(finding, {UNDO: _UNDOES}, "the changes cannot be taken in") is not None

        repair = DamageRepair(self._open_table, self._steps, undo, accepts=self._options.lost == ACCEPT)
        repair.run(dry_run=self._options.dry_run)
        self._findings += repair.findings
        self._actions += repair.actions
        self._left = repair.left
        self.lost_manifests, self.made_again = repair.lost_manifests, repair.made_again

    def _repair_hidden(self) -> None:
        """Do what the caller chose about a change of another writer that damage hid, such as one over our own entry."""
        if not self._left or self.made_again or self._options.dry_run or self._options.foreign is None:
            return
        base, foreign = self._read()
        if base is not None and foreign is not None:
            self._compare(base, foreign)
            self._repair_damage()

    def _compare(self, base: BaseSnapshot, foreign: ForeignChange) -> None:
        with self._steps.step("compare the rows"):
            write = look_at(self._open_table, base, foreign)
        self._findings.append(write.text())
        self._repair_foreign(write)

    def _chosen(self, finding: str, choices: Mapping[str, str], refused: str = "") -> str | None:
        """Return what becomes of the changes of other writers; None in a dry run without a choice, which names all.

        Raises:
            OptionError: the caller did not say it, or it is not possible.
        """
        chosen, table = self._options.foreign, self._open_table.table
        if chosen in choices:
            return chosen
        offered = "; ".join([f'repair(foreign="{name}") {effect}' for name, effect in choices.items()])
        if chosen is not None:
            raise OptionError(f"{table}: {refused}; {offered}", table=table, option="foreign", value=chosen)
        offered += f"; {refused}" if refused else ""
        if not self._options.dry_run:
            raise OptionError(
                f"{table}: {finding}. Stop that writer; then {offered}", table=table, option="foreign", value=None
            )
        self._actions.append(offered)
        return None

    def _repair_foreign(self, write: ForeignWrite) -> None:
        refused = "" if write.obstacle is None else f"the changes cannot be taken in: {write.obstacle}"
        choices = {TAKE_IN: _TAKES_IN, UNDO: _UNDOES} if write.obstacle is None else {UNDO: _UNDOES}
        match self._chosen(write.text(), choices, refused):
            case "take_in":
                self._take_in(write)
            case "undo":
                self._undo(write)

    def _take_in(self, write: ForeignWrite) -> None:
        self._actions.append(f"the rows of Delta version {write.newest.version} become a version of the table")
        if self._options.dry_run:
            return
        open_table, advisory = self._open_table, Advisory(self._open_table.table)
        self._committed = take_in(open_table, write, self._steps).version
        self._merge = merge_after_apply(open_table, None, requested=True, in_memory={}, advisory=advisory)
        self._advisory = advisory.report("the changes are taken in")

    def _undo(self, write: ForeignWrite) -> None:
        base = write.base
        if not write.lost_files and write.before is base:
            self._actions.append(f"the base gets the files and columns of Delta version {base.version} again")
            if not self._options.dry_run:
                with self._steps.step("commit to Delta"):
                    bring_back(self._open_table, write.newest, base.state, base.applied)
            return
        self._actions.append("the base is built again from an older state and the mods since")
        if not self._options.dry_run:
            self._committed = rebuild(self._open_table, write.newest, base, self._steps).applied

    def _repair_features(self, base: BaseSnapshot, reason: UnsupportedTableError) -> None:
        """Bring back the properties before the features that keep this library from writing the base."""
        self._findings.append(reason.message)
        refused = "features in use cannot be taken in"
        if self._chosen(reason.message, {UNDO: "takes them back"}, refused) is None:
            return
        self._actions.append(f"the base gets the properties from before {reason.feature} again")
        if not self._options.dry_run:
            with self._steps.step("commit to Delta"):
                goal = last_writable(self._open_table, base.state)
                bring_back(self._open_table, base.state, goal, base.applied)
