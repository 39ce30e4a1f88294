"""Casts and zones: a Spark DataFrame and an Arrow table of the same rows become the same mods."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import types as spark_types

from andes_spark.errors import SchemaMismatchError
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

TABLE = "id BIGINT, seq DECIMAL(20,0), price DECIMAL(10,2), day DATE, at TIMESTAMP, name STRING, ok BOOLEAN, none INT"
GIVEN = "id STRING, seq DOUBLE, price DOUBLE, day TIMESTAMP_NTZ, at TIMESTAMP_NTZ, name INT, ok STRING"
NOON, NIGHT = datetime.datetime(2026, 7, 1, 12), datetime.datetime(2026, 7, 1)
SKIPPED = datetime.datetime(2026, 3, 29, 1, 30)
ROWS: list[tuple[Any, ...]] = [
    ("1", 10.0, 19.99, NIGHT, NOON, 7, "true"),
    ("two", 11.0, 1.0, NIGHT, NOON, 7, "true"),
    ("3", 11.5, 1.0, NIGHT, NOON, 7, "true"),
    ("4", 12.0, 0.125, NIGHT, NOON, 7, "true"),
    ("5", 13.0, 1e6, NOON, NOON, None, "false"),
    ("6", 14.0, None, None, SKIPPED, 8, None),
    ("7", 15.0, None, None, None, None, "yes"),
    ("8", 2.0**63, -0.0, None, None, -8, None),
]


def create(path: Path, **settings: Any) -> ModTable:
    return ModTable.create(str(path), TABLE, primary_key="id", sequence_by="seq", settings=Settings(**settings))


@pytest.mark.parametrize("byte_budget", [512 * 1024 * 1024, 0])
def test_the_same_rows_are_the_same_mods(spark: Any, tmp_path: Path, byte_budget: int) -> None:
    frame = spark.createDataFrame(ROWS, GIVEN).selectExpr("*", "NULL AS none")
    kinds = [pa.string(), pa.float64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us"), pa.int32(), pa.string()]
    names = [*frame.columns]
    columns = [pa.array(values, kind) for values, kind in zip(zip(*ROWS, strict=True), kinds, strict=True)]
    arrow = pa.table([*columns, pa.nulls(len(ROWS))], names=names)
    outcomes: list[Any] = []
    for rows in (frame, arrow):
        table = create(tmp_path / str(len(outcomes)), byte_budget=byte_budget)
        result = table.apply(rows, cast=True, time_zone="Europe/Lisbon", max_quarantined=8, batch_id=("s", 1))
        aside = table.quarantined().select(["reason", "column"]).to_pylist()
        digest = table.manifest(result.version).batches
        outcomes.append(
            (sorted(map(str, table.to_arrow().to_pylist())), sorted(map(str, aside)), result.counts, digest)
        )
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2].quarantined == 6
    assert outcomes[0][2].upserts == 2


def test_a_frame_of_times_without_a_zone_says_that_the_zone_is_missing(spark: Any, tmp_path: Path) -> None:
    frame = spark.createDataFrame([(1, Decimal(1), NOON)], "id BIGINT, seq DECIMAL(20,0), at TIMESTAMP_NTZ")
    with pytest.raises(SchemaMismatchError, match="by time_zone"):
        create(tmp_path / "a").apply(frame, column_list="at")
    assert create(tmp_path / "b").apply(frame, column_list="at", time_zone="UTC").upserts == 1


def test_char_and_varchar_are_text(spark: Any) -> None:
    fields = [
        spark_types.StructField("id", spark_types.LongType()),
        spark_types.StructField("code", spark_types.CharType(3)),
        spark_types.StructField("name", spark_types.VarcharType(9)),
    ]
    table = ModTable.create(MemoryStorage(), spark_types.StructType(fields), primary_key="id")
    assert table.schema.to_ddl() == "id BIGINT NOT NULL, code STRING, name STRING"
