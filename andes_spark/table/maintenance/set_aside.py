"""Setting a version aside: its mods take no part in the law from a new version on."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.errors import OptionError
from andes_spark.log.clock import check_clock
from andes_spark.log.commit import Draft, commit
from andes_spark.log.line import line
from andes_spark.log.readable import floor_of
from andes_spark.model.display import Displayed, count_text
from andes_spark.model.events import Expire, PendingVersion, SetAside, mods_of
from andes_spark.model.manifest import Manifest
from andes_spark.model.options import INTEGER, require
from andes_spark.table.open_table import OpenTable


@dataclass(frozen=True, repr=False)
class SetAsideResult(Displayed):
    """Result of setting a version aside, as ``ModTable.set_aside`` returns it.

    Attributes:
        version: the version that was set aside.
        committed: version with the event; reads of versions below it still show the mods.
        mods: number of mods that were set aside.
        repeated: whether the version was set aside before, so that no version was committed.
    """

    version: int
    committed: int
    mods: int
    repeated: bool = False

    def summary(self) -> str:
        """See ``Displayed``."""
        before = "before, " if self.repeated else ""
        mods = count_text(self.mods, "mods")
        return f"version {self.version} was set aside {before}by version {self.committed}: {mods}"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        return {"set aside": self.summary()}


def set_aside(open_table: OpenTable, version: int) -> SetAsideResult:
    """Set a version aside; see ``ModTable.set_aside``."""
    require("version", version, INTEGER)
    steps = open_table.begin("set aside", open_table.log.head + 1)
    log = open_table.log
    with steps.step("read the log"):
        open_table.check_log()
        mods = _mods(open_table, version)
        before = _event(open_table, version)
    if before is not None:
        return SetAsideResult(version, before, mods, repeated=True)
    with steps.step("read the base"):
        _refuse_merged(open_table, version)
    with steps.step("check the clock"):
        clock = check_clock(log, begun=log.clock())
    draft = Draft(operation="set_aside", table_id=open_table.table_id, events=(SetAside(version=version),))

    def admit(manifest: Manifest) -> Manifest | None:
        _refuse_below_floor(open_table, version)
        return manifest if SetAside(version=version) in manifest.events else None

    with steps.step("commit"):
        manifest = commit(log, draft, clock=clock, admit=admit, roll_up=open_table.roll_ups.make)
    return SetAsideResult(version, manifest.version, mods, repeated=manifest.commit_id != draft.commit_id)


def _mods(open_table: OpenTable, version: int) -> int:
    """Number of mods of a version.

    Raises:
        NoSuchVersionError: the version does not exist.
        OptionError: the version holds no mods, or a restore left it out.
    """
    events = open_table.log.manifest(version).events
    entries = mods_of(events)
    if not entries:
        what = next((": it is an expire" for event in events if isinstance(event, Expire)), "")
        raise OptionError(
            f"{open_table.table}: version {version} holds no mods, so that there is nothing to set aside{what}",
            table=open_table.table,
            option="version",
            value=version,
        )
    if all(later.version != version for later in _later(open_table, version)):
        raise OptionError(
            f"{open_table.table}: version {version} takes no part any more, since a restore left it out",
            table=open_table.table,
            option="version",
            value=version,
        )
    return sum(entry.rows for entry in entries)


def _later(open_table: OpenTable, version: int) -> list[PendingVersion]:
    """A version and later ones, without those that a restore left out."""
    log = open_table.log
    return line([manifest.pending for manifest in log.manifests(version, log.head)])


def _event(open_table: OpenTable, version: int) -> int | None:
    """Version that set a version aside, or None."""
    events = (later.version for later in _later(open_table, version) if SetAside(version=version) in later.events)
    return next(events, None)


def _refuse_merged(open_table: OpenTable, version: int) -> None:
    # A merge that commits after this check is harmless: the next one starts from the state of the base before it,
    # which a vacuum keeps while the version is above the floor.
    _refuse_below_floor(open_table, version)
    applied = open_table.base.snapshot().applied
    if version <= applied:
        raise _merged(open_table, version, applied)


def _refuse_below_floor(open_table: OpenTable, version: int) -> None:
    """Refuse a version up to the floor: it was merged, and a vacuum released the states of the base without it."""
    floor = floor_of(open_table.log)
    if floor and version <= floor:
        raise _merged(open_table, version, floor)


def _merged(open_table: OpenTable, version: int, applied: int) -> OptionError:
    return OptionError(
        f"{open_table.table}: version {version} is merged, the base contains versions up to {applied}; apply mods "
        "that put its rows right instead",
        table=open_table.table,
        option="version",
        value=version,
    )
