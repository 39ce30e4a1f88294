"""Delta's MERGE as an expert writes it, and the choice of the better way to write it for each kind of batch.

Deletion vectors are on. The source is one row per key, the one of the highest sequence; a sequence condition
keeps older mods from winning. Two things are tried for each kind of batch: whether the range of the batch's
keys (taken from its Parquet footer, which costs nothing) stands in the condition, so that files are skipped,
and whether MERGE writes its source down first or reads the immutable Parquet file each time.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from benchmarks import data
from benchmarks.data import Batch, KeyChoice, KeyType
from benchmarks.lab import Lab, seconds

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_MATERIALIZE = "spark.databricks.delta.merge.materializeSource"


@dataclass(frozen=True)
class Variant:
    """A way to write the MERGE.

    Attributes:
        ranges: whether the range of the last key column is in the condition.
        materialize: ``auto`` or ``none``.
    """

    ranges: bool
    materialize: str

    def __str__(self) -> str:
        return f"{'with' if self.ranges else 'without'} key range, materializeSource={self.materialize}"


def variants(choice: KeyChoice) -> tuple[Variant, ...]:
    """Ways worth trying: random keys span the table, so that a range cannot help."""
    plain = (Variant(False, "auto"), Variant(False, "none"))
    return plain if choice == "random" else (*plain, Variant(True, "auto"), Variant(True, "none"))


class DeltaMerge:
    """A Delta table that batches are merged into by MERGE."""

    def __init__(self, lab: Lab, path: Path, key_type: KeyType) -> None:
        self.lab = lab
        self.path = path
        self.key = data.primary_key(key_type)
        self.columns = data.schema_of(key_type).names

    @classmethod
    def create(cls, lab: Lab, key_type: KeyType, name: str) -> DeltaMerge:
        """A table with the first rows, laid out by key in as many files as the input has."""
        pristine = lab.folder / f"pristine-delta-{key_type}-{lab.rows}"
        if not pristine.exists():
            making = lab.fresh(f"{pristine.name}.making")
            key = data.primary_key(key_type)
            rows = lab.spark.read.parquet(str(lab.base(key_type)))
            ordered = rows.repartitionByRange(data.BASE_FILES, *key).sortWithinPartitions(*key)
            ordered.write.format("delta").save(str(making))
            making.rename(pristine)
        return cls(lab, lab.copy(pristine, name), key_type)

    def source(self, batch: Batch) -> DataFrame:
        """One row per key, that of the highest sequence."""
        return self.newest(self.lab.spark.read.parquet(str(batch.path)))

    def newest(self, rows: DataFrame) -> DataFrame:
        """One row per key of some mods, that of the highest sequence."""
        from pyspark.sql import functions as F

        newest = F.max_by(F.struct(*rows.columns), data.SEQUENCE).alias("newest")
        return rows.groupBy(*self.key).agg(newest).select("newest.*")

    def merge(self, source: DataFrame, condition: str) -> None:
        """Merge one row per key, in the session of the rows."""
        from delta.tables import DeltaTable

        newer = f"s.{data.SEQUENCE} > t.{data.SEQUENCE}"
        values = {name: f"s.{name}" for name in self.columns}
        target = DeltaTable.forPath(source.sparkSession, str(self.path)).alias("t")
        merge = target.merge(source.alias("s"), condition)
        merge = merge.whenMatchedDelete(f"s.op = 'D' AND {newer}")
        merge = merge.whenMatchedUpdate(newer, set=dict(values))
        merge.whenNotMatchedInsert("s.op <> 'D'", values=dict(values)).execute()

    def condition(self, batch: Batch, variant: Variant) -> str:
        """Of the join."""
        parts = [f"t.{name} = s.{name}" for name in self.key]
        if variant.ranges:
            low, high = key_range(batch.path, self.key[-1])
            parts.append(f"t.{self.key[-1]} BETWEEN {_literal(low)} AND {_literal(high)}")
        return " AND ".join(parts)

    def apply(self, batch: Batch, variant: Variant) -> int:
        """Merge a batch; returns how many Spark jobs that took."""
        spark = self.lab.spark
        spark.conf.set(_MATERIALIZE, variant.materialize)
        group = f"merge-{uuid.uuid4()}"
        spark.sparkContext.setJobGroup(group, "MERGE")
        self.merge(self.source(batch), self.condition(batch, variant))
        return len(spark.sparkContext.statusTracker().getJobIdsForGroup(group))


def best_variants(
    lab: Lab, key_type: KeyType, sizes: Sequence[int], choices: Sequence[KeyChoice]
) -> dict[tuple[int, KeyChoice], tuple[Variant, dict[str, float]]]:
    """The fastest way for each size and choice of keys, and the seconds of all; warms Spark up on the way."""
    table = DeltaMerge.create(lab, key_type, f"delta-trial-{key_type}")
    feed = lab.feed(key_type, f"trial-{key_type}")
    for _ in range(3):
        table.apply(feed.batch(sizes[0], "random"), Variant(False, "auto"))
    chosen: dict[tuple[int, KeyChoice], tuple[Variant, dict[str, float]]] = {}
    for size in sizes:
        for choice in choices:
            spent = {variant: _trial(table, feed.batch(size, choice), variant) for variant in variants(choice)}
            best = min(spent, key=lambda way: spent[way])
            chosen[size, choice] = best, {str(variant): took for variant, took in spent.items()}
            lab.say(f"MERGE of {size} {choice} {key_type} keys: {best} ({spent[best]:.2f} s)")
    return chosen


def key_range(path: Path, column: str) -> tuple[Any, Any]:
    """Least and greatest value of a column by the footer of a Parquet file."""
    metadata = pq.read_metadata(path)
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    groups = [metadata.row_group(i).column(names.index(column)).statistics for i in range(metadata.num_row_groups)]
    return min(group.min for group in groups), max(group.max for group in groups)


def _trial(table: DeltaMerge, batch: Batch, variant: Variant) -> float:
    return seconds(lambda: table.apply(batch, variant))


def _literal(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
