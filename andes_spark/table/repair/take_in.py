"""Taking in what another writer did to the base: its rows become a version of the log.

The state of the base after the changes stands for the state before them, from the new version on: mods that were not
merged follow it, as they followed the state before. Tombstones are written for the rows that the other writer removed,
so that older mods which arrive late lose against them, as after a delete.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from andes_spark.base.evaluation import watermark_of
from andes_spark.base.files import TableShape
from andes_spark.base.foreign import content_of
from andes_spark.base.merge.merge import commit_entry, discard
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.base.tombstones import read_tombstones, write_tombstones
from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.files import no_files
from andes_spark.delta.state import DeltaState
from andes_spark.errors import CommitConflictError
from andes_spark.law.order import above
from andes_spark.log.commit import Draft, commit
from andes_spark.model.events import Mods, Quarantine, TakeIn, Truncate
from andes_spark.model.files import SideFile
from andes_spark.model.manifest import Manifest
from andes_spark.run.steps import Steps
from andes_spark.table.evolution.definitions import alter_event
from andes_spark.table.history.comparison import CHANGE_TYPE
from andes_spark.table.open_table import OpenTable
from andes_spark.table.repair.difference import DELETED, INSERTED, changed_rows
from andes_spark.table.repair.foreign import ForeignWrite
from andes_spark.table.repair.undo import overtaken

_TOMBSTONES = 1_000_000
"""Tombstones in memory above which a file of them is written."""


def take_in(open_table: OpenTable, write: ForeignWrite, steps: Steps) -> Manifest:
    """Commit the version that takes changes of another writer in.

    Args:
        open_table: the table.
        write: the changes, which nothing keeps from being taken in.
        steps: of the operation.

    Raises:
        CommitConflictError: another writer changed the base, or what the newest versions mean, meanwhile.
    """
    with steps.step("check the clock"):
        clock = open_table.clock.check(begun=open_table.log.clock())
    newest = write.newest
    if write.adds:
        with steps.step("commit to Delta"):
            newest = _with_records(open_table, newest, write.adds)
    with steps.step("write tombstones"):
        beside = _beside(open_table, write)
    event = TakeIn(
        delta_version=newest.version,
        content=content_of(newest),
        applied=write.before.applied,
        tombstones=[*write.tombstones, *beside.tombstones],
        ends_truncate=write.ends_truncate or beside.ends_truncate,
    )
    planned_on, before = open_table.log.head, open_table.definition
    assert write.definition is not None
    altered = () if write.definition == before else (alter_event(before, write.definition),)

    def admit(manifest: Manifest) -> Manifest | None:
        if all(isinstance(event, Mods | Quarantine | Truncate) for event in manifest.events):
            return None
        discard(open_table.storage, [file.path for file in beside.tombstones])
        raise CommitConflictError(
            f"{open_table.table}: version {manifest.version} was committed by another writer while the repair was "
            f"planned on version {planned_on}; nothing was taken in: repair again",
            table=open_table.table,
            version=manifest.version,
        )

    draft = Draft(
        operation="take_in",
        table_id=open_table.table_id,
        events=(*altered, event),
        definition=write.definition if altered else None,
        new_epoch=True,
    )
    with steps.step("commit"):
        open_table.storage.scheduler.barrier()
        return commit(open_table.log, draft, clock=clock, admit=admit, roll_up=open_table.roll_ups.make)


def _with_records(open_table: OpenTable, newest: DeltaState, adds: list[Action]) -> DeltaState:
    """Add files again with the number of their rows, which merges need; no row changes."""
    commit_id = str(uuid.uuid4())
    info = actions.commit_info(
        "COMPUTE STATS",
        timestamp_ms=time.time_ns() // 1_000_000,
        commit_id=commit_id,
        read_version=newest.version,
        previous=newest.commit_id,
    )
    entry = commit_entry(open_table.base_context(), newest.version + 1, [info, *adds], commit_id)
    if entry is None:
        raise overtaken(open_table, newest)
    open_table.base.snapshot()
    after = open_table.base.newest
    if after is None or after.version != entry.version:
        raise overtaken(open_table, newest)
    return after


@dataclass(frozen=True)
class _Beside:
    """What belongs to a state beside its rows: new tombstones, and whether they end the truncate in force."""

    tombstones: list[SideFile]
    ends_truncate: bool


def _beside(open_table: OpenTable, write: ForeignWrite) -> _Beside:
    shape = open_table.shape_at(write.before.applied)
    if not shape.columns.sequence:
        return _Beside([], ends_truncate=False)
    mark = watermark_of(write.before.record, shape)
    before = no_files() if write.lost_files else write.before.state.files
    written: list[SideFile] = []
    ends = False
    for rows in _grouped(changed_rows(open_table, shape, before, write.newest.files)):
        frame = pl.from_arrow(rows)
        assert isinstance(frame, pl.DataFrame)
        deleted = frame.filter(pl.col(CHANGE_TYPE) == DELETED)
        present = frame.filter(pl.col(CHANGE_TYPE) != DELETED)
        ends = ends or (mark is not None and _reaches(present, shape, mark))
        cleared = _buried(open_table, write.before, shape, present.filter(pl.col(CHANGE_TYPE) == INSERTED))
        file = write_tombstones(open_table.storage, deleted, cleared, shape, version=open_table.log.head + 1)
        written += [] if file is None else [file]
    if ends and mark is not None:
        # Whether the record still has a tombstone below a truncate depends on when merges ran; rows must not.
        covered = _covered(open_table, write.before, shape, mark)
        file = write_tombstones(open_table.storage, covered[:0], covered, shape, version=open_table.log.head + 1)
        written += [] if file is None else [file]
    return _Beside(written, ends)


def _grouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    parts: list[pa.RecordBatch] = []
    for batch in batches:
        parts.append(batch)
        if sum(part.num_rows for part in parts) >= _TOMBSTONES:
            yield pa.Table.from_batches(parts)
            parts = []
    if parts:
        yield pa.Table.from_batches(parts)


def _buried(open_table: OpenTable, base: BaseSnapshot, shape: TableShape, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose keys have a tombstone, which ends with them."""
    key = list(shape.columns.key)
    tombstones = read_tombstones(open_table.storage, base.record.tombstones, shape, keys=rows.select(key))
    return rows.join(tombstones.select(key), on=key, how="semi")


def _covered(open_table: OpenTable, base: BaseSnapshot, shape: TableShape, mark: tuple[object, ...]) -> pl.DataFrame:
    """Tombstones at or below the truncate in force, which end with it; those of forgotten keys stay."""
    names = dict(zip(shape.columns.tombstone_sequence(), shape.columns.sequence, strict=True))
    rows = read_tombstones(open_table.storage, base.record.tombstones, shape).rename(names)
    sequence = [pl.col(name) for name in shape.columns.sequence]
    return rows.filter(~above(sequence, [pl.lit(value) for value in mark]))


def _reaches(rows: pl.DataFrame, shape: TableShape, mark: tuple[object, ...]) -> bool:
    """Whether a row is at or below the truncate in force."""
    sequence = [pl.col(name) for name in shape.columns.sequence]
    return rows.filter(~above(sequence, [pl.lit(value) for value in mark])).height > 0
