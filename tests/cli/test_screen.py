"""What commands print on narrow screens, in whose words, and what they load before they do anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.cli.wording import worded
from andes_spark.table.mod_table import ModTable

ROOT = Path(__file__).parent.parent.parent
HEAVY = {
    "polars",
    "pyarrow",
    "numpy",
    "deltalake",
    "obstore",
    "rich",
    "sqlglot",
    "pandas",
    "boto3",
    "pyroaring",
    "yaml",
}
PYTHON = re.compile(
    r"ModTable|\w=(True|False|\[|\()|\b\w+\(\)|DataFrame|polars|pyarrow|\bpa\.|Spark Column|traceback|\bself\b"
    r"|\b(if_not_exists|allow_existing_files|max_quarantined|batch_id|at_least_once|column_list|primary_key|sequence_by"
    r"|on_null_operation|time_zone|storage_options|strict_replay)\b"
)


@pytest.fixture
def orders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = ModTable.create(
        "orders", "id BIGINT, a_long_name STRING, note STRING, seq BIGINT", primary_key="id", sequence_by="seq",
        merge="manual",
    )  # fmt: skip
    words = "several words that take more than forty columns"
    rows = {"id": [1, 2], "a_long_name": ["one", "𠮷田"], "note": [words, None], "seq": [1, 2]}
    table.apply(pa.table(rows), batch_id=("a-source-with-a-name", 1), job="nightly")
    table.merge()
    table.apply(pa.table({**rows, "id": [1, None], "seq": [3, 4]}), max_quarantined=5, merge=False)
    Path("more.csv").write_text('id,a_long_name,note,seq\n7,x,y,"9"\n')
    return "orders"


def words(text: str) -> set[str]:
    """Words of a text, without what varies from run to run: times, amounts and ids."""
    return {word for word in text.split() if not re.search(r"\d", word) and not re.fullmatch(r"-+", word)}


def printed(arguments: list[str], columns: int) -> str:
    outcome = CliRunner(env={"COLUMNS": str(columns)}).invoke(andes, ["table", *arguments])
    return outcome.stdout + outcome.stderr


COMMANDS = [
    ["status", "orders"],
    ["history", "orders"],
    ["history", "orders", "--merges"],
    ["manifest", "orders"],
    ["manifest", "orders", "--version", "0"],
    ["read", "orders"],
    ["mods", "orders"],
    ["changes", "orders", "--from-version", "0", "--before-images"],
    ["changes", "orders"],
    ["quarantined", "orders"],
    ["verify", "orders"],
    ["merge", "orders", "--dry-run"],
    ["apply", "orders", "more.csv", "--dry-run"],
    ["apply", "orders", "more.csv"],
    ["merge", "orders"],
    ["tag", "orders", "month-end", "--expires", "2999-01-01T00:00:00Z", "--dry-run"],
    ["tag", "orders", "month-end", "--expires", "2999-01-01T00:00:00Z"],
    ["tags", "orders"],
    ["history", "orders", "--limit", "1"],
    ["read", "orders", "--tag", "month-ned"],
    ["untag", "orders", "month-end"],
    ["create", "new", "--schema", "id BIGINT", "--primary-key", "id"],
    ["create", "orders", "--schema", "id BIGINT", "--primary-key", "id"],
    ["create", ".", "--schema", "id BIGINT", "--primary-key", "id"],
    ["status", "nowhere"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_word_is_broken_on_a_narrow_screen(orders, arguments):
    wide = words(printed([*arguments], 500))
    assert wide
    for columns in (80, 40):
        text = printed(arguments, columns)
        if (arguments[0] in ("apply", "merge") and "--dry-run" not in arguments) or "new" in arguments:
            continue  # done for good by the first call
        assert wide <= words(text), columns
        for line in text.splitlines():
            assert len(line) <= columns or len(line.split()[-1]) > 16, line


@pytest.mark.parametrize("verb", sorted(andes.commands["table"].commands))  # type: ignore[attr-defined]
def test_help_breaks_no_word(verb):
    wide = set(re.findall(r"\w+", printed([verb, "--help"], 110)))
    for columns in (80, 40):
        assert wide <= set(re.findall(r"\w+", printed([verb, "--help"], columns)))


WRONG = [
    ["create", "orders", "--schema", "id BIGINT", "--primary-key", "id"],
    ["create", ".", "--schema", "id BIGINT", "--primary-key", "id"],
    ["create", "n", "--schema", "id BIGINT", "--primary-key", "x"],
    ["create", "n", "--schema", "id FLOAT, b STRING", "--primary-key", "id", "--sequence-by", "b"],
    ["create", "n", "--schema", "id BIGINT", "--primary-key", "id", "--merge", "often"],
    ["create", "n", "--schema", "id BIGNT", "--primary-key", "id"],
    ["status", "nowhere"],
    ["read", "orders", "--version", "99"],
    ["read", "orders", "--columns", "nothing"],
    ["read", "orders", "--filter", "id ="],
    ["read", "orders", "--filter", "nothing = 1"],
    ["read", "orders", "--filter", "id = 'x'"],
    ["mods", "orders", "--from-version", "5"],
    ["apply", "orders", "bad.csv"],
    ["apply", "orders", "null.csv"],
    ["apply", "orders", "tie.csv"],
    ["apply", "orders", "more.csv", "--batch-id", "a-source-with-a-name", "1"],
    ["apply", "orders", "more.csv", "--apply-as-deletes", "x = 1"],
    ["apply", "orders", "more.csv", "--apply-as-deletes", 'id = "1"'],
    ["apply", "orders", "more.csv", "--column-list", "note", "--except-column-list", "seq"],
    ["apply", "unsorted", "more.csv"],
    ["apply", "orders", "missing.csv"],
    ["apply", "orders", "odd.txt"],
    ["apply", "orders", "semicolons.csv"],
    ["apply", "orders", "orders"],
    ["apply", "orders", "delta"],
    ["apply", "orders", "days"],
    ["apply", "timed", "local.csv"],
    ["read", "gs://bucket/table"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_messages_are_in_the_words_of_the_command_line(orders, arguments):
    ModTable.create("unsorted", "id BIGINT, a_long_name STRING, note STRING, seq BIGINT", primary_key="id")
    Path("bad.csv").write_text("id,note\nx,y\n")
    Path("null.csv").write_text("id,a_long_name,note,seq\n,x,y,9\n")
    Path("tie.csv").write_text("id,a_long_name,note,seq\n7,x,y,9\n7,z,y,9\n")
    Path("odd.txt").write_text("x")
    Path("semicolons.csv").write_text("id;note\n7;x\n")
    Path("delta/_delta_log").mkdir(parents=True)
    Path("days/day=1").mkdir(parents=True)
    Path("days/day=1/a.csv").write_text("id\n7\n")
    ModTable.create("timed", "id BIGINT, at TIMESTAMP", primary_key="id", sequence_by="at")
    Path("local.csv").write_text("id,at\n7,2026-01-02 03:04:05\n")
    outcome = CliRunner().invoke(andes, ["table", *arguments])
    assert outcome.exit_code in (1, 2), outcome.output
    assert "Traceback" not in outcome.stderr
    assert not PYTHON.search(outcome.stderr), outcome.stderr


@pytest.mark.parametrize(
    ("python", "command_line"),
    [
        ("pass if_not_exists=True", "pass --if-not-exists"),
        ("at most max_quarantined of them", "at most --max-quarantined of them"),
        ("pass cast=True or deletion_vectors=False", "pass --cast or --no-deletion-vectors"),
        ('on_null_operation="upsert"', "--on-null-operation upsert"),
        ("a merge of version 5", "a merge of version 5"),
        ("send it through apply()", "send it through andes table apply"),
        ("the file batch_id.csv, a column 'primary_key'", "the file batch_id.csv, a column 'primary_key'"),
        ("properties", "properties"),
        ("give a file (in Python give f(path, g='x').rows()), or two (or three)", "give a file, or two (or three)"),
        ("set_aside(version=2) (andes table set-aside) takes it out", "andes table set-aside TABLE 2 takes it out"),
        ("compute a column first, or give a polars expression in Python", "compute a column first"),
    ],
)
def test_options_have_the_names_of_their_flags(python, command_line):
    assert worded(python) == command_line


@pytest.mark.parametrize(
    ("flag", "offered"), [("--batch-ids", "--batch-id"), ("--primary-kye", "--primary-key"), ("--zebra", None)]
)
def test_only_names_that_are_near_are_offered(flag, offered):
    verb = "create" if "primary" in flag else "apply"
    outcome = CliRunner().invoke(andes, ["table", verb, "t", flag, "x"])
    assert outcome.exit_code == 2
    assert ("Did you mean" in outcome.stderr) == (offered is not None)
    assert offered is None or offered in outcome.stderr


def loaded_by(*arguments: str) -> tuple[set[str], float]:
    """Heavy modules that a command loads, and the seconds of process time that it takes."""
    code = (
        "import sys, json, time; from andes_spark.cli import main; code = main(sys.argv[1:]); "
        "print(json.dumps([sorted(sys.modules), time.process_time(), code]), file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True, text=True,
    )  # fmt: skip
    names, seconds, _ = json.loads(process.stderr.splitlines()[-1])
    return {name.split(".")[0] for name in names}, seconds


VERBS = sorted(andes.commands["table"].commands)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("verb", [[], ["table"], *(["table", verb] for verb in VERBS)], ids=" ".join)
def test_help_loads_nothing_heavy(verb):
    modules, seconds = loaded_by(*verb, "--help")
    assert not modules & HEAVY
    assert seconds < 2  # far above the 0.15 s that it takes: the modules are the test


def test_a_wrong_option_loads_nothing_heavy():
    assert not loaded_by("table", "status", "t", "--nothing")[0] & HEAVY


@pytest.mark.slow
def test_status_loads_no_engine_that_it_does_not_need(orders):
    modules, _ = loaded_by("table", "status", str(Path(orders).absolute()))
    assert not modules & {"deltalake", "obstore", "rich", "boto3", "pyspark", "sqlglot", "pandas"}


def test_formats_of_files_are_those_of_the_library():
    from andes_spark.cli import options
    from andes_spark.inputs import files

    assert options.FORMATS == files.FORMATS


@pytest.mark.parametrize("command", [["create"], ["apply"], ["set-aside"], []])
@pytest.mark.parametrize("width", ["60", "80"])
def test_help_breaks_no_word_at_a_hyphen(command: list[str], width: str) -> None:
    result = CliRunner().invoke(andes, ["table", *command, "--help"], env={"COLUMNS": width})
    assert result.exit_code == 0
    assert not re.search(r"\w-$", result.output, re.MULTILINE)
    assert "\u2011" not in result.output
