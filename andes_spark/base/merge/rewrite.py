"""Rewriting of base files without their deleted rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.files import NumberedFile, OpenFile, TableShape
from andes_spark.base.rows import RowWriter
from andes_spark.base.runs import ordered
from andes_spark.delta.actions import Action
from andes_spark.delta.vectors import load_vector, to_positions
from andes_spark.storage.interface import Storage


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
            _alive(table.result(), gone if vector is None else gone | vector.result())
            for table, vector, (_, gone) in zip(tables, vectors, files, strict=True)
        ]
        rows = ordered(pa.concat_tables(parts), self.shape.columns.key)
        return self.writer.write(self.storage, rows, data_change=self.data_change)

    def _read(self, file: NumberedFile) -> pa.Table:
        return OpenFile(self.storage, file.path, file.file, self.shape).read(self.shape.schema.names)


def _alive(data: pa.Table, dead: BitMap64) -> pa.Table:
    """Read the rows of a file without deleted ones."""
    if not dead:
        return data
    keep = np.ones(data.num_rows, np.bool_)
    keep[to_positions(dead)] = False
    return data.filter(pa.array(keep))
