"""Names that differ from the table's in case alone: values are read as the types of the table's columns."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark.errors import FileDamagedError, OptionError, SchemaMismatchError
from andes_spark.inputs import csv_files
from andes_spark.inputs.keys import keys_of_texts
from andes_spark.schema.schema import Schema
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

SCHEMA = "code STRING, amount DECIMAL(38,2), n INT"
AMOUNT = Decimal("123456789012345678901234567890.10")
ROWS: list[dict[str, Any]] = [{"code": "007", "amount": AMOUNT, "n": 1}, {"code": "7", "amount": None, "n": None}]
UPPER = [{name.upper(): value for name, value in row.items()} for row in ROWS]


def rows_of(table: ModTable) -> list[dict[str, Any]]:
    return sorted(table.to_arrow().to_pylist(), key=lambda row: row["code"])


def source(form: str, folder: Path) -> Any:
    if form == "dicts":
        return UPPER
    path = folder / f"rows.{form}"
    if form == "csv":
        path.write_text(f"CODE,AMOUNT,N\n007,{AMOUNT},1\n7,,\n")
    else:
        path.write_text(
            "".join(json.dumps(row, default=float) + "\n" for row in UPPER).replace(
                "1.2345678901234568e+29", str(AMOUNT)
            )
        )
    return path


@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize("form", ["csv", "jsonl", "dicts"])
def test_values_have_the_types_of_the_table(form: str, cast: bool, tmp_path: Path) -> None:
    rows = source(form, tmp_path)
    loaded = ModTable.create(MemoryStorage(), SCHEMA, primary_key="code", data=rows, cast=cast)
    assert rows_of(loaded) == ROWS
    applied = ModTable.create(MemoryStorage(), SCHEMA, primary_key="code")
    applied.apply(rows, batch_id=("s", 1), cast=cast)
    assert rows_of(applied) == ROWS


def test_two_spellings_of_a_column_are_refused_in_a_load() -> None:
    data = pa.table([["a"], ["b"]], names=["code", "CODE"])
    with pytest.raises(SchemaMismatchError, match="'code' and 'CODE' of the batch differ only in case"):
        ModTable.create(MemoryStorage(), "code STRING", primary_key="code", data=data)


def test_a_column_that_stands_twice_is_named_so() -> None:
    data = pa.table([["a"], ["b"]], names=["code", "code"])
    with pytest.raises(SchemaMismatchError, match="given more than once 'code'"):
        ModTable.create(MemoryStorage(), "code STRING", primary_key="code", data=data)


def test_a_header_that_is_read_in_two_ways_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "_header", lambda file: [])
    table = ModTable.create(MemoryStorage(), SCHEMA, primary_key="code")
    with pytest.raises(FileDamagedError, match="header"):
        table.apply(source("csv", tmp_path), batch_id=("s", 1))


def test_keys_by_name() -> None:
    table = ModTable.create(MemoryStorage(), SCHEMA, primary_key="code", data=ROWS)
    assert table.get({"CODE": "007"})["n"].to_pylist() == [1]
    assert table.get(pa.table({"Code": ["7"]}))["n"].to_pylist() == [None]
    key = Schema.from_ddl("id BIGINT, at DATE")
    assert keys_of_texts(['{"AT": "2026-01-02", "Id": 7}'], key)["id"].to_pylist() == [7]
    with pytest.raises(OptionError, match="is no key"):
        keys_of_texts(['{"AT": "2026-01-02"}'], key)
    with pytest.raises(SchemaMismatchError, match="'id' and 'ID'"):
        keys_of_texts(['{"id": 1, "ID": 2, "at": "2026-01-02"}'], key)


def test_names_in_the_listing_column() -> None:
    table = ModTable.create(MemoryStorage(), SCHEMA, primary_key="code", data=ROWS)
    mods = pa.table({"code": ["7"], "amount": pa.nulls(1), "n": pa.array([5], pa.int32()), "only": [["N"]]})
    assert table.apply(mods, batch_id=("s", 1), columns_to_update="only").upserts == 1
    assert rows_of(table)[1]["n"] == 5
