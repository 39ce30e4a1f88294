"""Scans in Spark tasks against scans in the process: rows per second and core."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from andes_spark.base.files import NumberedFile, TableShape, numbered_files
from andes_spark.base.locator import key_lookup
from andes_spark.base.merge.bucket import LocateJob
from andes_spark.base.merge.plan import file_groups
from andes_spark.base.snapshots import Base
from andes_spark.law.columns import KeyColumns
from andes_spark.log.log import Log
from andes_spark.run.executor import Executor, LocalExecutor
from andes_spark.schema.versions import one_version
from andes_spark.settings import Settings
from andes_spark.spark.tasks import SparkExecutor
from andes_spark.storage.open import open_storage
from benchmarks.data import KeyType
from benchmarks.lab import Lab, Spread
from benchmarks.report import Table, verdict

_TIMES = 5
_LIMIT = 1.5


@dataclass(frozen=True)
class TimedScan:
    """Scans files and tells how long that took where it ran, and how many rows were found."""

    job: LocateJob

    def __call__(self, files: Sequence[NumberedFile]) -> tuple[float, int]:
        """See the class."""
        begun = time.perf_counter()
        rows = sum(frame.height for frame in self.job(files))
        return time.perf_counter() - begun, rows


def throughput(lab: Lab, key_type: KeyType) -> Table:
    """Scan all key columns for the largest batch of random keys, both ways."""
    scan, groups, rows = _scan(lab, key_type)
    spark = SparkExecutor(lab.spark, "benchmark")
    local = LocalExecutor(spark.slots)
    spent: dict[str, list[float]] = {"process": [], "tasks": []}
    executors: dict[str, Executor] = {"process": local, "tasks": spark}
    counts = set()
    for number in range(_TIMES + 2):
        for name, executor in executors.items():
            parts = executor.map(scan, groups, step="locate rows")
            counts.add(sum(count for _, count in parts))
            if number >= 2:
                spent[name].append(sum(seconds for seconds, _ in parts))
    if len(counts) != 1:
        raise AssertionError(f"the scans found {counts} rows")
    process, tasks = Spread.of(spent["process"]), Spread.of(spent["tasks"])
    ratio = tasks.median / process.median
    table = Table(
        f"Rows located per second and core, {key_type} keys, {lab.sizes[-1]:,} random keys",
        ["where", "million rows per second and core", "busy seconds", "times slower", "limit", "met"],
    )
    table.add("in the process", f"{rows / process.median / 1e6:.1f}", process, "", "", "", process=process, rows=rows)
    table.add(
        "in Spark tasks", f"{rows / tasks.median / 1e6:.1f}", tasks, f"{ratio:.2f}", _LIMIT, verdict(ratio <= _LIMIT),
        tasks=tasks, ratio=ratio,
    )  # fmt: skip
    return table


def _scan(lab: Lab, key_type: KeyType) -> tuple[TimedScan, list[list[NumberedFile]], int]:
    """A scan, the groups of files for it, and the rows in them; a file is in one group only."""
    path = lab.table(key_type, f"ours-{key_type}-scan")
    table = lab.open(path)
    shape = TableShape(
        table.url, table.schema, (), KeyColumns(table.primary_key, table.sequence_by), one_version(table.schema)
    )
    storage = open_storage(str(path))
    files = Base(storage, table.manifest(0).table_id, Log.open(storage, Settings())).snapshot().state.files
    mods = pl.from_arrow(lab.feed(key_type, "scan").table(lab.sizes[-1], "random"))
    assert isinstance(mods, pl.DataFrame)
    keys = mods.select(shape.columns.narrow).unique(subset=shape.columns.key).sort(shape.columns.key)
    rows = sum(file.num_records or 0 for file in files.values())
    return TimedScan(LocateJob(storage, shape, key_lookup(keys, shape))), file_groups(numbered_files(files), 8), rows
