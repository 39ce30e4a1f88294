"""``andes table changes``: rows with what became of them, as text and as JSON lines."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from andes_spark.cli.app import andes
from andes_spark.testing.tables import create, rows


@pytest.fixture(autouse=True)
def orders(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = create("orders")
    table.apply(rows((1, 1, "x"), (2, 1, "y")))
    table.apply(rows((2, 2, "z")))
    table.apply(rows((1, 3, "")), apply_as_deletes="true")
    table.tag("first", 1)


def run(*arguments: str, code: int = 0) -> Result:
    outcome = CliRunner().invoke(andes, ["table", "changes", "orders", *arguments])
    assert outcome.exit_code == code, outcome.output
    return outcome


def test_changes_as_json_lines() -> None:
    out = run("--from-tag", "first", "--to-version", "3", "--before-images", "--output", "json").stdout
    changes = [json.loads(line) for line in out.splitlines()]
    assert [(row["_change_type"], row["id"], row["a"]) for row in changes] == [
        ("delete", 1, "x"),
        ("update_preimage", 2, "y"),
        ("update_postimage", 2, "z"),
    ]
    assert {row["_commit_version"] for row in changes} == {3}
    assert all(row["_commit_timestamp"].endswith("Z") for row in changes)


def test_changes_as_text() -> None:
    text = run("--from-version", "1", "--columns", "id").stdout
    assert "delete" in text
    assert "update_postimage" in text
    assert "lsn" not in text
    assert run("--from-version", "4").stdout.strip().count("\n") <= 1
    more = run("--from-version", "0", "--limit", "1")
    assert "update_postimage" not in more.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        ((), 2, "by --from-version, --from-timestamp or --from-tag"),
        (("--from-version", "1", "--from-tag", "first"), 2, "--from-version and --from-tag are given"),
        (("--from-version", "3", "--to-version", "1"), 2, "end with version 1, which is before it"),
        (("--from-version", "9"), 1, "version 9 does not exist"),
    ],
)
def test_wrong_options(arguments: tuple[str, ...], code: int, match: str) -> None:
    assert match in " ".join(run(*arguments, code=code).stderr.split())
