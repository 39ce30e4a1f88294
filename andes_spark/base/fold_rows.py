"""Rows of keys with a partial mod, or one that crosses an expire: chains, folded by the law column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.base.evaluation import Evaluation, base_rows
from andes_spark.base.files import NumberedFiles, TableShape
from andes_spark.law.columns import ARRIVAL, BASE_FILE, BASE_ROW, FILE, PARTIAL, ROW, WINNER
from andes_spark.law.expiry import ExpireEvent
from andes_spark.law.fold import EXPIRE, NONE, Chain, Fate, Folded, Start, fold
from andes_spark.law.order import dense_ranks
from andes_spark.law.presence import present_matrix
from andes_spark.law.rows import Reason, content_hashes
from andes_spark.law.winners import TruncateEvent
from andes_spark.log.pending import ModsInMemory, Pending
from andes_spark.log.pending_rows import read_mods
from andes_spark.model.mod import OP, Op
from andes_spark.model.results import MergeCounts
from andes_spark.schema.arrow_types import whole
from andes_spark.storage.interface import Storage

Ints = npt.NDArray[np.int64]
_KEY = "_andes_key"


@dataclass(frozen=True)
class FoldInput:
    """Rows, mods and tombstones of the keys whose mods have to be folded in order.

    Attributes:
        shape: shape of the table.
        pending: mods of the versions after the base's.
        mods: narrow frame of all mods of the keys, sorted by key.
        located: their base rows: WINNER is the number of the key, in the order of its first mod.
        tombstones: of the base; may hold other keys.
        watermark: truncate watermark of the base.
    """

    shape: TableShape
    pending: Pending
    mods: pl.DataFrame
    located: pl.DataFrame
    tombstones: pl.DataFrame
    watermark: tuple[Any, ...] | None


@dataclass(frozen=True)
class _Keys:
    """Numbered keys, and their mods in the order of the fold; truncates and expires are mods of every key."""

    frame: pl.DataFrame
    chain: Chain
    start: Start
    has_tombstone: npt.NDArray[np.bool_]
    truncate_rank: int


def fold_rows(
    storage: Storage,
    inputs: FoldInput,
    *,
    files: NumberedFiles,
    columns: Sequence[str],
    in_memory: ModsInMemory | None,
) -> Evaluation:
    """Fold the mods of keys with a partial mod.

    Args:
        storage: the table's folder.
        inputs: mods, base rows and tombstones.
        files: files of the base, with the numbers that ``located`` uses.
        columns: of the rows to return.
        in_memory: mod files that are in memory.
    """
    shape = inputs.shape
    mods = inputs.mods.with_columns(_key_numbers(inputs.mods, shape))
    names = list(shape.schema.names)
    whole = read_mods(storage, inputs.pending, mods, table=shape.table, columns=names, in_memory=in_memory)
    old_rows = base_rows(storage, shape, files, inputs.located, names)
    sources = pa.concat_tables([whole.select(names), old_rows], promote_options="permissive")
    keys = _chains(inputs, mods, whole, mods.height)
    folded = fold(keys.chain, keys.start, required=shape.required)
    same = _unchanged(folded, keys.start, sources, shape)
    return _evaluation(inputs, mods, keys, folded, same, sources, columns)


def _key_numbers(mods: pl.DataFrame, shape: TableShape) -> pl.Series:
    starts = mods.select(
        pl.any_horizontal([pl.col(name) != pl.col(name).shift(1) for name in shape.columns.key])
        .fill_null(True)
        .alias(_KEY)
    )
    return (starts[_KEY].cast(pl.Int64).cum_sum() - 1).alias(_KEY)


def _chains(inputs: FoldInput, mods: pl.DataFrame, whole: pa.Table, base_offset: int) -> _Keys:
    shape = inputs.shape
    width, count = len(shape.schema), mods[_KEY].n_unique()
    present = present_matrix(whole, width)
    if present is None:
        present = np.ones((mods.height, width), np.bool_)
    ranks = _ranks(inputs, mods, count)
    events: list[TruncateEvent | ExpireEvent] = [*inputs.pending.truncates, *inputs.pending.expires]
    operations = [Op.TRUNCATE] * len(inputs.pending.truncates) + [EXPIRE] * len(inputs.pending.expires)
    all_keys, added = np.arange(count), len(events) * count
    key = np.concatenate([mods[_KEY].to_numpy(), np.repeat(all_keys, len(events))])
    arrivals = np.concatenate([mods[ARRIVAL].to_numpy(), np.tile([event.arrival for event in events], count)]).astype(
        np.int64
    )
    rank = np.concatenate([ranks.mods, np.tile(ranks.events, count)]).astype(np.int64)
    op = np.concatenate([mods[OP].to_numpy(), np.tile(operations, count)]).astype(np.int64)
    order = np.lexsort((op != Op.TRUNCATE, rank, arrivals, key))
    nothing = np.zeros((added, width), np.bool_)
    chain = Chain(
        key=key[order],
        op=op[order],
        rank=rank[order],
        partial=np.concatenate([mods[PARTIAL].to_numpy(), np.zeros(added, np.bool_)])[order],
        present=np.concatenate([present, nothing])[order],
        source=np.concatenate([np.arange(mods.height), np.full(added, NONE)])[order],
    )
    exists = np.zeros(count, np.bool_)
    source = np.full(count, NONE, np.int64)
    located = inputs.located[WINNER].to_numpy()
    exists[located] = True
    source[located] = base_offset + np.arange(len(located))
    start = np.where(exists, ranks.base, ranks.tombstones)
    first = mods.unique(subset=_KEY, keep="first", maintain_order=True)
    truncate_rank = int(np.max(ranks.events[: len(inputs.pending.truncates)], initial=NONE))
    return _Keys(
        first, chain, Start(exists, start, source, ranks.has_tombstone & ~exists), ranks.has_tombstone, truncate_rank
    )


@dataclass(frozen=True)
class _Ranks:
    mods: Ints
    base: Ints
    tombstones: Ints
    events: Ints
    has_tombstone: npt.NDArray[np.bool_]


def _ranks(inputs: FoldInput, mods: pl.DataFrame, count: int) -> _Ranks:
    """Rank the sequences of all mods, events and rows of a fold as comparable numbers."""
    columns = inputs.shape.columns
    if not columns.sequence:
        # A truncate precedes the other mods of its batch; the base precedes all pending versions.
        return _Ranks(
            mods=mods[ARRIVAL].to_numpy() * 2 + 1,
            base=np.zeros(count, np.int64),
            tombstones=np.full(count, NONE, np.int64),
            events=np.array([truncate.arrival * 2 for truncate in inputs.pending.truncates], np.int64),
            has_tombstone=np.zeros(count, np.bool_),
        )
    names = list(columns.sequence)
    schema = mods.select(names).schema
    base = pl.DataFrame({_KEY: np.arange(count)}).join(
        inputs.located.rename({WINNER: _KEY}), on=_KEY, how="left", maintain_order="left"
    )
    first = mods.unique(subset=_KEY, keep="first", maintain_order=True).select(*columns.key)
    with_tombstones = first.join(inputs.tombstones, on=columns.key, how="left", maintain_order="left")
    events: list[TruncateEvent | ExpireEvent] = [*inputs.pending.truncates, *inputs.pending.expires]
    marks = [list(event.sequence) for event in events]
    if inputs.watermark is not None:
        marks.append(list(inputs.watermark))
    mark_rows = pl.DataFrame(marks, schema=dict(schema), orient="row") if marks else pl.DataFrame(schema=schema)
    mod_ranks, base_ranks, tombstone_ranks, mark_ranks = dense_ranks(
        [
            mods.select(names),
            _renamed(base, columns.base_sequence(), names),
            _renamed(with_tombstones, columns.tombstone_sequence(), names),
            mark_rows,
        ]
    )
    watermark = mark_ranks[-1] if inputs.watermark is not None else NONE
    return _Ranks(
        mods=mod_ranks,
        base=base_ranks,
        tombstones=np.maximum(tombstone_ranks, watermark),
        events=mark_ranks[: len(events)],
        has_tombstone=tombstone_ranks != NONE,
    )


def _renamed(frame: pl.DataFrame, old_names: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    return frame.select(pl.col(old).alias(new) for old, new in zip(old_names, names, strict=True))


def _unchanged(folded: Folded, start: Start, sources: pa.Table, shape: TableShape) -> npt.NDArray[np.bool_]:
    """Find keys whose new row equals the base row, sequence included."""
    same = np.zeros(len(start.rank), np.bool_)
    candidates = np.flatnonzero(
        start.exists & folded.exists & (folded.rank == start.rank) & (folded.last != NONE)
        if shape.columns.sequence
        else same
    )
    if len(candidates):
        names = list(shape.schema.names)
        new_rows = _gather(folded, candidates, sources, shape, names)
        old_rows = sources.take(pa.array(start.source[candidates]))
        equal = content_hashes(new_rows, shape.schema) == content_hashes(old_rows, shape.schema)
        same[candidates] = equal.all(axis=1)
    return same


def _gather(folded: Folded, keys: Ints, sources: pa.Table, shape: TableShape, columns: Sequence[str]) -> pa.Table:
    """Gather rows of keys: each column from the row chosen by the fold, the sequence from the last mod."""
    arrays = []
    for name in columns:
        position = shape.schema.names.index(name)
        source = folded.source[keys, position]
        if name in shape.columns.sequence:
            source = folded.sequence_source[keys]
        column = whole(sources[name])
        arrays.append(column.take(pa.array(source, mask=source == NONE)))
    schema = pa.schema([shape.arrow.field(name).with_nullable(True) for name in columns])
    return pa.table(arrays, schema=schema)


def _evaluation(
    inputs: FoldInput,
    mods: pl.DataFrame,
    keys: _Keys,
    folded: Folded,
    same: npt.NDArray[np.bool_],
    sources: pa.Table,
    columns: Sequence[str],
) -> Evaluation:

    start, chain = keys.start, keys.chain
    took = folded.last != NONE
    changed = took & ~same
    written = np.flatnonzero(folded.exists & changed)
    last_op = np.where(took, chain.op[folded.last], NONE)
    deletes = np.flatnonzero(took & ~folded.exists & (last_op == Op.DELETE))
    kept = deletes[folded.deleted[deletes]]
    is_replaced = start.exists & (changed | ~folded.exists)
    without = np.union1d(deletes, np.flatnonzero(is_replaced & ~folded.exists))
    narrow = _narrow(mods, chain, folded)
    return Evaluation(
        rows=_gather(folded, written, sources, inputs.shape, columns),
        replaced=inputs.located.filter(pl.Series(is_replaced[inputs.located[WINNER].to_numpy()])).select(
            BASE_FILE, BASE_ROW
        ),
        deleted=narrow[without].select(inputs.shape.columns.key),
        tombstones=narrow[kept].select(inputs.shape.columns.narrow),
        cleared=narrow[np.flatnonzero(folded.exists & keys.has_tombstone & took)].select(inputs.shape.columns.narrow),
        quarantined=_quarantined(mods, chain, folded),
        counts=_counts(chain, folded, start, same, last_op, took, keys.truncate_rank),
    )


def _narrow(mods: pl.DataFrame, chain: Chain, folded: Folded) -> pl.DataFrame:
    """Return the narrow row of each key's last mod, or of any mod if none took effect."""
    first = np.flatnonzero(np.r_[True, np.diff(mods[_KEY].to_numpy()) != 0])
    source: Ints = np.where(folded.last == NONE, first, chain.source[folded.last])
    return mods.select(pl.all().gather(pl.Series(source)))


