"""``andes table vacuum`` and other upkeep: a dry run changes nothing, and says what would be deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, rows


@pytest.fixture
def orders(tmp_path, monkeypatch) -> ModTable:
    monkeypatch.chdir(tmp_path)
    table = create("orders")
    for seq in (1, 2, 3):
        table.apply(rows((1, seq, "x"), (seq + 1, seq, "y")))
    table.merge()
    table.tag("first", 1)
    return table


def run(*arguments: str, code: int = 0):
    outcome = CliRunner().invoke(andes, ["table", *arguments])
    assert outcome.exit_code == code, outcome.output
    return outcome


def test_a_vacuum(orders):
    before = {path for path in Path("orders").rglob("*") if path.is_file()}
    assert "there is nothing to delete" in run("vacuum", "orders").stdout
    shown = run("vacuum", "orders", "--retain", "0 seconds", "--dry-run").stdout
    assert "would be deleted; versions from 4 on can be read" in shown
    assert "version 1: tag first" in shown
    assert before == {path for path in Path("orders").rglob("*") if path.is_file()}
    report = json.loads(run("vacuum", "orders", "--retain", "0 seconds", "--output", "json").stdout)
    assert (report["version"], report["floor"], report["dry_run"]) == (5, 4, False)
    assert report["files"] == sum(report["kinds"].values()) > 0
    assert "can no longer be read" in run("read", "orders", "--version", "2", code=1).stderr.replace("\n", " ")
    run("read", "orders", "--tag", "first")
    assert "versions below 4 are no longer kept" in run("history", "orders").stdout
    run("verify", "orders")


def test_pins(orders):
    assert "no version is pinned" in run("pins", "orders").stderr
    assert "version 2 would be kept until" in run("pin", "orders", "2", "--days", "3", "--dry-run").stdout
    assert run("pins", "orders", "--output", "json").stdout == ""
    assert "version 2 is kept until" in run("pin", "orders", "2", "--days", "3").stdout
    assert json.loads(run("pin", "orders", "--output", "json").stdout)["version"] == 4
    (first, second) = run("pins", "orders", "--output", "json").stdout.splitlines()
    assert (json.loads(first)["version"], json.loads(second)["pins"]) == (2, 1)
    run("vacuum", "orders", "--retain", "0 seconds")
    run("read", "orders", "--version", "2")
    assert "1 pin of version 2 would be removed" in run("unpin", "orders", "2", "--dry-run").stdout
    run("read", "orders", "--version", "2")
    assert "1 pin of version 2 was removed" in run("unpin", "orders", "2").stdout
    run("read", "orders", "--version", "2", code=1)


def test_maintenance(orders):
    dry = json.loads(run("maintain", "orders", "--retain", "0 seconds", "--dry-run", "--output", "json").stdout)
    assert (dry["dry_run"], dry["merge"], dry["vacuum"]["files"] > 0) == (True, None, True)
    assert "there is nothing to compact" in run("compact", "orders").stdout
    report = json.loads(run("maintain", "orders", "--retain", "0 seconds", "--output", "json").stdout)
    assert (report["left"], report["vacuum"]["version"]) == ([], 5)
    assert "were deleted" not in run("maintain", "orders", "--max-seconds", "0").stdout
    shown = run("status", "orders", "--files").stdout
    assert "version 1: tag first" in shown
    assert "orphans" in shown
    assert "max_bytes" in run("compact", "orders", "--max-bytes", "x", code=2).stderr.replace("-", "_")


def test_a_retention_that_is_none(orders):
    assert "retain" in run("vacuum", "orders", "--retain", "soon", code=2).stderr


def test_forgetting(orders):
    before = {path: path.read_bytes() for path in Path("orders").rglob("*") if path.is_file()}
    dry = json.loads(run("forget", "orders", "3", "--dry-run", "--output", "json").stdout)
    assert (dry["ok"], dry["dry_run"], dry["in_the_way"]) == (False, True, ["tag first on version 1"])
    assert {mention["what"] for mention in dry["before"]} == {"rows", "range"}
    assert before == {path: path.read_bytes() for path in Path("orders").rglob("*") if path.is_file()}
    assert "--confirm" in run("forget", "orders", "3", code=2).stderr.replace("confirm=", "--confirm")
    refused = run("forget", "orders", "3", "--confirm", "orders", code=2).stderr.replace("\n", " ")
    assert "kept by tag first on version 1" in refused
    run("untag", "orders", "first")
    shown = run("forget", "orders", "3", "--confirm", "orders").stdout
    assert "1 key forgotten: 1 row," in shown
    assert "nothing was found" in shown
    assert "no row has such a key" in run("get", "orders", "3").stderr
    assert "nothing in the table names them" in run("forget", "orders", "3", "--confirm", "orders").stdout
    report = json.loads(
        run("forget", "orders", "--condition", "a = 'y'", "--confirm", "orders", "--output", "json").stdout
    )
    assert (report["ok"], report["keys"], report["rows"]) == (True, 2, 2)
    assert all(len(rewritten["sha256"]) == 64 for rewritten in report["rewritten"])
    run("verify", "orders")


def test_an_expire(orders):
    shown = json.loads(run("expire", "orders", "--up-to", "2", "--dry-run", "--output", "json").stdout)
    assert (shown["version"], shown["sequence"], shown["cut"]) == (None, [2], None)
    assert "deletes and truncates up to 2 are forgotten by version 5" in run("expire", "orders", "--up-to", "2").stdout
    assert "the cut is at 2" in run("expire", "orders", "--up-to", "1").stdout
    assert "the cut is at 2" in run("expire", "orders", "--older-than", "60 days").stdout
    assert "there is nothing to expire" in run("expire", "orders").stdout
    wrong = run("expire", "orders", "--up-to", "x", code=2).stderr.replace("\n", " ")
    assert "up_to is a value of the sequence columns" in wrong
    assert "older_than" in run("expire", "orders", "--older-than", "soon", code=2).stderr
    Path("late.jsonl").write_text('{"id": 1, "lsn": 1, "a": "late"}\n{"id": 9, "lsn": 2, "a": "late"}\n')
    run("apply", "orders", "late.jsonl")
    assert "expired" in run("quarantined", "orders").stdout
    run("apply", "orders", "late.jsonl", "--backfill", "--merge")
    assert "late" in run("get", "orders", "9").stdout
    assert "late" not in run("get", "orders", "1").stdout
    run("verify", "orders")
