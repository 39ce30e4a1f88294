"""Files of the base written anew with their remaining rows, and rows moved between files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.files import NumberedFile, OpenFile, TableShape
from andes_spark.base.rows import RowWriter
from andes_spark.base.runs import ordered
from andes_spark.delta.actions import Action
from andes_spark.delta.vectors import from_positions, load_vector, to_positions
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.run.spill import Spill
from andes_spark.storage.interface import Storage

_ROW = "_andes_row"


@dataclass(frozen=True)
class RewriteJob:
    """Rewriting of a group of files without deleted rows, sorted by key; sent to tasks.

    Attributes:
        storage: the table's folder.
        shape: shape of the table.
        writer: writer of rows.
        data_change: whether rows go that were live before.
    """

    storage: Storage
    shape: TableShape
    writer: RowWriter
    data_change: bool

    def __call__(self, files: Sequence[tuple[NumberedFile, BitMap64]]) -> list[Action]:
        """Rewrite files, each with deleted rows that its deletion vector lacks; return the ``add`` actions."""
        ask = self.storage.scheduler.ask
        # Requests that run beside each other never wait for one another: all are begun here.
        tables = [ask(self._read, file) for file, _ in files]
        vectors = [
            None if file.file.vector is None else ask(load_vector, self.storage, file.file.vector) for file, _ in files
        ]
        parts = [
            _alive(table.result(), dead if vector is None else dead | vector.result())
            for table, vector, (_, dead) in zip(tables, vectors, files, strict=True)
        ]
        rows = ordered(pa.concat_tables(parts), self.shape.columns.key)
        return self.writer.write(self.storage, rows, data_change=self.data_change)

    def _read(self, file: NumberedFile) -> pa.Table:
        return OpenFile(self.storage, file.path, file.file, self.shape).read(self.shape.schema.names)


@dataclass(frozen=True)
class MovedRows:
    """Rows that leave a file.

    Attributes:
        parts: live rows within each of the ranges.
        dead: row numbers of these rows, and of those that were deleted before.
    """

    parts: tuple[pa.Table, ...]
    dead: BitMap64


def rows_within(storage: Storage, shape: TableShape, file: NumberedFile, ranges: Sequence[KeyRange]) -> MovedRows:
    """Read the live rows of a file within ranges of keys that do not overlap, and no row group outside of them."""
    opened = OpenFile(storage, file.path, file.file, shape)
    vector = None if file.file.vector is None else storage.scheduler.ask(load_vector, storage, file.file.vector)
    groups = sorted({group for bounds in ranges for group in opened.groups_within(bounds)})
    data = opened.read(shape.schema.names, groups)
    numbers = opened.numbers(groups)
    dead = BitMap64() if vector is None else vector.result()
    keys = pl.from_arrow(data.select(list(shape.columns.key)))
    assert isinstance(keys, pl.DataFrame)
    live = keys.with_row_index(_ROW).filter(pl.Series(~np.isin(numbers, to_positions(dead))))
    rows = [live.filter(bounds.expression())[_ROW].to_numpy() for bounds in ranges]
    leaving = dead | from_positions(numbers[np.concatenate(rows)])
    return MovedRows(tuple(data.take(pa.array(part)) for part in rows), leaving)


def cut(
    storage: Storage, writer: RowWriter, files: Sequence[tuple[NumberedFile, BitMap64]], *, pieces: int
) -> list[Action]:
    """Write the remaining rows of files anew as files of narrow ranges of keys, by way of a local file.

    Args:
        storage: the table's folder.
        writer: writer of rows.
        files: files of one partition, each with the rows to drop in addition to its deletion vector.
        pieces: number of new files at least.
    """
    shape = writer.shape
    with (
        tempfile.TemporaryDirectory(prefix="andes-compact-") as folder,
        Spill(Path(folder), shape.arrow, shape.columns.key, ()) as spill,
    ):
        size = 0
        for file, dead in files:
            rows = ordered(alive_rows(storage, shape, file, dead), shape.columns.key).cast(shape.arrow)
            size += rows.nbytes
            spill.add(rows)
            del rows
        spill.close()
        merged = spill.merged(spill.runs, max(1, size // pieces))
        return [
            add for part in merged for add in writer.write(storage, ordered(part, shape.columns.key), data_change=False)
        ]


def alive_rows(storage: Storage, shape: TableShape, file: NumberedFile, dead: BitMap64) -> pa.Table:
    """Read the rows of a file that are neither deleted nor gone."""
    vector = None if file.file.vector is None else storage.scheduler.ask(load_vector, storage, file.file.vector)
    data = OpenFile(storage, file.path, file.file, shape).read(shape.schema.names)
    return _alive(data, dead if vector is None else dead | vector.result())


def _alive(data: pa.Table, dead: BitMap64) -> pa.Table:
    """Read the rows of a file without deleted ones."""
    if not dead:
        return data
    keep = np.ones(data.num_rows, np.bool_)
    keep[to_positions(dead)] = False
    return data.filter(pa.array(keep))
