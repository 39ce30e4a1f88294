"""The examination of a machine: every check of a good one passes, and what is wrong is named with its remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.doctor import session_checks, table_checks
from andes_spark.doctor.examine import STORE, TABLES, examine
from andes_spark.errors import MissingPackageError
from andes_spark.spark import facts
from andes_spark.spark.facts import Worker

EVERY = ["Python", "packages", "session", "Java", "executors", *STORE, *TABLES, "Spark and Delta", "clean up"]


def no_session() -> Any:
    raise MissingPackageError("pyspark is not installed here", package="pyspark")


def test_without_spark_the_store_is_checked(tmp_path: Path) -> None:
    steps: list[str] = []
    report = examine(str(tmp_path), session=no_session, progress=steps.append)
    assert {check.name: check.status for check in report.checks} == {
        **dict.fromkeys(("Python", "packages", *STORE, "clean up"), "ok"),
        "session": "failed",
        **dict.fromkeys(TABLES, "skipped"),
    }
    assert steps == ["Python", "packages", "session", *STORE, "clean up"]
    assert not report.ok
    assert report.summary() == "1 check failed: session"
    assert "failed: pyspark is not installed here" in str(report)
    assert list(tmp_path.iterdir()) == []


def test_a_good_machine_passes(spark: Any, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(andes, ["doctor", "--scratch", str(tmp_path), "--output", "json"])
    report = json.loads(outcome.stdout)
    assert outcome.exit_code == 0, outcome.output
    assert report["ok"]
    assert {
        check["name"]: (check["status"], check["detail"]) for check in report["checks"] if check["status"] != "ok"
    } == {}
    details = {check["name"]: check["detail"] for check in report["checks"]}
    assert list(details) == EVERY
    assert details["Spark to andes_spark"] == "990 rows, 1 deletion vector file"
    assert details["andes_spark to Spark"] == "990 rows, 1 deletion vector file; 15 pending mods"
    assert details["Spark and Delta"].startswith(f"Spark {spark.version} with Delta ")
    assert list(tmp_path.iterdir()) == []


def test_wrong_rows_are_found(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As without Delta's extension, where Spark shows rows that deletion vectors delete.
    monkeypatch.setattr(table_checks, "ids", lambda frame: list(range(1000)))
    report = examine(str(tmp_path), session=lambda: spark)
    failed = {check.name: check.detail for check in report.checks if check.status == "failed"}
    assert sorted(failed) == sorted(("andes_spark to Spark", "work in tasks"))
    assert "Spark reads 1000 rows where 990 are expected, 10 of them others" in failed["andes_spark to Spark"]


def test_a_cluster_needs_a_folder_that_all_machines_reach(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_checks, "is_local", lambda spark: False)
    report = examine(session=lambda: spark)
    skipped = {check.name for check in report.checks if check.status == "skipped"}
    assert (skipped, report.ok) == ({*STORE, *TABLES}, True)
    assert "give --scratch" in report.checks[-1].detail


def test_executors_with_other_packages_are_named(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = facts.driver()
    other = Worker("node-7", driver.python, {**driver.packages, "polars": "1.0.0"})
    lacking = Worker("node-8", driver.python, {**driver.packages, "pyarrow": "", "obstore": ""})
    monkeypatch.setattr(facts, "workers", lambda executor, tasks: [other])
    assert session_checks.executors(spark).detail == "node-7 has polars 1.0.0"
    monkeypatch.setattr(facts, "workers", lambda executor, tasks: [lacking])
    finding = session_checks.executors(spark)
    assert (finding.status, finding.detail.partition(":")[0]) == ("failed", "node-8 lacks obstore, pyarrow")


def test_pairs_and_java_that_were_not_tested_are_warnings(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert session_checks.pair(spark, "9.9.0").status == "warning"
    monkeypatch.setattr(facts, "java_version", lambda spark: "11.0.22")
    assert session_checks.java(spark).status == "warning"
