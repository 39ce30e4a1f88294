"""The main job by spark-submit, on the captured feed: equal to PostgreSQL's table, and told when it is not."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from andes_spark.errors import OptionError
from andes_spark.jobs.apply_changes import parse, run
from andes_spark.spark.jars import delta_jars

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "tests" / "data"


def submit(jars_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    jars = ",".join(str(path) for path in delta_jars(cache_dir=jars_dir))
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
    }
    confs = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    program = Path(sys.executable).parent / "spark-submit"
    return subprocess.run(
        [str(program), "--master", "local[2]", "--jars", jars, *confs, "jobs/apply_changes.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_the_job_says_whether_it_ends_equal_to_postgresql(spark, jars_dir: Path, tmp_path: Path) -> None:
    common = [
        str(tmp_path / "customers"),
        str(DATA / "orders.wal2json.jsonl.xz"),
        *("--feed-table", "public.customers", "--primary-key", "region", "--primary-key", "code"),
        *("--changes-per-batch", "100"),
    ]
    right = DATA / "customers.final.parquet"
    final = pq.read_table(right)
    wrong = final.set_column(
        final.schema.get_field_index("name"), final.schema.field("name"), pa.array(["changed"] * final.num_rows)
    )
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    process = submit(jars_dir, *common, "--compare-with", str(tmp_path / "wrong.parquet"))
    assert process.returncode == 1, process.stderr[-2000:]
    assert "applied before" not in process.stdout
    assert "NOT EQUAL" in process.stdout

    # Again, in a session that is there: another one takes as long as all else.
    output = io.StringIO()
    assert run(parse([*common, "--compare-with", str(right)]), spark, Console(file=output, width=150))
    shown = output.getvalue()
    assert "applied before" in shown
    assert "NOT EQUAL" not in shown
    assert "EQUAL: all 63 rows" in shown


def test_arguments() -> None:
    job = parse(["t", "a.jsonl", "--feed-table", "public.t", "--primary-key", "id"])
    assert (job.source, job.primary_key, job.changes_per_batch) == (None, ("id",), 5000)
    job = parse(
        ["t", "a", "--feed-table", "t", "--primary-key", "a", "--primary-key", "b,c", "--changes-per-batch", "7"]
    )
    assert (job.primary_key, job.changes_per_batch) == (("a", "b", "c"), 7)


def test_options_come_from_yaml_and_arguments_go_before_it(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "table: t\nfeeds: [a.jsonl, b.jsonl]\nfeed_table: public.t\nprimary_key: id\nchanges_per_batch: 9\n"
    )
    job = parse(["--config", str(file)])
    assert (job.table, job.feeds, job.primary_key, job.changes_per_batch) == ("t", ("a.jsonl", "b.jsonl"), ("id",), 9)
    assert parse(["--config", str(file), "--changes-per-batch", "3"]).changes_per_batch == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tabel: t\n", r"unknown options 'tabel'; did you mean 'table'\?"),
        ("table: t\n", "options missing: feeds, feed_table, primary_key"),
        ("table: 7\nfeeds: a\nfeed_table: b\nprimary_key: c\n", "table is a name, and 7 was given"),
        ("- table\n", "no mapping"),
        ("table: [\n", "cannot be read as YAML"),
    ],
)
def test_what_a_configuration_gets_wrong_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(OptionError, match=why):
        parse(["--config", str(file)])


def test_a_missing_argument_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(["t"])
    assert stopped.value.code == 2
    assert "options missing: feeds, feed_table, primary_key" in capsys.readouterr().err
