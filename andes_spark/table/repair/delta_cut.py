"""Damage of the Delta log: it is cut off before the first damaged entry, and what follows is merged again.

The log of mods is the truth: entries of the Delta log can be made again from it, as long as it has the mods.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial

from andes_spark.base.foreign import may_be_foreign
from andes_spark.base.metadata import base_configuration
from andes_spark.delta.actions import ENGINE
from andes_spark.delta.log import first_loadable, load_state, newest_loadable, read_commit
from andes_spark.delta.paths import LOG_FOLDER, entry_path
from andes_spark.delta.state import Commit
from andes_spark.errors import AndesError, DamagedError
from andes_spark.log.commit import Draft, commit
from andes_spark.log.lease import LEASE_PATH
from andes_spark.log.line import line
from andes_spark.log.origin import origin_of
from andes_spark.model.events import TakeIn, mods_of
from andes_spark.model.merge_record import no_record
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.undo import intact
from andes_spark.table.verbs.create import create_base

_NUMBERED = re.compile(rf"{LOG_FOLDER}/(?:\.)?(\d{{20}})\..*")
_CHECKPOINT_HINT = f"{LOG_FOLDER}/_last_checkpoint"


@dataclass(frozen=True)
class Cut:
    """Where the Delta log is cut off.

    Attributes:
        first: version of the first entry that goes.
        why: what is wrong with it.
        commits: entries that can be read.
    """

    first: int
    why: str
    commits: tuple[Commit, ...]


def find_cut(open_table: OpenTable) -> Cut | None:
    """Read all entries since the start of the log of mods; None if they follow each other and can be read.

    Entries that are gone below a checkpoint, as after Delta's own clean-up of its log, are no damage.
    """
    storage, origin = open_table.storage, origin_of(open_table.log).delta_version
    newest = newest_loadable(storage)
    first = first_loadable(storage, origin)
    versions = range(origin if first is None else first, max(newest, origin) + 1)
    answers = in_windows(storage.scheduler, partial(_read, storage), versions)
    entries = {version: answer.result() for version, answer in answers}
    for version, entry in entries.items():
        why = _damage(version, entry, entries.get(version + 1))
        if why is not None:
            commits = tuple(commit for commit in entries.values() if isinstance(commit, Commit))
            return Cut(version, why, commits)
    return None


def _damage(version: int, entry: Commit | AndesError | None, following: Commit | AndesError | None) -> str | None:
    """What is wrong with an entry; None if nothing is."""
    if not isinstance(entry, Commit):
        return f"{entry_path(version)} is missing" if entry is None else entry.message
    named = following.previous if isinstance(following, Commit) else None
    if None not in (named, entry.commit_id) and named != entry.commit_id:
        return f"{entry_path(version)} was overwritten by another writer"
    return None


def _read(storage: Storage, version: int) -> Commit | AndesError | None:
    try:
        return read_commit(storage, version)
    except DamagedError as error:
        return error


def foreign_entries(open_table: OpenTable, cut: Cut) -> list[Commit]:
    """Return the entries of other writers, among those that go, that changed the base and were not taken back."""
    foreign: list[Commit] = []
    for entry in cut.commits:
        if entry.version < cut.first:
            continue
        is_own = (entry.commit_info or {}).get("engineInfo") == ENGINE
        if is_own and open_table.table_id in entry.txns:
            foreign = []
        elif not is_own and may_be_foreign(entry):
            foreign.append(entry)
    return foreign


def possible_cut(open_table: OpenTable, cut: Cut, damaged: Collection[str]) -> Cut:
    """Return the cut itself, or one before it, after which the base can be made again: all that this needs is there.

    Args:
        open_table: the table.
        cut: where the damage begins.
        damaged: files that exist and cannot be used.

    Raises:
        DamagedError: there is none.
    """
    refused = None
    for first in sorted({cut.first, min(cut.first, origin_of(open_table.log).delta_version + 1), 0}, reverse=True):
        candidate = replace(cut, first=first)
        reason = _refused(open_table, candidate) or _lacking(open_table, candidate, damaged)
        if reason is None:
            return candidate
        refused = refused or reason
    raise DamagedError(
        f"{open_table.table}: {cut.why}, and the base cannot be made again: {refused}; restore the file from a "
        "backup or from an earlier object version",
        table=open_table.table,
        path=entry_path(cut.first),
    )


def _lacking(open_table: OpenTable, cut: Cut, damaged: Collection[str]) -> str | None:
    """What the state before a cut, or the mods that would be merged into it, lack; None for nothing."""
    log, storage, record = open_table.log, open_table.storage, no_record(open_table.table_id)
    try:
        if cut.first == 0:
            versions = log.pending(0, log.head)
        else:
            before = open_table.copy()
            before.base.assume_newest(load_state(storage, version=cut.first - 1))
            base, versions = intact(before, before.base.in_memory(), log.head, damaged)
            record = base.record
    except AndesError as error:  # whatever it is: nothing is cut off
        path = getattr(error, "path", None)
        return error.message if path is None or path in damaged else f"{path}, which it needs, was released or is gone"
    findings = Findings()
    mods = [file for version in line(versions) for file in mods_of(version.events)]
    for file in (*record.tombstones, *record.quarantined, *mods):
        findings.checksum(storage, file)
    return findings.problems[0] if findings.problems else None


def _refused(open_table: OpenTable, cut: Cut) -> str | None:
    """Why the rows of the base cannot come from the log after a cut; None if they can."""
    log, origin = open_table.log, origin_of(open_table.log)
    for manifest in log.manifests(0, log.head):
        for event in manifest.events:
            if isinstance(event, TakeIn) and event.delta_version >= cut.first:
                return f"the state that version {manifest.version} takes in is gone with it"
    if cut.first <= origin.delta_version and (origin.rows or origin.delta_version):
        return f"the {origin.rows:,} rows that the table began with are in the base alone"
    return None


def cut_off(open_table: OpenTable, cut: Cut) -> None:
    """Delete the entries from a damaged one on, with the checkpoints and the note that lead to them.

    Newest entries go first, so that an interrupted cut leaves a log that is known to be damaged.
    """
    storage = open_table.storage
    _announce(open_table)
    numbered = {info.path: _NUMBERED.fullmatch(info.path) for info in storage.list(LOG_FOLDER)}
    cut_files = [(int(match[1]), path) for path, match in numbered.items() if match and int(match[1]) >= cut.first]
    storage.delete([LEASE_PATH, _CHECKPOINT_HINT])
    for _, path in sorted(cut_files, reverse=True):
        storage.delete([path])
    if cut.first == 0:
        definition = open_table.log.definition_at(0)
        create_base(storage, open_table.settings, definition, open_table.table_id, base_configuration(definition), [])
    _announce(open_table)
    open_table.forget_base()


def _announce(open_table: OpenTable) -> None:
    """Commit a version that makes other handles drop what they have read of the Delta log.

    It comes before a cut, so that nothing is committed on entries that go, and after it, since they may have been read
    until then.
    """
    log = open_table.log
    draft = Draft(operation="repair", table_id=open_table.table_id, cuts=True)
    clock = open_table.clock.check(begun=log.clock())
    commit(log, draft, clock=clock, admit=lambda manifest: None, roll_up=open_table.roll_ups.make)
