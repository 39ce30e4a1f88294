"""Undoing what another writer did to the base: the base is again as the log says, by one Delta commit."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection
from dataclasses import replace

from andes_spark.base.merge.finish import Merged, Upto, merge_pending
from andes_spark.base.merge.merge import commit_entry
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.base.undo import files_back, properties_back
from andes_spark.delta import actions
from andes_spark.delta.features import obstacles, refusal
from andes_spark.delta.log import load_state
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import CommitConflictError, DamagedError
from andes_spark.log.origin import origin_of
from andes_spark.log.pending import pending_of
from andes_spark.model.events import PendingVersion
from andes_spark.run.steps import Steps
from andes_spark.table.history.travel import gone_files
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.overtaken import add_version


def last_writable(open_table: OpenTable, newest: DeltaState) -> DeltaState:
    """Return the newest files with the columns, properties and features of the last state that this library can write.

    Raises:
        DamagedError: an entry of the Delta log is gone.
    """
    state = newest
    first = origin_of(open_table.log).delta_version
    while refusal(obstacles(state)) is not None and state.version > first:
        state = load_state(open_table.storage, version=state.version - 1)
    return replace(newest, metadata=state.metadata, protocol=state.protocol, domains=state.domains)


def bring_back(open_table: OpenTable, newest: DeltaState, goal: DeltaState, applied: int) -> Commit:
    """Commit an entry that leads from the newest state of the Delta table to an earlier one.

    Args:
        open_table: the table.
        newest: newest state.
        goal: state to bring back; all its files exist.
        applied: version of the log that it contains.

    Raises:
        CommitConflictError: another writer committed meanwhile.
    """
    commit_id = str(uuid.uuid4())
    now = time.time_ns() // 1_000_000
    info = actions.commit_info(
        "RESTORE",
        timestamp_ms=now,
        commit_id=commit_id,
        parameters={"version": goal.version, "andes_from": applied, "andes_to": applied},
        read_version=newest.version,
        previous=newest.commit_id,
    )
    changes = [*properties_back(newest, goal), actions.txn(open_table.table_id, applied)]
    entry = [info, *changes, *files_back(newest, goal, timestamp_ms=now)]
    commit = commit_entry(open_table.base_context(applied), newest.version + 1, entry, commit_id)
    if commit is None:
        raise overtaken(open_table, newest)
    return commit


def rebuild(
    open_table: OpenTable, newest: DeltaState, goal: BaseSnapshot, steps: Steps, damaged: Collection[str] = ()
) -> Merged:
    """Build the base again from an older state whose files exist, and the mods since, by one Delta commit.

    It goes up to a new version without changes, so that the merge record is written anew as well.

    Args:
        open_table: the table.
        newest: newest state of the Delta table.
        goal: newest state of the base with the rows of the log alone; some of its files are gone.
        steps: of the operation.
        damaged: files that exist and cannot be used.

    Raises:
        CommitConflictError: another writer committed meanwhile.
        DamagedError: files of all older states are gone too.
    """
    # If it is not possible, nothing is committed.
    intact(open_table, goal, open_table.log.head, damaged)
    with steps.step("commit"):
        add_version(open_table)
    version = open_table.log.head
    base, versions = intact(open_table, goal, version, damaged)
    context = open_table.base_context(version)
    pending = pending_of(versions, context.shape.versions, context.shape.columns)
    properties = tuple(properties_back(newest, goal.state))
    upto = Upto(version, open_table.log.commit_id(version), goal, newest, properties)
    merged = merge_pending(context, base, pending, upto, steps=steps, in_memory=None)
    if merged is None:
        raise overtaken(open_table, newest)
    return merged


def intact(
    open_table: OpenTable, goal: BaseSnapshot, version: int, damaged: Collection[str]
) -> tuple[BaseSnapshot, list[PendingVersion]]:
    """Find the newest state, at or below ``goal``, whose files are there, and the versions that it lacks.

    Args:
        open_table: the table.
        goal: state to begin with.
        version: version of the log up to which it will be merged.
        damaged: files that exist and cannot be used.

    Raises:
        DamagedError: files of all states are gone or damaged.
    """
    base = goal
    while True:
        base, versions = open_table.evaluable(base, version)
        unusable_files = unusable(open_table, base.state, damaged)
        if not unusable_files:
            return base, versions
        if base.applied == 0 or base.take_in_version is not None:
            raise DamagedError(
                f"{open_table.table}: the base cannot be built again: files of all its states are gone or damaged, "
                f"such as {unusable_files[0]}; restore them from a backup or from earlier object versions",
                table=open_table.table,
            )
        base = open_table.base.older(base.applied - 1)


def unusable(open_table: OpenTable, state: DeltaState, damaged: Collection[str]) -> list[str]:
    """Return the files of a state that are gone or damaged."""
    vectors = (file.vector.file_path for file in state.files.values() if file.vector is not None)
    return [
        *gone_files(open_table.storage, state),
        *(path for path in (*state.files, *vectors) if path is not None and path in damaged),
    ]


def overtaken(open_table: OpenTable, newest: DeltaState) -> CommitConflictError:
    """Build the error for a repair during which another writer committed."""
    return CommitConflictError(
        f"{open_table.table}: another writer committed after Delta version {newest.version} during the repair, and its "
        "change was not looked at; nothing was repaired: stop it, and repair again",
        table=open_table.table,
    )
