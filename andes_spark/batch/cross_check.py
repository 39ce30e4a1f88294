"""Mods that stand in two parts of one batch: equal ones collapse, different ones at one sequence are refused.

Each part is checked while it is prepared; only what the parts share is looked for here, on key and sequence
alone, a range of keys at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark.batch.parts import Part
from andes_spark.batch.prepare import BatchPlan, digest_of
from andes_spark.law.columns import FILE, ROW
from andes_spark.law.hashing.digest import Digest
from andes_spark.law.keys.normalized import normalizer
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.rows import NAMED_KEYS, mod_hashes, tie_error
from andes_spark.log.mod_files import read_entry, write_mods
from andes_spark.log.pending import Pending, PendingFile, read_mods, read_narrow
from andes_spark.model.manifest import Entry
from andes_spark.model.mod import OP, PRESENT, Op
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class CrossCheck:
    """Looks for repeated mods among the files of one batch; travels to tasks.

    Attributes:
        storage: the table's folder.
        plan: of the batch.
        pending: its files of mods.
    """

    storage: Storage
    plan: BatchPlan
    pending: Pending

    def __call__(self, bounds: KeyRange) -> list[tuple[int, int]]:
        """File numbers and row numbers of mods that repeat an earlier one, within bounds.

        Raises:
            SequenceTieError: two of them differ.
        """
        columns = self.plan.columns
        mods = read_narrow(self.storage, self.pending, columns, table=self.plan.table, bounds=bounds)
        twice = (
            _of_one_word(mods, columns.narrow)
            .filter(pl.struct(columns.narrow).is_duplicated())
            .sort([*columns.narrow, FILE, ROW])
        )
        if twice.height == 0:
            return []
        whole = read_mods(
            self.storage,
            self.pending,
            twice,
            table=self.plan.table,
            columns=[*self.plan.schema.names, OP],
        )
        hashes = mod_hashes(whole, self.plan.schema)
        same = twice.select(
            pl.all_horizontal([pl.col(name) == pl.col(name).shift(1) for name in columns.narrow]).fill_null(False)
        ).to_series()
        repeats = same.to_numpy()
        differs = repeats.copy()
        differs[1:] &= (hashes[1:] != hashes[:-1]).any(axis=1)
        if differs.any():
            raise tie_error(whole.filter(pa.array(differs)).slice(0, NAMED_KEYS), columns)
        dropped = twice.filter(pl.Series(repeats))
        return list(zip(dropped[FILE].to_list(), dropped[ROW].to_list(), strict=True))


def _of_one_word(mods: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Mods without those whose normalized key no other one has; takes a twentieth of the time that tuples take."""
    columns = [mods[name].to_arrow() for name in names]
    found = normalizer(columns)
    if found is None:
        return mods
    words = found.words(columns)
    # Stable: such a sort merges the sorted runs that files are.
    ascending = np.sort(words, kind="stable")
    shared = ascending[1:][ascending[1:] == ascending[:-1]]
    return mods.filter(pl.Series(np.isin(words, shared))) if len(shared) else mods.clear()


def repeated_truncates(storage: Storage, plan: BatchPlan, pending: Pending) -> list[tuple[int, int]]:
    """File numbers and row numbers of truncates that repeat an earlier one; truncates are few."""
    seen: set[tuple[object, ...]] = set()
    found: list[tuple[int, int]] = []
    for number, file in enumerate(pending.files):
        if not file.entry.truncates:
            continue
        rows = read_entry(storage, file.entry, table=plan.table, columns=[*plan.columns.sequence, OP])
        for row in np.flatnonzero(rows[OP].to_numpy() == Op.TRUNCATE).tolist():
            at = tuple(rows[name][row].as_py() for name in plan.columns.sequence)
            if at in seen:
                found.append((number, row))
            seen.add(at)
    return found


def pending_of_part(part: Part) -> Pending:
    """The files of mods of one batch, as the law reads them."""
    return Pending(tuple(PendingFile(0, entry) for entry in part.entries if entry.kind == "mods"), ())


def without(storage: Storage, part: Part, plan: BatchPlan, repeats: Sequence[tuple[int, int]], *, head: int) -> Part:
    """The batch without repeated mods: the files that hold them are written anew, the old ones deleted."""
    if not repeats:
        return part
    mods = [entry for entry in part.entries if entry.kind == "mods"]
    entries = [entry for entry in part.entries if entry.kind != "mods"]
    dropped: dict[int, list[int]] = {}
    for file, row in repeats:
        dropped.setdefault(file, []).append(row)
    digest = Digest(part.digest.total, part.digest.rows)
    upserts = deletes = truncates = partial = 0
    for number, entry in enumerate(mods):
        if number not in dropped:
            entries.insert(0, entry)
            continue
        data = read_entry(storage, entry, table=plan.table)
        keep = np.ones(data.num_rows, np.bool_)
        keep[dropped[number]] = False
        gone = data.filter(pa.array(~keep))
        repeated = digest_of(gone, plan)
        digest.merge(Digest(-repeated.total % (1 << 128), -repeated.rows))
        upserts += _count(gone, Op.UPSERT)
        deletes += _count(gone, Op.DELETE)
        truncates += _count(gone, Op.TRUNCATE)
        partial += gone.num_rows - gone[PRESENT].null_count if PRESENT in gone.column_names else 0
        if keep.any():
            entries.insert(0, _again(storage, data.filter(pa.array(keep)), plan, head))
        storage.delete([entry.path])
    counts = part.counts
    new = type(counts)(
        received=counts.received,
        upserts=counts.upserts - upserts,
        deletes=counts.deletes - deletes,
        truncates=counts.truncates - truncates,
        collapsed=counts.collapsed + len(repeats),
        quarantined=counts.quarantined,
        partial=counts.partial - partial,
    )
    return replace(part, entries=tuple(entries), counts=new, digest=digest)


def _again(storage: Storage, rows: pa.Table, plan: BatchPlan, head: int) -> Entry:
    return write_mods(
        storage,
        rows,
        head=head,
        schema_id=plan.schema_id,
        primary_key=plan.columns.key,
        sequence_by=plan.columns.sequence,
    )


def _count(rows: pa.Table, op: Op) -> int:
    return int((rows[OP].to_numpy() == op).sum())
