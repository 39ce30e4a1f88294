"""Fixtures of all tests: a clean environment, and one Spark session that starts when a test asks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).parent.parent
JARS = ROOT / ".cache" / "jars"

QUICK_JVM = ("SPARK_DAEMON_JAVA_OPTS", "SPARK_LAUNCHER_OPTS", "SPARK_SUBMIT_OPTS")
"""Options of JVMs of one test: none lives long enough to earn back what the second compiler costs, half its work."""

UNVERIFIED = "-XX:+UseSerialGC -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
"""Options of all JVMs: the classes of released jars are not verified anew, an eighth of the time of a start."""

LESS_COMPILED = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 -XX:Tier4CompileThreshold=150000 "
    "-XX:Tier4BackEdgeThreshold=400000 -XX:MetaspaceSize=512m -Xms2g -Xmn1200m"
)
"""Options of the shared session's JVM: the second compiler takes what runs ten times as often as it would by default,
and no collection waits for classes or for a heap that grows. A fifth less work; without that compiler it is more."""

WARNINGS_OF_OLDER_SPARKS = (
    "ignore:distutils Version classes are deprecated:DeprecationWarning",
    "ignore:is_categorical_dtype is deprecated:DeprecationWarning",
    # Of rows that were collected.
    "ignore:unclosed <socket:ResourceWarning",
)

INTERPRETED = {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Settings of the shared session: to compile a query of a few rows takes longer than to interpret it, a quarter of the
whole time, and to plan it again in its middle gains nothing. With ``--spark-defaults``, and in the tests of sessions,
clusters, jobs and notebooks, Spark runs as people run it."""

ANCIENT_DATES_AS_SPARK_4 = {
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
}
"""Settings for Spark 3.5, which by default refuses to write dates before 1582 and times before 1900; its reads are left
as they are."""

# Frames of a few rows: to hand them to other threads takes a quarter of the whole time.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

# Tables are synced to disk at each commit: in memory that takes no time.
IN_MEMORY = Path("/dev/shm")
IN_MEMORY_BYTES = 4 << 30
if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > IN_MEMORY_BYTES and os.access(IN_MEMORY, os.W_OK):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))

# No test is timed: the first example of a test may wait for an import, or for a busy machine.
settings.register_profile("untimed", parent=settings.default, deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many random interleavings are compared with the oracle; ``make explore`` asks for thousands."""
    parser.addoption("--interleavings", type=int, default=100, help="random interleavings of 4 steps; a tenth of 16")
    parser.addoption("--spark-defaults", action="store_true", help="adaptive execution and code generation on")


def pytest_configure(config: pytest.Config) -> None:
    """What older Sparks warn of themselves is no failure of ours."""
    if metadata.version("pyspark").startswith(("3.", "4.0")):
        for line in WARNINGS_OF_OLDER_SPARKS:
            config.addinivalue_line("filterwarnings", line)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what starts a JVM; the tests of the shared session run in one process, those of other files beside it."""
    shared = "spark" in getattr(item, "fixturenames", ())
    if item.path.parent.name == "conformance" or item.get_closest_marker("slow" if shared else "spark"):
        item.add_marker("sparks")
    if shared:
        item.add_marker("spark")
    own = f"{item.path.parent.name}/{item.path.name}"
    item.add_marker(pytest.mark.xdist_group("shared session" if shared else own))


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No credentials, region, endpoint or Spark configuration of whoever runs the tests takes part."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("ANDES_", "AWS_", "HADOOP_", "PYSPARK_", "SPARK_")):
                patch.delenv(name)
        # Botocore must find no profile and ask no metadata service.
        nowhere = tmp_path_factory.mktemp("aws")
        patch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in QUICK_JVM:
            patch.setenv(name, f"-XX:TieredStopAtLevel=1 {UNVERIFIED}")
        yield


@pytest.fixture(scope="session")
def jars_dir() -> Path:
    """The project's cache of jars, for tests that start a Spark of their own."""
    return JARS


@pytest.fixture(scope="session")
def spark(
    request: pytest.FixtureRequest, clean_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SparkSession]:
    """One local session for all tests, with S3A, quiet and small."""
    folder = tmp_path_factory.mktemp("spark")
    with pytest.MonkeyPatch.context() as patch:
        for name in QUICK_JVM:
            patch.delenv(name)
        session = _session(folder, {} if request.config.getoption("--spark-defaults") else INTERPRETED)
    yield session
    session.stop()


def _session(folder: Path, settings: dict[str, str]) -> SparkSession:
    from andes_spark.spark.session import spark_session

    if metadata.version("pyspark").startswith("3."):
        settings = settings | ANCIENT_DATES_AS_SPARK_4
    return spark_session(
        "andes_spark tests",
        master="local[2]",
        s3=True,
        cache_dir=JARS,
        config={
            "spark.driver.memory": "2g",
            "spark.local.dir": str(folder / "local"),
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder / 'derby'} {LESS_COMPILED} {UNVERIFIED}",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.ui.showConsoleProgress": "false",
            **settings,
        },
    )
