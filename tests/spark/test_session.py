"""Sessions: the shared one for what it can do, Pythons of their own for what happens at a start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from andes_spark.errors import OptionError
from andes_spark.spark import session as sessions
from tests.conftest import QUICK_JVM

ROOT = Path(__file__).parents[2]


class Conf:
    """The part of a session's ``conf`` that the check reads."""

    def __init__(self, settings):
        self.settings = settings

    def get(self, name, default=None):
        return self.settings.get(name, default)


def foreign_session(**settings) -> Any:
    """A session as Spark Connect gives it: settings, and no JVM to look into."""
    return SimpleNamespace(conf=Conf(settings))


WITH_DELTA = {sessions.EXTENSIONS: sessions.DELTA_EXTENSION, sessions.CATALOG: sessions.DELTA_CATALOG}


def lacking(session) -> dict[str, str]:
    """The settings that a session is told to make."""
    try:
        sessions.require_delta(session)
    except OptionError as error:
        missing: dict[str, str] = error.fields["settings"]
        return missing
    return {}


def test_both_settings_are_needed_and_enough():
    assert lacking(foreign_session(**WITH_DELTA)) == {}
    both = WITH_DELTA | {sessions.EXTENSIONS: f"org.example.Other, {sessions.DELTA_EXTENSION}"}
    assert lacking(foreign_session(**both)) == {}
    for name in WITH_DELTA:
        others = {setting: value for setting, value in WITH_DELTA.items() if setting != name}
        assert lacking(foreign_session(**others)) == {name: WITH_DELTA[name]}


def test_a_session_without_delta_is_told_what_to_set():
    with pytest.raises(OptionError) as caught:
        sessions.require_delta(foreign_session())
    assert caught.value.settings == WITH_DELTA
    for name, value in WITH_DELTA.items():
        assert f"{name}={value}" in str(caught.value)


def test_other_extensions_stay_in_the_advice():
    session = foreign_session(**(WITH_DELTA | {sessions.EXTENSIONS: "org.example.Other"}))
    with pytest.raises(OptionError) as caught:
        sessions.require_delta(session)
    expected = f"org.example.Other,{sessions.DELTA_EXTENSION}"
    assert caught.value.settings == {sessions.EXTENSIONS: expected}


def test_the_active_session_is_returned_and_left_alone(spark):
    before = dict(spark.sparkContext.getConf().getAll())
    session = sessions.spark_session("another name", config={"spark.sql.shuffle.partitions": "77"}, s3=True)
    assert session is spark
    assert spark.conf.get("spark.sql.shuffle.partitions") == "2"
    assert dict(spark.sparkContext.getConf().getAll()) == before


def test_spark_for_finds_the_active_session(spark):
    assert sessions.spark_for() is spark
    assert sessions.spark_for(spark) is spark


def test_settings_of_a_local_session(spark):
    conf = dict(spark.sparkContext.getConf().getAll())
    assert conf["spark.ui.enabled"] == "false"
    assert conf["spark.driver.host"] == conf["spark.driver.bindAddress"] == "127.0.0.1"
    assert conf["spark.sql.execution.arrow.pyspark.enabled"] == "true"
    assert spark.conf.get("spark.sql.execution.arrow.maxBytesPerBatch") == str(2**31 - 1)
    assert spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch") == "1024"
    assert "log4j2.configurationFile" in conf[sessions.JAVA_OPTIONS]
    assert spark.sparkContext.pythonExec == sys.executable


def test_delta_reads_and_writes(spark, tmp_path):
    folder = str(tmp_path / "a table")
    spark.range(10).write.format("delta").save(folder)
    spark.sql(f"DELETE FROM delta.`{folder}` WHERE id < 3")
    assert spark.read.format("delta").load(folder).count() == 7
    assert spark.read.format("delta").option("versionAsOf", 0).load(folder).count() == 10


def test_tasks_run_our_python_with_arrow(spark):
    def whose(batches):
        import pyarrow as pa

        for _ in batches:
            pass
        yield pa.RecordBatch.from_pydict({"python": [sys.executable]})

    rows = spark.range(1, numPartitions=1).mapInArrow(whose, "python string").collect()
    assert [row.python for row in rows] == [sys.executable]


PANDAS_3 = "ignore:PySpark does not yet fully support pandas:FutureWarning"


def run_python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a Python of its own, with a JVM of its own; the environment is what is named here and no more."""
    inherited = {name: os.environ[name] for name in ("HOME", "JAVA_HOME", "PATH", *QUICK_JVM) if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**inherited, "LC_ALL": "C.UTF-8", "PYTHONWARNINGS": PANDAS_3, **environ},
        timeout=300,
    )


START = """
from pyspark.sql import SparkSession
from andes_spark.spark import session as sessions
def plain(**settings):
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    for name, value in settings.items():
        builder = builder.config(name.replace("__", "."), value)
    return builder.getOrCreate()
