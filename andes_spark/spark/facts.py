"""Facts about a session and its executors, asked by SQL and tasks alone, so that Spark Connect gives them too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from andes_spark.spark.tasks import SparkExecutor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PACKAGES = ("andes_spark", "msgspec", "numpy", "obstore", "pandas", "polars", "pyarrow", "pyroaring", "sqlglot")
"""Packages whose versions must be the same on the driver and on executors."""


@dataclass(frozen=True)
class Worker:
    """A process of Python that Spark runs: the driver, or a worker of an executor.

    Attributes:
        host: name of the machine.
        python: version, such as ``3.11.7``.
        packages: version of each of ``PACKAGES``; empty if it is missing.
    """

    host: str
    python: str
    packages: dict[str, str]


def java_version(spark: SparkSession) -> str:
    """Return the version of the driver's Java. Runs no Spark job on a cluster."""
    row = spark.sql("SELECT java_method('java.lang.System', 'getProperty', 'java.version')").first()
    assert row is not None
    return str(row[0])


def workers(executor: SparkExecutor, tasks: int) -> list[Worker]:
    """Return the Pythons that ran some tasks, each once. Runs one Spark job.

    Raises:
        TaskError: a task failed.
    """
    kind = "host string, python string, packages string"
    frame = executor.spark.range(0, tasks, 1, tasks).mapInArrow(_reporter(PACKAGES), kind)
    with executor.described("ask executors"):
        rows = frame.distinct().collect()
    return [Worker(row.host, row.python, json.loads(row.packages)) for row in sorted(rows)]


def driver() -> Worker:
    """Return the Python of this process."""
    (batch,) = _reporter(PACKAGES)(iter([pa.record_batch([pa.array([0])], names=["id"])]))
    row = batch.to_pylist()[0]
    return Worker(row["host"], row["python"], json.loads(row["packages"]))


def _reporter(packages: Sequence[str]) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in a task; nested, so that it is pickled by value: an executor may lack this library."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import json
        import platform
        from importlib import metadata
        from importlib.util import find_spec

        import pyarrow as pa

        def version(name: str) -> str:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                # In an archive of sources there is no metadata.
                return "there" if find_spec(name) is not None else ""

        versions = json.dumps({name: version(name) for name in packages}, sort_keys=True)
        for _ in batches:
            yield pa.record_batch(
                [pa.array([platform.node()]), pa.array([platform.python_version()]), pa.array([versions])],
                names=["host", "python", "packages"],
            )

    return run
