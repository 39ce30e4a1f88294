"""Input and result of an evaluation of the law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark.base.files import NumberedFiles, TableShape, numbered_files
from andes_spark.base.paged import PageSource, rows_at
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.law.columns import BASE_FILE, BASE_ROW
from andes_spark.law.order import grouped
from andes_spark.law.winners import greatest
from andes_spark.log.pending import Pending, typed_sequence
from andes_spark.model.files import SideFile
from andes_spark.model.merge_record import MergeRecord
from andes_spark.model.results import MergeCounts
from andes_spark.model.values import to_json
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class EvaluationInput:
    """Input of an evaluation; sent to tasks.

    Attributes:
        shape: shape of the table.
        pending: mods of the versions after the base's.
        files: live files of the base, or those that matter, with their numbers in the base.
        tombstones: files of the base's merge record.
        watermark: truncate watermark of the base's merge record.
    """

    shape: TableShape
    pending: Pending
    files: NumberedFiles
    tombstones: tuple[SideFile, ...] = ()
    watermark: tuple[Any, ...] | None = None

    @property
    def new_watermark(self) -> tuple[Any, ...] | None:
        """Truncate watermark after the pending versions."""
        return self.pending.expiry.watermark(self.pending.truncates, self.watermark)

    @property
    def swept(self) -> tuple[Any, ...] | None:
        """Sequence at or below which no row of the base is left; a later expire may have forgotten the truncate."""
        return greatest(self.pending.truncates, self.watermark)

    @property
    def erased(self) -> bool:
        """Whether a truncate without a sequence removes every row of the base."""
        return bool(self.pending.truncates) and not self.shape.columns.sequence


@dataclass(frozen=True)
class Evaluation:
    """Effect of pending mods, for all keys or those within bounds.

    Attributes:
        rows: rows that pending mods write, sorted by key, with the requested columns.
        replaced: BASE_FILE and BASE_ROW of deleted or rewritten rows.
        deleted: key columns of keys that have no row any more, or had none before a delete.
        tombstones: key and sequence of effective deletes that no pending expire forgets.
        cleared: key and sequence of rows that replace a tombstone.
        quarantined: ARRIVAL, FILE, ROW and ``reason`` of mods that the law sets aside.
        picks: FILE and ROW of the mods of ``rows``, in their order; None if some are folded.
        counts: of mods, by outcome.
    """

    rows: pa.Table
    replaced: pl.DataFrame
    deleted: pl.DataFrame
    tombstones: pl.DataFrame
    cleared: pl.DataFrame
    quarantined: pl.DataFrame
    picks: pl.DataFrame | None = None
    counts: MergeCounts = field(default_factory=MergeCounts)


def base_rows(
    storage: Storage,
    shape: TableShape,
    files: NumberedFiles,
    places: pl.DataFrame,
    columns: Sequence[str],
    source: PageSource | None = None,
) -> pa.Table:
    """Read columns of rows of the base at BASE_FILE and BASE_ROW, in the order of ``places``.

    Args:
        storage: the table's folder.
        shape: shape of the table.
        files: files of the base.
        places: of the rows.
        columns: of the table.
        source: what was read of the files before; None for nothing.
    """
    numbers, rows = places[BASE_FILE].to_numpy(), places[BASE_ROW].to_numpy().astype(np.int64)
    picks = grouped(numbers)
    requested = [(files.numbered(number), rows[picked]) for number, picked in picks]
    parts = rows_at(PageSource(storage, shape) if source is None else source, requested, columns)
    if not parts:
        return shape.arrow.empty_table().select(list(columns))
    order = np.concatenate([picked for _, picked in picks])
    return pa.concat_tables(parts).take(pa.array(np.argsort(order, kind="stable")))


def watermark_of(record: MergeRecord, shape: TableShape) -> tuple[object, ...] | None:
    """Return the truncate watermark of a merge record as Python values."""
    sequences = (typed_sequence(sequence, shape.arrow, shape.columns) for sequence in record.truncates)
    return max(sequences, default=None)


def cut_of(record: MergeRecord, shape: TableShape) -> tuple[object, ...] | None:
    """Return the cut of a merge record as Python values; None before the first expire."""
    return None if record.cut is None else typed_sequence(record.cut, shape.arrow, shape.columns)


def quoted(sequence: tuple[object, ...], shape: TableShape) -> list[object]:
    """Return a sequence as in documents; never shortened: without it, removed rows would return."""
    kinds = [shape.arrow.field(name).type for name in shape.columns.sequence]
    return [to_json(pa.scalar(value, kind)) for kind, value in zip(kinds, sequence, strict=True)]


@dataclass(frozen=True, repr=False)
class Snapshot:
    """A pinned version: the base of a read, and its pending mods.

    Attributes:
        version: version of the log.
        base: newest state of the base that holds no later version.
        inputs: base and pending mods, input of an evaluation.
    """

    version: int
    base: BaseSnapshot
    inputs: EvaluationInput

    def __repr__(self) -> str:
        pending = f"{self.inputs.pending.rows} pending mods"
        return f"<Snapshot: version {self.version}, Delta version {self.base.version}, {pending}>"

    @property
    def merged(self) -> bool:
        """Whether the base alone is the snapshot."""
        pending = self.inputs.pending
        return pending.rows == 0 and not pending.truncates


def evaluation_input(base: BaseSnapshot, pending: Pending, shape: TableShape) -> EvaluationInput:
    """Build the input of an evaluation from a base and pending mods."""
    return EvaluationInput(
        shape,
        pending.following(cut_of(base.record, shape)),
        numbered_files(base.state.files),
        tuple(base.record.tombstones),
        watermark_of(base.record, shape),
    )
