"""Damage of the base: what verification names is made again from the log of mods.

One kind of damage is mended at a time, those first that hide others, and the table is verified again after each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial

from andes_spark.base.remedies import BY_BACKUP, without_repair
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta.checkpoints import HINT_PATH
from andes_spark.delta.log import load_state
from andes_spark.delta.paths import LOG_FOLDER
from andes_spark.errors import AndesError, DamagedError, ForeignWriteError
from andes_spark.log.lease import LEASE_PATH
from andes_spark.log.readable import floor_of
from andes_spark.model.display import count_text
from andes_spark.run.steps import Steps
from andes_spark.storage.interface import Storage
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.maintenance.verify import examine
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.delta_cut import Cut, cut_off, find_cut, foreign_entries, possible_cut
from andes_spark.table.repair.ledgers import ledgers_again, put_again
from andes_spark.table.repair.lost import (
    accept_loss,
    cost_of,
    cost_of_states,
    lost_deletes,
    lost_mods,
    lost_tags,
    release_before,
)
from andes_spark.table.repair.manifests import LostManifest, Manifests
from andes_spark.table.repair.records import damaged_records, write_again
from andes_spark.table.repair.undo import rebuild, unusable
from andes_spark.table.verbs.merge import run_merge

_BASE_FILE = re.compile(r"(?:[^_./][^/]*/)*[^_./][^/]*\.(?:parquet|bin)")
_CHECKPOINT = re.compile(rf"{LOG_FOLDER}/(\d{{20}})\.checkpoint\..*")
_MOST_PASSES = 8
_SHOWN = 3

Mend = Callable[[], object]
Choose = Callable[[str], bool]
"""Whether changes of other writers that go with damage are to be undone; an error if the caller did not say it."""


class DamageRepair:
    """Repair of damage.

    Args:
        open_table: the table.
        steps: of the operation.
        undo: see ``Choose``.
        accepts: whether to go on without what is lost.

    Attributes:
        findings: problems that the first verification found.
        actions: what was done, or in a dry run would be done first.
        left: problems that cannot be mended from the log.
        lost: manifests that are lost.
        made_again: whether they were made again: the table has to be opened anew.
    """

    def __init__(self, open_table: OpenTable, steps: Steps, undo: Choose, *, accepts: bool) -> None:
        self._open_table = open_table
        self._steps = steps
        self._undo = undo
        self._accepts = accepts
        self.findings: tuple[str, ...] = ()
        self.actions: list[str] = []
        self.left: tuple[str, ...] = ()
        self.lost_manifests: list[LostManifest] = []
        self.made_again = False

    def run(self, *, dry_run: bool) -> None:
        """Mend what can be mended; in a dry run only say what would be mended first."""
        for number in range(_MOST_PASSES):
            findings = Findings()
            with self._steps.step("verify"):
                examine(self._open_table, findings)
            if number == 0:
                self.findings = tuple(findings.problems)
            self.left = tuple(findings.problems)
            if not findings.problems:
                return
            try:
                plan = self._plan(findings)
                if plan is None or plan[0] in self.actions:  # nothing helps, or this did not
                    self.left = tuple(map(without_repair, self.left))
                    return
                if dry_run:
                    self.actions.append(plan[0])
                    return
                plan[1]()
            except DamagedError as error:
                self.left = tuple(map(without_repair, _left_of(findings, error)))
                return
            self.actions.append(plan[0])
            if self.lost_manifests:
                self.made_again = True
                return

    def _plan(self, findings: Findings) -> tuple[str, Mend] | None:
        """What to mend next; None if nothing that is damaged can be made again."""
        open_table, damaged = self._open_table, findings.damaged
        manifests = Manifests(open_table.storage, open_table.settings)
        self.lost_manifests = manifests.find_lost()
        if self.lost_manifests:
            costs = "; ".join(manifest.cost for manifest in self.lost_manifests)
            return self._plan_loss(costs, partial(manifests.make_again, self.lost_manifests), findings)
        checkpoints = [path for path in sorted(damaged) if _is_spare_checkpoint(open_table.storage, path)]
        if checkpoints:
            return f"{checkpoints[0]} is deleted: readers do without it", partial(self._delete, checkpoints)
        cut = find_cut(open_table)
        if cut is not None:
            return self._plan_cut(possible_cut(open_table, cut, damaged), damaged)
        if self._is_misled():
            return f"{LEASE_PATH} is deleted: the last merge that it names is not there", partial(
                self._delete, [LEASE_PATH]
            )
        records = damaged_records(open_table, damaged)
        if records:
            action = f"the merge records of {count_text(len(records), 'versions')} are made again, from {records[0]} on"
            return action, partial(write_again, open_table, records, damaged, self._steps)
        ledgers = ledgers_again(open_table, damaged)
        if ledgers:
            action = f"{count_text(len(ledgers), 'files')} of batch ids are made again, such as {min(ledgers)}"
            return action, partial(put_again, open_table, ledgers)
        return self._plan_files(findings)

    def _plan_cut(self, cut: Cut, damaged: Collection[str]) -> tuple[str, Mend] | None:
        open_table = self._open_table
        foreign = foreign_entries(open_table, cut)
        if foreign:
            entries = ", ".join(str(commit.version) for commit in foreign[:_SHOWN])
            if not self._undo(f"{cut.why}, and Delta version {entries} is another writer's"):
                return None

        def mend() -> None:
            cut_off(open_table, cut)
            base = open_table.base.snapshot()
            if unusable(open_table, base.state, damaged):
                self._rebuild(base, base, {path for path in damaged if _BASE_FILE.fullmatch(path)})
            else:
                run_merge(open_table)

        action = f"the Delta log is cut off before version {cut.first} ({cut.why}), and the mods since are merged again"
        return action, mend

    def _is_misled(self) -> bool:
        """Whether the note of the last merge keeps the base from being read: that entry is another one."""
        try:
            self._open_table.forget_base()
            self._open_table.base.snapshot()
        except ForeignWriteError:
            return True
        except AndesError:
            return False
        return False

    def _plan_files(self, findings: Findings) -> tuple[str, Mend] | None:
        open_table = self._open_table
        base = open_table.base.snapshot()
        damaged = {path for path in findings.damaged if _BASE_FILE.fullmatch(path)}
        bad = unusable(open_table, base.state, damaged)
        if bad:
            action = f"the base is built again: it lacks {count_text(len(set(bad)), 'files')}, such as {bad[0]}"
            return action, partial(self._rebuild, base, base, damaged)
        if findings.differs:
            action = "the base is built again from its oldest state: it has not the rows that the log gives"
            return action, partial(self._rebuild, base, open_table.base.older(floor_of(open_table.log)), damaged)
        old = sorted(path for path in damaged if open_table.storage.size(path) is not None)
        if old:
            action = f"{count_text(len(old), 'damaged files')} of older states are deleted, such as {old[0]}"
            return action, partial(self._delete, old)
        losses = lost_mods(open_table, findings.damaged)
        if losses.files:
            mend = partial(accept_loss, open_table, losses.rows)
            return self._plan_loss(cost_of(open_table, losses.rows), mend, findings, losses.files)
        deletes = lost_deletes(open_table, findings.damaged)
        if deletes:
            self.left = (*findings.problems_besides(deletes), *_named_deletes(open_table.table, deletes))
            return None
        if damaged:
            mend = partial(release_before, open_table, base.applied)
            return self._plan_loss(cost_of_states(damaged, base.applied), mend, findings, damaged)
        floor = floor_of(open_table.log)
        tags = lost_tags(open_table, floor)
        if tags:
            cost = f"{', '.join(tags)}: the versions of these tags cannot be read, and lose them"
            return self._plan_loss(cost, partial(release_before, open_table, floor), findings)
        return None

    def _plan_loss(
        self, cost: str, mend: Mend, findings: Findings, files: Collection[str] = ()
    ) -> tuple[str, Mend] | None:
        """Go on without what is lost, if the caller says so."""
        if self._accepts:
            return cost, mend
        example = f", such as {min(files)}," if files else ""
        self.left = (
            *findings.problems_besides(files),
            f'{cost}: restore the files{example} or repair(lost="accept") goes on without them',
        )
        return None

    def _rebuild(self, base: BaseSnapshot, start: BaseSnapshot, damaged: set[str]) -> None:
        rebuild(self._open_table, base.state, start, self._steps, damaged)
        live = self._open_table.base.snapshot().state
        kept = {*live.files, *(file.vector.file_path for file in live.files.values() if file.vector is not None)}
        self._open_table.storage.delete(sorted(damaged - kept))

    def _delete(self, paths: list[str]) -> None:
        self._open_table.storage.delete(paths)
        self._open_table.forget_base()


def _named_deletes(table: str, files: Mapping[str, int]) -> Iterator[str]:
    for path, version in files.items():
        problem = f"{path} is lost with the deleted keys of version {version}, which nothing else names"
        yield f"{table}: {problem}; {BY_BACKUP}"


def _left_of(findings: Findings, error: DamagedError) -> tuple[str, ...]:
    """Problems of which one could not be mended for an error.

    A file that is gone and no problem names was released, so that restoring it helps nobody; entries of the Delta log
    never are.
    """
    path = getattr(error, "path", None)
    if path is not None and path not in findings.damaged and not path.startswith(LOG_FOLDER):
        return tuple(findings.problems)
    return error.message, *findings.problems_besides([] if path is None else [path])


def _is_spare_checkpoint(storage: Storage, path: str) -> bool:
    """Whether a damaged path is that of a checkpoint whose state can be read without it, or of the hint to one."""
    match = _CHECKPOINT.fullmatch(path)
    if match is None:
        return path == HINT_PATH
    with suppress(AndesError):
        load_state(storage, version=int(match[1]))
        return True
    return False
