"""Run by test_tasks: a standalone cluster of two workers; an executor dies in the middle of its task."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Master and workers of pyspark's own classes, a process each, on the loopback interface."""

    def __init__(self, folder: Path, workers: int) -> None:
        import pyspark

        self.folder = folder
        self.home = Path(pyspark.__file__).parent
        self.port = free_port()
        self.url = f"spark://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers = workers

    def __enter__(self) -> Cluster:
        self.start("master.Master", "--host", "127.0.0.1", "--webui-port", "0", "--port", str(self.port))
        self.wait("master.Master", "New state: ALIVE", 1)
        for number in range(self.workers):
            work = str(self.folder / f"work{number}")
            # A host each: Spark attempts no task twice at once on one.
            host = ["--host", f"127.0.0.{number + 1}", "--webui-port", "0"]
            self.start("worker.Worker", *host, "--cores", "1", "--memory", "1g", "--work-dir", work, self.url)
        self.wait("master.Master", "Registering worker", self.workers)
        return self

    def start(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        command = [str(self.home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
        environment = {**os.environ, "SPARK_HOME": str(self.home), "SPARK_DAEMON_MEMORY": "256m"}
        environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_NO_DAEMONIZE": "1"}
        self.processes.append(
            subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        )
        log.close()

    def wait(self, name: str, text: str, times: int) -> None:
        deadline = time.monotonic() + 60
        while (self.folder / f"{name}.log").read_text(errors="replace").count(text) < times:
            if time.monotonic() > deadline:
                raise RuntimeError((self.folder / f"{name}.log").read_text(errors="replace")[-3000:])
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def main(jars: str, path: str) -> None:
    folder = Path(path)
    with Cluster(folder, 2) as cluster:
        report = use(cluster, jars, folder)
    print(json.dumps(report))  # noqa: T201


def session(cluster: Cluster, jars: str, more: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Spark on the cluster; Arrow batches of a few rows, or a task would hold all of its rows when it dies."""
    from andes_spark import spark_session

    os.environ["PYSPARK_PYTHON"] = sys.executable
    config = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.executor.memory": "512m",
        "spark.executor.extraJavaOptions": os.environ.get("SPARK_SUBMIT_OPTS", ""),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.executorEnv.PYTHONPATH": os.environ["PYTHONPATH"],
        "spark.sql.execution.arrow.maxRecordsPerBatch": "100",
        "spark.sql.execution.python.udf.maxRecordsPerBatch": "100",
        **more,
    }
    spark = spark_session(master=cluster.url, cache_dir=jars, config=config)
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def deadly(marks: Path, mods: Path) -> Any:
    """A function that notes each attempt and once, when its task has written files of mods, kills the executor."""
    from pyspark.sql import functions as F

    @F.udf("string")
    def run(value, wide):
        import os
        import signal
        import time
        import uuid

        import pyarrow.parquet as pq
        from pyspark import TaskContext

        def written():
            for file in mods.glob("*.parquet"):
                if max(pq.read_table(file, columns=["id"])["id"].to_pylist()) >= 5000:
                    return True
            return False

        context = TaskContext.get()
        assert context is not None
        (marks / f"{context.partitionId()}-{context.attemptNumber()}").touch()
        if value == 5900:
            try:
                os.close(os.open(marks / "killed", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return wide
            deadline = time.monotonic() + 60
            while not written() and time.monotonic() < deadline:
                time.sleep(0.1)
            # This process is a child of the daemon, which is a child of the executor's JVM.
            daemon = os.getppid()
            with open(f"/proc/{daemon}/stat") as stat:
                os.kill(int(stat.read().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
            (marks / f"after-{uuid.uuid4()}").touch()
        return wide

    return run


def hopeless() -> Any:
    """A function that fails in every attempt."""
    from pyspark.sql import functions as F

    @F.udf("bigint")
    def run(value):
        raise ValueError("every attempt fails")

    return run


def use(cluster: Cluster, jars: str, folder: Path) -> dict[str, Any]:
    """Create, apply while an executor dies, read, merge, apply in vain; what was seen."""
    from andes_spark import ModTable, Settings
    from andes_spark.errors import AndesError
    from andes_spark.model.events import mods_of

    spark = session(cluster, jars)
    marks = folder / "marks"
    marks.mkdir()

    def rows(first: int, last: int, seq: int) -> Any:
        # Wide values: a worker hands them on only when 64 KiB are together.
        wide = "repeat(sha2(CAST(id AS STRING), 256), 8) AS s"
        return spark.range(first, last, 1, 4).selectExpr("id", f"id + {seq} AS seq", wide)

    def shown() -> list[tuple[int, int]]:
        return sorted((row["id"], row["seq"]) for row in table.read().collect())

    settings = Settings(byte_budget=0, target_file_bytes=50_000)
    keyed: dict[str, Any] = {"primary_key": ["id"], "sequence_by": ["seq"], "merge": "manual", "settings": settings}
    table = ModTable.create(str(folder / "t"), rows(0, 1, 0).schema, data=rows(0, 4000, 0), **keyed)
    applied = table.apply(
        rows(2000, 6000, 10_000).withColumn("s", deadly(marks, folder / "t" / "_andes" / "mods")("id", "s")),
        batch_id=("s", 1),
    )
    entries = len(mods_of(table.manifest(applied.version).events))
    fresh = shown()
    merged = table.merge()
    failed: dict[str, Any] = {}
    try:
        table.apply(rows(0, 10, 20_000).withColumn("id", hopeless()("id")))
    except AndesError as error:
        failed = {"error": type(error).__name__, "version": ModTable.open(table.url).version}
    now = shown()
    expected = [(id, id) for id in range(2000)] + [(id, id + 10_000) for id in range(2000, 6000)]
    attempts = [path.name for path in marks.iterdir() if path.name[0].isdigit()]
    report = {
        "workers": (folder / "master.Master.log").read_text().count("Registering worker"),
        "executor_killed": (marks / "killed").exists(),
        "tasks": len({name.split("-")[0] for name in attempts}),
        "attempts": len(attempts),
        "upserts": applied.upserts,
        "orphans": len(list((folder / "t" / "_andes" / "mods").iterdir())) - entries,
        "merged_in_tasks": any(step.spark_jobs for step in merged.steps),
        "rows": len(now) if now == expected else f"wrong: {len(now)}",
        "fresh": len(fresh) if fresh == expected else f"wrong: {len(fresh)}",
        "expected": len(expected),
        "problems": list(table.verify().problems),
        "version": table.version,
        "failed": failed,
    }
    spark.stop()
    return report


if __name__ == "__main__":
    main(*sys.argv[1:])
