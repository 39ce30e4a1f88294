"""The law evaluated against the base: the effect of pending mods on rows.

Merge, fresh read and verification are uses of this one function. It decides on narrow columns, then reads
whole rows only where needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.base.evaluation import Evaluation, EvaluationInput, base_rows
from andes_spark.base.files import NumberedFile, TableShape
from andes_spark.base.fold_rows import FoldInput, fold_rows
from andes_spark.base.keys import KeyCache
from andes_spark.base.locator import concat_located, key_lookup, locate_files
from andes_spark.base.match import KeyLookup
from andes_spark.base.paged import PageSource
from andes_spark.base.runs import ordered
from andes_spark.base.tombstones import read_tombstones
from andes_spark.delta.prune import candidates
from andes_spark.law.columns import ARRIVAL, BASE_FILE, BASE_ROW, FILE, ROW, WINNER
from andes_spark.law.decide import Decision, decide, no_located
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.order import above, sorted_order
from andes_spark.law.rows import Reason, content_hashes
from andes_spark.law.winners import Winners, pick_winners
from andes_spark.log.pending import ModsInMemory, Pending, read_narrow, truncates_of_file
from andes_spark.log.pending_rows import read_rows
from andes_spark.model.results import MergeCounts
from andes_spark.storage.interface import Storage

Locator = Callable[[Sequence[NumberedFile], KeyLookup], list[pl.DataFrame]]
"""Function that locates keys in files of the base, in this process or in tasks."""


def local_locator(storage: Storage, shape: TableShape, threads: int, cache: KeyCache | None = None) -> Locator:
    """Return a locator that scans files with threads of this process, with an optional cache of keys."""

    def run(files: Sequence[NumberedFile], keys: KeyLookup) -> list[pl.DataFrame]:
        return locate_files(PageSource(storage, shape, cache), files, keys, threads=threads)

    return run


@dataclass(frozen=True)
class Targets:
    """Winners among pending mods, and where their rows in the base may be.

    Attributes:
        mods: narrow frame of the pending mods that take part.
        expired: ARRIVAL, FILE and ROW of those at or below the cut of an expire.
        winners: of these mods.
        keys: key and sequence columns of the keys to look up, sorted by key: those of winners and of folds.
        order: of each of these the position among winners and, behind them, folded keys; None if it is its own.
        plain: number of winners to look up.
        files: of the base that may hold some of the keys.
    """

    mods: pl.DataFrame
    expired: pl.DataFrame
    winners: Winners
    keys: pl.DataFrame
    order: npt.NDArray[np.int64] | None
    plain: int
    files: tuple[NumberedFile, ...]


def find_targets(
    storage: Storage,
    inputs: EvaluationInput,
    *,
    bounds: KeyRange | None = None,
    keys: pl.DataFrame | None = None,
    in_memory: ModsInMemory | None = None,
) -> Targets:
    """Pick the winners among pending mods, and the files of the base that may hold their keys; reads no such file.

    Other arguments and errors are those of :func:`evaluate`.

    Args:
        storage: the table's folder.
        inputs: base and pending mods.
        bounds: range of keys; None for all.
        keys: key columns of the only keys whose mods are looked at; None for all.
        in_memory: mod files that are in memory.
    """
    shape, pending = inputs.shape, inputs.pending
    mods = read_narrow(storage, pending, shape.columns, table=shape.table, bounds=bounds, in_memory=in_memory)
    if keys is not None:
        mods = mods.join(keys, on=shape.columns.key, how="semi")
    mods, expired = _without_expired(mods, pending, shape)
    crossing = pending.expiry.crossing(shape.columns) if pending.expiry.may_cross else None
    winners = pick_winners(
        mods, shape.columns, truncates=pending.truncates, watermark=inputs.watermark, crossing=crossing
    )
    fold_keys = winners.folds.unique(subset=shape.columns.key, keep="first", maintain_order=True)
    plain = winners.rows.clear() if inputs.erased else winners.rows
    targets = pl.concat([plain.select(shape.columns.narrow), fold_keys.select(shape.columns.narrow)])
    # Winners and folded keys are sorted, but not together.
    order = sorted_order(targets, shape.columns.key) if fold_keys.height else None
    targets = targets if order is None else targets[order]
    return Targets(mods, expired, winners, targets, order, plain.height, tuple(files_with(inputs, targets)))


def _without_expired(mods: pl.DataFrame, pending: Pending, shape: TableShape) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split mods into those that take part and those at or below the cut that they meet."""
    if pending.expiry.new_cut is None:
        return mods, mods.select(ARRIVAL, FILE, ROW).clear()
    expired = mods.select(pending.expiry.expired(shape.columns).alias("expired"))["expired"]
    return mods.filter(~expired), mods.filter(expired).select(ARRIVAL, FILE, ROW)


