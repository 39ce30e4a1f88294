"""Every command of ``andes table``: what it prints, its exit codes, and that it needs no pyspark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from andes_spark.cli import main
from andes_spark.cli.app import andes, exit_code
from andes_spark.cli.table import table
from andes_spark.errors import CommitConflictError, OptionError, StorageFullError, ThrottledError
from andes_spark.table.mod_table import ModTable

FEED = Path(__file__).parent.parent / "data" / "orders.wal2json.jsonl.xz"
COMMANDS = ("create", "apply", "merge", "read", "status", "history", "manifest", "quarantined", "mods", "verify")
DDL = "id BIGINT, name STRING, amount DECIMAL(10,2), at TIMESTAMP, seq BIGINT"


def run(*arguments, code=0):
    outcome = CliRunner().invoke(andes, ["table", *map(str, arguments)])
    assert outcome.exit_code == code, (outcome.exit_code, outcome.stdout, outcome.stderr, outcome.exception)
    assert "Traceback" not in outcome.stderr
    return outcome


def lines(*arguments):
    return [json.loads(line) for line in run(*arguments, "--output", "json").stdout.splitlines()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def orders(folder):
    run("create", "orders", "--schema", DDL, "--primary-key", "id", "--sequence-by", "seq", "--merge", "manual")
    (folder / "mods.csv").write_text(
        'id,name,amount,at,seq,op\n1,"",1.50,2026-01-02T03:04:05Z,1,U\n2,,,,1,D\n3,x,2.00,,1,U\n'
    )
    run("apply", "orders", "mods.csv", "--apply-as-deletes", "op = 'D'", "--batch-id", "shop", "1")
    return "orders"


def by_id(name):
    return {row["id"]: row for row in lines("read", name)}


def test_create_writes_what_the_options_say(folder):
    documents = lines(
        "create", "t", "--schema", "a INT, b STRING, s BIGINT", "--primary-key", "a,b", "--sequence-by", "s",
        "--partition-by", "b", "--merge", "15 minutes", "--lateness", "3 days", "--batch-retention", "4 days",
        "--no-deletion-vectors", "--comment", "why", "--property", "team=x=y",
    )  # fmt: skip
    assert documents[0]["version"] == 0
    definition = lines("manifest", "t", "--version", "0")[0]["definition"]
    assert definition["primary_key"] == ["a", "b"]
    assert (definition["merge"], definition["lateness"], definition["batch_retention"]) == (
        "15 minutes", "3 days", "4 days",
    )  # fmt: skip
    assert (definition["deletion_vectors"], definition["comment"]) == (False, "why")
    assert definition["properties"] == {"team": "x=y"}


def test_create_with_rows_takes_the_columns_from_parquet(folder):
    pq.write_table(pa.table({"k": [1, 2], "v": ["a", None]}), "rows.parquet")
    tried = lines("create", "t", "--data", "rows.parquet", "--primary-key", "k", "--dry-run")[0]
    assert (tried["would_create"], tried["rows"]) == (True, 2)
    assert not Path("t").exists()
    run("create", "t", "--data", "rows.parquet", "--primary-key", "k")
    assert sorted(row["k"] for row in lines("read", "t")) == [1, 2]
    assert "already" in run("create", "t", "--schema", "k BIGINT", "--primary-key", "k", code=1).stderr
    run("create", "t", "--schema", "k BIGINT", "--primary-key", "k", "--if-not-exists")
    assert run("create", "t", "--schema", "k INT", "--primary-key", "k", "--dry-run", code=1).stdout == ""


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--primary-key", "a"], "--schema"),
        (["--schema", "a INT", "--primary-key", "b"], "b"),
        (["--schema", "a INTEGR", "--primary-key", "a"], "INTEGR"),
        (["--schema", "a INT", "--primary-key", "a,"], "commas"),
        (["--schema", "a INT", "--primary-key", "a", "--merge", "often"], "often"),
        (["--schema", "a INT", "--primary-key", "a", "--property", "x"], "KEY=VALUE"),
        (["--schema", "a INT", "--primary-key", "a", "--storage-option", "aws_region=x"], "aws_region"),
        (["--schema", "a INT"], "--primary-key"),
    ],
)
def test_create_refuses_what_it_cannot_use(folder, options, word):
    assert word in run("create", "t", *options, code=2).stderr
    assert not Path("t").exists()


def test_apply_and_read_csv(orders):
    rows = by_id(orders)
    assert rows == {
        1: {"id": 1, "name": "", "amount": "1.50", "at": "2026-01-02T03:04:05Z", "seq": 1},
        3: {"id": 3, "name": "x", "amount": "2.00", "at": None, "seq": 1},
    }
    command = ("apply", orders, "mods.csv", "--apply-as-deletes", "op = 'D'", "--batch-id", "shop", "1")
    assert lines(*command)[0]["replayed"] is True


def test_what_read_prints_can_be_applied_again(orders):
    text = run("read", orders, "--output", "json").stdout
    Path("rows.jsonl").write_text(text)
    run("create", "copy", "--schema", DDL, "--primary-key", "id", "--sequence-by", "seq", "--data", "rows.jsonl")
    assert by_id("copy") == by_id(orders)


def test_apply_takes_several_parquet_files_and_partial_mods(orders):
    for number in (1, 3):
        pq.write_table(pa.table({"id": [number], "name": [f"n{number}"], "seq": [5]}), f"{number}.parquet")
    run("apply", orders, "1.parquet", "3.parquet", "--column-list", "name")
    assert [(row["name"], row["amount"]) for _, row in sorted(by_id(orders).items())] == [
        ("n1", "1.50"),
        ("n3", "2.00"),
    ]
    pq.write_table(pa.table({"id": [1]}), "other.parquet")
    assert "other columns" in run("apply", orders, "1.parquet", "other.parquet", code=2).stderr


def test_a_dry_run_checks_and_writes_nothing(orders):
    before = sorted(path for path in Path(orders).rglob("*"))
    counts = lines("apply", orders, "mods.csv", "--apply-as-deletes", "op = 'D'", "--dry-run")[0]["counts"]
    assert (counts["received"], counts["upserts"], counts["deletes"]) == (3, 2, 1)
    run("apply", orders, "mods.csv", "--dry-run", code=1)
    assert lines("merge", orders, "--dry-run")[0]["would_merge"] is True
    assert sorted(path for path in Path(orders).rglob("*")) == before


def test_bad_rows_are_refused_or_set_aside(orders):
    Path("bad.csv").write_text("id,name,amount,at,seq\n7,a,x,,1\n,b,1,,1\n8,c,1,,1\n")
    assert "bad.csv" in run("apply", orders, "bad.csv", code=1).stderr
    error = json.loads(run("apply", orders, "bad.csv", "--cast", "--output", "json", code=1).stderr)
    assert (error["error"], sum(error["reasons"].values())) == ("BadModsError", 2)
    run("apply", orders, "bad.csv", "--cast", "--max-quarantined", "2")
    assert len(lines("quarantined", orders)) == 2
    assert by_id(orders)[8]["name"] == "c"


@pytest.mark.slow
def test_a_feed_of_postgres(folder):
    feed = ("--feed-table", "public.customers")
    run("create", "c", "--feed", FEED, *feed, "--primary-key", "region,code")
    results = lines("apply", "c", FEED, "--format", "wal2json", *feed, "--changes-per-batch", "100")
    assert sum(result["counts"]["received"] for result in results) >= 306
    expected = pq.read_table(FEED.with_name("customers.final.parquet"))
    rows = ModTable.open("c").to_arrow(columns=expected.column_names)
    order = [("region", "ascending"), ("code", "ascending")]
    assert rows.sort_by(order).to_pylist() == expected.sort_by(order).to_pylist()
    repeat = lines("apply", "c", FEED, "--format", "wal2json", *feed, "--changes-per-batch", "100")
    assert all(result["replayed"] for result in repeat)
    assert "--cast" in run("apply", "c", FEED, "--format", "wal2json", *feed, "--cast", code=2).stderr
    assert "--feed-table" in run("apply", "c", FEED, "--format", "wal2json", code=2).stderr


def test_merge_and_the_reports(orders):
    assert lines("merge", orders, "--if-due")[0]["status"] == "not due"
    assert lines("status", orders)[0]["pending_mods"] == 3
    merged = lines("merge", orders)[0]
    assert (merged["status"], merged["counts"]["inserted"], merged["counts"]["deleted"]) == ("merged", 2, 1)
    assert [row["version"] for row in lines("history", orders)] == [1, 0]
    assert len(lines("history", orders, "--limit", "1")) == 1
    assert lines("history", orders, "--merges")[0]["to_version"] == 1
    assert lines("manifest", orders)[0]["version"] == 1
    assert [row["_andes_operation"] for row in lines("mods", orders, "--from-version", "1")].count("delete") == 1
    assert lines("verify", orders)[0]["ok"] is True
    for name in COMMANDS[3:]:
        assert run(name, orders).stdout.strip() or name == "quarantined"


def test_read_narrows(orders):
    rows = lines("read", orders, "--columns", "id,name", "--filter", "amount > 1.7")
    assert rows == [{"id": 3, "name": "x"}]
    assert lines("read", orders, "--version", "0") == []
    assert len(lines("read", orders, "--limit", "1")) == 1
    assert "nothing" in run("read", orders, "--columns", "nothing", code=2).stderr
    assert run("read", orders, "--filter", "amount >", code=2).stderr.startswith("Error")
    run("read", orders, "--version", "9", code=1)


def test_verify_finds_a_broken_file(orders):
    file = next(Path(orders, "_andes", "mods").iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    outcome = run("verify", orders, "--output", "json", code=1)
    assert json.loads(outcome.stdout)["ok"] is False


@pytest.mark.parametrize("name", ["apply", "get", *COMMANDS[2:]])
def test_a_folder_without_a_table(folder, name):
    Path("m.csv").write_text("id\n1\n")
    files = {"apply": ["m.csv"], "get": ["1"]}.get(name, [])
    error = json.loads(run(name, "nowhere", *files, "--output", "json", code=1).stderr)
    assert error["error"] == "NoSuchTableError"
    assert "nowhere" in error["message"]


@pytest.mark.parametrize("text", ["[1]\n", '{"id": "x", "seq": 1}\n', '{"id": 1\n', "\xff"])
def test_json_lines_that_are_none(orders, text):
    Path("m.jsonl").write_text(text, "latin-1")
    assert "m.jsonl" in run("apply", orders, "m.jsonl", code=1).stderr


def test_exit_codes():
    assert exit_code(OptionError("x")) == 2
    assert exit_code(StorageFullError("x")) == 1
    assert exit_code(ThrottledError("x")) == exit_code(CommitConflictError("x")) == 75
    assert main(["table", "nothing"]) == 2
    assert main(["--version"]) == 0


@pytest.mark.parametrize("name", [*COMMANDS, "get"])
def test_every_option_has_help(name):
    assert "--storage-option" in run(name, "--help").stdout
    command = table.commands[name]
    assert [
        parameter.name for parameter in command.params if parameter.param_type_name == "option" and not parameter.help
    ] == []


@pytest.mark.slow
def test_no_command_imports_pyspark(orders):
    code = (
        "import sys; from andes_spark.cli import main; code = main(sys.argv[1:]); assert 'pyspark' not in sys.modules"
    )
    for arguments in (["read", orders], ["apply", orders, "mods.csv", "--apply-as-deletes", "op = 'D'", "--merge"]):
        root = str(Path(__file__).parent.parent.parent)
        process = subprocess.run(
            [sys.executable, "-c", f"{code}; sys.exit(code)", "table", *arguments],
            env={"PYTHONPATH": root, "PATH": ""}, capture_output=True, text=True,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr


def test_times_beyond_the_calendar_are_shown(folder):
    table = ModTable.create("far", "k BIGINT, d DATE, l ARRAY<DATE>, s INT", primary_key=["k"], sequence_by=["s"])
    far = pa.array([10**8, 0], pa.int32()).cast(pa.date32())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), far)
    table.apply(pa.table({"k": [1, 2], "d": far, "l": lists, "s": pa.array([1, 1], pa.int32())}))
    for verb in ("read", "mods"):
        rows = sorted(lines(verb, "far"), key=lambda row: row["k"])
        assert rows[0]["d"] == rows[0]["l"][0]
        assert "out of range: 100000000" in rows[0]["d"]
        assert rows[1]["d"] == rows[1]["l"][0] == "1970-01-01"
        assert "1970-01-01" in run(verb, "far").stdout


def test_merges_tell_time_as_versions_do(folder):
    table = ModTable.create("t", "k BIGINT, s INT", primary_key=["k"], sequence_by=["s"])
    table.apply(pa.table({"k": [1], "s": pa.array([1], pa.int32())}))
    (merge,) = lines("history", "t", "--merges")
    assert merge["time"][:4] == lines("history", "t")[0]["time"][:4]
    assert merge["time"].endswith("Z")
