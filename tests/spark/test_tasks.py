"""Tasks that fail: what an executor lacks, what a part raises, what Spark tries again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from andes_spark.errors import (
    AccessDeniedError,
    AndesError,
    DuplicateKeyError,
    FileDamagedError,
    MissingPackageError,
    StorageError,
    TaskError,
    ThrottledError,
)
from andes_spark.spark.task_errors import missing_package, note, task_error
from andes_spark.spark.tasks import SparkExecutor
from tests.conftest import JARS, ROOT
from tests.spark.batches import SIMPLE, TASKS, create, in_partitions, simple_rows, table_of

TABLE = "s3://lake/orders"


def test_parts_run_as_tasks_of_one_job_in_order(spark):
    executor = SparkExecutor(spark, TABLE)

    def work(part: int) -> tuple[int, int]:
        return part * part, os.getpid()

    results = executor.map(work, range(5), step="square")
    assert [value for value, _ in results] == [0, 1, 4, 9, 16]
    assert os.getpid() not in {process for _, process in results}
    assert executor.jobs == 1
    assert executor.map(work, [], step="nothing") == []
    assert executor.jobs == 1
    assert executor.slots == 2


@pytest.mark.parametrize(
    "raised",
    [
        FileDamagedError("damaged", table=TABLE, path="mods/x", actual="0"),
        DuplicateKeyError("twice", keys=[{"id": 1}, {"id": 2}]),
        AndesError("plain"),
    ],
    ids=lambda mutant: type(mutant).__name__,
)
def test_an_error_of_the_library_arrives_as_it_is(spark, raised):
    def work(part: int) -> int:
        if part == 1:
            raise raised
        return part

    with pytest.raises(type(raised)) as caught:
        SparkExecutor(spark, TABLE).map(work, range(3), step="work")
    assert type(caught.value) is type(raised)
    assert (caught.value.message, caught.value.fields) == (raised.message, raised.fields)


def test_an_import_that_fails_names_the_package(spark):
    def work(part: int) -> int:
        import no_such_package.within  # type: ignore[import-not-found]  # noqa: F401

        return part

    with pytest.raises(MissingPackageError, match="no_such_package") as caught:
        SparkExecutor(spark, TABLE).map(work, range(2), step="work")
    assert caught.value.table == TABLE
    assert caught.value.fields["package"].startswith("no_such_package")
    assert isinstance(caught.value, ImportError)


@pytest.mark.parametrize(
    "raised",
    [
        StorageError("the reason", path="mods/x", errno=5),
        ThrottledError("the »reason«\nin two lines", url=f"{TABLE}/1", path="mods/x", status=503, code="SlowDown"),
        AccessDeniedError("the reason", table=f"{TABLE}/1"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_an_error_of_the_store_is_one_after_the_last_attempt(spark, raised):
    def work(part: int) -> int:
        raise raised

    with pytest.raises(type(raised)) as caught:
        SparkExecutor(spark, TABLE).map(work, range(2), step="find rows")
    assert type(caught.value) is type(raised)
    assert caught.value.fields == {"table": TABLE, **raised.fields}
    assert caught.value.retryable is raised.retryable
    assert caught.value.message == (
        f"{TABLE}: find rows failed in a Spark task, after Spark's own retries: {raised.message}; nothing was committed"
    )


def test_another_failure_is_named_with_its_reason(spark):
    def work(part: int) -> int:
        raise ValueError("the reason")

    with pytest.raises(TaskError, match="the reason") as caught:
        SparkExecutor(spark, TABLE).map(work, range(2), step="find rows")
    assert (caught.value.table, caught.value.step, caught.value.retryable) == (TABLE, "find rows", False)
    assert "nothing was committed" in caught.value.message
    assert "Traceback" not in caught.value.message


def test_a_frame_that_fails_leaves_the_table_as_it_was(spark, tmp_path):
    from pyspark.sql import functions as F

    @F.udf("bigint")
    def broken(value):
        if value == 9:
            raise ValueError(f"no {value} here")
        return value

    table = create(tmp_path / "t", data=table_of(simple_rows(0, 3, 1), SIMPLE), settings=TASKS)
    frame = in_partitions(spark, table_of(simple_rows(), SIMPLE)).withColumn("id", broken("id"))
    with pytest.raises(TaskError, match="no 9 here") as caught:
        table.apply(frame)
    assert (caught.value.table, caught.value.step) == (table.url, "write mods")
    assert table.version == 0
    assert table.verify().ok
    with pytest.raises(TaskError, match="no 9 here") as caught:
        create(tmp_path / "u", data=frame, settings=TASKS)
    assert caught.value.step == "load rows"
    assert not list((tmp_path / "u").rglob("*.json"))


def test_messages_of_spark_are_read_for_what_is_missing():
    text = "Job aborted\n  File x\nModuleNotFoundError: No module named 'polars'\n"
    error = task_error(RuntimeError(text), "write mods", TABLE)
    assert isinstance(error, MissingPackageError)
    assert error.package == "polars"
    text = "x\nImportError: PyArrow >= 18.0.0 must be installed; however, it was not found.\n"
    error = task_error(RuntimeError(text), "write mods", TABLE)
    assert isinstance(error, MissingPackageError)
    assert "PyArrow" in str(error)
    assert missing_package("andes_spark", TABLE).package == "andes_spark"
    assert isinstance(task_error(RuntimeError("java.lang.OutOfMemoryError: heap"), "x", TABLE), TaskError)


@pytest.mark.parametrize(
    "changed",
    [
        lambda line: line[:-20],
        lambda line: line.replace("ThrottledError", "NewError"),
        lambda line: line.replace("ThrottledError", "annotations"),
        lambda line: line.replace("status", "new_field"),
    ],
    ids=["cut", "unknown class", "no class", "unknown field"],
)
def test_a_note_that_cannot_be_read_is_a_task_error(changed):
    """Of executors with another release, or cut off by a server."""
    raised = ThrottledError("the reason", status=503)
    note(raised)
    (line,) = raised.__notes__
    text = "Job aborted\nTraceback (most recent call last):\n  File x\nandes_spark.errors.ThrottledError: the reason\n"
    assert type(task_error(RuntimeError(f"{text}{line}\n\tat org.apache"), "x", TABLE)) is ThrottledError
    error = task_error(RuntimeError(f"{text}{changed(line)}\n\tat org.apache"), "x", TABLE)
    assert (type(error), error.retryable) == (TaskError, False)
    assert "ThrottledError: the reason" in str(error)


def run_script(name: str, *arguments: Any, timeout: int = 240, **environment: str) -> dict[str, Any]:
    """Run a script of this folder, which starts a Spark of its own; gives the JSON of its last line."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).parent / name), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert process.returncode == 0, f"{process.stdout[-2000:]}\n{process.stderr[-6000:]}"
    report: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return report