def expired_truncates(storage: Storage, inputs: EvaluationInput, in_memory: ModsInMemory | None = None) -> pl.DataFrame:
    """Find the truncates at or below the cut that they meet: FILE, ROW and ``reason``."""
    pending, shape = inputs.pending, inputs.shape
    frames = [pl.DataFrame(schema={FILE: pl.Int32, ROW: pl.Int64, "reason": pl.String})]
    for number in pending.files_with_truncates({truncate.version for truncate in pending.expired_truncates}):
        rows = truncates_of_file(storage, pending, number, shape.columns, table=shape.table, in_memory=in_memory)
        expired = rows.filter(pending.expiry.expired(shape.columns)).select(FILE, ROW)
        frames.append(expired.with_columns(pl.lit(Reason.EXPIRED.value).alias("reason")))
    return pl.concat(frames)


def evaluate(
    storage: Storage,
    inputs: EvaluationInput,
    *,
    locate: Locator,
    bounds: KeyRange | None = None,
    columns: Sequence[str] | None = None,
    in_memory: ModsInMemory | None = None,
    cache: KeyCache | None = None,
    targets: Targets | None = None,
) -> Evaluation:
    """Evaluate pending mods against the base.

    Args:
        storage: the table's folder.
        inputs: base and pending mods.
        locate: locator of base rows.
        bounds: range of keys; None for all.
        columns: of the rows to return; None for all.
        in_memory: mod files that are in memory.
        cache: tombstone files in memory.
        targets: result of :func:`find_targets` with the same arguments; None to find them here.

    Raises:
        FileDamagedError, DuplicateKeyError
    """
    shape, pending = inputs.shape, inputs.pending
    targets = targets or find_targets(storage, inputs, bounds=bounds, in_memory=in_memory)
    winners = targets.winners
    located, fold_located = _locate(inputs, targets, locate)
    tombstones = read_tombstones(
        storage,
        inputs.tombstones if shape.columns.sequence else (),
        shape,
        bounds=bounds,
        keys=targets.mods.select(shape.columns.key),
        cache=cache,
    )
    decision = decide(winners.rows, shape.columns, located=located, tombstones=tombstones)
    decision, unchanged = _split_equal(storage, inputs, decision, in_memory)
    written = pl.concat([decision.inserted, decision.updated]).sort(WINNER)
    names = list(columns or shape.schema.names)
    rows = read_rows(storage, pending, written, table=shape.table, columns=names, in_memory=in_memory)
    result = Evaluation(
        rows=rows.cast(pa.schema([shape.arrow.field(name).with_nullable(True) for name in names])),
        replaced=_places(pl.concat([decision.updated, decision.deleted])),
        deleted=decision.deleted.select(shape.columns.key),
        tombstones=decision.deleted.filter(pending.expiry.kept_after(shape.columns)).select(shape.columns.narrow),
        cleared=decision.cleared.select(shape.columns.narrow),
        quarantined=targets.expired.with_columns(pl.lit(Reason.EXPIRED.value).alias("reason")),
        picks=written.select(FILE, ROW),
        counts=replace(_counts(winners, decision, unchanged), quarantined=targets.expired.height),
    )
    if winners.folds.height == 0:
        return result
    folded = fold_rows(
        storage,
        FoldInput(inputs.shape, pending, winners.folds, fold_located, tombstones, inputs.watermark),
        files=inputs.files,
        columns=names,
        in_memory=in_memory,
    )
    return _joined(result, folded, shape)


