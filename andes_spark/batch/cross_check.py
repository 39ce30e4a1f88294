"""Mods repeated in two parts of one batch: equal ones collapse, different ones at one sequence are refused.

Each part is checked while it is prepared. This module looks for mods shared by parts, on key and sequence
alone, a range of keys at a time.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.batch.parts import Part
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.prepare import digest_of
from andes_spark.batch.ties import TIE, outranked, tie_columns
from andes_spark.law.columns import FILE, ROW
from andes_spark.law.hashing.digest import Digest
from andes_spark.law.keys.normalized import normalizer
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.rows import NAMED_KEYS, mod_hashes, tie_error
from andes_spark.log.mod_files import read_entry, write_mods
from andes_spark.log.pending import Pending, PendingFile, narrow_of_file, read_narrow
from andes_spark.log.pending_rows import read_mods
from andes_spark.log.sampling import bucket_bounds
from andes_spark.model.files import Entry
from andes_spark.model.mod import OP, PRESENT, Op
from andes_spark.run.executor import Executor
from andes_spark.run.spill import Spill
from andes_spark.storage.interface import Storage

POSITION_BYTES = 32
"""Bytes of the position, operation and normalized key of one mod."""
BUCKET_ROWS = 10_000
"""Mods of a range of keys at least, however small the budget: each range opens the files anew."""
BUCKETS_A_BUDGET = 4
"""Number of key ranges per byte budget of mods, since a range is copied while it is checked."""


@dataclass(frozen=True)
class CrossCheck:
    """Search for repeated mods in the files of one batch; sent to tasks.

    Attributes:
        storage: the table's folder.
        plan: plan of the batch.
        pending: mod files of the batch.
    """

    storage: Storage
    plan: BatchPlan
    pending: Pending

    def __call__(self, bounds: KeyRange | None) -> list[tuple[int, int]]:
        """Return file and row numbers of mods within bounds that repeat an earlier one.

        Raises:
            SequenceTieError: two of them differ.
        """
        mods = read_narrow(self.storage, self.pending, self.plan.columns, table=self.plan.table, bounds=bounds)
        return self.repeats(mods)

    def one_by_one(self, piece_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield the same for all keys, within about ``piece_bytes``: each file is read once, into a local file.

        Raises:
            SequenceTieError: two mods differ.
            StorageFullError: the local disk is full.
        """
        columns = self.plan.columns
        frames = (
            narrow_of_file(self.storage, self.pending, number, columns, table=self.plan.table).to_arrow()
            for number in range(len(self.pending.files))
        )
        first = next(frames)
        with (
            tempfile.TemporaryDirectory(prefix="andes-check-") as folder,
            Spill(Path(folder), first.schema, tuple(columns.narrow), ()) as spill,
        ):
            for mods in itertools.chain([first], frames):
                spill.add(mods)
            spill.close()
            for piece in spill.merged(spill.runs, piece_bytes):
                mods_of_piece = pl.from_arrow(piece)
                assert isinstance(mods_of_piece, pl.DataFrame)
                yield from self.repeats(mods_of_piece)

    def repeats(self, mods: pl.DataFrame) -> list[tuple[int, int]]:
        """Return file and row numbers of those of some mods that repeat an earlier one of them.

        Args:
            mods: narrow frame of all mods of some keys.

        Raises:
            SequenceTieError: two of them differ.
        """
        columns = self.plan.columns
        twice = (
            _of_one_word(mods, columns.narrow)
            .filter(pl.struct(columns.narrow).is_duplicated())
            .sort([*columns.narrow, FILE, ROW])
        )
        if twice.height == 0:
            return []
        ties = tuple(f"{TIE}{number}" for number in range(self.plan.ties))
        whole = read_mods(
            self.storage,
            self.pending,
            twice,
            table=self.plan.table,
            columns=[*self.plan.schema.names, OP, *ties],
        )
        dropped = []
        if ties:
            is_outranked = outranked(whole, np.cumsum(~_repeats(twice, columns.narrow)), columns)
            dropped.append(twice.filter(pl.Series(is_outranked)))
            twice, whole = twice.filter(pl.Series(~is_outranked)), whole.filter(pa.array(~is_outranked))
        hashes = mod_hashes(whole, self.plan.schema)
        repeats = _repeats(twice, columns.narrow)
        differs = repeats.copy()
        differs[1:] &= (hashes[1:] != hashes[:-1]).any(axis=1)
        if differs.any():
            raise tie_error(whole.filter(pa.array(differs)).slice(0, NAMED_KEYS), columns)
        dropped.append(twice.filter(pl.Series(repeats)))
        return [(file, row) for mods in dropped for file, row in mods.select(FILE, ROW).iter_rows()]


