"""Tables that Spark wrote are converted, and read by Spark and others as before, with what was merged since.

Spark writes times as INT96 unless it is told otherwise.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import DuplicateKeyError, UnsupportedTableError
from andes_spark.spark.arrow_frames import arrow_table
from tests.other_readers import duckdb_connection
from tests.spark.batches import (
    EVERY,
    SIMPLE,
    every_rows,
    frame_of,
    parquet_frame,
    rows_of,
    shown,
    simple_rows,
    spark_rows,
    table_of,
)

KEYS: dict[str, Any] = {"primary_key": "id", "sequence_by": "seq"}
CONDITIONS = (
    "id < 5",
    "seq >= 100",
    "name = 'näme ''7'''",
    "amount > 1",
    "day < DATE '1970-01-01'",
    "at > TIMESTAMP '1969-12-31 23:59:59.999993+00:00'",
    "part = 'b' AND id > 2",
    "ok",
)


def sql(spark, statement: str, url: Any) -> None:
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    spark.sql(statement.replace("{}", f"delta.`{url}`"))


def by_delta_rs(url: Any, condition: str = "true") -> pa.Table:
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(str(url)))
    return pa.table(query.execute(f"SELECT * FROM t WHERE {condition}").read_all())


def with_part(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "part": (None, "a", "b")[row["id"] % 3]} for row in rows]


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_table_of_spark_goes_on(spark, tmp_path: Path, partitioned: bool) -> None:
    url, ddl = tmp_path / "t", SIMPLE + ", part STRING"
    frame = frame_of(spark, table_of(with_part(simple_rows(0, 12, 0)), ddl)).coalesce(1)
    writer = frame.write.format("delta").option("delta.enableDeletionVectors", "true")
    (writer.partitionBy("part") if partitioned else writer).save(str(url))
    sql(spark, "DELETE FROM {} WHERE id IN (3, 4)", url)
    sql(spark, "INSERT INTO {} SELECT 3, seq, name, amount, day, at, score, ok, part FROM {} WHERE id = 5", url)
    # A row that is deleted by a vector shares its key with a live one.
    table = ModTable.convert(url, **KEYS)
    five = simple_rows(5, 1, 0)[0]
    rows = [row for row in simple_rows(0, 12, 0) if row["id"] not in (3, 4)]
    expected = sorted([*with_part(rows), {**five, "id": 3, "part": "b"}], key=lambda row: row["id"])
    assert shown(table) == spark_rows(table.read(), table) == expected
    table.apply(table_of(with_part(simple_rows(6, 8, 100)), ddl), batch_id=("arrow", 1))
    deletes = pa.table({"id": [0, 3, 99], "seq": [900, 900, 900]})
    table.apply(frame_of(spark, deletes), apply_as_deletes="true", batch_id=("spark", 1))
    expected = [row for row in expected if row["id"] not in (0, 3) and row["id"] < 6]
    expected += with_part(simple_rows(6, 8, 100))
    assert shown(table) == spark_rows(table.read(), table) == expected
    plain = spark.read.format("delta").load(str(url))
    assert spark_rows(plain, table) == rows_of(by_delta_rs(url), table) == expected
    connection = duckdb_connection()
    for condition in CONDITIONS:
        # Spark before 4.0 takes a doubled quote for two texts side by side.
        target = shown_by(arrow_table(plain.where(condition.replace("''", "\\'"))))
        assert target == shown_by(table.to_arrow(filter=condition))
        assert target == shown_by(by_delta_rs(url, condition))
        quoted = condition.replace("at > TIMESTAMP", '"at" > TIMESTAMPTZ')
        fetched = connection.execute(f"SELECT id FROM delta_scan($1) WHERE {quoted}", [str(url)]).fetchall()
        assert target == {key for (key,) in fetched}
    before = spark.read.format("delta").option("versionAsOf", 0).load(str(url))
    assert before.count() == 12
    assert spark_rows(table.read(version=0), table)[0]["id"] == 0
    sql(spark, "OPTIMIZE {}", url)
    table.apply(table_of(with_part(simple_rows(1, 2, 500)), ddl), batch_id=("arrow", 2))
    checked = ModTable.open(url).verify()
    assert checked.ok, checked.problems
    history = [row["operation"] for row in spark.sql(f"DESCRIBE HISTORY delta.`{url}`").collect()]
    assert "CONVERT" in history
    assert history[-1] == "WRITE"


def shown_by(rows: pa.Table) -> set[int]:
    return set(rows["id"].to_pylist())


def test_files_of_spark_with_every_type_are_taken_in(spark, tmp_path: Path) -> None:
    url, rows = tmp_path / "t", every_rows(0, 9)
    data = table_of(rows, EVERY)
    parquet_frame(spark, tmp_path / "p", data).coalesce(2).write.format("delta").save(str(url))
    table = ModTable.convert(url, **KEYS)
    reference = ModTable.create(tmp_path / "r", EVERY, data=data, **KEYS)
    assert shown(table) == shown(reference)
    more = table_of(every_rows(4, 3), EVERY)
    for handle in (table, reference):
        handle.apply(more.set_column(1, "seq", pa.array([more["seq"][2].as_py()] * 3, more["seq"].type)))
    assert shown(table) == shown(reference) == spark_rows(table.read(), table)
    assert table.verify().ok


def test_parquet_files_of_spark_are_taken_in(spark, tmp_path: Path) -> None:
    url, ddl = tmp_path / "t", SIMPLE + ", part STRING"
    rows = with_part(simple_rows())
    frame_of(spark, table_of(rows, ddl)).write.partitionBy("part").parquet(str(url))
    table = ModTable.convert(url, partitions="part STRING", **KEYS)
    assert shown(table) == rows
    table.apply(table_of(with_part(simple_rows(10, 4, 500)), ddl))
    expected = [*rows[:10], *with_part(simple_rows(10, 4, 500))]
    plain = spark.read.format("delta").load(str(url))
    assert spark_rows(plain, table) == rows_of(by_delta_rs(url), table) == shown(table) == expected
    assert shown_by(arrow_table(plain.where("part IS NULL AND amount > 1"))) == {
        row["id"] for row in expected if row["part"] is None and (row["amount"] or 0) > Decimal(1)
    }
    assert table.verify().ok


def test_duplicates_of_spark_are_named(spark, tmp_path: Path) -> None:
    frame = frame_of(spark, table_of(simple_rows(), SIMPLE))
    frame.unionAll(frame.where("id = 7")).write.format("delta").save(str(tmp_path / "t"))
    with pytest.raises(DuplicateKeyError) as caught:
        ModTable.convert(tmp_path / "t", **KEYS)
    assert caught.value.keys == [{"id": 7}]


@pytest.mark.parametrize("column", ["DATE '1500-01-01'", "TIMESTAMP '1899-12-30 00:00:00+00:00'"])
@pytest.mark.parametrize("int96", [True, False])
def test_old_days_are_refused_in_the_calendar_that_only_spark_reads(spark, tmp_path, column: str, int96: bool) -> None:
    modes = ("spark.sql.parquet.datetimeRebaseModeInWrite", "spark.sql.parquet.int96RebaseModeInWrite")
    kind = "spark.sql.parquet.outputTimestampType"
    before = {name: spark.conf.get(name) for name in (*modes, kind)}
    rows = spark.sql(f"SELECT 1L AS id, 1L AS seq, {column} AS x")
    try:
        spark.conf.set(kind, "INT96" if int96 else "TIMESTAMP_MICROS")
        for mode in ("LEGACY", "CORRECTED"):
            for name in modes:
                spark.conf.set(name, mode)
            rows.coalesce(1).write.parquet(f"{tmp_path}/{mode}")
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)
    with pytest.raises(UnsupportedTableError, match="datetimeRebaseModeInWrite") as caught:
        ModTable.convert(f"{tmp_path}/LEGACY", **KEYS)
    assert caught.value.column == "x"
    table = ModTable.convert(f"{tmp_path}/CORRECTED", **KEYS)
    assert rows_of(table.to_arrow(), table) == spark_rows(rows, table)
