"""Columns of a batch against those of the table: missing ones, extra ones, and names that differ in case."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

SCHEMA = "id BIGINT, name STRING, price INT, seq BIGINT"


def create(schema: str = SCHEMA, **options: Any) -> ModTable:
    return ModTable.create(MemoryStorage(), schema, **{"primary_key": "id", "sequence_by": "seq", **options})


def rows(table: ModTable) -> list[dict[str, Any]]:
    return sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])


FULL = pa.table({"id": [1], "name": ["pen"], "price": pa.array([2], pa.int32()), "seq": [1]})


def test_one_name_is_a_list_of_one_everywhere() -> None:
    table = create(partition_by="name")
    assert (table.primary_key, table.sequence_by) == (("id",), ("seq",))
    table.apply(FULL, batch_id=("s", np.int64(7)))
    assert table.apply(FULL, batch_id=("s", 7)).replayed
    assert table.to_arrow(columns="price").to_pylist() == [{"price": 2}]
    table.apply(pa.table({"id": [1], "price": pa.array([3], pa.int32()), "seq": [2]}), column_list="price")
    assert rows(table)[0]["price"] == 3


def test_missing_columns_are_null_on_request() -> None:
    table = create()
    table.apply(FULL)
    short = pa.table({"id": [1], "seq": [2], "name": ["ink"]})
    with pytest.raises(SchemaMismatchError) as caught:
        table.apply(short)
    assert caught.value.missing == ("price",)
    table.apply(short, missing="null")
    assert rows(table) == [{"id": 1, "name": "ink", "price": None, "seq": 2}]
    with pytest.raises(SchemaMismatchError) as caught:  # key and sequence are never missing
        table.apply(short.drop_columns("seq"), missing="null")
    assert caught.value.missing == ("seq",)


def test_extra_columns_are_dropped_on_request_and_conditions_see_them() -> None:
    table = create()
    more = FULL.append_column("op", pa.array(["I"])).append_column("when", pa.nulls(1))
    with pytest.raises(SchemaMismatchError) as caught:
        table.apply(more, apply_as_deletes="op = 'D'")
    assert caught.value.extra == ("when",)
    assert table.apply(more, apply_as_deletes="op = 'D'", extra="drop").upserts == 1
    assert table.apply(more, extra="drop", merge=False).version == 2


def test_except_column_list_names_columns_of_the_batch_alone() -> None:
    table = create()
    more = FULL.append_column("op", pa.array(["I"])).append_column("file", pa.array(["a"]))
    table.apply(more, except_column_list=["op", "file"])
    assert table.mods()["_andes_columns"].to_pylist() == [None]  # full rows
    table.apply(
        pa.table({"id": [1], "name": ["ink"], "seq": [2], "op": ["U"], "file": ["b"]}),
        except_column_list=["op", "file", "price"],
        apply_as_deletes="op = 'D'",
    )
    assert rows(table) == [{"id": 1, "name": "ink", "price": 2, "seq": 2}]
    with pytest.raises(SchemaMismatchError, match=r"except_column_list names \['flie'\], which neither"):
        table.apply(more, except_column_list=["op", "flie"])
    assert table.version == 2


def test_names_are_found_by_case() -> None:
    table = create("Id BIGINT, Name STRING, price INT, seq BIGINT", primary_key="ID", sequence_by=["SEQ"])
    assert (table.primary_key, table.sequence_by) == (("Id",), ("seq",))
    mods = pa.table({"ID": [1], "NAME": ["pen"], "Price": pa.array([2], pa.int32()), "Seq": [1], "Op": ["I"]})
    table.apply(mods, apply_as_deletes="OP = 'D'")
    assert table.to_arrow(columns=["ID", "name"]).to_pylist() == [{"Id": 1, "Name": "pen"}]
    table.apply(
        pa.table({"iD": [1], "NAME": ["ink"], "SEQ": [2]}), column_list=["nAmE"], apply_as_deletes=pl.col("iD") > 1
    )
    assert table.to_arrow().to_pylist() == [{"Id": 1, "Name": "ink", "price": 2, "seq": 2}]
    listed = pa.table({"id": [1], "price": pa.array([9], pa.int32()), "seq": [3], "Carries": [["price"]]})
    table.apply(listed, columns_to_update="carries")
    assert table.to_arrow().to_pylist() == [{"Id": 1, "Name": "ink", "price": 9, "seq": 3}]


def test_names_that_differ_in_case_alone_are_ambiguous() -> None:
    table = create()
    both = FULL.append_column("NAME", pa.array(["x"]))
    for options in ({}, {"extra": "drop"}):
        with pytest.raises(SchemaMismatchError, match="'name' and 'NAME' of the batch differ only in case") as caught:
            table.apply(both, **options)  # type: ignore[arg-type]
        assert caught.value.duplicate == ("name", "NAME")
    twice = FULL.append_column("op", pa.array(["I"])).append_column("OP", pa.array(["I"]))
    with pytest.raises(OptionError, match="'Op' can be 'op' or 'OP'"):
        table.apply(twice, apply_as_deletes="Op = 'D'", extra="drop")
    assert table.version == 0


@pytest.mark.parametrize(("option", "value"), [("missing", "drop"), ("extra", "null"), ("missing", None)])
def test_choices(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{option} is "):
        ModTable.apply(create(), FULL, **{option: value})
