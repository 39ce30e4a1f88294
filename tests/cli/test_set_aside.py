"""``andes table set-aside``: a dry run changes nothing, and a repeat is no error."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, rows


@pytest.fixture
def orders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = create("orders")
    table.apply(rows((1, 1, "x"), (2, 1, "y")))
    return table


def run(*arguments: str, code: int = 0):
    result = CliRunner().invoke(andes, ["table", "set-aside", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_version_is_set_aside(orders):
    would = run("orders", "1", "--dry-run")
    assert "version 1 would be set aside by version 2: 2 mods" in would.stdout
    assert ModTable.open("orders").version == 1
    report = json.loads(run("orders", "1", "--output", "json").stdout)
    assert report == {"version": 1, "committed": 2, "mods": 2, "repeated": False, "dry_run": False}
    assert ModTable.open("orders").to_arrow().num_rows == 0
    assert "nothing to do: version 1 was set aside by version 2" in run("orders", "1").stdout
    shown = CliRunner().invoke(andes, ["table", "manifest", "orders", "--version", "2"])
    assert "set_aside" in shown.output


def test_a_merged_version_is_refused(orders):
    orders.merge()
    for arguments in (("orders", "1"), ("orders", "1", "--dry-run")):
        assert "is merged" in run(*arguments, code=2).stderr
    assert "does not exist" in run("orders", "7", code=1).stderr