def _repeats(mods: pl.DataFrame, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether each mod has the key and sequence of the previous one."""
    same: npt.NDArray[np.bool_] = (
        mods.select(pl.all_horizontal([pl.col(name) == pl.col(name).shift(1) for name in names]).fill_null(False))
        .to_series()
        .to_numpy()
    )
    return same


def _of_one_word(mods: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Drop mods with a unique normalized key, a cheap test before tuples are compared."""
    columns = [mods[name].to_arrow() for name in names]
    word_maker = normalizer(columns)
    if word_maker is None:
        return mods
    words = word_maker.words(columns)
    # A stable sort merges the sorted runs of the files.
    ascending = np.sort(words, kind="stable")
    shared = ascending[1:][ascending[1:] == ascending[:-1]]
    return mods.filter(pl.Series(np.isin(words, shared))) if len(shared) else mods.clear()


def _repeated_truncates(storage: Storage, plan: BatchPlan, pending: Pending) -> list[tuple[int, int]]:
    """Return file and row numbers of truncates that repeat an earlier one."""
    truncate_positions: set[tuple[object, ...]] = set()
    repeats: list[tuple[int, int]] = []
    for number, file in enumerate(pending.files):
        if not file.entry.truncates:
            continue
        rows = read_entry(storage, file.entry, table=plan.table, columns=[*plan.columns.sequence, OP])
        for row in np.flatnonzero(rows[OP].to_numpy() == Op.TRUNCATE).tolist():
            at = tuple(rows[name][row].as_py() for name in plan.columns.sequence)
            if at in truncate_positions:
                repeats.append((number, row))
            truncate_positions.add(at)
    return repeats


def check_across(
    storage: Storage,
    batch: Part,
    plan: BatchPlan,
    head: int,
    executor: Callable[[], Executor],
    byte_budget: int,
) -> Part:
    """Drop mods of a batch that repeat a mod of another part.

    Args:
        storage: the table's folder.
        batch: all parts of the batch.
        plan: plan of the batch.
        head: newest version seen at the start of the batch.
        executor: returns the executor; called only if a check is needed.
        byte_budget: estimated Arrow bytes up to which the check runs in this process.

    Raises:
        SequenceTieError: two mods of one key at one sequence differ.
    """
    pending = Pending(tuple(PendingFile(0, entry) for entry in batch.mods), ())
    if len(pending.files) < 2:
        return batch
    repeats = _repeated_truncates(storage, plan, pending)
    if pending.rows:
        chosen = executor()
        estimated_bytes = batch.narrow_bytes + pending.rows * POSITION_BYTES
        # A Spark job takes longer than a check within this process.
        in_tasks = chosen.distributed and estimated_bytes > byte_budget
        by_bytes = BUCKETS_A_BUDGET * estimated_bytes // max(1, byte_budget)
        buckets = max(chosen.slots if in_tasks else 1, min(by_bytes, pending.rows // BUCKET_ROWS))
        check = CrossCheck(storage, plan, pending)
        if in_tasks:
            # Tasks open the files through storage of their own.
            storage.scheduler.barrier()
            bounds = bucket_bounds(storage, pending, plan.columns, plan.schema.to_arrow(), buckets, table=plan.table)
            for bucket_repeats in chosen.map(check, bounds, step="check across parts"):
                repeats += bucket_repeats
        else:
            repeats += check.one_by_one(max(1, estimated_bytes // buckets)) if buckets > 1 else check(None)
    return _without(storage, batch, plan, repeats, head=head)


def _without(storage: Storage, part: Part, plan: BatchPlan, repeats: Sequence[tuple[int, int]], *, head: int) -> Part:
    """Drop repeated mods: rewrite their files, and delete the old ones."""
    if not repeats:
        return part
    entries: list[Entry] = []
    dropped: dict[int, list[int]] = {}
    for file, row in repeats:
        dropped.setdefault(file, []).append(row)
    digest = copy(part.digest)
    upserts = deletes = truncates = partial = 0
    for number, entry in enumerate(part.mods):
        if number not in dropped:
            entries.append(entry)
            continue
        data = read_entry(storage, entry, table=plan.table)
        keep = np.ones(data.num_rows, np.bool_)
        keep[dropped[number]] = False
        dropped_mods = data.filter(pa.array(~keep))
        repeated = digest_of(dropped_mods, plan)
        digest.merge(Digest(-repeated.total % (1 << 128), -repeated.rows))
        upserts += _count(dropped_mods, Op.UPSERT)
        deletes += _count(dropped_mods, Op.DELETE)
        truncates += _count(dropped_mods, Op.TRUNCATE)
        partial += (
            dropped_mods.num_rows - dropped_mods[PRESENT].null_count if PRESENT in dropped_mods.column_names else 0
        )
        if keep.any():
            kept = data.filter(pa.array(keep))
            entries.append(_again(storage, kept.drop_columns(tie_columns(kept.column_names)), plan, head))
        storage.delete([entry.path])
    counts = msgspec.structs.replace(
        part.counts,
        upserts=part.counts.upserts - upserts,
        deletes=part.counts.deletes - deletes,
        truncates=part.counts.truncates - truncates,
        collapsed=part.counts.collapsed + len(repeats),
        partial=part.counts.partial - partial,
    )
    return replace(part, mods=tuple(entries), counts=counts, digest=digest)


def _again(storage: Storage, rows: pa.Table, plan: BatchPlan, head: int) -> Entry:
    return write_mods(
        storage,
        rows,
        head=head,
        version=plan.version,
        primary_key=plan.columns.key,
        sequence_by=plan.columns.sequence,
    )


def _count(rows: pa.Table, op: Op) -> int:
    return int((rows[OP].to_numpy() == op).sum())
