"""Ranges of keys: how work is cut into buckets that fit into memory.

Files of mods, and files of the base that this library wrote, are sorted by key, so a bucket reads little more
than its share of each. Cutting never changes a result: a key lies in exactly one bucket, and the statistics
that are used to skip row groups are those of the Parquet footer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.law.order import above, equal


@dataclass(frozen=True)
class KeyRange:
    """Keys from ``low`` (included) up to ``high`` (excluded); None is open.

    Attributes:
        key: names of the key columns.
        types: their Arrow types.
        low, high: tuples of Python values in key order.
    """

    key: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    low: tuple[Any, ...] | None = None
    high: tuple[Any, ...] | None = None

    def expression(self) -> pl.Expr:
        """Return whether a row's key lies within."""
        columns = [pl.col(name) for name in self.key]
        inside = pl.lit(True)
        if self.low is not None:
            low = literals(self.low, self.types)
            inside = inside & (above(columns, low) | equal(columns, low))
        if self.high is not None:
            inside = inside & above(literals(self.high, self.types), columns)
        return inside

    def overlaps(self, low: Any, high: Any) -> bool:
        """Return whether a file or row group whose first key column spans ``low`` to ``high`` may hold such keys."""
        if self.low is not None and high is not None and high < self.low[0]:
            return False
        return not (self.high is not None and low is not None and low > self.high[0])

    def row_groups(self, file: pq.ParquetFile) -> list[int]:
        """Return the row groups of a file that may hold keys within, by the statistics of the first key column."""
        names = [file.metadata.schema.column(i).path for i in range(file.metadata.num_columns)]
        if self.key[0] not in names:
            return list(range(file.num_row_groups))
        column = names.index(self.key[0])
        return [
            group
            for group in range(file.num_row_groups)
            if self._group_overlaps(file.metadata.row_group(group).column(column))
        ]

    def _group_overlaps(self, chunk: pq.ColumnChunkMetaData) -> bool:
        statistics = chunk.statistics
        if statistics is None or not statistics.has_min_max:
            return True
        return self.meets(statistics.min, statistics.max)

    def meets(self, low: Any, high: Any) -> bool:
        """As :meth:`overlaps`, for statistics that may be missing or of another type."""
        bound = next(edge for edge in (self.low, self.high, (low,)) if edge is not None)[0]
        return low is None or type(low) is not type(bound) or self.overlaps(low, high)


def literals(values: Sequence[Any], types: Sequence[pa.DataType]) -> list[pl.Expr]:
    """Return values of Arrow types as expressions."""
    columns = {str(i): pa.array([value], kind) for i, (value, kind) in enumerate(zip(values, types, strict=True))}
    frame = pl.from_arrow(pa.table(columns))
    assert isinstance(frame, pl.DataFrame)
    return [pl.lit(frame.to_series(i)).first() for i in range(len(values))]


def split(samples: pa.Table, weights: Sequence[float], buckets: int, key: Sequence[str]) -> list[KeyRange]:
    """Split keys into ranges of about equal weight by samples; fewer than ``buckets`` where samples repeat.

    Args:
        samples: key columns only, any order.
        weights: weights of each sample.
        buckets: at least 1.
        key: names of the key columns.
    """
    types = tuple(samples.schema.field(name).type for name in key)
    frame = pl.from_arrow(samples.select(list(key)))
    assert isinstance(frame, pl.DataFrame)
    total = (
        frame.with_columns(pl.Series("_andes_weight", weights, pl.Float64))
        .group_by(list(key))
        .agg(pl.col("_andes_weight").sum())
        .sort(list(key))
    )
    share = total["_andes_weight"].cum_sum() / total["_andes_weight"].sum()
    cuts: list[tuple[Any, ...]] = []
    for bucket in range(1, buckets):
        at = int((share <= bucket / buckets).sum())
        if 0 < at < total.height:
            cut = total.select(list(key)).row(at)
            if not cuts or cut != cuts[-1]:
                cuts.append(cut)
    edges = [None, *cuts, None]
    return [KeyRange(tuple(key), types, low, high) for low, high in itertools.pairwise(edges)]