"""


@pytest.mark.spark
@pytest.mark.slow
def test_a_session_says_nothing_but_progress_and_errors(jars_dir, tmp_path):
    code = f"""
from andes_spark import spark_session
spark = spark_session(
    "quiet", master="local[2]", cache_dir={str(jars_dir)!r},
    config={{"spark.sql.warehouse.dir": {str(tmp_path)!r}, "spark.ui.showConsoleProgress": "true",
        "spark.ui.consoleProgress.update.interval": "50"}},
)
def slowly(batches):
    import time
    time.sleep(0.5)
    yield from batches
rows = spark.range(4, numPartitions=4).mapInArrow(slowly, "id long")
rows.write.format("delta").save({str(tmp_path / "table")!r})
print(spark.sparkContext.appName, spark.read.format("delta").load({str(tmp_path / "table")!r}).count())
"""
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "quiet 4"
    lines = [line.strip() for line in process.stderr.replace("\r", "\n").splitlines()]
    bars = [line for line in lines if line.startswith("[Stage")]
    # The JVM itself prints the one line left about the vector module that Spark's launcher asks for.
    others = [line for line in lines if line and line not in bars and "jdk.incubator.vector" not in line]
    assert bars
    assert others == []


@pytest.mark.spark
@pytest.mark.slow
def test_a_users_own_session_is_checked_and_not_changed(jars_dir):
    code = (
        START
        + f"""
from andes_spark.errors import MissingPackageError, OptionError
try:
    sessions.spark_for()
except OptionError as error:
    print("none", error.option)
own = plain()
own.range(1).collect()
before = dict(own.sparkContext.getConf().getAll())
for call in (sessions.spark_session, sessions.spark_for, lambda: sessions.require_delta(own)):
    try:
        call()
    except OptionError as error:
        print(sorted(error.settings))
assert dict(own.sparkContext.getConf().getAll()) == before
own.stop()
# The JVM goes on without Delta's jar, which can no longer be added.
try:
    sessions.spark_session(master="local[1]", cache_dir={str(jars_dir)!r})
except MissingPackageError as error:
    print(error.package, "--jars" in str(error))
print(SparkSession.getActiveSession())
"""
    )
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    both = str([sessions.CATALOG, sessions.EXTENSIONS])
    assert process.stdout.splitlines() == ["none spark", both, both, both, "delta-spark True", "None"]


@pytest.mark.spark
@pytest.mark.slow
def test_a_session_can_be_stopped_and_started_again(jars_dir, tmp_path):
    code = f"""
import pyarrow as pa
from andes_spark import ModTable, spark_session
from andes_spark.errors import OptionError
for name in ("one", "two"):
    spark = spark_session(name, master="local[1]", cache_dir={str(jars_dir)!r},
        config={{"spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension"}})
    print(spark.sparkContext.appName, spark.conf.get("spark.sql.extensions"))
    table = ModTable.create({str(tmp_path)!r} + "/" + name, "id BIGINT", primary_key=["id"], spark=spark)
    frame = spark.range(3)
    spark.stop()
    for work in (
        lambda: table.apply(frame, batch_id=("t", 1)),
        lambda: table.read(),
        lambda: ModTable.create({str(tmp_path)!r} + "/new", "id BIGINT", primary_key=["id"], data=frame),
    ):
        try:
            work()
        except OptionError as error:
            assert "was stopped" in str(error), error
        else:
            raise AssertionError("it did not notice")
    assert table.version == 0
    merged = table.apply(pa.table({{"id": [1]}}), batch_id=("t", 2)).merge
    assert merged.status == "merged", merged
"""
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [f"{name} {sessions.DELTA_EXTENSION}" for name in ("one", "two")]
    assert not (tmp_path / "new").exists()


@pytest.mark.spark
@pytest.mark.slow
def test_spark_submit_brings_jars_and_keeps_its_settings(jars_dir, tmp_path):
    job = tmp_path / "job.py"
    job.write_text(
        "from andes_spark import spark_session\n"
        "spark = spark_session('a job')\n"
        "print(spark.sparkContext.appName, spark.sparkContext.master, spark.conf.get('spark.ui.enabled'))\n"
    )
    from andes_spark.spark import jars

    paths = ",".join(str(path) for path in jars.delta_jars(cache_dir=jars_dir))
    code = f"""
import os, pyspark
submit = os.path.join(os.path.dirname(pyspark.__file__), "bin", "spark-submit")
os.execv(submit, [submit, "--master", "local[1]", "--jars", {paths!r}, "--conf", "spark.ui.enabled=false",
    {str(job)!r}])
"""
    process = run_python(code, PYTHONPATH=str(ROOT), PYSPARK_PYTHON=sys.executable)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "a job local[1] false"
