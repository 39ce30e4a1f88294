"""``--timestamp``: reads of old versions by time on the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, rows


@pytest.fixture
def orders(tmp_path, monkeypatch) -> ModTable:
    monkeypatch.chdir(tmp_path)
    table = create("orders")
    table.apply(rows((1, 1, "x")))
    table._open_table.log.clock = lambda: table.manifest(1).time + 1_000
    table.apply(rows((2, 1, "y"), (0, 1, "z")))
    return table


def run(*arguments: str, code: int = 0):
    outcome = CliRunner().invoke(andes, ["table", *arguments])
    assert outcome.exit_code == code, outcome.output
    return outcome


def test_a_table_is_read_as_of_a_time(orders):
    then = orders.history()[1].time.isoformat()
    for command in (["read", "orders"], ["get", "orders", "2", "1"]):
        (row,) = run(*command, "--timestamp", then, "--output", "json").stdout.splitlines()
        assert json.loads(row) == {"id": 1, "lsn": 1, "a": "x"}
    assert run("quarantined", "orders", "--timestamp", then, "--output", "json").stdout == ""


def test_what_history_prints_can_be_given(orders):
    printed = json.loads(run("history", "orders", "--output", "json").stdout.splitlines()[1])["time"]
    assert len(run("read", "orders", "--timestamp", printed, "--output", "json").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("timestamp", "message"),
    [("2026-11-01", "has no zone"), ("soon", "ISO 8601"), ("2999-01-01T00:00Z", "after version 2, the newest")],
)
def test_wrong_times_are_wrong_usage(orders, timestamp, message):
    for command in (["read", "orders"], ["get", "orders", "1"], ["quarantined", "orders"]):
        assert message in " ".join(run(*command, "--timestamp", timestamp, code=2).stderr.split())


def test_a_time_before_the_table_is_a_failure(orders):
    assert "did not exist yet" in run("read", "orders", "--timestamp", "1999-01-01T00:00Z", code=1).stderr


def test_a_version_and_a_time_contradict(orders):
    stderr = run("read", "orders", "--timestamp", "2999-01-01T00:00Z", "--version", "1", code=2).stderr
    assert "version and timestamp are given" in " ".join(stderr.split())
