"""What people see: tables, summaries, progress on a terminal, warnings."""

from __future__ import annotations

import io
import json
import logging
import warnings
from dataclasses import replace
from typing import Any

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark.cli.app import Andes
from andes_spark.cli.output import Output
from andes_spark.cli.summaries import apply_summary
from andes_spark.errors import BadModsError, StorageFullError, ThrottledError
from andes_spark.model.manifest import Counts
from andes_spark.model.results import ApplyResult, CompactResult, MergeCounts, MergeResult, Step

STEP = Step("commit", 0.25, requests=3, bytes_written=2048, spark_jobs=1)
MERGED = MergeResult("merged", 7, 9, MergeCounts(inserted=2, late=1), CompactResult(3, 1), (STEP,))


def test_a_table_shows_nulls_cuts_what_is_long_and_no_control_characters(capsys):
    rows: list[dict[str, Any]] = [{"n": 1, "t": "x" * 60}, {"n": None, "t": "a\x1b[31m\nb"}]
    Output("text").rows(rows, columns=["n", "t"])
    shown = capsys.readouterr().out
    assert "x" * 39 + "…" in shown
    assert "NULL" in shown
    assert "\x1b" not in shown
    assert "a·[31m·b" in shown


def test_a_table_of_many_columns_is_not_cut_in_a_pipe(capsys):
    Output("text").rows([{f"column_{i}": "value" * 4 for i in range(30)}], columns=[f"column_{i}" for i in range(30)])
    assert capsys.readouterr().out.count("valuevaluevaluevalue") == 30


def test_json_is_one_line_for_each_row_and_nothing_else(capsys):
    Output("json").rows([{"a": "x" * 100}, {"a": None}], columns=[])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"a": "x" * 100}, {"a": None}]


def test_errors_carry_their_fields_in_json(capsys):
    Output("json").error(BadModsError("why", table="t", reasons={"null key": 1}, examples=((1, b"x"),)))
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {
        "error": "BadModsError", "message": "why", "retryable": False, "table": "t", "reasons": {"null key": 1},
        "examples": [[1, "eA=="]],
    }  # fmt: skip


def test_summaries():
    counts = Counts(received=4, upserts=3, deletes=1)
    result = ApplyResult(7, counts, merge=MERGED, steps=(STEP,))
    assert str(result).splitlines() == [
        "apply  version 7: 4 received, 3 upserts, 1 delete",
        "merge  the base contains version 7: 2 inserted, 1 late; 3 files rewritten as 1",
        "took   0.50 s, 6 requests, 4.0 KiB written, 2 Spark jobs",
    ]
    assert apply_summary(replace(result, replayed=True)).startswith("nothing to do: applied before, as version 7")
    assert apply_summary(result) == "would become version 7: 4 received, 3 upserts, 1 delete"
    failed = MergeResult("failed", 6, -1, error=StorageFullError("no space"))
    assert "the next merge takes the mods: no space" in str(replace(result, merge=failed))
    assert "under way" in str(MergeResult("skipped", 6, -1))
    assert "nothing was pending" in str(MergeResult("nothing", 6, 8))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_names_the_step_on_a_terminal_only(monkeypatch, capsys):
    with Output("text").progress("apply [t]") as step:
        step("write mods")
    assert capsys.readouterr() == ("", "")

    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal)
    with Output("json").progress("apply [t]") as step:
        step("write mods")
    assert "apply [t]: write mods" in terminal.getvalue()


@pytest.fixture
def command():
    @click.group(cls=Andes)
    def root() -> None:
        """Nothing by itself."""

    @root.command()
    @click.option("--output", "form", default="text")
    @click.pass_context
    def fail(ctx: click.Context, form: str) -> None:
        ctx.meta[Output.__name__] = Output("json" if form == "json" else "text")
        warnings.warn("it reads an older state", RuntimeWarning, stacklevel=1)
        logging.getLogger("andes_spark.log.advisory").warning("%s failed", "merging it")
        raise ThrottledError("slow down", path="p")

    return root


def test_warnings_are_told_and_retryable_errors_exit_with_75(command):
    text = CliRunner().invoke(command, ["fail"])
    assert text.exit_code == 75
    assert text.stderr.splitlines() == [
        "Warning: it reads an older state",
        "Warning: merging it failed",
        "Error: slow down [ThrottledError]",
    ]
    lines = CliRunner().invoke(command, ["fail", "--output", "json"]).stderr.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"warning": "it reads an older state"},
        {"warning": "merging it failed"},
        {"error": "ThrottledError", "message": "slow down", "retryable": True, "path": "p"},
    ]


def test_binary_columns_are_base64_in_text_too(capsys):
    Output("text").rows(pa.table({"b": [b"\xff"]}).to_pylist(), columns=["b"])
    assert "/w==" in capsys.readouterr().out
