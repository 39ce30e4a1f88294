"""Commit of a planned merge: its record by put-if-absent, then its Delta entry by put-if-absent.

The name of a record ends with the commit id of the manifest of its version, so it may be written beside that manifest:
if another one stands at the version, nobody looks for the record. The entry follows both. Whoever loses the entry gives
the plan up; nothing of it was visible.
"""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass

from andes_spark.base.merge.merge import (
    BaseContext,
    Planned,
    commit_entry,
    discard,
    drop_files,
    drop_planned,
    plan_merge,
)
from andes_spark.base.merge.rewind import rewound
from andes_spark.base.metadata import altered
from andes_spark.base.records import read_record
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.state import Commit, DeltaState
from andes_spark.errors import AndesError, CommitUnknownError
from andes_spark.log.pending import ModsInMemory, Pending
from andes_spark.model.documents import FORMAT, encode
from andes_spark.model.merge_record import MergeRecord, merge_record_path
from andes_spark.model.results import MergeCounts, WrittenBytes
from andes_spark.run.steps import Steps
from andes_spark.storage.interface import Storage
from andes_spark.storage.put_once import put_once
from andes_spark.storage.scheduler import Asked

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upto:
    """Last version of a merge, and the state of the base that it follows.

    Attributes:
        version: version of the log.
        commit_id: commit id of that version.
        newest: newest state of the base, which the Delta entry follows; mods may be evaluated on an older one.
        follows: newest state of the Delta table, if another writer changed it since; the entry follows this one.
        properties: actions for columns, properties and features that another writer changed.
    """

    version: int
    commit_id: str
    newest: BaseSnapshot
    follows: DeltaState | None = None
    properties: tuple[Action, ...] = ()


@dataclass(frozen=True)
class Merged:
    """A committed merge.

    Attributes:
        entry: entry of the Delta log.
        record: merge record of its last version.
        counts: number of mods by outcome.
        written: size of the files of the base that it wrote.
    """

    entry: Commit
    record: MergeRecord
    counts: MergeCounts
    written: WrittenBytes

    @property
    def applied(self) -> int:
        """The last version of the log that the base contains after the merge."""
        return self.record.version


def merge_pending(
    context: BaseContext,
    base: BaseSnapshot,
    pending: Pending,
    upto: Upto,
    *,
    steps: Steps,
    in_memory: ModsInMemory | None,
) -> Merged | None:
    """Merge pending mods into a base, and commit.

    Returns:
        None if another commit took the Delta version, or if the record of the version is not ``adoptable``: nothing of
        this merge is visible, and its files are deleted.

    Raises:
        CommitUnknownError: the outcome of the commit is unknown; no file was deleted.
        AndesError: reading or writing failed; nothing is visible.
    """
    planned = plan_merge(context, base, pending, upto.version, steps=steps, in_memory=in_memory)
    return finish_merge(context, planned, upto, steps=steps)


def start_record(context: BaseContext, planned: Planned, commit_id: str) -> Asked[MergeRecord]:
    """Start to write the record of a planned merge, whose files exist, beside the manifest of its version.

    Args:
        context: context of the operations on the base.
        planned: the merge.
        commit_id: of the manifest.
    """
    return context.storage.scheduler.start(put_record, context, record_of(context, planned, commit_id))


def drop_record(storage: Storage, planned: Planned, commit_id: str, record: Asked[MergeRecord]) -> None:
    """Delete a record of :func:`start_record`, and the files of its plan: another manifest stands at its version."""
    try:
        record.result()
    except AndesError as error:
        _LOGGER.info("%s: a merge record was not written, and is not needed: %s", storage.url, error)
    discard(storage, [*planned.files, merge_record_path(planned.version, commit_id)])


