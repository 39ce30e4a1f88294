"""Tables whose columns are those of the rows that they are created with, and folders below the home folder."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

ROWS = [{"id": 1, "name": "pen", "at": datetime.datetime(2026, 1, 1)}, {"id": 2, "name": None, "at": None}]
ARROW = pa.Table.from_pylist(ROWS)


@pytest.mark.parametrize(
    "data",
    [
        ARROW,
        ARROW.to_reader(),
        ARROW.to_batches()[0],
        pl.DataFrame(ROWS),
        pl.LazyFrame(ROWS),
        pd.DataFrame(ROWS),
        ROWS,
        pa.table({"id": pa.array([1, 2], pa.uint32()), "name": ["pen", None], "at": ARROW["at"]}).to_reader(),
    ],
    ids=["table", "reader", "batch", "polars", "lazy", "pandas", "dicts", "unsigned"],
)
def test_the_columns_are_those_of_the_rows(data: Any) -> None:
    table = ModTable.create(MemoryStorage(), primary_key="id", data=data)
    assert table.schema.to_ddl() == "id BIGINT NOT NULL, name STRING, at TIMESTAMP_NTZ"
    assert sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"]) == ROWS


def test_what_says_no_columns_is_refused() -> None:
    storage = MemoryStorage()
    with pytest.raises(OptionError, match="give schema, or data"):
        ModTable.create(storage, primary_key="id")
    with pytest.raises(UnsupportedTableError) as caught:
        ModTable.create(storage, primary_key="id", data=pa.table({"id": [1], "none": pa.nulls(1)}))
    assert caught.value.column == "none"
    with pytest.raises(OptionError, match="this is"):
        ModTable.create(storage, primary_key="id", data=7)
    assert not list(storage.list())


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = ModTable.create("~/lake/t", ARROW.schema, primary_key="id")
    assert made.url == str(tmp_path / "lake" / "t")
    assert ModTable.open("~/lake/t").version == 0
    with pytest.raises(OptionError, match=r"no home folder .* ./~nobody-at-all/t"):
        ModTable.open("~nobody-at-all/t")
