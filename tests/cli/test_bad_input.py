"""What bad input gets on the command line: a message with fields, an exit code, an unchanged table."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.cli.table import session_settings, table
from andes_spark.table.mod_table import ModTable

ROOT = Path(__file__).parent.parent.parent


def run(*arguments, code):
    outcome = CliRunner().invoke(andes, ["table", *map(str, arguments), "--output", "json"])
    assert outcome.exit_code == code, (outcome.stdout, outcome.stderr, outcome.exception)
    assert outcome.stdout == "" or code == 0
    return json.loads(outcome.stderr) if outcome.stderr.startswith("{") else outcome.stderr


@pytest.fixture
def orders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    created = ModTable.create("orders", "id BIGINT, v STRING, seq BIGINT", primary_key=["id"], sequence_by=["seq"])
    created.apply(pa.table({"id": [1], "v": ["a"], "seq": [1]}), batch_id=("s", 1))
    created.apply(pa.table({"id": [2], "v": ["b"], "seq": [1]}))
    return created


def parquet(**columns):
    pq.write_table(pa.table(columns), "mods.parquet")
    return "mods.parquet"


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("columns", "options", "code", "expected"),
    [
        ({"id": [3]}, [], 1, {"error": "SchemaMismatchError", "missing": ["v", "seq"]}),
        ({"id": [3], "v": [1], "seq": [1], "w": [1]}, [], 1, {"extra": ["w"]}),
        ({"id": [3, 3], "v": ["x", "y"], "seq": [5, 5]}, [], 1, {"error": "SequenceTieError", "keys": [{"id": 3}]}),
        ({"id": [None], "v": ["x"], "seq": [5]}, [], 1, {"error": "SchemaMismatchError"}),
        ({"id": [3], "v": ["x"], "seq": [5]}, ["--batch-id", "s", "1"], 1, {"error": "BatchConflictError"}),
        ({"id": [3], "v": ["x"], "seq": [5]}, ["--apply-as-deletes", 'v = "x"'], 2, {"error": "OptionError"}),
        ({"id": [3], "v": ["x"], "seq": [5]}, ["--apply-as-deletes", "w = 1"], 1, {"missing": ["w"]}),
        ({"id": [3], "v": ["x"], "seq": [5]}, ["--column-list", "w"], 2, {"option": "column_list"}),
    ],
)
def test_a_batch_that_is_refused(orders, columns, options, code, expected, dry):
    if columns["id"] == [None]:
        columns = {**columns, "id": pa.array([None], pa.int64())}
        expected = {"error": "BadModsError", "reasons": {"null key: id": 1}}
    error = run("apply", "orders", parquet(**columns), *options, *dry, code=code)
    assert {name: error[name] for name in expected} == expected
    assert {"error", "message", "retryable"} <= set(error)
    assert orders.version == 2


def test_rows_that_share_a_key_are_not_loaded(orders):
    rows = parquet(id=[1, 1], v=["a", "b"])
    for dry in ([], ["--dry-run"]):
        error = run("create", "new", "--data", rows, "--primary-key", "id", *dry, code=1)
        assert (error["error"], error["keys"][0]) == ("DuplicateKeyError", {"id": 1})
    assert not Path("new", "_andes").exists()


def test_a_folder_of_somebody_elses_delta_table(orders):
    for mode in ("error", "append"):
        deltalake.write_deltalake("theirs", pa.table({"id": [1]}), mode=mode)
        for dry in ([], ["--dry-run"]):
            error = run("create", "theirs", "--schema", "id BIGINT", "--primary-key", "id", *dry, code=1)
            assert error["error"] == "TableExistsError"
    assert run("status", "theirs", code=1)["error"] == "NoSuchTableError"


@pytest.mark.parametrize("folder", ["_andes", "_andes/manifests"])
@pytest.mark.parametrize("options", [[], ["--if-not-exists"], ["--dry-run"]])
def test_a_table_that_has_lost_its_manifests_is_not_created_anew(orders, folder, options):
    Path("orders", folder).rename("elsewhere")
    before = sorted(path for path in Path("orders").rglob("*"))
    error = run("create", "orders", "--schema", "id BIGINT", "--primary-key", "id", *options, code=1)
    assert error["error"] == "LogDamagedError"
    assert "has lost its manifests; restore them" in error["message"]
    assert sorted(path for path in Path("orders").rglob("*")) == before
    assert run("status", "orders", code=1)["error"] in ("NoSuchTableError", "LogDamagedError")
    Path("elsewhere").rename(Path("orders", folder))
    assert ModTable.open("orders").verify().ok


@pytest.mark.parametrize("command", ["status", "history", "read", "merge", "verify", "mods", "quarantined"])
def test_a_manifest_edited_by_hand(orders, command):
    path = Path("orders/_andes/manifests/00000000000000000001.json")
    path.write_text(path.read_text().replace('"received":1', '"received":2'))
    if command == "verify":
        outcome = CliRunner().invoke(andes, ["table", "verify", "orders", "--output", "json"])
        assert outcome.exit_code == 1
        return
    error = run(command, "orders", code=1)
    assert error["error"] == "LogDamagedError"
    assert "restore" in error["message"]


def test_a_manifest_of_a_newer_format(orders):
    path = Path("orders/_andes/manifests/00000000000000000002.json")
    path.write_text(path.read_text().replace('"format":2', '"format":3'))
    assert run("status", "orders", code=1)["error"] == "UnsupportedTableError"


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["status", "orders", "--limt", "1"],
        ["frobnicate"],
        ["read", "orders", "--limit", "x"],
        ["apply", "orders"],
    ],
)
def test_wrong_usage(orders, arguments):
    assert "Usage:" in run(*arguments, code=2)


def test_a_file_that_is_not_what_its_name_says(orders):
    Path("mods.parquet").write_text("no parquet")
    assert run("apply", "orders", "mods.parquet", code=1)["path"] == "mods.parquet"
    Path("mods.xyz").write_text("?")
    assert "--format" in run("apply", "orders", "mods.xyz", code=2)["message"]


def test_storage_options_by_name(orders):
    assert "aws_region" in run("status", "s3://lake/t", "--storage-option", "aws_regoin=x", code=2)["message"]
    error = run("status", "s3://lake/t", "--storage-option", "aws_access_key_id=AKIAX", code=2)
    assert "AKIAX" not in json.dumps(error)


def test_spark_gets_the_same_access_to_s3():
    assert session_settings(None) == {}
    settings = session_settings({"aws_endpoint": "http://x:1", "aws_access_key_id": "k", "aws_allow_http": "true"})
    assert settings == {
        "spark.hadoop.fs.s3a.endpoint": "http://x:1",
        "spark.hadoop.fs.s3a.access.key": "k",
        "spark.hadoop.fs.s3a.path.style.access": "true",
    }


def test_read_by_spark(spark, orders):
    outcome = CliRunner().invoke(
        andes, ["table", "read", "orders", "--spark", "--columns", "v,id", "--filter", "id < 2", "--output", "json"]
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert [json.loads(line) for line in outcome.stdout.splitlines()] == [{"v": "a", "id": 1}]


def test_the_guides_name_every_command_and_only_options_that_exist():
    text = "\n".join(path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    lines = re.findall(r"andes table ([\w-]+)((?:[^\n`\\]|\\\n)*)", text)
    assert {name for name, _ in lines} == set(table.commands)
    groups = {name: command.commands for name, command in table.commands.items() if isinstance(command, click.Group)}
    for group, commands in groups.items():
        assert {rest.split()[0] for name, rest in lines if name == group} == set(commands)
    for name, rest in lines:
        command = groups[name][rest.split()[0]] if name in groups else table.commands[name]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"(?<= )--[a-z-]+", rest)) <= known | {"--help"}, (name, rest)


def test_values_that_a_column_cannot_hold_are_no_damage(orders):
    Path("f.jsonl").write_text('{"id": 5.5, "v": "a", "seq": 1}\n')
    Path("f.csv").write_text("id,v,seq\n1.0,a,1\n")
    for name in ("f.jsonl", "f.csv"):
        error = run("apply", "orders", name, code=1)
        assert error["error"] == "SchemaMismatchError"
        assert error["path"] == name
        assert "--max-quarantined" in error["message"]
    assert orders.version == 2


def test_decimals_that_do_not_fit_are_no_damage(orders):
    ModTable.create("sums", "id BIGINT, `the.sum` DECIMAL(10,2)", primary_key=["id"])
    for text in ("1.555", "abc", "123456789012.00"):
        Path("f.csv").write_text(f"id,the.sum\n1,{text}\n")
        error = run("apply", "sums", "f.csv", "--at-least-once", code=1)
        assert (error["error"], error["column"], error["path"]) == ("SchemaMismatchError", "the.sum", "f.csv")
        assert "--cast" in error["message"]


@pytest.mark.parametrize(
    "verb", [["apply", "orders"], ["create", "new", "--primary-key", "id", "--schema", "id BIGINT", "--data"]]
)
def test_columns_that_stand_twice_in_a_file(orders, verb):
    Path("f.csv").write_text("id,v,id,seq\n7,a,7,1\n")
    assert run(*verb, "f.csv", code=1)["duplicate"] == ["id"]
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("data", "column"), [(b"id,v,seq\n1,\xe9,1\n", "v"), (b"\nid,v,seq\nx,a,1\n", "id"), (b"id,\xe9\nx,1\n", "id")]
)
def test_headers_that_are_odd(orders, data, column):
    Path("f.csv").write_bytes(data)
    error = run("apply", "orders", "f.csv", code=1)
    assert (error["error"], error.get("column")) == ("SchemaMismatchError", column)


def test_json_that_is_too_deep(orders):
    Path("f.jsonl").write_text('{"id": 7, "v": "a", "seq": 1, "x": ' + "[" * 200_000 + "]" * 200_000 + "}\n")
    error = run("apply", "orders", "f.jsonl", code=1)
    assert (error["error"], error["path"]) == ("FileDamagedError", "f.jsonl")
    assert "line 1" in error["message"]


def test_ids_of_batches_keep_their_zeros(orders):
    Path("f.csv").write_text("id,v,seq\n7,a,1\n")
    for text, number in (("1", 3), ("01", 4), ("001", 5), ("9" * 5_000, 6)):
        outcome = CliRunner().invoke(
            andes, ["table", "apply", "orders", "f.csv", "--batch-id", "till", text, "--output", "json"]
        )
        assert json.loads(outcome.stdout)["version"] == number