@pytest.mark.slow
@pytest.mark.spark
def test_executors_without_our_packages_are_one_clear_error(tmp_path):
    """Workers run a bare Python of the same version: pyspark comes with Spark, all else is missing."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    outcomes = run_script("bare_executors.py", JARS, tmp_path / "t", tmp_path / "bare" / "bin" / "python")
    for outcome in outcomes.values():
        assert outcome["error"] == "MissingPackageError", outcomes
        assert outcome["package"], outcomes
        assert "spark.archives" in outcome["message"], outcomes
    assert outcomes["apply"]["version"] == 0


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.spark
def test_a_cluster_of_two_workers_one_of_which_dies(tmp_path):
    report = run_script("cluster.py", JARS, tmp_path)
    assert report["workers"] == 2
    assert report["executor_killed"]
    assert report["upserts"] == 4000
    assert report["orphans"] > 0, "the attempt that died had written files, which no manifest names"
    assert report["merged_in_tasks"]
    assert report["attempts"] > report["tasks"]
    assert report["rows"] == report["expected"]
    assert report["fresh"] == report["expected"]
    assert report["problems"] == []
    assert report["failed"]["error"] == "TaskError"
    assert report["failed"]["version"] == report["version"]


@pytest.mark.slow
@pytest.mark.spark
def test_speculation_and_dynamic_allocation_change_no_row(tmp_path):
    observed = run_script("speculation.py", JARS, tmp_path)
    assert observed["attempted_twice"], "no task was attempted a second time"
    assert observed["executors"] > 0
    assert observed["released"]
    assert observed["upserts"] == 4000
    assert observed["merged_in_tasks"]
    assert (observed["fresh"], observed["rows"], observed["problems"]) == (True, True, [])
