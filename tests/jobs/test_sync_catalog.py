"""The job that shows tables in Glue: its arguments, its configuration, and its exit codes."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import pytest

from andes_spark.errors import OptionError, StoreUnavailableError
from andes_spark.jobs.sync_catalog import parse, run

ROOT = Path(__file__).parent.parent.parent


def test_arguments_and_a_configuration_say_the_same(tmp_path):
    access = ["--storage-option", "aws_region=eu-west-1", "--storage-option", "aws_endpoint=https://s3.example.com?a=b"]
    job = parse(
        ["sales.orders=s3://lake/orders", "sales.items=s3://lake/a=b", "--freshness", "1 hour", "--adopt", *access]
    )
    assert job.tables == ("sales.orders=s3://lake/orders", "sales.items=s3://lake/a=b")
    assert (job.freshness, job.adopt, job.dry_run, job.as_) == (datetime.timedelta(hours=1), True, False, "delta")
    assert job.storage_options == {"aws_region": "eu-west-1", "aws_endpoint": "https://s3.example.com?a=b"}
    file = tmp_path / "job.yaml"
    file.write_text(
        "tables: [sales.orders=s3://lake/orders, sales.items=s3://lake/a=b]\nfreshness: 1 hour\nadopt: true\n"
        "storage_options: {aws_region: eu-west-1, aws_endpoint: 'https://s3.example.com?a=b'}\n"
    )
    assert parse(["--config", str(file)]) == job
    assert parse(["--config", str(file), "--as", "both"]).as_ == "both"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "options missing: tables"),
        (["sales.orders"], "'sales.orders' is not DB.TABLE=FOLDER"),
        (["=s3://lake/orders"], "is not DB.TABLE=FOLDER"),
        (["a.b=x", "a.c=y", "--as", "both", "--iceberg-name", "a.d"], "iceberg_name is for one table"),
        (["a.b=x", "--storage-option", "aws_region"], "--storage-option takes KEY=VALUE"),
        (["a.b=x", "--as", "hive"], "as_ is"),
    ],
)
def test_wrong_arguments_are_usage_errors(capsys, arguments, problem):
    with pytest.raises(SystemExit) as stopped:
        parse(arguments)
    assert stopped.value.code == 2
    assert problem in capsys.readouterr().err


def test_a_wrong_configuration_is_named(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("tables: [a.b=x]\nendpiont: x\n")
    with pytest.raises(OptionError, match="did you mean 'endpoint'"):
        parse(["--config", str(file)])


def test_the_exit_code_says_whether_to_try_again(tmp_path, monkeypatch):
    lines: list[str] = []
    assert run(parse([f"a.b={tmp_path / 'none'}"]), lines.append) == 1

    def unavailable(*arguments, **options):
        raise StoreUnavailableError("does not answer")

    with monkeypatch.context() as planted:
        planted.setattr("andes_spark.jobs.sync_catalog.ModTable.open", unavailable)
        assert run(parse(["a.b=x", "a.c=y"]), lines.append) == 75
    assert lines[1:] == [f"a.{name}: StoreUnavailableError: does not answer" for name in "bc"]


def test_the_program_ends_with_the_code():
    process = subprocess.run(
        [sys.executable, "jobs/sync_catalog.py", "a.b=nowhere"], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (1, "")
    assert "NoSuchTableError" in process.stdout
