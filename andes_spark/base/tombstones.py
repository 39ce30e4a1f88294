"""Tombstones beside the base: files of deleted keys with their sequences.

The files are ordered by age, and the newest row of a key is effective: a tombstone (``_andes_op`` 1), or a key that
has a row again (0). Together they are a function of the log up to the version of their merge record.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from andes_spark.base.files import TableShape
from andes_spark.base.keys import KeyCache, Keys
from andes_spark.law.keys.ranges import KeyRange
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
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import write_parquet

MOST_FILES = 16
_LARGE_ROWS = 4_000_000
_AGE = "_andes_age"


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
        keys: key columns of the required keys, others may be returned too; None for all.
        cache: files in memory, extended by this call; not used with bounds.

    Returns:
        Key columns and ``columns.tombstone_sequence()``, one row per key, in no order.
    """
    latest = _latest(storage, files, shape, bounds, keys, cache)
    names = dict(zip(shape.columns.sequence, shape.columns.tombstone_sequence(), strict=True))
    kept = latest.filter(pl.col(OP) == int(Op.DELETE))
    return kept.select(*shape.columns.key, *(pl.col(name).alias(alias) for name, alias in names.items()))


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
    return _write(storage, rows, shape, version) if rows.height else None


def fold_files(
    storage: Storage,
    files: Sequence[SideFile],
    shape: TableShape,
    *,
    version: int,
    watermark: tuple[object, ...] | None,
) -> list[SideFile]:
    """Fold small files into one if there are more than 16, without a change of the effective tombstones.

    Tombstones at or below the truncate watermark are left out, since the watermark has the same effect.
    """
    # Only the files behind the last large one: a fold must not change which row of a key is the newest.
    first = max((i + 1 for i, file in enumerate(files) if file.rows >= _LARGE_ROWS), default=0)
    run = files[first:]
    if len(files) <= MOST_FILES or len(run) < 2:
        return list(files)
    rows = _latest(storage, run, shape)
    if first == 0:
        rows = rows.filter(pl.col(OP) == int(Op.DELETE))
    if watermark is not None:
        sequence = [pl.col(name) for name in shape.columns.sequence]
        rows = rows.filter(above(sequence, [pl.lit(value) for value in watermark]))
    folded = [_write(storage, rows, shape, version)] if rows.height else []
    return [*files[:first], *folded]


def _latest(
    storage: Storage,
    files: Sequence[SideFile],
    shape: TableShape,
    bounds: KeyRange | None = None,
    keys: pl.DataFrame | None = None,
    cache: KeyCache | None = None,
) -> pl.DataFrame:
    """Return the newest row of each key in ``keys``, and maybe of others."""
    empty = pl.from_arrow(_schema(shape).empty_table())
    assert isinstance(empty, pl.DataFrame)
    frames = [empty.with_columns(pl.lit(0, pl.Int32).alias(_AGE))]
    for age, file in enumerate(files):
        frame = _read(storage, file, shape, bounds, cache)
        frames.append(frame.with_columns(pl.lit(age, pl.Int32).alias(_AGE)))
    rows = pl.concat(frames, rechunk=False)
    if keys is not None and keys.height < rows.height:
        # Before the sort by age, so that a small merge does not sort every deleted key.
        rows = rows.join(keys, on=shape.columns.key, how="semi")
    if len(files) > 1:
        rows = rows.sort(_AGE, maintain_order=True).unique(subset=shape.columns.key, keep="last", maintain_order=True)
    return rows.drop(_AGE)


def _read(
    storage: Storage, file: SideFile, shape: TableShape, bounds: KeyRange | None, cache: KeyCache | None
) -> pl.DataFrame:
    """Read the rows of one file, all or those within bounds."""
    cached = cache.find(file.path, 0) if cache is not None and bounds is None else None
    if cached is not None and cached.frame is not None:
        return cached.frame
    opened = open_entry(storage, file, table=shape.table)
    groups = None if bounds is None else bounds.row_groups(opened)
    columns = [*shape.columns.narrow, OP]
    data = read_as(opened, file, table=shape.table, schemas=shape.versions, columns=columns, row_groups=groups)
    frame = pl.from_arrow(data)
    assert isinstance(frame, pl.DataFrame)
    if bounds is not None:
        return frame.filter(bounds.expression())
    if cache is not None:
        cache.put(file.path, 0, Keys(None, frame))
    return frame


def _write(storage: Storage, rows: pl.DataFrame, shape: TableShape, version: int) -> SideFile:
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