def _quarantined(mods: pl.DataFrame, chain: Chain, folded: Folded) -> pl.DataFrame:
    parts = []
    for fate, reason in (
        (Fate.QUARANTINED_LATE, Reason.LATE_PARTIAL),
        (Fate.QUARANTINED_NO_ROW, Reason.PARTIAL_WITHOUT_ROW),
    ):
        rows = chain.source[(folded.fate == fate) & (chain.source != NONE)]
        picked = mods.select(pl.col(ARRIVAL, FILE, ROW).gather(pl.Series(rows)))
        parts.append(picked.with_columns(pl.lit(reason.value).alias("reason")))
    return pl.concat(parts)


def _counts(
    chain: Chain,
    folded: Folded,
    start: Start,
    same: npt.NDArray[np.bool_],
    last_op: Ints,
    took: npt.NDArray[np.bool_],
    truncate_rank: int,
) -> MergeCounts:
    fate = folded.fate[chain.source != NONE]
    upserted = took & (last_op == Op.UPSERT)
    had_row = start.exists & (start.rank > truncate_rank)
    return MergeCounts(
        inserted=int((upserted & ~had_row & ~same).sum()),
        updated=int((upserted & had_row & ~same).sum()),
        deleted=int((took & (last_op == Op.DELETE)).sum()),
        unchanged=int((upserted & same).sum()),
        folded=int((fate == Fate.FOLDED).sum()),
        late=int((fate == Fate.LATE).sum()),
        superseded=int(((fate == Fate.SUPERSEDED) | (fate == Fate.BEATEN)).sum()),
        ties=int((fate == Fate.BEATEN).sum()),
        ties_with_deletes=int((fate == Fate.BEATEN).sum()),
        quarantined=int(((fate == Fate.QUARANTINED_LATE) | (fate == Fate.QUARANTINED_NO_ROW)).sum()),
    )
