"""Mods that are lost and nothing can bring back: named with what they cost, and left behind by the caller's choice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from andes_spark.errors import DamagedError, NotFoundError, OptionError
from andes_spark.log.commit import Draft, commit
from andes_spark.log.line import line
from andes_spark.log.readable import floor_of
from andes_spark.log.tags import current_tags
from andes_spark.model.display import count_text
from andes_spark.model.events import SetAside, Tag, Vacuum, mods_of, side_files_of
from andes_spark.model.manifest import Manifest
from andes_spark.table.maintenance.set_aside import set_aside
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.undo import unusable
from andes_spark.table.verbs.merge import run_merge
from andes_spark.table.verbs.read import pin

_SHOWN = 5


@dataclass
class LostMods:
    """Files of mods that are missing or damaged.

    Attributes:
        files: paths of the files.
        rows: number of mods in them, by the version that names them.
    """

    files: set[str] = field(default_factory=set)
    rows: dict[int, int] = field(default_factory=dict)


def lost_mods(open_table: OpenTable, damaged: Collection[str]) -> LostMods:
    """Return the files of mods among damaged files."""
    losses = LostMods()
    for manifest in open_table.log.manifests(0, open_table.log.head):
        entries = [entry for entry in mods_of(manifest.events) if entry.path in damaged]
        if entries:
            losses.files.update(entry.path for entry in entries)
            losses.rows[manifest.version] = sum(entry.rows for entry in entries)
    return losses


def lost_deletes(open_table: OpenTable, damaged: Collection[str]) -> dict[str, int]:
    """Return damaged files of deleted keys, which no mods give again, with the version of the take-in or forget."""
    return {
        file.path: manifest.version
        for manifest in open_table.log.manifests(0, open_table.log.head)
        for file in side_files_of(manifest.events)
        if file.path in damaged
    }


def cost_of_states(files: Collection[str], applied: int) -> str:
    """Describe what is lost with files that only older states of the base need."""
    return (
        f"older states of the base lack {count_text(len(files), 'files')}; versions below {applied} cannot be "
        "read any more, and lose their tags where they need these files"
    )


def cost_of(open_table: OpenTable, lost_rows: Mapping[int, int]) -> str:
    """Describe what is lost with files of mods, and what is not."""
    applied = open_table.base.snapshot().applied
    waiting = [version for version in _taking_part(open_table, applied) if version in lost_rows]
    texts = []
    if waiting:
        rows = count_text(sum(lost_rows[version] for version in waiting), "mods")
        texts.append(
            f"{rows} of {_named(waiting)} are lost before they were merged: these versions are set aside as a "
            "whole, and their batches can be sent again with new ids"
        )
    merged = [version for version in lost_rows if version not in waiting]
    if merged:
        texts.append(f"the mods of {_named(merged)} are lost, and their rows are in the base")
    released = f"versions below {open_table.log.head} cannot be read any more"
    return "; ".join([*texts, f"{released}, and lose their tags where they need these mods"])


def _named(versions: list[int]) -> str:
    shown = ", ".join(map(str, versions[:_SHOWN])) + (", ..." if len(versions) > _SHOWN else "")
    return f"version {shown}" if len(versions) == 1 else f"versions {shown}"


def _taking_part(open_table: OpenTable, applied: int) -> list[int]:
    """Versions above ``applied`` whose mods take part in the newest one."""
    versions = line(open_table.log.pending(applied, open_table.log.head)) if applied < open_table.log.head else []
    aside = {event.version for version in versions for event in version.events if isinstance(event, SetAside)}
    return [version.version for version in versions if version.version not in aside]


def accept_loss(open_table: OpenTable, lost_rows: Mapping[int, int]) -> None:
    """Go on without mods that are lost: what was not merged is set aside, and versions that need them are released."""
    applied = open_table.base.snapshot().applied
    for version in _taking_part(open_table, applied):
        if version in lost_rows:
            try:
                set_aside(open_table, version)
            except OptionError:  # another writer merged it, or left it out, meanwhile
                open_table.log.refresh()
    run_merge(open_table)
    release_before(open_table, open_table.base.snapshot().applied, lost_rows)


def release_before(open_table: OpenTable, floor: int, lost_versions: Collection[int] = ()) -> None:
    """Commit a floor, as a vacuum does, and delete nothing; tags of versions that cannot be read are removed.

    Args:
        open_table: the table.
        floor: oldest version that can be read.
        lost_versions: versions whose mods are lost.
    """
    log = open_table.log
    untagged = [Tag(name=name) for name in lost_tags(open_table, floor, lost_versions)]
    if floor <= floor_of(log) and not untagged:
        return
    floor = max(floor, floor_of(log))

    def admit(manifest: Manifest) -> None:
        return None

    clock = open_table.clock.check(begun=log.clock())
    draft = Draft(
        operation="repair", table_id=open_table.table_id, events=(Vacuum(floor=floor, fence=0), *untagged), floor=floor
    )
    commit(log, draft, clock=clock, admit=admit, roll_up=open_table.roll_ups.make)


def lost_tags(open_table: OpenTable, floor: int, lost_versions: Collection[int] = ()) -> list[str]:
    """Return the tags of versions below a floor that cannot be read; arguments as :func:`release_before`."""
    return [
        name
        for name, tag in current_tags(open_table.log).items()
        if tag.event.version is not None
        and tag.event.version < floor
        and _is_lost(open_table, tag.event.version, lost_versions)
    ]


def _is_lost(open_table: OpenTable, version: int, lost_versions: Collection[int]) -> bool:
    """Whether what a version is evaluated from is lost."""
    try:
        snapshot = pin(open_table, version)
    except (DamagedError, NotFoundError):
        return True
    pending = snapshot.inputs.pending.files
    is_unusable = unusable(open_table, snapshot.base.state, ()) or any(
        file.version in lost_versions for file in pending
    )
    return bool(is_unusable) or any(open_table.storage.size(file.entry.path) is None for file in pending)
