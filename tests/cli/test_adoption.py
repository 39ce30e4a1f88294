"""``andes table convert``, ``clone`` and ``drop``: dry runs change nothing, errors speak of flags and commands."""

from __future__ import annotations

import json
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.table.mod_table import ModTable

ROWS = pa.table({"id": [1, 2], "seq": [1, 1], "v": ["a", "b"]})


@pytest.fixture
def bills(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    deltalake.write_deltalake("bills", ROWS)
    return Path("bills")


def run(*arguments: str, code: int = 0):
    outcome = CliRunner().invoke(andes, ["table", *arguments])
    assert outcome.exit_code == code, outcome.output
    return outcome


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_delta_table_is_converted(bills):
    before = files(bills)
    command = ["convert", "bills", "--primary-key", "id", "--sequence-by", "seq", "--merge", "manual"]
    message = json.loads(run(*command, "--dry-run", "--output", "json").stdout)
    assert files(bills) == before
    report = json.loads(run(*command, "--output", "json").stdout)
    assert message == {**report, "dry_run": True}
    assert (report["version"], report["delta_version"], report["rows"]) == (0, 1, 2)
    assert report["schema"] == "id BIGINT NOT NULL, seq BIGINT NOT NULL, v STRING"
    assert "convert" in run("history", "bills").stdout
    assert ModTable.open("bills").to_arrow().num_rows == 2
    assert "there is a table here already" in run(*command, code=1).stderr


def test_errors_name_commands_and_flags(bills):
    for command in (["open", "status"], ["create", "create", "--primary-key", "id", "--schema", "id BIGINT"]):
        assert "andes table convert" in " ".join(run(command[1], "bills", *command[2:], code=1).stderr.split())
    before = files(bills)
    for options, code, message in (
        (["--primary-key", "v", "--sequence-by", "v"], 2, "--text-sequence"),
        (["--primary-key", "seq"], 1, "share the keys"),
        (["--primary-key", "id", "--partitions", "p STRING"], 2, "is for Parquet files"),
        ([], 2, "--primary-key"),
    ):
        assert message in run("convert", "bills", *options, code=code).stderr
    assert files(bills) == before


def test_a_folder_of_parquet_files_is_converted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lake/region=eu").mkdir(parents=True)
    pq.write_table(ROWS, "lake/region=eu/a.parquet")
    failed = run("convert", "lake", "--primary-key", "id", code=2)
    assert '--partitions "region STRING"' in failed.stderr
    outcome = run("convert", "lake", "--primary-key", "id", "--partitions", "region STRING", "--output", "json")
    assert json.loads(outcome.stdout)["schema"].endswith("region STRING")


def test_a_table_is_cloned_and_dropped(bills):
    run("convert", "bills", "--primary-key", "id")
    message = json.loads(run("clone", "bills", "copy", "--dry-run", "--output", "json").stdout)
    assert not Path("copy").exists()
    report = json.loads(run("clone", "bills", "copy", "--version", "0", "--output", "json").stdout)
    assert message == {**report, "dry_run": True}
    assert report["rows"] == ModTable.open("copy").to_arrow().num_rows == 2
    assert "neither folder may be within the other" in run("clone", "bills", "bills/copy", code=2).stderr
    before = files(Path("copy"))
    assert "--confirm" in run("drop", "copy", code=2).stderr
    assert 'confirm="copy"' in run("drop", "copy", "--confirm", "bills", code=2).stderr
    assert "would be dropped by version 1" in run("drop", "copy", "--confirm", "copy", "--dry-run").stdout
    assert files(Path("copy")) == before
    assert "was dropped by version 1" in run("drop", "copy", "--confirm", "copy").stdout
    assert files(Path("copy")) == {}
    assert ModTable.open("bills").verify().ok
