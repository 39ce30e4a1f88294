"""Columns, names by case and tie breaks of Spark DataFrames: as of Arrow tables, in this process and in tasks."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from andes_spark.errors import BadModsError, OptionError, SchemaMismatchError, SequenceTieError
from andes_spark.settings import Settings
from andes_spark.table.mod_table import ModTable


def create(path: Any, budget: int = 512 * 1024 * 1024) -> ModTable:
    return ModTable.create(
        str(path), "id BIGINT, at BIGINT, name STRING, note STRING", primary_key="id", sequence_by="at",
        settings=Settings(byte_budget=budget, target_file_bytes=2_000),
    )  # fmt: skip


@pytest.mark.parametrize("budget", [512 * 1024 * 1024, 0])
def test_ties_are_broken_alike_in_tasks_and_for_arrow_data(spark: Any, tmp_path: Any, budget: int) -> None:
    from pyspark.sql import functions as F

    chance = random.Random(5)
    rows = [
        (chance.randrange(60), chance.randrange(3), place, f"n{place}", chance.choice("IUD")) for place in range(600)
    ]
    chance.shuffle(rows)
    frame = spark.createDataFrame(rows, "ID BIGINT, at BIGINT, pos INT, Name STRING, op STRING").repartition(5)
    kinds = [pa.int64(), pa.int64(), pa.int32(), pa.string(), pa.string()]
    arrow = pa.table(
        [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), kinds, strict=True)],
        names=["ID", "at", "pos", "Name", "op"],
    )
    options: dict[str, Any] = {"apply_as_deletes": "OP = 'D'", "batch_id": ("s", 1), "missing": "null"}
    outcomes = []
    for number, (mods, tie) in enumerate([(frame, "POS"), (frame, F.col("pos") * 2), (arrow, "pos")]):
        table = create(tmp_path / str(number), budget)
        result = table.apply(mods, tie_break_by=tie, **options)
        batch = table.manifest(result.version).batches
        assert table.verify().ok
        outcomes.append((sorted(map(str, table.to_arrow().to_pylist())), result.counts, batch))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0][1].collapsed == 600 - len({row[:2] for row in rows})


def test_columns_of_a_frame_are_dropped_filled_and_found_by_case(spark: Any, tmp_path: Any) -> None:
    frame = spark.sql("SELECT 1L AS ID, 1L AS At, 'pen' AS NAME, 'I' AS op, INTERVAL '1' DAY AS junk")
    table = create(tmp_path / "t")
    with pytest.raises(SchemaMismatchError) as caught:
        table.apply(frame.drop("junk"), apply_as_deletes="OP = 'D'")
    assert caught.value.missing == ("note",)
    table.apply(frame, apply_as_deletes="OP = 'D'", extra="drop", missing="null")
    assert table.to_arrow().to_pylist() == [{"id": 1, "at": 1, "name": "pen", "note": None}]
    table.apply(frame.selectExpr("ID", "2L AS at", "'ink' AS name", "junk"), except_column_list=["junk", "NOTE"])
    assert table.to_arrow()["name"].to_pylist() == ["ink"]
    with pytest.raises(SchemaMismatchError, match="neither the table nor the batch"):
        table.apply(frame, except_column_list=["junkk"])


def test_what_gives_no_order_is_refused(spark: Any, tmp_path: Any) -> None:
    table = create(tmp_path / "t")
    frame = spark.createDataFrame(
        [(1, 1, 1, "a", "x"), (1, 1, 1, "b", "x")], "id BIGINT, at BIGINT, pos INT, name STRING, note STRING"
    )
    with pytest.raises(SequenceTieError):
        table.apply(frame, tie_break_by="pos")
    with pytest.raises(BadModsError) as caught:
        table.apply(frame.selectExpr("id", "at", "CAST(NULL AS INT) AS pos", "name", "note"), tie_break_by="pos")
    assert caught.value.reasons == {"null tie break: 1": 2}
    with pytest.raises(OptionError, match="no order"):
        table.apply(frame.selectExpr("id", "at", "array(pos) AS pos", "name", "note"), tie_break_by="pos")
    with pytest.raises(OptionError, match="tie_break_by: it cannot be resolved"):
        table.apply(frame, tie_break_by="position")
    assert table.version == 0
