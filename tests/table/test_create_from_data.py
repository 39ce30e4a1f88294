"""Tables whose columns are those of the rows that they are created with, and folders below the home folder."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from andes_spark.errors import BadModsError, OptionError, SchemaMismatchError, UnsupportedTableError
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
    table = ModTable.create("~/lake/t", ARROW.schema, primary_key="id")
    assert table.url == str(tmp_path / "lake" / "t")
    assert ModTable.open("~/lake/t").version == 0
    with pytest.raises(OptionError, match=r"no home folder .* ./~nobody-at-all/t"):
        ModTable.open("~nobody-at-all/t")


DDL = "id BIGINT, name STRING, at TIMESTAMP, price DECIMAL(8,2)"
TEXTS = pa.table(
    {"id": ["2", "1"], "name": ["pen", None], "at": ["2026-07-01 12:00:00", None], "price": ["1.50", None]}
)


@pytest.mark.parametrize("form", ["table", "two tables", "csv"])
def test_rows_are_cast_as_apply_casts_them(form: str, tmp_path: Path) -> None:
    data: Any = TEXTS
    if form == "two tables":
        data = pa.RecordBatchReader.from_batches(TEXTS.schema, [TEXTS.slice(i, 1).to_batches()[0] for i in range(2)])
    elif form == "csv":
        data = tmp_path / "rows.csv"
        data.write_text("id,name,at,price\n2,pen,2026-07-01 12:00:00,1.50\n1,,,\n")
    options: dict[str, Any] = {"primary_key": "id", "cast": True, "time_zone": "Europe/Lisbon"}
    loaded = ModTable.create(MemoryStorage(), DDL, data=data, **options)
    applied = ModTable.create(MemoryStorage(), DDL, primary_key="id")
    applied.apply(TEXTS, cast=True, time_zone="Europe/Lisbon", batch_id=("s", 1))
    assert loaded.to_arrow().sort_by("id").equals(applied.to_arrow().sort_by("id"))
    assert loaded.to_arrow().sort_by("id")["at"][1].as_py() == datetime.datetime(2026, 7, 1, 11, tzinfo=datetime.UTC)


def test_a_value_that_cannot_be_cast_creates_no_table() -> None:
    storage = MemoryStorage()
    with pytest.raises(SchemaMismatchError):
        ModTable.create(storage, DDL, primary_key="id", data=TEXTS)
    data = TEXTS.slice(0, 1).set_column(3, "price", [["x"]])
    with pytest.raises(BadModsError) as caught:
        ModTable.create(storage, DDL, primary_key="id", data=data, cast=True, time_zone="UTC")
    assert caught.value.reasons == {"failed cast: price": 1}
    with pytest.raises(OptionError) as wrong:
        ModTable.create(storage, DDL, primary_key="id", data=TEXTS, time_zone="Mars")
    assert wrong.value.option == "time_zone"
    assert not list(storage.list())
