"""``andes table tag``, ``untag`` and ``tags``: dry runs change nothing, repeats are no errors."""

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
    table.apply(rows((2, 1, "y")))
    return table


def run(*arguments: str, code: int = 0):
    outcome = CliRunner().invoke(andes, ["table", *arguments])
    assert outcome.exit_code == code, outcome.output
    return outcome


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_version_is_tagged_read_and_untagged(orders):
    assert (
        "version 1 would be tagged first by version 3"
        in run("tag", "orders", "first", "--version", "1", "--dry-run").stdout
    )
    assert orders.version == 2
    report = json.loads(run("tag", "orders", "first", "--version", "1", "--output", "json").stdout)
    assert report == {
        "name": "first", "version": 1, "committed": 3, "expires": None, "repeated": False, "dry_run": False,
    }  # fmt: skip
    assert "nothing to do: version 1 was tagged first before" in run("tag", "orders", "first", "--version", "1").stdout
    for command in (["read", "orders"], ["get", "orders", "2", "1"]):
        (row,) = run(*command, "--tag", "first", "--output", "json").stdout.splitlines()
        assert json.loads(row)["id"] == 1
    run("quarantined", "orders", "--tag", "first")
    shown = run("history", "orders").stdout
    assert "tag first on version 1" in shown
    assert "tag first would be removed by version 4" in run("untag", "orders", "first", "--dry-run").stdout
    assert "tag first was removed by version 4" in run("untag", "orders", "first").stdout
    assert "nothing to do: there is no tag first" in run("untag", "orders", "first", "--if-exists").stdout
    assert orders.version == 4


def test_tags_are_listed(orders):
    assert "the table has no tags" in run("tags", "orders").stderr
    assert run("tags", "orders", "--output", "json").stdout == ""
    run("tag", "orders", "b", "--expires", "2999-01-01T00:00:00Z")
    run("tag", "orders", "a", "--version", "1")
    lines = [json.loads(line) for line in run("tags", "orders", "--output", "json").stdout.splitlines()]
    assert lines == [
        {"name": "a", "version": 1, "committed": 4, "expires": None},
        {"name": "b", "version": 2, "committed": 3, "expires": "2999-01-01T00:00:00Z"},
    ]
    text = run("tags", "orders").stdout
    assert words(text.splitlines()[0]) == "tag version expires tagged by"
    assert "2999-01-01 00:00:00 UTC" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "orders", "taken", "--version", "2"], "stands for version 1, by version 3; --replace changes it"),
        (["tag", "orders", "7"], "name is a name of 1 to 100 letters"),
        (["tag", "orders", "x", "--expires", "soon"], "expires is a duration such as"),
        (["tag", "orders", "x", "--expires", "2999-01-01"], "has no zone"),
        (["untag", "orders", "take"], "did you mean taken?"),
        (["read", "orders", "--tag", "take"], "did you mean taken?"),
        (["read", "orders", "--tag", "taken", "--version", "1"], "version and tag are given"),
        (["get", "orders", "1", "--tag", "zzz"], "tags are taken"),
    ],
)
def test_wrong_usage(orders, arguments, message):
    orders.tag("taken", 1)
    assert message in words(run(*arguments, code=2).stderr)
    if arguments[0] in ("tag", "untag"):
        assert message in words(run(*arguments, "--dry-run", code=2).stderr)
    assert orders.version == 3


def test_a_tag_is_moved(orders):
    orders.tag("x", 1)
    assert "version 2 was tagged x by version 4" in run("tag", "orders", "x", "--replace").stdout
    assert orders.to_arrow(tag="x").num_rows == 2
