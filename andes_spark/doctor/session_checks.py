"""Checks of the Python, the Spark session and its executors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from andes_spark.doctor.report import Finding, failed, passed, warned
from andes_spark.spark import facts
from andes_spark.spark.pairs import PAIRS, delta_version, minor, pair_for
from andes_spark.spark.session import require_delta
from andes_spark.spark.tasks import SparkExecutor

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TESTED_JAVA = ("17", "21")
_TASKS_PER_SLOT = 2


def packages() -> Finding:
    """Check that this process has all packages."""
    versions = facts.driver().packages
    missing = [name for name, version in versions.items() if not version and name != "pandas"]
    if missing:
        return failed(f"missing here: {', '.join(missing)}")
    return passed(_versions(versions))


def session(start: Callable[[], SparkSession], sessions: list[SparkSession]) -> Finding:
    """Start or find the session, add it to a list, and check that it can do Delta."""
    spark = start()
    require_delta(spark)
    sessions.append(spark)
    return passed(f"Spark {spark.version} on {spark.conf.get('spark.master', 'a Connect server')}")


def is_local(spark: SparkSession) -> bool:
    """Return whether driver and executors are one process of this machine."""
    return str(spark.conf.get("spark.master", "") or "").startswith("local")


def java(spark: SparkSession) -> Finding:
    """Check the version of the driver's Java."""
    version = facts.java_version(spark)
    if version.split(".")[0] not in TESTED_JAVA:
        return warned(f"{version}; the tests run on Java {' and '.join(TESTED_JAVA)}")
    return passed(version)


def executors(spark: SparkSession) -> Finding:
    """Check that executors run the driver's Python, with the driver's packages."""
    executor, driver_facts = SparkExecutor(spark, "andes doctor"), facts.driver()
    worker_facts = facts.workers(executor, _TASKS_PER_SLOT * executor.slots)
    for worker in worker_facts:
        missing = [name for name, version in worker.packages.items() if not version]
        if missing:
            return failed(
                f"{worker.host} lacks {', '.join(missing)}: hand executors an environment in which andes_spark and"
                " pandas are installed, by spark.archives"
            )
        other = [name for name, version in worker.packages.items() if version != driver_facts.packages[name]]
        if other:
            return warned(f"{worker.host} has {_versions({name: worker.packages[name] for name in other})}")
    return passed(f"Python {', '.join(sorted({worker.python for worker in worker_facts}))}, packages as here")


def pair(spark: SparkSession, delta: str | None) -> Finding:
    """Tell the pair of Spark and Delta, and whether it is one that the tests run on.

    Args:
        spark: the session.
        delta: version that an entry of Delta tells; None if there is none.
    """
    delta = delta or delta_version(spark)
    text = f"Spark {spark.version} with Delta {delta or 'of unknown version'}"
    tested = pair_for(spark.version)
    if tested is None or (delta is not None and minor(delta) != tested.delta):
        return warned(f"{text} is not among the pairs that were tested: {'; '.join(map(str, PAIRS))}")
    return passed(f"{text}{f', as {tested.fleet} has' if tested.fleet else ''}")


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
