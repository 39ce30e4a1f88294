"""Comparison of the base with the law: one pass over all files, then one over their keys in ranges.

Each row of the base, each mod and each tombstone becomes a narrow row: key, sequence, kind, and the hash of its
content. Ranges of their keys are compared one after the other, so that each file is read once and about the byte budget
is held, however large the table. Rows of the origin count as mods of version 0: the law gives the same rows. If there
are partial mods, or backfills, the mods keep all columns, since a row may be made of several of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.base.evaluation import cut_of, watermark_of
from andes_spark.base.files import OpenFile, TableShape, numbered_files
from andes_spark.base.fold_rows import FoldInput, fold_rows
from andes_spark.base.forgotten import forgotten_deletes, without_forgotten
from andes_spark.base.keys import KeyCache
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.base.sorted_rows import SortedRows
from andes_spark.base.tombstones import hashed_files, with_keys
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.files import no_files
from andes_spark.delta.vectors import load_vector, to_positions
from andes_spark.errors import FileDamagedError
from andes_spark.law.columns import ARRIVAL, FILE, PARTIAL, ROW, arrival
from andes_spark.law.decide import no_located
from andes_spark.law.order import above
from andes_spark.law.rows import content_hashes
from andes_spark.law.winners import TruncateEvent, Winners, pick_winners
from andes_spark.log.mod_files import batches_as
from andes_spark.log.pending import Pending, PendingFile, pending_of
from andes_spark.model.files import Entry
from andes_spark.model.mod import BATCH, OP, PRESENT, Op
from andes_spark.storage.interface import Storage
from andes_spark.table.maintenance.findings import Findings
from andes_spark.table.maintenance.narrow_rows import HASHES, KIND, extend, frame_of, kept_rows, narrow_schema
from andes_spark.table.maintenance.verify_log import LogSummary, stored_manifests

LEAST_BYTES = 64 * 1024
"""Bytes of the rows that are compared at a time at least, however small the budget."""
SHARE = 16
"""Part of the byte budget that is read, sorted or compared at a time; each has several forms in memory at once."""
_MOD, _BASE, _TOMBSTONE, _BEFORE = 0, 1, 2, 3


@dataclass
class _Totals:
    """Results over all ranges of keys."""

    base_rows: int = 0
    law_rows: int = 0
    stored_tombstones: int = 0
    law_tombstones: int = 0
    tombstones_differ: bool = False
    repeated: int = 0


class RowCheck:
    """One comparison of the rows of the base with those that the law makes of the mods.

    Args:
        storage: the table's folder.
        shape: shape of the table.
        summary: summary of the log, up to the head.
        origin: state of the base that the mods follow; its rows and tombstones count as mods before all others.
        base: newest state of the base.
        byte_budget: byte budget of the process.
        findings: collector of problems.
    """

    def __init__(
        self,
        storage: Storage,
        shape: TableShape,
        summary: LogSummary,
        origin: BaseSnapshot,
        base: BaseSnapshot,
        *,
        byte_budget: int,
        findings: Findings,
    ) -> None:
        self._storage = storage
        self._shape = shape
        self._base = base
        self._findings = findings
        self._bytes = max(LEAST_BYTES, byte_budget // SHARE)
        self._takes_part = summary.takes_part(base.applied)
        self._first = origin.applied + 1
        later = [change for change in summary.changes_up_to(base.applied) if change.version >= self._first]
        changes = pending_of(later, shape.versions, shape.columns).following(cut_of(origin.record, shape))
        mark = watermark_of(origin.record, shape)
        before = () if mark is None else (TruncateEvent(origin.applied, mark),)
        self._truncates: tuple[TruncateEvent, ...] = (*before, *changes.truncates)
        self._expiry = changes.expiry
        self._backfills: set[int] = set()
        erased = bool(self._truncates) and not shape.columns.sequence
        self._origin = no_files() if erased else origin.state.files
        self._before = with_keys(origin.record.tombstones)
        # What an expire has dropped since was in force before it.
        self._forgotten = [(0, file) for file in hashed_files(origin.record.tombstones)]
        self._forgotten += [(arrival(version), file) for version, file in changes.forgotten]
        self._cache = KeyCache(self._bytes)
        self._whole = summary.partial or bool(summary.backfill and self._expiry.events)
        self._schema = narrow_schema(shape, whole=self._whole)
        self._law_known = self._base_known = self._tombstones_known = True
        self._examples: list[dict[str, Any]] = []
        self._repeated: list[dict[str, Any]] = []
        self._totals = _Totals()

    def run(self) -> None:
        """Read all files, and compare."""
        with SortedRows(self._schema, self._shape.columns.key, self._bytes) as rows:
            for path in {**self._origin, **self._base.state.files}:
                if self._findings.get(partial(self._add_data, rows, path)) is None:
                    self._law_known = self._law_known and path not in self._origin
                    self._base_known = self._base_known and path not in self._base.state.files
            self._add_mods(rows)
            for age, file in enumerate(self._before):
                if self._findings.get(partial(self._add_tombstones, rows, age, file, _BEFORE)) is None:
                    self._law_known = False
            for age, file in enumerate(with_keys(self._base.record.tombstones)):
                if self._findings.get(partial(self._add_tombstones, rows, age, file, _TOMBSTONE)) is None:
                    self._tombstones_known = False
            for piece in rows.pieces():
                self._compare(piece)
        self._report()

    def _add_data(self, rows: SortedRows, path: str) -> bool:
        """Add the rows of a data file: of the origin, of the base, or of both."""
        shape = self._shape
        origin, live = self._origin.get(path), self._base.state.files.get(path)
        deleted_before, deleted = self._deleted(origin), self._deleted(live)
        file = live or origin
        assert file is not None
        first = 0
        for data in OpenFile(self._storage, path, file, shape).batches(shape.schema.names, self._bytes):
            self._refuse_null_keys(data, path)
            hashes = content_hashes(data, shape.schema)
            if origin is not None:
                kept = kept_rows(deleted_before, first, data.num_rows)
                self._add(rows, data.filter(kept), hashes[kept.to_numpy(zero_copy_only=False)], _MOD, 0)
            if live is not None:
                kept = kept_rows(deleted, first, data.num_rows)
                self._add(rows, data.filter(kept), hashes[kept.to_numpy(zero_copy_only=False)], _BASE, 0)
            first += data.num_rows
        return True

    def _refuse_null_keys(self, rows: pa.Table, path: str) -> None:
        for name in self._shape.columns.key:
            if rows[name].null_count:
                raise FileDamagedError(
                    f"{self._shape.table}: {path} has rows with NULL in the key column {name!r}; another writer added "
                    "them: restore the base",
                    table=self._shape.table,
                    path=path,
                )

    def _deleted(self, file: DataFile | None) -> npt.NDArray[np.int64]:
        if file is None or file.vector is None:
            return np.zeros(0, np.int64)
        return to_positions(load_vector(self._storage, file.vector))

    def _add_mods(self, rows: SortedRows) -> None:
        """Add the mods of all versions that the base contains."""
        versions = range(self._first, self._base.applied + 1)
        for version, _, manifest in stored_manifests(self._storage, versions, self._findings):
            if manifest is None:
                self._law_known = False
            elif self._takes_part(version):
                for file in pending_of([manifest.pending], self._shape.versions, self._shape.columns).files:
                    if self._findings.get(partial(self._add_file, rows, file)) is None:
                        self._law_known = False

    def _add_file(self, rows: SortedRows, file: PendingFile) -> bool:
        shape, names = self._shape, self._shape.schema.names
        columns = [*names, OP, *file.entry.system_columns]
        for data in self._batches(file.entry, columns):
            mods = self._taking_part(data.filter(pc.not_equal(data[OP], int(Op.TRUNCATE))), file)
            typed = mods.select(names).cast(pa.schema([field.with_nullable(True) for field in shape.arrow]))
            arrivals = np.full(mods.num_rows, arrival(file.version))
            if BATCH in mods.column_names:
                arrivals += mods[BATCH].to_numpy()
            self._add(rows, typed, content_hashes(typed, shape.schema), _MOD, arrivals, mods)
        return True

    def _taking_part(self, mods: pa.Table, file: PendingFile) -> pa.Table:
        """Mods above the cut that they meet, or of a backfill."""
        cut = self._expiry.cut_at(file.version)
        if file.backfill:
            self._backfills.add(file.version)
        if cut is None or file.backfill:
            return mods
        names = self._shape.columns.sequence
        higher = above([pl.col(name) for name in names], [pl.lit(value) for value in cut])
        return mods.filter(frame_of(mods, names).select(higher.alias("higher"))["higher"].to_arrow())

    def _add_tombstones(self, rows: SortedRows, age: int, file: Any, kind: int) -> bool:
        columns = [*self._shape.columns.narrow, OP]
        for data in self._batches(file, columns):
            self._add(rows, data, np.zeros((data.num_rows, 2), np.uint64), kind, age, data)
        return True

    def _batches(self, file: Any, columns: Sequence[str]) -> Iterator[pa.Table]:
        shape = self._shape
        return batches_as(
            self._storage, file, table=shape.table, schemas=shape.versions, columns=columns, batch_bytes=self._bytes
        )

    def _add(
        self,
        rows: SortedRows,
        data: pa.Table,
        hashes: npt.NDArray[np.uint64],
        kind: int,
        arrivals: int | npt.NDArray[np.int64],
        mods: pa.Table | None = None,
    ) -> None:
        """Add rows of one kind.

        Args:
            rows: the collection.
            data: columns of the table.
            hashes: of their content.
            kind: mods, rows of the base, or tombstones.
            arrivals: of mods; the age of tombstones.
            mods: the same rows with operation and presence; None for upserts of whole rows.
        """
        count = data.num_rows
        operations = np.zeros(count, np.int8) if mods is None else mods[OP]
        present = pa.nulls(count, pa.binary()) if mods is None or PRESENT not in mods.column_names else mods[PRESENT]
        added: dict[str, Any] = {
            OP: operations,
            ARRIVAL: np.broadcast_to(np.asarray(arrivals, np.int64), (count,)).copy(),
            KIND: np.full(count, kind, np.int8),
            HASHES[0]: hashes[:, 0].view(np.int64),
            HASHES[1]: hashes[:, 1].view(np.int64),
            PRESENT: present,
        }
        columns = []
        for field in self._schema:
            if field.name in added:
                columns.append(added[field.name])
            elif field.name in data.column_names and (kind == _MOD or field.name in self._shape.columns.narrow):
                columns.append(data[field.name])
            else:
                columns.append(pa.nulls(count, field.type))
        rows.add(pa.table(columns, schema=self._schema))

    def _compare(self, piece: pa.Table) -> None:
        """Compare all that there is of a range of keys."""
        key = list(self._shape.columns.key)
        kinds = piece[KIND].to_numpy()
        base = frame_of(piece.filter(pa.array(kinds == _BASE)), [*key, *HASHES])
        self._totals.base_rows += base.height
        twice = base.filter(base.select(key).is_duplicated())
        if twice.height:
            self._totals.repeated += twice.height
            extend(self._repeated, twice.select(key).unique())
        if not self._law_known:
            return
        stored_before = piece.filter(pa.array(kinds == _BEFORE))
        before = self._deletes(stored_before)
        mods = pa.concat_tables([before, piece.filter(pa.array(kinds == _MOD))])
        with_hashes = [mods]
        for at, file in self._forgotten:
            newer = stored_before if at == 0 else stored_before.slice(0, 0)
            with_hashes.append(
                forgotten_deletes(self._storage, [file], self._shape, mods, self._cache, without=newer, at=at)
            )
        mods = pa.concat_tables(with_hashes, promote_options="default")
        law_rows, law_tombstones = self._by_law(mods)
        self._totals.law_rows += law_rows.height
        if self._base_known:
            for left, right in ((base, law_rows), (law_rows, base)):
                extend(self._examples, left.join(right, on=[*key, *HASHES], how="anti").select(key))
        if self._shape.columns.sequence:
            self._compare_tombstones(piece.filter(pa.array(kinds == _TOMBSTONE)), law_tombstones)

    def _deletes(self, tombstones: pa.Table) -> pa.Table:
        """Effective tombstones of the origin, as deletes before all mods."""
        frame = frame_of(tombstones, [*self._shape.columns.key, OP, ARRIVAL]).with_row_index(ROW).sort(ARRIVAL)
        newest = frame.unique(subset=list(self._shape.columns.key), keep="last", maintain_order=True)
        rows = newest.filter(pl.col(OP) == int(Op.DELETE))[ROW].to_arrow()
        deletes = tombstones.take(rows)
        at = deletes.schema.get_field_index(ARRIVAL)
        return deletes.set_column(at, deletes.schema.field(at), pa.array(np.zeros(len(rows), np.int64)))

    def _by_law(self, mods: pa.Table) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows that the mods of a range of keys leave, as key and hash, and the tombstones, as key and sequence."""
        columns = self._shape.columns
        key, narrow = list(columns.key), columns.narrow
        present = pa.array(np.zeros(mods.num_rows, np.bool_))
        frame = frame_of(mods, [*narrow, OP, ARRIVAL, *HASHES]).with_columns(
            pl.lit(0, pl.Int32).alias(FILE),
            pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW),
            pl.Series(PARTIAL, pc.is_valid(mods[PRESENT]) if self._whole else present),
        )
        expiry = replace(self._expiry, backfills=frozenset(self._backfills))
        crossing = expiry.crossing(columns) if expiry.may_cross else None
        winners = pick_winners(frame, columns, truncates=self._truncates, crossing=crossing)
        rows = [winners.rows.filter(pl.col(OP) == int(Op.UPSERT)).select([*key, *HASHES])]
        deletes = winners.rows.filter(pl.col(OP) == int(Op.DELETE))
        tombstones = [deletes.filter(expiry.kept_after(columns)).select(narrow)]
        if winners.folds.height:
            folded_rows, folded_tombstones = self._folded(mods, winners)
            rows.append(folded_rows)
            tombstones.append(folded_tombstones)
        return pl.concat(rows), pl.concat(tombstones)

    def _folded(self, mods: pa.Table, winners: Winners) -> tuple[pl.DataFrame, pl.DataFrame]:
        shape = self._shape
        partial_mods = mods.num_rows - mods[PRESENT].null_count
        entry = Entry(
            path="mods", rows=mods.num_rows, bytes=0, sha256="", footer="", arrow_bytes=0,
            schema_id=shape.versions.current_id, partial=partial_mods,
        )  # fmt: skip
        none = winners.folds.select(shape.columns.narrow).clear()
        tombstones = none.rename(dict(zip(shape.columns.sequence, shape.columns.tombstone_sequence(), strict=True)))
        inputs = FoldInput(
            shape,
            Pending((PendingFile(0, entry),), self._truncates, schemas=None, expires=self._expiry.events),
            winners.folds.drop(HASHES),
            no_located(shape.columns, winners.rows),
            tombstones,
            None,
        )
        evaluation = fold_rows(
            self._storage,
            inputs,
            files=numbered_files(no_files()),
            columns=shape.schema.names,
            in_memory={"mods": mods},
        )
        hashes = content_hashes(evaluation.rows, shape.schema).view(np.int64)
        rows = frame_of(evaluation.rows, shape.columns.key).with_columns(
            pl.Series(name, hashes[:, number]) for number, name in enumerate(HASHES)
        )
        return rows, evaluation.tombstones

    def _compare_tombstones(self, stored_rows: pa.Table, expected: pl.DataFrame) -> None:
        key, narrow = list(self._shape.columns.key), self._shape.columns.narrow
        stored = frame_of(stored_rows, [*narrow, OP, ARRIVAL])
        stored = (
            stored.sort(ARRIVAL)
            .unique(subset=key, keep="last", maintain_order=True)
            .filter(pl.col(OP) == int(Op.DELETE))
            .select(narrow)
        )
        hashed = hashed_files(self._base.record.tombstones)
        if hashed:
            missing = expected.join(stored, on=narrow, how="anti")
            kept = without_forgotten(self._storage, missing, hashed, self._shape)
            expected = pl.concat([expected.join(stored, on=narrow, how="semi"), kept])
        mark = watermark_of(self._base.record, self._shape)
        if mark is not None:
            sequence = [pl.col(name) for name in self._shape.columns.sequence]
            higher = above(sequence, [pl.lit(value) for value in mark])
            stored, expected = stored.filter(higher), expected.filter(higher)
        self._totals.stored_tombstones += stored.height
        self._totals.law_tombstones += expected.height
        if stored.height != expected.height or stored.join(expected, on=narrow, how="anti").height:
            self._totals.tombstones_differ = True

    def _report(self) -> None:
        totals, table = self._totals, self._shape.table
        self._findings.rows += totals.base_rows
        if self._repeated:
            self._findings.differ(f"keys that the base has more than once: {self._repeated}")
        if self._law_known and self._base_known and (self._examples or totals.base_rows != totals.law_rows):
            self._findings.differ(
                f"{table}: the base has {totals.base_rows} rows, the log gives {totals.law_rows}, and they are not the "
                f"same rows; keys that differ: {self._examples}"
            )
        if not self._law_known or not self._shape.columns.sequence:
            return
        mark, expected = watermark_of(self._base.record, self._shape), self._expiry.watermark(self._truncates, None)
        if mark != expected:
            self._findings.differ(f"{table}: the merge record's truncate watermark is {mark}, the log gives {expected}")
        cut, expected = cut_of(self._base.record, self._shape), self._expiry.new_cut
        if cut != expected:
            self._findings.differ(f"{table}: the merge record's cut is {cut}, the log gives {expected}")
        if self._tombstones_known and totals.tombstones_differ:
            self._findings.differ(
                f"{table}: the merge record has {totals.stored_tombstones} tombstones, the log gives "
                f"{totals.law_tombstones}, and they are not the same"
            )
