"""Batches that bring columns and wider types with them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import BadModsError, CommitConflictError, OptionError, SchemaMismatchError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tapped import TappedStorage

DDL = "id INT, lsn BIGINT, a INT, s STRUCT<x: INT>, l ARRAY<INT>"
WIDER = pa.table(
    {
        "id": [2],
        "lsn": [2],
        "a": [2**40],
        "s": pa.array([{"x": 1, "y": "q"}]),
        "l": pa.array([[2**40]]),
        "n": ["new"],
        "op": ["U"],
    }
)


def created(storage: Any = None, **options: Any) -> ModTable:
    table = ModTable.create(
        MemoryStorage() if storage is None else storage, DDL, primary_key="id", sequence_by="lsn", **options
    )
    table.apply([{"id": 1, "lsn": 1, "a": 1, "s": {"x": 1}, "l": [1]}])
    return table


@pytest.mark.parametrize("merge", ["always", "manual"])
@pytest.mark.parametrize("kind", ["table", "reader", "polars", "dicts"])
def test_columns_and_types_come_with_the_batch_in_one_version(merge: str, kind: str) -> None:
    table = created(merge=merge)
    mods: Any = {
        "table": WIDER,
        "reader": pa.RecordBatchReader.from_batches(WIDER.schema, WIDER.to_batches()),
        "polars": pl.from_arrow(WIDER),
        "dicts": WIDER.to_pylist(),
    }[kind]
    result = table.apply(mods, evolve_schema="add_and_widen", apply_as_deletes="op = 'D'", batch_id=("s", 1))
    assert (result.version, table.version, result.upserts) == (2, 2, 1)
    # Numbers of dicts are read as those of the table where they fit.
    key = "INT" if kind == "dicts" else "BIGINT"
    assert table.schema.to_ddl() == (
        f"id {key} NOT NULL, lsn BIGINT NOT NULL, a BIGINT, s STRUCT<x: BIGINT, y: STRING>, l ARRAY<BIGINT>, n STRING"
    )
    rows = [
        {"id": 1, "lsn": 1, "a": 1, "s": {"x": 1, "y": None}, "l": [1], "n": None},
        {"id": 2, "lsn": 2, "a": 2**40, "s": {"x": 1, "y": "q"}, "l": [2**40], "n": "new"},
    ]
    assert table.to_arrow().sort_by("id").to_pylist() == rows
    assert table.to_arrow(version=1).to_pylist() == [{"id": 1, "lsn": 1, "a": 1, "s": {"x": 1}, "l": [1]}]
    repeat = table.apply(WIDER, evolve_schema="add_and_widen", apply_as_deletes="op = 'D'", batch_id=("s", 1))
    assert (repeat.replayed, table.version) == (True, 2)
    table.merge()
    assert table.verify().ok


def test_columns_are_added_without_wider_types() -> None:
    table = created()
    with pytest.raises(SchemaMismatchError, match="'a' is bigint, not int"):
        table.apply(WIDER.drop_columns(["op"]), evolve_schema="add")
    assert (table.version, table.schema.names) == (1, ("id", "lsn", "a", "s", "l"))
    batch = pa.table({"id": pa.array([2], pa.int32()), "lsn": [2], "n": [1.5]})
    table.apply(batch, evolve_schema="add", missing="null")
    assert table.schema.to_ddl().endswith("n DOUBLE")


@pytest.mark.parametrize(
    "batch",
    [
        WIDER.drop_columns(["op", "lsn"]),
        WIDER.drop_columns(["op", "a"]).append_column("a", pa.array(["text"])),
        WIDER.drop_columns(["op", "s"]).append_column("s", pa.array([5])),
        WIDER.drop_columns(["op"]).append_column("A", pa.array([5])),
    ],
    ids=["missing", "other type", "no struct", "twice"],
)
def test_other_differences_are_refused_and_nothing_changes(batch: pa.Table) -> None:
    table = created()
    with pytest.raises(SchemaMismatchError):
        table.apply(batch, evolve_schema="add_and_widen")
    assert (table.version, table.schema.names) == (1, ("id", "lsn", "a", "s", "l"))


def test_a_batch_that_is_refused_adds_no_column() -> None:
    table = created()
    bad = pa.table({"id": pa.array([None], pa.int32()), "lsn": [2], "n": ["x"]})
    with pytest.raises(BadModsError):
        table.apply(bad, evolve_schema="add", missing="null")
    with pytest.raises(OptionError, match="names"):
        table.apply(
            pa.table({"id": pa.array([3], pa.int32()), "lsn": [2], "_andes_n": ["x"]}),
            evolve_schema="add",
            missing="null",
        )
    assert (table.version, table.schema.names) == (1, ("id", "lsn", "a", "s", "l"))
    with pytest.raises(OptionError, match="evolve_schema"):
        table.apply(WIDER, evolve_schema="all")  # type: ignore[arg-type]


def test_a_column_that_another_writer_added_is_known() -> None:
    storage = MemoryStorage()
    table = created(storage)
    ModTable.open(storage).alter.add_column("n", "STRING")
    batch = pa.table({"id": pa.array([2], pa.int32()), "lsn": [2], "n": ["x"]})
    table.apply(batch, evolve_schema="add", missing="null")
    assert len(table._open_table.definition.schemas) == 2


def test_of_two_batches_that_change_the_columns_at_once_one_is_sent_again() -> None:
    storage = MemoryStorage()
    table = created(storage)
    tap = TappedStorage(storage)
    other = ModTable.open(tap)  # type: ignore[arg-type]

    def between(request: str, path: str) -> None:
        if request == "put_if_absent":
            tap.tap = None
            table.alter.add_column("m", "STRING")

    tap.tap = between
    batch = pa.table({"id": pa.array([2], pa.int32()), "lsn": [2], "n": ["x"]})
    with pytest.raises(CommitConflictError, match="apply it again"):
        other.apply(batch, evolve_schema="add", missing="null")
    files = {info.path for info in storage.list("_andes/mods")}
    other.apply(batch, evolve_schema="add", missing="null")
    assert other.schema.names[-2:] == ("m", "n")
    assert len({info.path for info in storage.list("_andes/mods")} - files) == 1


def test_an_appender_takes_them() -> None:
    table = created()
    with table.appender() as appender:
        future = appender.apply(
            pa.table({"id": pa.array([2], pa.int32()), "lsn": [2], "n": ["x"]}), evolve_schema="add", missing="null"
        )
        assert future.result().version == 2
    assert "n" in ModTable.open(table._open_table.storage).schema


def test_fields_that_a_batch_lacks_are_null_if_that_is_said() -> None:
    table = created()
    table.alter.add_column("s.y", "STRING")
    table.alter.add_column("l2", "ARRAY<STRUCT<p: INT, q: INT>>")
    batch = pa.table(
        {
            "id": pa.array([2], pa.int32()),
            "lsn": [2],
            "a": pa.array([2], pa.int32()),
            "s": pa.array([{"x": 5}], pa.struct([("x", pa.int32())])),
            "l": pa.array([[1]], pa.list_(pa.int32())),
            "l2": pa.array([[{"q": 7}, None]], pa.list_(pa.struct([("q", pa.int32())]))),
        }
    )
    with pytest.raises(SchemaMismatchError, match="'s' is struct<x:int>, not struct<x:int,y:string>"):
        table.apply(batch)
    table.apply(batch, missing="null")
    assert table.get(2, columns=["s", "l2"]).to_pylist() == [
        {"s": {"x": 5, "y": None}, "l2": [{"p": None, "q": 7}, None]}
    ]
    other = batch.set_column(3, "s", pa.array([{"x": 5, "z": 1}], pa.struct([("x", pa.int32()), ("z", pa.int32())])))
    with pytest.raises(SchemaMismatchError, match="'s' is struct<x:int,z:int>"):
        table.apply(other, missing="null")
    required = ModTable.create(MemoryStorage(), "id INT, s STRUCT<x: INT, y: INT NOT NULL>", primary_key="id")
    with pytest.raises(SchemaMismatchError, match="'s' is"):
        required.apply(batch.select(["id", "s"]), missing="null", at_least_once=True)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"column_list": ["a"]}, 7),
        ({"except_column_list": ["s", "l"]}, None),
        ({"ignore_null_updates": ["s", "l"]}, None),
        ({"ignore_null_updates": True}, 7),
    ],
    ids=str,
)
def test_added_columns_that_mods_of_some_columns_lack(options: dict[str, Any], kept: int | None) -> None:
    """Options that name the columns to keep set all others, the added ones that the batch lacks included."""
    table = created()
    table.apply([{"id": 1, "lsn": 2, "a": 1, "s": None, "l": None, "n": 7}], evolve_schema="add")
    table.apply([{"id": 1, "lsn": 3, "a": 5}], missing="null", **options)
    (row,) = table.to_arrow().to_pylist()
    assert (row["a"], row["n"]) == (5, kept)
