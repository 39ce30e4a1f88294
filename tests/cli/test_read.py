"""``andes table read``: how much is read for what is shown, and rows as JSON lines."""

from __future__ import annotations

import datetime
import json
import math
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from andes_spark.cli.app import andes
from andes_spark.cli.json_lines import json_lines
from andes_spark.cli.plain import to_json
from andes_spark.model.values import python_rows
from andes_spark.settings import Settings
from andes_spark.storage.disk import DiskStorage
from andes_spark.table.mod_table import ModTable

ROWS = 20_000
DIGITS = Context(prec=40)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    ids = np.arange(ROWS)
    ModTable.create(
        tmp_path / "t", "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"],
        data=pa.table({"id": ids, "seq": ids}), settings=Settings(target_file_bytes=30_000),
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(monkeypatch, *arguments: str) -> tuple[list[str], str, int]:
    """Lines of stdout, stderr, and the number of data files that were opened."""
    opened: list[str] = []
    whole = DiskStorage.open_input

    def open_input(self: DiskStorage, path: str) -> Any:
        opened.append(path)
        return whole(self, path)

    monkeypatch.setattr(DiskStorage, "open_input", open_input)
    outcome = CliRunner().invoke(andes, ["table", "read", "t", *arguments])
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout.splitlines(), outcome.stderr, sum(path.startswith("part-") for path in opened)


def test_twenty_rows_take_one_file(folder, monkeypatch):
    lines, note, opened = read(monkeypatch)
    assert (len(lines), opened) == (22, 1)
    assert "--limit" in note


@pytest.mark.parametrize(
    ("arguments", "rows", "files"),
    [
        (["--limit", "5"], 5, 1),
        (["--filter", "id = 19999"], 1, 1),
        (["--filter", "id < 7"], 7, 1),
        (["--limit", "0"], 0, 0),
    ],
)
def test_a_limit_and_a_filter_read_what_they_need(folder, monkeypatch, arguments, rows, files):
    lines, note, opened = read(monkeypatch, *arguments, "--output", "json")
    assert (len(lines), note, opened) == (rows, "", files)


def test_json_has_all_rows_and_no_note(folder, monkeypatch):
    lines, note, opened = read(monkeypatch, "--output", "json")
    assert (len(lines), note, opened) == (ROWS, "", len(list(Path("t").glob("part-*"))))
    assert json.loads(lines[0]) == {"id": 0, "seq": 0}


def test_exactly_twenty_rows_have_no_note(folder, monkeypatch):
    lines, note, _ = read(monkeypatch, "--filter", "id < 20")
    assert (len(lines), note) == (22, "")


def list_of(pairs: dict[str, int]) -> list[tuple[str, int]]:
    return list(pairs.items())


TIMES = st.datetimes(timezones=st.just(datetime.UTC))
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "b": (pa.int8(), st.integers(-128, 127)),
    "f": (pa.float64(), st.floats()),
    "g": (pa.float32(), st.floats(width=32)),
    "s": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]))),
    "x": (pa.binary(), st.binary()),
    "d": (pa.decimal128(38, 5), st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(n).scaleb(-5, DIGITS))),
    "e": (pa.decimal128(9, 9), st.integers(-(10**9) + 1, 10**9 - 1).map(lambda n: Decimal(n).scaleb(-9, DIGITS))),
    "day": (pa.date32(), st.dates()),
    "at": (pa.timestamp("us", "UTC"), TIMES),
    "n": (pa.timestamp("us"), st.datetimes()),
    "ok": (pa.bool_(), st.booleans()),
    "l": (pa.list_(pa.int64()), st.lists(st.integers(0, 9), max_size=3)),
    "m": (pa.map_(pa.string(), pa.int64()), st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)).map(list_of)),
    "far": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
}  # fmt: skip


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.data())
def test_json_lines_are_the_values_of_each_row(data):
    names = data.draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, unique=True))
    size = data.draw(st.integers(0, 4))
    columns = {}
    for name in names:
        kind, values = COLUMNS[name]
        column = pa.array(data.draw(st.lists(st.none() | values, min_size=size, max_size=size)), kind)
        columns[name] = column.view(pa.date32()) if name == "far" else column
    rows = pa.table(columns)
    text = "".join(map(json_lines, rows.to_batches()))
    assert text == "" or text.endswith("\n")
    lines = text.split("\n")[:-1]
    expected = [json.loads(to_json(row)) for row in python_rows(rows)]
    assert [json.loads(line) for line in lines] == expected


def test_odd_values_are_told_as_they_are():
    rows = pa.table({"f": [math.inf, math.nan, -0.0], "t": ["\u2028", '"', "\x00"]})
    lines = json_lines(rows.to_batches()[0])
    assert [json.loads(line) for line in lines.split("\n")[:-1]] == [
        {"f": "Infinity", "t": "\u2028"},
        {"f": "NaN", "t": '"'},
        {"f": -0.0, "t": "\x00"},
    ]
