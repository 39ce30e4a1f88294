"""Writing new rows into the base: Parquet files sorted by key, each described by an ``add`` action.

Files of partitions contain the partition columns and are stored in the same folder as all others: polars would take
the values from folder names, and ignores the deletion vector of a file whose path has to be encoded.
"""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.base.files import TableShape
from andes_spark.delta.actions import Action, add
from andes_spark.delta.data_file import ARROW_TAG, FOOTER_TAG, KEYS_TAG
from andes_spark.delta.partition_values import partition_value
from andes_spark.delta.statistics import footer_columns, indexed_columns, statistics
from andes_spark.log.mod_files import key_range
from andes_spark.schema.versions import with_field_ids
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import readable_encodings, write_parquet

CALENDAR = {"org.apache.spark.version": "3.5.0"}
"""Footer by which Spark knows that old dates and times are Gregorian: without it Spark 3.5 refuses to read dates before
1582 and times before 1900, which may be of a Spark before 3.0."""


@dataclass(frozen=True)
class RowWriter:
    """Writer of new rows; sent to tasks.

    Attributes:
        shape: shape of the table.
        configuration: properties of the Delta table, which name the columns with statistics.
        target_bytes: target size of a file in bytes; rows are split at twice that size in memory.
        threads: number of files written in parallel.
    """

    shape: TableShape
    configuration: Mapping[str, str]
    target_bytes: int
    threads: int = 2

    def write(self, storage: Storage, rows: pa.Table, *, data_change: bool = True) -> list[Action]:
        """Write rows to new files.

        Args:
            storage: the table's folder.
            rows: all columns of the table, sorted by key; may be empty.
            data_change: value of the actions' ``dataChange``; False if the rows were in the table before.

        Returns:
            An ``add`` for each file; the files are durable.
        """
        parts = [(values, piece) for values, part in self._partitions(rows) for piece in self._pieces(part)]
        if len(parts) < 2:
            return [self._write_file(storage, values, piece, data_change) for values, piece in parts]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda part: self._write_file(storage, part[0], part[1], data_change), parts))

    def _partitions(self, rows: pa.Table) -> Iterator[tuple[dict[str, str | None], pa.Table]]:
        if rows.num_rows == 0:
            return
        columns = list(self.shape.partition_by)
        if not columns:
            yield {}, rows
            return
        frame = pl.from_arrow(rows.select(columns))
        assert isinstance(frame, pl.DataFrame)
        groups = frame.with_row_index("_andes_at").group_by(columns, maintain_order=True).agg("_andes_at")
        for at in groups["_andes_at"]:
            part = rows.take(at.to_arrow())
            values = {
                name: partition_value(part[name][0].as_py(), self.shape.schema.field(name).type) for name in columns
            }
            yield values, part

    def _pieces(self, rows: pa.Table) -> Iterator[pa.Table]:
        count = max(1, math.ceil(rows.nbytes / (2 * self.target_bytes)))
        edges = np.linspace(0, rows.num_rows, count + 1).astype(np.int64)
        for low, high in itertools.pairwise(edges):
            yield rows.slice(int(low), int(high - low))

    def _write_file(self, storage: Storage, values: dict[str, str | None], rows: pa.Table, data_change: bool) -> Action:
        path = f"part-{uuid.uuid4()}.zstd.parquet"
        nan_free = _nan_free(rows)
        written = write_parquet(
            storage,
            path,
            rows,
            with_field_ids(self.shape.versions.current, rows.schema),
            sorted_by=self.shape.columns.key,
            marked=self.shape.columns.narrow,
            statistics=footer_columns(rows.schema, nan_free),
            encodings=readable_encodings(rows),
            properties=CALENDAR,
        )
        shape = self.shape
        indexed = indexed_columns(shape.schema, shape.partition_by, self.configuration)
        return add(
            path,
            size=written.bytes,
            modified_ms=time.time_ns() // 1_000_000,
            statistics=statistics(written.metadata, rows.schema, indexed, nan_free=nan_free),
            partition_values=values,
            data_change=data_change,
            tags={FOOTER_TAG: written.footer, ARROW_TAG: str(rows.nbytes), **self._keys_tag(rows)},
        )

    def _keys_tag(self, rows: pa.Table) -> dict[str, str]:
        """Least and greatest key of sorted rows, unless they are too long."""
        keys = key_range(rows, self.shape.columns.key)
        return {} if keys is None else {KEYS_TAG: msgspec.json.encode([keys.low, keys.high]).decode()}


def _nan_free(rows: pa.Table) -> set[tuple[str, ...]]:
    """Return the floating-point columns without NaN: with NaN, Parquet's maxima differ from Spark's order."""
    return {
        (field.name,)
        for field in rows.schema
        if pa.types.is_floating(field.type) and not pc.any(pc.is_nan(rows[field.name])).as_py()
    }
