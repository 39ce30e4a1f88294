"""A stream of small micro-batches: ``apply_stream`` beside Delta's MERGE in ``foreachBatch``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import data
from benchmarks.lab import Lab, fingerprint
from benchmarks.merge_delta import DeltaMerge
from benchmarks.report import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

_ROWS_PER_BATCH = 1000
_WARM = 5
_BATCHES, _QUICK_BATCHES = 100, 20
_SLOW_BATCHES = 20
"""Micro-batches that Delta's MERGE is given."""
_POLICIES = {"apply_stream, each batch merged": "always", "apply_stream, merged when due": "auto"}
_MERGE = "Delta MERGE in foreachBatch"


def run(lab: Lab) -> list[Table]:
    """Measure the time of a micro-batch, and check that all tables hold the same rows after the same batches."""
    count = _WARM + (_QUICK_BATCHES if lab.quick else _BATCHES)
    lab.spark.conf.set("spark.sql.streaming.numRecentProgressUpdates", str(count + 20))
    spent: dict[str, list[float]] = {}
    ends = {}
    for name, policy in _POLICIES.items():
        lab.say(f"streams: {name}")
        spent[name], ends[name] = _apply_stream(lab, policy, count)
    lab.say(f"streams: {_MERGE}")
    spent[_MERGE], ends[_MERGE] = _merge(lab, _WARM + _SLOW_BATCHES)
    if len(set(ends.values())) != 1:
        raise AssertionError(f"the tables differ: {ends}")
    return [_table(lab, spent)]


def _table(lab: Lab, spent: dict[str, list[float]]) -> Table:
    table = Table(
        f"A stream in micro-batches of {_ROWS_PER_BATCH:,} rows ({lab.rows:,} rows of 8 columns)",
        ["way", "batches", "batches a second", "p50, s", "p99, s", "times as fast as MERGE"],
        notes=[
            f"Spark's source rate-micro-batch, keys at random; {_WARM} micro-batches warm up. Times are those of "
            "addBatch in the progress of the query: the whole of foreachBatch, Spark's own log of offsets and commits "
            "left out. After the same batches all tables hold the same rows."
        ],
    )
    slow = float(np.mean(spent[_MERGE]))
    for name, values in spent.items():
        middle, high = (float(np.percentile(values, share)) for share in (50, 99))
        mean = float(np.mean(values))
        ratio = "" if name == _MERGE else f"{slow / mean:.1f}"
        table.add(name, len(values), f"{1 / mean:.2f}", f"{middle:.3g}", f"{high:.3g}", ratio, way=name, seconds=values)
    return table


def _mods(lab: Lab, batches: int) -> DataFrame:
    """The stream: as many micro-batches with rows as asked for, and empty ones after them."""
    from pyspark.sql import functions as F

    values = (
        lab.spark.readStream.format("rate-micro-batch")
        .option("rowsPerBatch", _ROWS_PER_BATCH)
        .option("numPartitions", 2)
        .option("startTimestamp", 1_700_000_000_000)
        .load()
        .where(F.col("value") < batches * _ROWS_PER_BATCH)
    )
    serial = F.pmod(F.xxhash64("value"), F.lit(int(lab.rows * (1 + data.NEWEST))))
    return values.select(
        serial.alias("id"),
        (F.col("value") + lab.rows * 2).alias(data.SEQUENCE),
        F.concat(F.lit("customer-"), serial.cast("string")).alias("name"),
        (F.col("value") % 100_000 / 100).cast("decimal(12,2)").alias("amount"),
        (F.col("value") / 7).alias("weight"),
        F.col("timestamp").alias("updated_at"),
        (F.col("value") % 1000).cast("int").alias("quantity"),
        (F.col("value") % 10 > 0).alias("active"),
        F.when(F.col("value") % 10 == 3, "D").otherwise("U").alias("op"),
    )


def _apply_stream(lab: Lab, policy: str, batches: int) -> tuple[list[float], tuple[int, str]]:
    path = lab.table("bigint", "stream")
    table = lab.open(path, spark=lab.spark)
    table.alter.set(merge=policy)
    checkpoint = lab.fresh("stream-checkpoint")
    first = table.version
    stream = table.apply_stream(
        _mods(lab, batches), source="rate", checkpoint=checkpoint, apply_as_deletes=data.DELETES
    )
    spent = _watched(stream.query, batches)
    return spent, fingerprint(lab.open(path, spark=lab.spark).read(version=first + _WARM + _SLOW_BATCHES))


def _merge(lab: Lab, batches: int) -> tuple[list[float], tuple[int, str]]:
    merge = DeltaMerge.create(lab, "bigint", "stream-merge")

    def apply(batch: DataFrame, number: int) -> None:
        merge.merge(merge.newest(batch), "t.id = s.id")

    query = (
        _mods(lab, batches)
        .writeStream.foreachBatch(apply)
        .option("checkpointLocation", str(lab.fresh("stream-checkpoint")))
        .start()
    )
    spent = _watched(query, batches)
    return spent, fingerprint(lab.delta(merge.path))


def _watched(query: StreamingQuery, batches: int) -> list[float]:
    """Seconds of the micro-batches that count, once all of them have ended."""
    try:
        while query.isActive and (query.lastProgress is None or query.lastProgress["batchId"] < batches):
            time.sleep(0.2)
        if (error := query.exception()) is not None:
            raise error
        batch_durations: Sequence[dict[str, int]] = [
            progress["durationMs"] for progress in query.recentProgress if _WARM <= progress["batchId"] < batches
        ]
    finally:
        query.stop()
    return [durations["addBatch"] / 1000 for durations in batch_durations]
