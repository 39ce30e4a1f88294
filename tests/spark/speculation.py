"""Run by test_tasks: speculation and dynamic allocation on a cluster; a task is attempted twice at once."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.spark.cluster import Cluster, session

ROWS = 4_000
SLOW_ROW = 3_900
DEADLINE = 60.0
CONFIG = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.minTaskRuntime": "100ms",
    "spark.dynamicAllocation.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    "spark.dynamicAllocation.shuffleTracking.timeout": "15s",
    "spark.dynamicAllocation.minExecutors": "0",
    "spark.dynamicAllocation.executorIdleTimeout": "15s",
    "spark.dynamicAllocation.cachedExecutorIdleTimeout": "15s",
}


def main(jars: str, path: str) -> None:
    folder = Path(path)
    with Cluster(folder, 2) as cluster:
        observed = use(session(cluster, jars, CONFIG), folder)
    print(json.dumps(observed))  # noqa: T201


def slow(marks: Path) -> Any:
    """A function whose first attempt at one row waits until another attempt at it has begun."""
    from pyspark.sql import functions as F

    @F.udf("string")
    def run(id, wide):
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        (marks / f"{context.partitionId()}-{context.attemptNumber()}").touch()
        if id == SLOW_ROW and context.attemptNumber() == 0:
            deadline = time.monotonic() + DEADLINE
            while not list(marks.glob(f"{context.partitionId()}-[1-9]")) and time.monotonic() < deadline:
                time.sleep(0.1)
        return wide

    return run


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def use(spark: Any, folder: Path) -> dict[str, Any]:
    """Create, apply while a task is attempted twice, let all executors go, merge and read; what was observed."""
    from andes_spark import ModTable, Settings

    marks = folder / "marks"
    marks.mkdir()

    def rows(first: int, last: int, seq: int) -> Any:
        # Wide values: a worker hands them on only when 64 KiB are together.
        wide = "repeat(sha2(CAST(id AS STRING), 256), 8) AS s"
        return spark.range(first, last, 1, 4).selectExpr("id", f"id + {seq} AS seq", wide)

    def executors() -> int:
        # The driver is one of them.
        return int(spark.sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1

    def shown() -> list[tuple[int, int]]:
        return sorted((row["id"], row["seq"]) for row in table.read().collect())

    settings = Settings(byte_budget=0, target_file_bytes=50_000)
    keyed: dict[str, Any] = {"primary_key": ["id"], "sequence_by": ["seq"], "merge": "manual", "settings": settings}
    table = ModTable.create(str(folder / "t"), rows(0, 1, 0).schema, data=rows(0, ROWS, 0), **keyed)
    mods = rows(0, ROWS, 10_000)
    applied = table.apply(mods.withColumn("s", slow(marks)("id", "s")), batch_id=("s", 1))
    used = executors()
    released = wait_until(lambda: executors() == 0)
    fresh = shown()
    merged = table.merge()
    expected = [(id, id + 10_000) for id in range(ROWS)]
    observed = {
        "attempted_twice": sorted(mark.name for mark in marks.glob("*-[1-9]")),
        "executors": used,
        "released": released,
        "upserts": applied.upserts,
        "merged_in_tasks": any(step.spark_jobs for step in merged.steps),
        "fresh": fresh == expected,
        "rows": shown() == expected,
        "problems": list(table.verify().problems),
    }
    spark.stop()
    return observed


if __name__ == "__main__":
    main(*sys.argv[1:])
