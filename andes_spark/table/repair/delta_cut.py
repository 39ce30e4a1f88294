"""Damage of the Delta log: it is cut off before the first damaged entry, and what follows is merged again.

The log of mods is the truth: entries of the Delta log can be made again from it, as long as it has the mods.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from andes_spark.base.foreign import may_be_foreign
from andes_spark.base.metadata import base_configuration
from andes_spark.delta.actions import ENGINE
from andes_spark.delta.log import read_commit
from andes_spark.delta.paths import LOG_FOLDER, entry_path
from andes_spark.delta.state import Commit
from andes_spark.errors import AndesError, DamagedError
from andes_spark.log.lease import LEASE_PATH
from andes_spark.log.origin import origin_of
from andes_spark.model.events import TakeIn
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.maintenance.delta_history import entry_versions
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.create import create_base

_NUMBERED = re.compile(rf"{LOG_FOLDER}/(?:\.)?(\d{{20}})\..*")
_CHECKPOINT_HINT = f"{LOG_FOLDER}/_last_checkpoint"


@dataclass(frozen=True)
class Cut:
    """Where the Delta log is cut off.

    Attributes:
        first: version of the first entry that goes.
        why: what is wrong with it.
        foreign: entries of other writers, among those that go, that changed the base and were not taken back.
    """

    first: int
    why: str
    foreign: tuple[Commit, ...]


def find_cut(open_table: OpenTable) -> Cut | None:
    """Read all entries since the start of the log of mods; None if they follow each other and can be read."""
    storage, origin = open_table.storage, origin_of(open_table.log).delta_version
    newest = max(entry_versions(storage), default=-1)
    versions = range(origin, max(newest, origin) + 1)
    answers = in_windows(storage.scheduler, partial(_read, storage), versions)
    entries = {version: answer.result() for version, answer in answers}
    for version, entry in entries.items():
        why = _damage(version, entry, entries.get(version + 1))
        if why is not None:
            later = [commit for commit in entries.values() if isinstance(commit, Commit) and commit.version >= version]
            return Cut(version, why, tuple(_foreign(open_table, later)))
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


def _foreign(open_table: OpenTable, commits: Iterable[Commit]) -> list[Commit]:
    """Entries of other writers after our last one."""
    found: list[Commit] = []
    for commit in commits:
        ours = (commit.commit_info or {}).get("engineInfo") == ENGINE
        if ours and open_table.table_id in commit.txns:
            found = []
        elif not ours and may_be_foreign(commit):
            found.append(commit)
    return found


def refuse_loss(open_table: OpenTable, cut: Cut) -> str | None:
    """Why the base cannot be made again after a cut; None if it can."""
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
    numbered = {info.path: _NUMBERED.fullmatch(info.path) for info in storage.list(LOG_FOLDER)}
    gone = [(int(match[1]), path) for path, match in numbered.items() if match and int(match[1]) >= cut.first]
    storage.delete([LEASE_PATH, _CHECKPOINT_HINT])
    for _, path in sorted(gone, reverse=True):
        storage.delete([path])
    if cut.first == 0:
        definition = open_table.log.definition_at(0)
        create_base(storage, open_table.settings, definition, open_table.table_id, base_configuration(definition), [])
    open_table.forget_base()