def _counts(winners: Winners, decision: Decision, unchanged: int) -> MergeCounts:
    return MergeCounts(
        inserted=decision.inserted.height,
        updated=decision.updated.height,
        deleted=decision.deleted.height,
        unchanged=unchanged,
        late=decision.late.height + winners.late,
        superseded=winners.superseded + decision.beaten.height,
        ties=winners.ties + decision.ties - unchanged,
        ties_with_deletes=winners.ties_with_deletes + decision.beaten.height,
    )


def _locate(inputs: EvaluationInput, targets: Targets, locate: Locator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Locate base rows of the winners, by row number, and of the folded keys, by number of the key."""
    shape, winners, order = inputs.shape, targets.winners, targets.order
    if not targets.files:
        nothing = no_located(shape.columns, winners.rows)
        return nothing, nothing
    keys = key_lookup(targets.keys, shape, every_sequence=bool(winners.folds.height or inputs.pending.truncates))
    located = concat_located(locate(targets.files, keys), shape, targets.keys)
    if order is not None:
        located = located.with_columns(pl.Series(WINNER, order[located[WINNER].to_numpy()], pl.Int64))
    folds = located.filter(pl.col(WINNER) >= targets.plain).with_columns(pl.col(WINNER) - targets.plain)
    rows = located.filter(pl.col(WINNER) < targets.plain)
    if inputs.pending.truncates and shape.columns.sequence:
        rows = rows.filter(outlive(shape, inputs.swept))
    return rows, folds


def files_with(inputs: EvaluationInput, keys: pl.DataFrame) -> list[NumberedFile]:
    """Select the files of the base that may hold some of the keys."""
    if keys.height == 0 or not inputs.files:
        return []
    table = keys.select(inputs.shape.columns.key).to_arrow()
    positions = candidates(inputs.files.files, inputs.shape.schema, inputs.shape.partition_by, table)
    return [inputs.files[position] for position in positions]


def outlive(shape: TableShape, watermark: tuple[Any, ...] | None) -> pl.Expr:
    """Return the expression for located rows above a truncate; others count as deleted."""
    if watermark is None:
        return pl.lit(True)
    sequence = [pl.col(name) for name in shape.columns.base_sequence()]
    return above(sequence, [pl.lit(value) for value in watermark])


def _split_equal(
    storage: Storage, inputs: EvaluationInput, decision: Decision, in_memory: ModsInMemory | None
) -> tuple[Decision, int]:
    """Move upserts at their base row's sequence to the updated ones, unless all columns are equal."""
    if decision.equal.height == 0:
        return decision, 0
    names = list(inputs.shape.schema.names)
    new_rows = read_rows(
        storage, inputs.pending, decision.equal, table=inputs.shape.table, columns=names, in_memory=in_memory
    )
    old_rows = base_rows(storage, inputs.shape, inputs.files, decision.equal, names)
    differs = (content_hashes(new_rows, inputs.shape.schema) != content_hashes(old_rows, inputs.shape.schema)).any(
        axis=1
    )
    changed = decision.equal.filter(pl.Series(differs))
    updated = pl.concat([decision.updated, changed])
    return replace(decision, updated=updated), decision.equal.height - changed.height


def _places(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col(BASE_ROW).is_not_null()).select(BASE_FILE, BASE_ROW)


def _joined(one: Evaluation, two: Evaluation, shape: TableShape) -> Evaluation:
    rows = pa.concat_tables([one.rows, two.rows])
    return Evaluation(
        rows=ordered(rows, shape.columns.key) if set(shape.columns.key) <= set(rows.column_names) else rows,
        replaced=pl.concat([one.replaced, two.replaced]),
        deleted=pl.concat([one.deleted, two.deleted]),
        tombstones=pl.concat([one.tombstones, two.tombstones]),
        cleared=pl.concat([one.cleared, two.cleared]),
        quarantined=pl.concat([one.quarantined, two.quarantined]),
        counts=one.counts.plus(two.counts),
    )
