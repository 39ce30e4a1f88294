"""Tombstones beside the base: files of deleted keys with their sequences, sorted by key, in small row groups.

The files are ordered by age, and the newest row of a key is effective: a tombstone (``_andes_op`` 1), or a key that
has a row again (0). Together they are a function of the log up to the version of their merge record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark.base.files import SortedValues, TableShape, group_ranges, holds
from andes_spark.base.forgotten import fold_forgotten, forgotten_keys, of_forgotten, without_forgotten
from andes_spark.base.keys import KeyCache, Keys, Layout
from andes_spark.law.keys.ranges import KeyRange, literals
from andes_spark.law.order import above
from andes_spark.log.mod_files import (
    described,
    key_range,
    new_path,
    open_entry,
    read_as,
    sequence_range,
    stored_schema,
)
from andes_spark.model.files import SideFile
from andes_spark.model.mod import OP, Op
from andes_spark.model.values import from_json
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import write_parquet

MOST_FILES = 16
_LARGE_ROWS = 4_000_000
GROUP_ROWS = 32 * 1024
"""Rows of a row group: the least that a small merge reads of a file in which some of its keys may be."""


def read_tombstones(
    storage: Storage,
    files: Sequence[SideFile],
    shape: TableShape,
    *,
    bounds: KeyRange | None = None,
    keys: pl.DataFrame | None = None,
    cache: KeyCache | None = None,
) -> pl.DataFrame:
    """Read the effective tombstones.

    Args:
        storage: the table's folder.
        files: files of a merge record.
        shape: shape of the table.
        bounds: range of keys; None for all.
        keys: key columns of the required keys, others may be returned too; None for all but those of forgotten keys,
            which no file tells.
        cache: row groups in memory, extended by this call.

    Returns:
        Key columns and ``columns.tombstone_sequence()``, one row per key, in no order.
    """
    latest = newest_rows(storage, with_keys(files), shape, bounds, keys, cache)
    names = dict(zip(shape.columns.sequence, shape.columns.tombstone_sequence(), strict=True))
    kept = latest.filter(pl.col(OP) == int(Op.DELETE))
    hashed = [] if keys is None else hashed_files(files)
    if hashed and keys is not None:
        # Older than all rows with keys: what is known of a key since, also that it has a row again, is in effect.
        forgotten = forgotten_keys(storage, hashed, shape, keys, cache).join(latest, on=shape.columns.key, how="anti")
        kept = pl.concat([kept.select(shape.columns.narrow), forgotten])
    return kept.select(*shape.columns.key, *(pl.col(name).alias(alias) for name, alias in names.items()))


def hashed_files(files: Sequence[SideFile]) -> list[SideFile]:
    """Select the files of hashed tombstones."""
    return [file for file in files if file.salt is not None]


def with_keys(files: Sequence[SideFile]) -> list[SideFile]:
    """Select the files of tombstones that hold keys: not those of forgotten keys."""
    return [file for file in files if file.salt is None]


def named_by_tombstones(
    storage: Storage, files: Sequence[SideFile], shape: TableShape, keys: pl.DataFrame
) -> pl.DataFrame:
    """Read which keys files of tombstones name, also where a row or a truncate ended the tombstone.

    Args:
        storage: the table's folder.
        files: files of a merge record.
        shape: shape of the table.
        keys: key columns of the required keys.

    Returns:
        Key and sequence columns of the newest row of each key.
    """
    latest = newest_rows(storage, with_keys(files), shape, keys=keys)
    return latest.join(keys, on=shape.columns.key, how="semi").select(shape.columns.narrow)


def write_tombstones(
    storage: Storage, deleted: pl.DataFrame, cleared: pl.DataFrame, shape: TableShape, *, version: int
) -> SideFile | None:
    """Write the tombstones of a merge: deleted keys, and keys with a tombstone that have a row again.

    Args:
        storage: the table's folder.
        deleted: key and sequence columns of deletes that hold.
        cleared: the same of upserts that hold over a tombstone.
        shape: shape of the table.
        version: that the merge goes up to.

    Returns:
        None if there is nothing to write.
    """
    narrow = shape.columns.narrow
    rows = pl.concat(
        [
            deleted.select(narrow).with_columns(pl.lit(int(Op.DELETE), pl.Int8).alias(OP)),
            cleared.select(narrow).with_columns(pl.lit(int(Op.UPSERT), pl.Int8).alias(OP)),
        ]
    )
    return write_file(storage, rows, shape, version) if rows.height else None


def fold_files(
    storage: Storage,
    files: Sequence[SideFile],
    shape: TableShape,
    *,
    version: int,
    watermark: tuple[object, ...] | None,
) -> list[SideFile]:
    """Fold small files with keys into one if there are more than 16, without a change of the effective tombstones.

    Files of hashed tombstones are left out. That a key has a row again is only kept where there is something older: for
    forgotten keys, and behind a large file.

    Tombstones at or below the truncate watermark are left out, since the watermark has the same effect.
    """
    hashed, files = hashed_files(files), with_keys(files)
    # Only the files behind the last large one: a fold must not change which row of a key is the newest.
    first = max((i + 1 for i, file in enumerate(files) if file.rows >= _LARGE_ROWS), default=0)
    run = files[first:]
    if len(files) <= MOST_FILES or len(run) < 2:
        return list(files)
    rows = newest_rows(storage, run, shape)
    if first == 0:
        old = forgotten_keys(storage, hashed, shape, rows).select(shape.columns.key) if hashed else rows[:0]
        cleared = rows.filter(pl.col(OP) != int(Op.DELETE)).join(old, on=shape.columns.key, how="semi")
        rows = pl.concat([rows.filter(pl.col(OP) == int(Op.DELETE)), cleared])
    if watermark is not None:
        sequence = [pl.col(name) for name in shape.columns.sequence]
        rows = rows.filter(above(sequence, [pl.lit(value) for value in watermark]))
    folded = [write_file(storage, rows, shape, version)] if rows.height else []
    return [*files[:first], *folded]


def forget_tombstones(
    storage: Storage,
    files: Sequence[SideFile],
    before: Sequence[SideFile],
    forgotten: Sequence[SideFile],
    shape: TableShape,
    *,
    version: int,
) -> list[SideFile]:
    """Drop the tombstones of forgotten keys, and add the hashed ones.

    Args:
        storage: the table's folder.
        files: files of tombstones with keys.
        before: files of the merge record before, of which the hashed ones stay.
        forgotten: those that do so now.
        shape: shape of the table.
        version: that the merge goes up to.
    """
    folded = fold_forgotten(storage, [*hashed_files(before), *forgotten], shape, version=version)
    return [*folded, *(_without_keys(storage, files, forgotten, shape, version) if forgotten else files)]


def _without_keys(
    storage: Storage, files: Sequence[SideFile], forgotten: Sequence[SideFile], shape: TableShape, version: int
) -> list[SideFile]:
    """Write files anew without the keys whose newest row is not above the sequence at which they were forgotten."""
    key = list(shape.columns.key)
    named: list[pl.DataFrame] = []
    for file in files:
        named.append(of_forgotten(storage, read_file(storage, file, shape), forgotten, shape))
    newest = pl.concat([_frame(_schema(shape).empty_table()), *named]).unique(key, keep="last", maintain_order=True)
    newer = without_forgotten(storage, newest, forgotten, shape)
    forgotten_keys = newest.join(newer, on=key, how="anti").select(key)
    kept: list[SideFile] = []
    for file, rows in zip(files, named, strict=True):
        if not rows.join(forgotten_keys, on=key, how="semi").height:
            kept.append(file)
            continue
        remaining = read_file(storage, file, shape).join(forgotten_keys, on=key, how="anti")
        kept += [write_file(storage, remaining, shape, version)] if remaining.height else []
    return kept


def read_file(storage: Storage, file: SideFile, shape: TableShape) -> pl.DataFrame:
    """Read all rows of a file of tombstones with keys: key and sequence columns, and operation."""
    opened = open_entry(storage, file, table=shape.table)
    columns = [*shape.columns.narrow, OP]
    return _frame(read_as(opened, file, table=shape.table, schemas=shape.versions, columns=columns))


def newest_rows(
    storage: Storage,
    files: Sequence[SideFile],
    shape: TableShape,
    bounds: KeyRange | None = None,
    keys: pl.DataFrame | None = None,
    cache: KeyCache | None = None,
) -> pl.DataFrame:
    """Return the newest row of each key in ``keys``, and maybe of others."""
    # To look for more keys than there are rows costs more than to read all rows.
    by_key = keys is not None and keys.height < sum(file.rows for file in files)
    selection = _Selection.of(bounds, keys if by_key else None, shape)
    frames = [_frame(_schema(shape).empty_table())]
    for file in files:
        frames += _read(storage, file, shape, selection, cache)
    rows = pl.concat(frames, rechunk=False)
    if bounds is not None:
        rows = rows.filter(bounds.expression())
    if keys is not None and keys.height < rows.height:
        rows = rows.join(keys, on=shape.columns.key, how="semi", maintain_order="left")
    # Files follow each other by age.
    return rows.unique(subset=shape.columns.key, keep="last", maintain_order=True) if len(files) > 1 else rows


@dataclass(frozen=True)
class _Selection:
    """The rows to read of a file: those within bounds, and those that may have one of the keys.

    Attributes:
        bounds: range of keys; None for all.
        keys: key columns; None for all.
        values: sorted values of the first key column; None for all.
    """

    bounds: KeyRange | None
    keys: pl.DataFrame | None
    values: SortedValues | None

    @classmethod
    def of(cls, bounds: KeyRange | None, keys: pl.DataFrame | None, shape: TableShape) -> _Selection:
        """Select keys within bounds."""
        if keys is None:
            return cls(bounds, None, None)
        values = keys[shape.columns.key[0]].unique().sort()
        return cls(bounds, keys, values.to_numpy() if values.dtype.is_integer() else values)

    def groups(self, layout: Layout) -> list[int]:
        """Row groups to read, by the statistics of the first key column."""
        return [
            group
            for group, low, high in layout.ranges
            if (self.bounds is None or self.bounds.meets(low, high))
            and (self.values is None or low is None or holds(self.values, low, high))
        ]

    def misses(self, file: SideFile, shape: TableShape) -> bool:
        """Whether none of the keys is within the range of a file."""
        if file.keys is None or self.keys is None:
            return False
        types = [shape.arrow.field(name).type for name in shape.columns.key]
        low, high = (
            literals([from_json(value, kind).as_py() for value, kind in zip(key, types, strict=True)], types)
            for key in (file.keys.low, file.keys.high)
        )
        columns = [pl.col(name) for name in shape.columns.key]
        outside = self.keys.select((above(low, columns) | above(columns, high)).alias("outside"))["outside"]
        return outside.all()


def _read(
    storage: Storage, file: SideFile, shape: TableShape, selection: _Selection, cache: KeyCache | None
) -> list[pl.DataFrame]:
    """Read the row groups of one file that may hold selected rows."""
    layout = cache.layout(file.path) if cache is not None else None
    frames: dict[int, pl.DataFrame] = {}
    if layout is not None and cache is not None:
        groups = selection.groups(layout)
        for group in groups:
            entry = cache.find(file.path, group)
            if entry is not None and entry.frame is not None:
                frames[group] = entry.frame
        if len(frames) == len(groups):
            return list(frames.values())
    if selection.misses(file, shape):
        return []
    opened = open_entry(storage, file, table=shape.table)
    if layout is None:
        sizes = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
        layout = Layout(np.cumsum([0, *sizes]), group_ranges(opened.metadata, shape.columns.key[0]))
        if cache is not None:
            cache.put_layout(file.path, layout)
    missing = [group for group in selection.groups(layout) if group not in frames]
    if missing:
        columns = [*shape.columns.narrow, OP]
        data = read_as(opened, file, table=shape.table, schemas=shape.versions, columns=columns, row_groups=missing)
        at = 0
        for group in missing:
            rows = int(layout.starts[group + 1] - layout.starts[group])
            frames[group] = _frame(data.slice(at, rows))
            at += rows
            if cache is not None:
                cache.put(file.path, group, Keys(None, frames[group]))
    return [frame for _, frame in sorted(frames.items())]


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def write_file(storage: Storage, rows: pl.DataFrame, shape: TableShape, version: int) -> SideFile:
    """Write rows of tombstones with keys."""
    schema = _schema(shape)
    table = rows.sort(shape.columns.key).select(schema.names).to_arrow().cast(schema)
    path = new_path("tombstones", version)
    written = write_parquet(
        storage,
        path,
        table,
        stored_schema(shape.versions.current, schema),
        sorted_by=shape.columns.key,
        marked=shape.columns.narrow,
        group_rows=GROUP_ROWS,
    )
    low, high = sequence_range(table, shape.columns.sequence)
    return SideFile(
        **described(path, table, written),
        schema_id=shape.versions.current_id,
        keys=key_range(table, shape.columns.key),
        low_sequence=low,
        high_sequence=high,
    )


def _schema(shape: TableShape) -> pa.Schema:
    return pa.schema(
        [shape.arrow.field(name).with_nullable(False) for name in shape.columns.narrow]
        + [pa.field(OP, pa.int8(), nullable=False)]
    )
