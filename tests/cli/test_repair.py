"""``andes table repair``: what another writer did to the base, on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from andes_spark import ModTable
from andes_spark.cli.app import andes
from andes_spark.storage.open import open_storage
from tests.table.test_foreign_writes import foreign_commit, removal, rows


@pytest.fixture
def url(tmp_path: Any) -> str:
    table = ModTable.create(tmp_path / "t", "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"])
    table.apply(rows((1, 1), (2, 1)))
    storage: Any = open_storage(table.url)
    foreign_commit(storage, "DELETE", *removal(storage))
    return table.url


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(andes, ["table", "repair", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_choice_is_asked_for_in_the_words_of_the_command_line(url: str) -> None:
    message = run(url, code=2).stderr
    assert "changed rows: 2 rows removed. Stop that writer" in " ".join(message.split())
    for choice in ("take_in", "undo"):
        assert f"andes table repair TABLE --foreign {choice}" in " ".join(message.split())
    error = json.loads(run(url, "--output", "json", code=2).stderr)
    assert (error["error"], error["option"]) == ("OptionError", "foreign")
    shown = CliRunner().invoke(andes, ["table", "status", url])
    assert "andes table repair TABLE --foreign undo" in " ".join(shown.stderr.split())


def test_a_dry_run_says_what_would_be_done(url: str) -> None:
    dry = json.loads(run(url, "--dry-run", "--output", "json").stdout)
    assert (dry["dry_run"], dry["committed"], len(dry["findings"])) == (True, None, 1)
    assert "would be done" in run(url, "--dry-run", "--foreign", "undo").stdout
    assert ModTable.open(url).status().stopped is not None


@pytest.mark.parametrize(("choice", "count"), [("take_in", 0), ("undo", 2)])
def test_a_change_is_repaired(url: str, choice: str, count: int) -> None:
    report = json.loads(run(url, "--foreign", choice, "--output", "json").stdout)
    assert (report["dry_run"], report["committed"] is None) == (False, choice == "undo")
    assert ModTable.open(url).to_arrow().num_rows == count
    assert json.loads(run(url, "--output", "json").stdout)["findings"] == []
    assert CliRunner().invoke(andes, ["table", "verify", url]).exit_code == 0
