"""Program: tables as a client of Spark Connect uses them, with a server in a JVM of its own on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from andes_spark.spark.session import CATALOG, DELTA_CATALOG, DELTA_EXTENSION, EXTENSIONS

DDL = "id BIGINT, seq BIGINT, name STRING"


class Server:
    """A Connect server; it ends with the block."""

    def __init__(self, jars: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            EXTENSIONS: DELTA_EXTENSION,
            CATALOG: DELTA_CATALOG,
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(self.port),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.databricks.delta.snapshotPartitions": "2",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
        }
        confs = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
        program = Path(sys.executable).parent / "spark-submit"
        self.log = (folder / "server.log").open("wb")
        self.process = subprocess.Popen(
            [
                str(program), "--master", "local[2]", "--jars", jars, *confs,
                "--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal",
            ],
            stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        )  # fmt: skip

    def __enter__(self) -> Server:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.2)
        self.__exit__()
        raise TimeoutError(Path(self.log.name).read_text()[-3000:])

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(15)
        self.log.close()


def use(spark: Any, folder: Path) -> dict[str, Any]:
    """Create, apply, read and change tables; return what was seen."""
    from pyspark.sql import functions as F

    from andes_spark import ModTable, Settings, spark_session
    from andes_spark.errors import AndesError

    assert spark_session() is spark
    rows = spark.range(0, 1000, 1, 3).selectExpr("id", "1L AS seq", "concat('v', id) AS name")
    mods = spark.range(0, 40, 1, 2).selectExpr("id", "2L AS seq", "'new' AS name", "if(id < 20, 'D', 'U') AS op")
    keys: dict[str, Any] = {"primary_key": "id", "sequence_by": "seq"}
    outcomes: dict[str, Any] = {}
    for name, settings in (("here", Settings()), ("tasks", Settings(byte_budget=0))):
        table = ModTable.create(folder / name, DDL, data=rows, settings=settings, merge="manual", spark=spark, **keys)
        applied = table.apply(mods, apply_as_deletes="op = 'D'", batch_id=("s", 1))
        more = table.apply(mods.where("id >= 30").withColumn("seq", F.lit(3)), apply_as_deletes=F.col("op") == "D")
        fresh = seen(table.read())
        status = table.merge().status
        table.create_view("v")
        changes = table.read_changes(0).groupBy("_change_type").count().collect()
        outcomes[name] = {
            "counts": [applied.upserts, applied.deletes, more.upserts],
            "fresh": fresh,
            "status": status,
            "merged": seen(table.read()),
            "delta": seen(spark.read.format("delta").load(str(folder / name))),
            "view": spark.sql("SELECT count(*) FROM v").collect()[0][0],
            "changes": {row[0]: row[1] for row in changes},
            "problems": list(table.verify().problems),
        }
    stream = spark.readStream.format("rate").load()
    try:
        table.apply_stream(stream, source="s", checkpoint=folder / "checkpoint")
    except AndesError as error:
        outcomes["stream"] = [type(error).__name__, str(error)]
    outcomes["throttled"] = throttled(spark)
    return outcomes


def throttled(spark: Any) -> list[Any]:
    """Class, whether to try again, and status of the error of a task that the store throttles."""
    from andes_spark.errors import AndesError, ThrottledError
    from andes_spark.spark.tasks import SparkExecutor

    def work(part: int) -> int:
        raise ThrottledError("busy", status=503)

    try:
        SparkExecutor(spark, "t").map(work, [1], step="work")
    except AndesError as error:
        return [type(error).__name__, error.retryable, error.fields.get("status")]
    return []


def seen(frame: Any) -> list[int]:
    """Rows, deleted keys among them, and rows with the new name."""
    rows = [(row["id"], row["name"]) for row in frame.collect()]
    return [len(rows), sum(key < 20 for key, _ in rows), sum(name == "new" for _, name in rows)]


def main(jars: str, path: str) -> None:
    from pyspark.sql import SparkSession

    folder = Path(path)
    with Server(jars, folder) as server:
        spark = SparkSession.builder.remote(f"sc://127.0.0.1:{server.port}").getOrCreate()
        outcomes = use(spark, folder)
        spark.stop()
    print(json.dumps(outcomes))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
