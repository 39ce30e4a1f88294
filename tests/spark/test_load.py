"""Initial loads of Spark DataFrames: written by tasks, unique by key, nothing left of a load that is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Schema, Settings
from andes_spark.errors import BadModsError, DuplicateKeyError, SchemaMismatchError, TableExistsError
from andes_spark.spark.load import Loaded, meeting
from tests.spark.batches import (
    HERE,
    SIMPLE,
    TASKS,
    create,
    frame_of,
    in_partitions,
    shown,
    side_by_side,
    simple_rows,
    spark_rows,
    table_of,
)

PLACES = pytest.mark.parametrize("settings", [HERE, TASKS], ids=["here", "tasks"])


def data_files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*.parquet") if "_delta_log" not in file.parts]


@PLACES
def test_a_load_is_the_same_from_spark_and_arrow(spark, tmp_path, settings):
    data = table_of(simple_rows(0, 50), SIMPLE)
    upper = data.rename_columns([name.upper() for name in data.column_names])
    tables = [
        create(tmp_path / name, data=source, settings=settings, partition_by=by)
        for name, source, by in (
            ("arrow", data, ()),
            ("spark", in_partitions(spark, data), ()),
            ("by day", in_partitions(spark, upper), ("ok",)),
        )
    ]
    for table in tables:
        assert shown(table) == simple_rows(0, 50)
        assert spark_rows(table.read(), table) == simple_rows(0, 50)
        manifest = table.manifest(0)
        assert (manifest.operation, manifest.counts.received, manifest.counts.upserts) == ("load", 50, 50)
        assert table.status().rows == 50
        assert table.verify().ok
        table.apply(table_of(simple_rows(48, 4, 500), SIMPLE), merge=True)
        assert shown(table) == [*simple_rows(0, 48), *simple_rows(48, 4, 500)]


@PLACES
def test_keys_must_be_unique_across_partitions(spark, tmp_path, settings):
    one, two = table_of(simple_rows(0, 10), SIMPLE), table_of(simple_rows(9, 5, 500), SIMPLE)
    for frame in (side_by_side(spark, one, two), frame_of(spark, pa.concat_tables([one, two])).repartition(1)):
        with pytest.raises(DuplicateKeyError) as caught:
            create(tmp_path / "t", data=frame, settings=settings)
        assert caught.value.keys == [{"id": 9}]
        assert not data_files(tmp_path / "t")
    # Twice within one task, while others have written theirs.
    parts = [table_of(simple_rows(10 * n, 10), SIMPLE) for n in range(3)]
    with pytest.raises(DuplicateKeyError) as caught:
        create(
            tmp_path / "t", data=side_by_side(spark, *parts[:2], pa.concat_tables([parts[2]] * 2)), settings=settings
        )
    assert len(caught.value.fields["keys"]) == 10
    assert not data_files(tmp_path / "t")
    assert create(tmp_path / "t", data=side_by_side(spark, one, two.slice(1)), settings=settings).status().rows == 14


@PLACES
@pytest.mark.parametrize("kind", ["STRING", "INT", "DATE", "DECIMAL(5,2)", "TIMESTAMP"])
def test_keys_of_partition_columns_are_compared_exactly(spark, tmp_path, settings, kind):
    """Read back by Spark, folders named 01 and 1 would be one integer."""
    import datetime
    from decimal import Decimal

    places: dict[str, list[Any]] = {
        "STRING": ["1", "01", "1.0", "2024-01-01", "é=%41"],
        "INT": [1, 2, 3, 4, 5],
        "DATE": [datetime.date(2024, 1, n) for n in range(1, 6)],
        "DECIMAL(5,2)": [Decimal(n).scaleb(-2) for n in range(5)],
        "TIMESTAMP": [datetime.datetime(2024, 1, 1, 0, 0, 0, n, tzinfo=datetime.UTC) for n in range(5)],
    }
    ddl = f"p {kind}, id INT, v STRING"
    rows = [{"p": place, "id": n, "v": "x"} for place in places[kind] for n in range(2)]
    data = pa.Table.from_pylist(rows, schema=Schema.from_ddl(ddl).to_arrow())
    options: dict[str, Any] = {"primary_key": ["p", "id"], "partition_by": ["p"], "settings": settings}
    table = ModTable.create(tmp_path / "t [x]*", ddl, data=frame_of(spark, data), **options)
    assert shown(table) == sorted(rows, key=lambda row: (row["p"], row["id"]))
    twice = pa.concat_tables([data, data.slice(3, 1)])
    with pytest.raises(DuplicateKeyError) as caught:
        ModTable.create(tmp_path / "u [x]*", ddl, data=frame_of(spark, twice), **options)
    assert caught.value.keys == [{"p": rows[3]["p"], "id": 1}]


@PLACES
def test_rows_that_cannot_be_loaded_leave_no_table(spark, tmp_path, settings):
    rows = simple_rows(0, 10)
    rows[4]["id"] = None
    with pytest.raises(BadModsError) as caught:
        create(tmp_path / "t", data=in_partitions(spark, table_of(rows, SIMPLE)), settings=settings)
    assert caught.value.quarantined == 1
    assert caught.value.reasons == {"null key: id": 1}
    assert not data_files(tmp_path / "t")
    frame = frame_of(spark, table_of(simple_rows(0, 10), SIMPLE))
    spark.sparkContext.setJobGroup("loading", "")
    with pytest.raises(SchemaMismatchError) as mismatch:
        create(tmp_path / "t", data=frame.withColumnRenamed("ok", "o").withColumn("seq", frame.name), settings=settings)
    spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)
    assert not list(spark.sparkContext.statusTracker().getJobIdsForGroup("loading"))
    assert (mismatch.value.missing, mismatch.value.extra) == (("ok",), ("o",))
    assert set(mismatch.value.fields["wrong_type"]) == {"seq"}
    create(tmp_path / "t", data=frame, settings=settings)
    with pytest.raises(TableExistsError):
        create(tmp_path / "t", data=frame, settings=settings)
    assert shown(ModTable.open(tmp_path / "t")) == simple_rows(0, 10)


def test_small_files_and_empty_partitions(spark, tmp_path):
    frame = spark.range(0, 500, 1, 4).selectExpr("id", "id as seq", "repeat('x', 100) as s")
    small = Settings(target_file_bytes=20_000)
    keyed: dict[str, Any] = {"primary_key": ["id"], "sequence_by": ["seq"]}
    table = ModTable.create(tmp_path / "t", frame.schema, data=frame, settings=small, **keyed)
    assert table.status().rows == 500
    assert table.status().files > 1
    empty = frame.where("id < 0")
    none = ModTable.create(tmp_path / "none", frame.schema, data=empty, **keyed)
    assert none.status().rows == 0
    assert none.read().count() == 0


@pytest.mark.parametrize("seed", range(30))
def test_pieces_that_may_share_a_key_are_found(seed: int) -> None:
    rnd = random.Random(seed)
    pieces = []
    for _ in range(rnd.randint(1, 6)):
        edges = sorted(rnd.sample(range(100), 2 * rnd.randint(1, 3)))
        pieces.append(Loaded([], [((low,), (high,)) for low, high in zip(edges[::2], edges[1::2], strict=True)]))
    keys = [{n for (low,), (high,) in key_piece.ranges for n in range(low, high + 1)} for key_piece in pieces]
    expected = [
        piece
        for number, piece in enumerate(pieces)
        if any(keys[number] & other for place, other in enumerate(keys) if place != number)
    ]
    groups = meeting(pieces)
    assert all(any(candidate is piece for candidate in groups) for piece in expected)
    # Ranges of one piece never overlap, so that whoever meets a range meets another piece's.
    assert len(groups) == len(expected)
