"""Memory of a batch as large as its table: peak resident memory of every Python process, by /proc.

The apply runs in a process of its own with a small driver heap, while this one watches it. Run as
``python -m benchmarks.memory FOLDER ROWS`` it is that process.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from andes_spark.table.mod_table import ModTable
from benchmarks import data
from benchmarks.lab import Lab, fingerprint, stopwatch
from benchmarks.processes import watched
from benchmarks.report import Table, verdict

_HEAP = "2g"
_LIMIT = 1.5 * 2**30
_PART = 500_000
_ROWS, _QUICK_ROWS = 20_000_000, 2_000_000


def run(lab: Lab) -> list[Table]:
    """Measure; needs a few minutes and some gigabytes of disk."""
    rows = _QUICK_ROWS if lab.quick else _ROWS
    folder = lab.fresh("memory")
    data.write_base(folder, rows, "bigint", files=-(-rows // _PART))
    feed = data.Feed(folder / "batch", rows, "bigint")
    for _ in range(rows // _PART):
        feed.batch(_PART, "random")
    lab.stop()
    peaks, lines = watched([sys.executable, "-m", "benchmarks.memory", str(folder), str(rows)])
    outcome: dict[str, float] = lines[-1]
    checker = Lab(folder, rows, quick=lab.quick)
    expected = _expected(checker, folder, rows)
    equal = fingerprint(checker.delta(folder / "table")) == expected
    checker.stop()
    if not equal:
        raise AssertionError("the table differs from what Spark makes of the same mods")
    table = Table(
        f"Memory: {rows:,} mods into {rows:,} rows, Spark DataFrame in, driver heap {_HEAP}",
        ["process", "peak resident memory", "limit", "met"],
        notes=[
            f"Load {outcome['load']:.0f} s, apply {outcome['apply']:.0f} s of which merge {outcome['merge']:.0f} s; "
            f"{outcome['jobs']:.0f} Spark jobs. The result equals what Spark makes of the same mods."
        ],
    )
    for name, peak in sorted(peaks.items(), key=lambda name_and_peak: -name_and_peak[1]):
        limit = "" if name.startswith("java") else "1.5 GiB"
        met = "" if name.startswith("java") else verdict(peak <= _LIMIT)
        table.add(name, f"{peak / 2**30:.2f} GiB", limit, met, process=name, peak=peak, **outcome)
    return [table]


def _expected(lab: Lab, folder: Path, rows: int) -> tuple[int, str]:
    """What Spark makes of the rows and mods: the newest of each key, unless it is a delete."""
    from pyspark.sql import functions as F

    base = lab.spark.read.parquet(str(lab.base("bigint"))).withColumn("op", F.lit("U"))
    mods = lab.spark.read.parquet(str(folder / "batch"))
    both = base.unionByName(mods).repartition(max(8, rows // 500_000), "id")
    newest = F.max_by(F.struct(*both.columns), data.SEQUENCE).alias("newest")
    alive = both.groupBy("id").agg(newest).select("newest.*").where("op <> 'D'")
    return fingerprint(alive.drop("op"))


def measured(folder: Path, rows: int) -> dict[str, float]:
    """The process that is watched: load the table, apply the batch."""
    lab = Lab(folder, rows, quick=False, driver_memory=_HEAP)
    with stopwatch() as load:
        table = ModTable.create(
            str(folder / "table"),
            data.schema_of("bigint"),
            primary_key=["id"],
            sequence_by=[data.SEQUENCE],
            data=lab.spark.read.parquet(str(lab.base("bigint"))),
        )
    with stopwatch() as apply:
        mods = lab.spark.read.parquet(str(folder / "batch"))
        result = table.apply(mods, apply_as_deletes=data.DELETES, batch_id=("memory", 1))
    merge = result.merge
    if merge is None or merge.status != "merged":
        raise AssertionError(f"the batch did not end in the base: {merge}")
    steps = (*result.steps, *merge.steps)
    lab.stop()
    return {
        "load": load(),
        "apply": apply(),
        "merge": sum(step.seconds for step in merge.steps),
        "jobs": float(sum(step.spark_jobs for step in steps)),
    }


if __name__ == "__main__":
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    print(json.dumps(measured(Path(sys.argv[1]), int(sys.argv[2]))))