def finish_merge(
    context: BaseContext, planned: Planned, upto: Upto, *, steps: Steps, record: Asked[MergeRecord] | None = None
) -> Merged | None:
    """Write the record of a planned merge, and commit it; the version that it goes up to is committed.

    Args:
        context: context of the operations on the base.
        planned: the merge.
        upto: version of the log that it goes up to.
        steps: of the operation.
        record: of :func:`start_record`; None to write it now.

    Returns:
        As :func:`merge_pending`, and its errors.
    """
    if record is None:
        with steps.step("wait for files"):
            try:
                context.storage.scheduler.barrier()
            except AndesError:
                drop_planned(context.storage, planned)
                raise
    with steps.step("write merge record"):
        stored = put_record(context, record_of(context, planned, upto.commit_id)) if record is None else record.result()
        if not adoptable(stored, planned):
            drop_planned(context.storage, planned)
            return None
        # Files that were folded into others, or all if another merge to this version was first.
        discard(context.storage, planned.side_files - _side_files(stored))
    with steps.step("commit to Delta"):
        return _commit(context, planned, upto, stored)


def adoptable(stored: MergeRecord, planned: Planned) -> bool:
    """Return whether a merge may use a record that another merge up to the same version has written.

    A record names the tombstones of the state that its merge was planned on. If that is an older state than the one of
    this merge, a vacuum may have deleted them.
    """
    known = _side_files(planned.base.record) | planned.side_files | {file.path for file in planned.tombstones}
    mark = f"/{planned.version:020d}-"
    return all(path in known or mark in path for path in _side_files(stored))


def record_of(context: BaseContext, planned: Planned, commit_id: str) -> MergeRecord:
    """Create the merge record of a planned merge.

    Args:
        context: context of the operations on the base.
        planned: the merge.
        commit_id: of the manifest of its version.
    """
    return MergeRecord(
        format=FORMAT,
        table_id=context.table_id,
        version=planned.version,
        commit_id=commit_id,
        truncates=planned.truncates,
        cut=planned.cut,
        tombstones=planned.tombstones,
        quarantined=planned.quarantined,
    )


def put_record(context: BaseContext, record: MergeRecord) -> MergeRecord:
    """Create a merge record; return the stored one, which may be that of another merge.

    Raises:
        CommitUnknownError: the store does not say; nothing was cleaned up.
    """
    path = merge_record_path(record.version, record.commit_id)
    data = encode(record)
    stored = put_once(context.storage, path, data, seconds=context.settings.commit_seconds)
    if stored is None:
        raise CommitUnknownError(
            f"{context.shape.table}: the store does not say whether {path} was written; merge again later",
            table=context.shape.table,
            version=record.version,
        )
    if stored == data:
        return record
    return read_record(context.storage, context.table_id, record.version, record.commit_id)


def _side_files(record: MergeRecord) -> set[str]:
    return {file.path for file in (*record.tombstones, *record.quarantined)}


def _commit(context: BaseContext, planned: Planned, upto: Upto, record: MergeRecord) -> Merged | None:
    base, counts = planned.base, planned.counts
    commit_id = str(uuid.uuid4())
    newest = upto.newest.state if upto.follows is None else upto.follows
    version, now = newest.version + 1, time.time_ns() // 1_000_000
    files = planned.changes
    if newest.version != base.version:
        files = rewound(newest.files, base.state.files, planned.changes, timestamp_ms=now)
    metrics = {name: getattr(counts, name) for name in MergeCounts.__dataclass_fields__}
    info = actions.commit_info(
        "MERGE",
        timestamp_ms=now,
        commit_id=commit_id,
        parameters={"andes_from": base.applied, "andes_to": upto.version},
        metrics=metrics,
        read_version=newest.version,
        previous=newest.commit_id,
    )
    definition = altered(context.definition, context.shape, planned.alteration, newest)
    kinds = {kind for action in definition for kind in action}
    definition += [action for action in upto.properties if not kinds & action.keys()]
    entry = [info, *definition, actions.txn(context.table_id, upto.version), *files]
    commit = commit_entry(context, version, entry, commit_id)
    if commit is None:
        drop_files(context, planned.changes, base)
        return None
    return Merged(commit, record, counts, planned.written)
