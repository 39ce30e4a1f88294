"""Vacuum: old versions are released, and the files that no readable version needs are deleted.

The order makes it safe, whenever it is interrupted and whatever runs beside it:

1. the manifest of the vacuum, with the new floor and the fence: readers refuse versions below the floor from now on,
   and writers that began below the fence write their files again;
2. an entry of the Delta log, if files of the base are to go: merges and compactions that were planned before it lose;
3. the pins: whoever pins a version puts the pin before it reads the floor, so a pin that is not there yet fails;
4. what is needed is determined anew if any of these has changed since it was listed;
5. only then files are deleted, a thousand in one request. A vacuum that is interrupted leaves files, and the next one
   finds them by the same rules.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from andes_spark.base.merge.merge import commit_entry
from andes_spark.delta import actions
from andes_spark.errors import CommitConflictError, DamagedError
from andes_spark.log.clock import CheckedClock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.log import Log
from andes_spark.log.pins import StoredPin, stored_pins
from andes_spark.log.readable import floor_of
from andes_spark.log.tags import current_tags
from andes_spark.log.times import version_at
from andes_spark.model.display import Displayed, count_text, counts_text, size_text
from andes_spark.model.events import QUIET, Mods, Quarantine, Tag, Truncate, Vacuum
from andes_spark.model.manifest import Manifest
from andes_spark.model.upkeep_options import VacuumOptions
from andes_spark.run.steps import Steps
from andes_spark.sync.iceberg.face import needed_by_face
from andes_spark.sync.iceberg.metadata import has_face, newest_metadata
from andes_spark.table.maintenance.needed import Needed, all_needed, needed_files
from andes_spark.table.maintenance.released import Released, list_files, released_files
from andes_spark.table.open_table import OpenTable

_DELETED_AT_ONCE = 1_000
_SHOWN = 10


@dataclass(frozen=True, repr=False)
class VacuumResult(Displayed):
    """Result of a vacuum, as ``ModTable.vacuum`` returns it.

    Attributes:
        version: version with its event; None if nothing was deleted, or in a dry run.
        floor: oldest version that can be read, besides those that are kept.
        files: number of deleted files; in a dry run, of those that would be deleted.
        bytes: size of these files in bytes.
        kinds: number of deleted files by kind.
        kept: what keeps the vacuum from deleting more, as texts.
        dry_run: whether nothing was written.
    """

    version: int | None
    floor: int
    files: int
    bytes: int
    kinds: dict[str, int]
    kept: tuple[str, ...]
    dry_run: bool = False

    def summary(self) -> str:
        """See ``Displayed``."""
        if not self.files:
            return "there is nothing to delete"
        mood = "would be deleted" if self.dry_run else "were deleted"
        amount = f"{count_text(self.files, 'files')}, {size_text(self.bytes)}, {mood}"
        return f"{amount}; versions from {self.floor} on can be read"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        lists = {"files": counts_text(self.kinds, none=""), "kept": "\n".join(self.kept)}
        return {"vacuum": self.summary(), **{name: text for name, text in lists.items() if text}}


def vacuum(open_table: OpenTable, options: VacuumOptions) -> VacuumResult:
    """Vacuum a table; see ``ModTable.vacuum``."""
    steps = open_table.begin("vacuum", open_table.log.head + 1)
    with steps.step("check the clock"):
        open_table.check_log()
        clock = open_table.clock.check(begun=open_table.log.clock())
    work = Work(open_table, steps, clock, int(options.retain.total_seconds() * 1000))
    plan = work.plan()
    if options.dry_run or not plan.released.files:
        return plan.result(None, dry_run=options.dry_run)
    version, plan = work.announce(plan)
    work.delete(plan)
    return plan.result(version)


def preview(open_table: OpenTable) -> tuple[int, VacuumResult]:
    """Tell what a vacuum would delete now, and the size of the files that no version needs already; writes nothing."""
    clock = CheckedClock(open_table.log.clock)
    options = VacuumOptions.checked(dry_run=True)
    work = Work(open_table, open_table.new_steps(), clock, int(options.retain.total_seconds() * 1000))
    plan = work.plan()
    return work.unneeded(plan), plan.result(None, dry_run=True)


@dataclass(frozen=True)
class Limits:
    """Limits of a vacuum.

    Attributes:
        floor, fence: as in the event.
        before_ms: files written later stay.
        target: floor that the retention alone allows.
    """

    floor: int
    fence: int
    before_ms: int
    target: int


@dataclass(frozen=True)
class Plan:
    """What a vacuum would do, as of one head of the log.

    Attributes:
        limits: floor and fence.
        needed: what the readable versions need.
        released: what may be deleted.
        expired: names of tags whose time is over and whose versions go below the floor.
    """

    limits: Limits
    needed: Needed
    released: Released
    expired: tuple[str, ...]

    def result(self, version: int | None, *, dry_run: bool = False) -> VacuumResult:
        """Return the result of the vacuum that committed ``version``; None if it committed nothing."""
        return VacuumResult(
            version,
            self.needed.floor,
            len(self.released.files),
            self.released.bytes,
            dict(self.released.counts),
            tuple(self._reasons()),
            dry_run,
        )

    def _reasons(self) -> Iterable[str]:
        if self.needed.floor < self.limits.target:
            yield f"version {self.needed.floor + 1} is pending: merge() allows to release later ones"
        yield from self.needed.starts
        reasons = [f"version {version}: {', '.join(texts)}" for version, texts in self.needed.kept.items()]
        yield from reasons[:_SHOWN]
        if len(reasons) > _SHOWN:
            yield f"{count_text(len(reasons) - _SHOWN, 'versions')} more with tags or pins"


class _ChangedError(Exception):
    """A version that the plan does not take into account was committed."""


class Work:
    """One vacuum, or the deletion of a ``forget``.

    Attributes:
        operation: name of the verb in the manifest.
        always_fences: whether merges planned before are to lose, even if no file of the base goes.
        keeps_face: whether the files that the Iceberg face names stay.
    """

    operation = "vacuum"
    always_fences = False
    keeps_face = True

    def __init__(self, open_table: OpenTable, steps: Steps, clock: CheckedClock, retain_ms: int) -> None:
        self._open_table = open_table
        self._steps = steps
        self._clock = clock
        self._retain_ms = retain_ms

    def limits(self, applied: int) -> Limits:
        """Return where the floor and the fence will be, with a base that contains a version."""
        log = self._open_table.log
        before_ms = self._clock.now() - self._retain_ms
        target = max(floor_of(log), self._version_at(before_ms))
        return Limits(max(floor_of(log), min(target, _settled(log, applied))), target, before_ms, target)

    def admit(self, manifest: Manifest) -> None:
        """See ``log.commit.Admit``."""
        _admit(manifest)

    def check_pinned(self, pinned: Collection[int]) -> None:
        """Check the versions below the floor with pins that were put before the manifest was committed."""

    def plan(self) -> Plan:
        """Plan on the newest log and base; again if another vacuum deletes files meanwhile.

        Raises:
            DamagedError: a file or document is missing.
        """
        open_table = self._open_table
        for _ in range(open_table.settings.commit_attempts - 1):
            try:
                return self._plan()
            except DamagedError:
                before = open_table.log.head, open_table.base.newest
                open_table.base.snapshot()
                if before == (open_table.log.refresh(), open_table.base.newest):
                    raise
        return self._plan()

    def _plan(self) -> Plan:
        open_table, log = self._open_table, self._open_table.log
        with self._steps.step("read log and base"):
            log.refresh()
            base = open_table.base.snapshot()
            open_table.base.require_writable(base)
            if base.applied > log.head:
                log.refresh()
            now = self._clock.now()
            limits = self.limits(base.applied)
            expired = tuple(self._expired_tags(limits.floor, now))
            pins = [pin for pin in stored_pins(log.storage) if pin.holds(now)]
        with self._steps.step("list files"):
            listed = list_files(log.storage)
        if limits.floor == 0 and all(info.modified_ms >= limits.before_ms for info in listed.values()):
            return Plan(limits, all_needed(open_table), Released(()), expired)
        with self._steps.step("find needed files"):
            needed = self._needed(limits.floor, pins, without_tags=expired)
            released = released_files(open_table, needed, fence=limits.fence, before_ms=limits.before_ms, listed=listed)
        return Plan(limits, needed, released, expired)

    def _needed(self, floor: int, pins: Iterable[StoredPin], *, without_tags: Collection[str] = ()) -> Needed:
        """What the readable versions need, and the snapshots of the Iceberg face that can be read."""
        open_table, storage = self._open_table, self._open_table.storage
        shown = storage.scheduler.ask(has_face, storage) if self.keeps_face else None
        needed = needed_files(open_table, floor, pins, without_tags=without_tags)
        if shown is None or not shown.result():
            return needed
        newest = newest_metadata(storage, open_table.table_id)
        return replace(needed, files=needed.files | needed_by_face(storage, newest, floor))

    def unneeded(self, plan: Plan) -> int:
        """Return the size of the files among those of a plan that are not needed before the floor goes up either."""
        open_table, floor = self._open_table, floor_of(self._open_table.log)
        if plan.limits.floor == floor:
            return plan.released.bytes
        pins = filter(_holds_at(self._clock.now()), stored_pins(open_table.storage))
        needed = self._needed(floor, pins)
        return released_files(open_table, needed, fence=plan.limits.fence, before_ms=plan.limits.before_ms).bytes

    def _version_at(self, time_ms: int) -> int:
        """Newest version of a time; the floor if that is later."""
        log = self._open_table.log
        if log.manifest(log.head).time <= time_ms:
            return log.head
        floor = floor_of(log)
        return floor if log.manifest(floor).time > time_ms else version_at(log, time_ms, str(time_ms))

    def _expired_tags(self, floor: int, now: int) -> Iterable[str]:
        for name, tag in current_tags(self._open_table.log).items():
            expires, version = tag.event.expires, tag.event.version
            if expires is not None and expires <= now and version is not None and version < floor:
                yield name

    def announce(self, plan: Plan) -> tuple[int, Plan]:
        """Commit the manifest of a plan and the Delta entry; return its version, and the plan as of then."""
        for _ in range(self._open_table.settings.commit_attempts):
            try:
                manifest = self._commit(plan)
            except _ChangedError:
                plan = self.plan()
                continue
            return manifest.version, self._confirmed(plan, manifest)
        raise CommitConflictError(
            f"{self._open_table.table}: other writers changed tags or restored versions each time that this vacuum was "
            "to begin; nothing was deleted: vacuum again",
            table=self._open_table.table,
        )

    def _commit(self, plan: Plan) -> Manifest:
        open_table = self._open_table
        untagged = (Tag(name=name) for name in plan.expired)
        draft = Draft(
            operation=self.operation,
            table_id=open_table.table_id,
            events=(Vacuum(floor=plan.limits.floor, fence=plan.limits.fence), *untagged),
            floor=plan.limits.floor,
        )
        with self._steps.step("commit"):
            return commit(open_table.log, draft, clock=self._clock, admit=self.admit, roll_up=open_table.roll_ups.make)

    def _confirmed(self, plan: Plan, manifest: Manifest) -> Plan:
        """Fence the base, read the pins, and plan again what has changed since the files were listed.

        The plan holds for the versions below its manifest: the files of later ones are begun above the fence.
        """
        open_table = self._open_table
        with self._steps.step("fence the base"):
            alone = not (plan.released.of_base or self.always_fences) or self._fence_base(plan)
        with self._steps.step("read the pins"):
            pins = stored_pins(open_table.storage)
            holding = list(filter(_holds_at(manifest.time), pins))
            open_table.storage.delete(pin.path for pin in pins if pin not in holding)
        pinned = {pin.version for pin in holding if pin.version < plan.limits.floor}
        self.check_pinned(pinned)
        if alone and manifest.version == plan.needed.head + 1 and pinned <= set(plan.needed.kept):
            return plan
        with self._steps.step("find needed files"):
            # Another vacuum may have released more, and deleted it.
            open_table.log.refresh()
            floor = floor_of(open_table.log)
            needed = self._needed(floor, filter(_holds_at(manifest.time), stored_pins(open_table.storage)))
        with self._steps.step("list files"):
            released = released_files(open_table, needed, fence=plan.limits.fence, before_ms=plan.limits.before_ms)
        # What was listed before the fence alone: a merge that was planned after it may have written other files.
        listed = {file.path for file in plan.released.files}
        files = tuple(file for file in released.files if file.path in listed)
        return Plan(plan.limits, needed, Released(files), plan.expired)

    def _fence_base(self, plan: Plan) -> bool:
        """Commit a Delta entry that changes nothing; return whether it follows the state of the plan.

        Raises:
            CommitConflictError: merges were first each time.
            ForeignWriteError: another writer changed the base meanwhile.
        """
        open_table, context = self._open_table, self._open_table.base_context()
        base = plan.needed.base
        for _ in range(open_table.settings.commit_attempts):
            open_table.base.require_writable(base)
            commit_id = str(uuid.uuid4())
            info = actions.commit_info(
                "VACUUM START",
                timestamp_ms=time.time_ns() // 1_000_000,
                commit_id=commit_id,
                metrics={"numFilesToDelete": len(plan.released.files), "sizeOfDataToDelete": plan.released.bytes},
                read_version=base.version,
                previous=base.state.commit_id,
            )
            entry = commit_entry(context, base.state.version + 1, [info], commit_id)
            if entry is not None:
                open_table.base.advance(entry)
                return base.version == plan.needed.base.version
            base = open_table.base.snapshot()
        raise CommitConflictError(
            f"{open_table.table}: other merges were first {open_table.settings.commit_attempts} times; nothing was "
            "deleted: vacuum again",
            table=open_table.table,
        )

    def delete(self, plan: Plan) -> None:
        """Delete the files of a plan."""
        files = plan.released.files
        for first in range(0, len(files), _DELETED_AT_ONCE):
            with self._steps.step("delete files"):
                self._open_table.storage.delete(file.path for file in files[first : first + _DELETED_AT_ONCE])


def _holds_at(time_ms: int) -> Callable[[StoredPin], bool]:
    return lambda pin: pin.holds(time_ms)


def _settled(log: Log, applied: int) -> int:
    """Newest version up to which nothing is pending: setting a pending one aside starts from the state before it."""
    for version in log.pending(applied, log.head):
        if not all(isinstance(event, QUIET) for event in version.events):
            return version.version - 1
    return log.head


def _admit(manifest: Manifest) -> None:
    """Let a vacuum follow batches: what they brought is read after its manifest; all else is planned again."""
    if not all(isinstance(event, Mods | Quarantine | Truncate) for event in manifest.events):
        raise _ChangedError
