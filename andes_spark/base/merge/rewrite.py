"""Files of the base written anew with the rows that they keep."""

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
    """Reads a group of files, drops rows that are gone, and writes the others sorted by key; travels to tasks.

    Attributes:
        storage: the table's folder.
        shape: of the table.
        writer: of rows.
        data_change: whether rows go that were live before.
    """

    storage: Storage
    shape: TableShape
    writer: RowWriter
    data_change: bool

    def __call__(self, files: Sequence[tuple[NumberedFile, BitMap64]]) -> list[Action]:
        """Files with the rows, beside their deletion vectors, that are gone; returns the new ``add`` actions."""
        rows = pa.concat_tables([self._alive(file, gone) for file, gone in files])
        return self.writer.write(self.storage, ordered(rows, self.shape.columns.key), data_change=self.data_change)

    def _alive(self, file: NumberedFile, gone: BitMap64) -> pa.Table:
        data = OpenFile(self.storage, file.path, file.file, self.shape).read(self.shape.schema.names)
        dead = gone if file.file.vector is None else gone | load_vector(self.storage, file.file.vector)
        if not dead:
            return data
        keep = np.ones(data.num_rows, np.bool_)
        keep[to_positions(dead)] = False
        return data.filter(pa.array(keep))
