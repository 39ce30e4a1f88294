"""``andes table get``: keys on the command line, of one column and of several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.table.mod_table import ModTable


def get(*arguments: str) -> tuple[list[Any], str]:
    """Rows as JSON, and stderr."""
    outcome = CliRunner().invoke(andes, ["table", "get", "--output", "json", *arguments])
    assert outcome.exit_code == 0, outcome.output
    return [json.loads(line) for line in outcome.stdout.splitlines()], outcome.stderr


def refused(*arguments: str) -> str:
    outcome = CliRunner().invoke(andes, ["table", "get", *arguments])
    assert outcome.exit_code == 2, outcome.output
    return " ".join(outcome.stderr.split())


def table_of(ddl: str, key: str, rows: list[dict[str, Any]]) -> None:
    table = ModTable.create("t", ddl, primary_key=key.split(","), sequence_by="lsn", merge="manual")
    table.apply(pa.Table.from_pylist([{**row, "lsn": 1} for row in rows], table.schema.to_arrow()))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_keys_of_one_column() -> None:
    table_of("id bigint, lsn bigint, v string", "id", [{"id": 1, "v": "a"}, {"id": -2, "v": None}])
    assert get("t", "1", "--columns", "v") == ([{"v": "a"}], "")
    assert [row["id"] for row in get("t", "--", "-2", "1", "3", "[1]", '{"id": 1}')[0]] == [-2, 1]
    assert get("t", "7") == ([], "no row has such a key\n")
    assert get("t", "1", "--version", "0")[0] == []
    text = CliRunner().invoke(andes, ["table", "get", "t", "1"]).stdout
    assert text.splitlines()[0].split() == ["id", "lsn", "v"]


def test_all_rows_are_shown() -> None:
    table_of("id bigint, lsn bigint, v string", "id", [{"id": n, "v": "a"} for n in range(50)])
    outcome = CliRunner().invoke(andes, ["table", "get", "t", *map(str, range(50))])
    assert len(outcome.stdout.splitlines()) == 52
    assert outcome.stderr == ""


def test_text_is_itself_unless_it_is_quoted() -> None:
    keys = ["42", "q", "[x", "in", "null", "1.50", "true", '"']
    table_of("id string, lsn bigint", "id", [{"id": key} for key in keys])
    rows, _ = get("t", "42", '"q"', "[x", '["in"]', "null", "1.50", "true", '"')
    assert [row["id"] for row in rows] == keys


@pytest.mark.parametrize(
    ("ddl", "value", "texts"),
    [
        ("date", "2024-02-29", ["2024-02-29", '"2024-02-29"']),
        ("timestamp", "2024-02-29T12:00:00Z", ["2024-02-29T12:00:00Z", "2024-02-29T13:00:00+01:00"]),
        ("decimal(9,2)", "1.50", ["1.5", '"1.50"', "1.50"]),
        ("boolean", "true", ["true"]),
        ("binary", "AAE=", ["AAE=", '"AAE="']),
    ],
)
def test_the_forms_are_those_of_json_output(ddl: str, value: str, texts: list[str]) -> None:
    from andes_spark.inputs.keys import keys_of_texts
    from andes_spark.schema.schema import Schema

    [key] = keys_of_texts([value], Schema.from_ddl(f"id {ddl}"))["id"].to_pylist()
    table_of(f"id {ddl}, lsn bigint", "id", [{"id": key}])
    for text in texts:
        [row] = get("t", text)[0]
        assert row["id"] in (value, True)


def test_keys_of_several_columns() -> None:
    table_of("a string, b int, lsn bigint", "a,b", [{"a": "eu", "b": 7}, {"a": "us", "b": 1}])
    rows, _ = get("t", '{"b": 1, "a": "us"}', '["eu", 7]')
    assert [(row["a"], row["b"]) for row in rows] == [("us", 1), ("eu", 7)]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("eu", "a JSON array or object with a value for each"),
        ('["eu"]', "a JSON array or object"),
        ('["eu", 1, 2]', "a JSON array or object"),
        ('{"a": "eu"}', "a JSON array or object"),
        ('{"a": "eu", "b": 1, "c": 1}', "a JSON array or object"),
        ('["eu", "x"]', '"x" is no whole number'),
        ('["eu", 1.5]', "no whole number"),
        ('["eu", 1e3]', "no whole number"),
        ('["eu", null]', "'b' is NULL"),
    ],
)
def test_what_is_no_key_is_a_usage_error(key: str, message: str) -> None:
    table_of("a string, b int, lsn bigint", "a,b", [{"a": "eu", "b": 7}])
    assert message in refused("t", key)


def test_a_value_that_does_not_fit_is_a_usage_error() -> None:
    table_of("id bigint, lsn bigint", "id", [{"id": 1}])
    for key in ("x", "1.5", '"1"', "null", "[]", "[1, 2]", '{"lsn": 1}'):
        assert "keys: " in refused("t", key)
