"""Other writers of the base: a change of rows is noticed and named, upkeep is taken in, new features are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyspark
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import ForeignWriteError, UnsupportedTableError
from tests.spark.batches import SIMPLE, create, frame_of, rows_of, shown, simple_rows, spark_rows, table_of

STATEMENTS = {
    "DELETE": "DELETE FROM {} WHERE id < 3",
    "UPDATE": "UPDATE {} SET name = 'theirs' WHERE id < 3",
    "WRITE": "INSERT INTO {} SELECT id + 100, seq, name, amount, day, at, score, ok FROM {}",
    "TRUNCATE": "DELETE FROM {}",
}
MERGE = "MERGE INTO {} t USING (SELECT 1 AS id) s ON t.id = s.id WHEN MATCHED THEN DELETE"
ADD_COLUMN = "ALTER TABLE {} ADD COLUMNS (more STRING)"
UNDONE = {"DELETE": STATEMENTS["DELETE"], "UPDATE": STATEMENTS["UPDATE"], "MERGE": MERGE, "ADD COLUMNS": ADD_COLUMN}
SET = "ALTER TABLE {} SET TBLPROPERTIES "
RESTORE = "RESTORE TABLE {} TO VERSION AS OF 1"
# What sets a feature, and what the error says to do.
WRITERS = {
    "appendOnly": (f"{SET}('delta.appendOnly' = 'true')", "ALTER TABLE {} UNSET TBLPROPERTIES ('delta.appendOnly')"),
    "changeDataFeed": (
        f"{SET}('delta.enableChangeDataFeed' = 'true')",
        "ALTER TABLE {} UNSET TBLPROPERTIES ('delta.enableChangeDataFeed')",
    ),
    "checkConstraints": (
        "ALTER TABLE {} ADD CONSTRAINT positive CHECK (id >= 0)",
        "ALTER TABLE {} DROP CONSTRAINT positive",
    ),
    "inCommitTimestamp": (
        f"{SET}('delta.enableInCommitTimestamps' = 'true')",
        "ALTER TABLE {} UNSET TBLPROPERTIES ('delta.enableInCommitTimestamps')",
    ),
    "rowTracking": (f"{SET}('delta.enableRowTracking' = 'true')", "ALTER TABLE {} DROP FEATURE rowTracking"),
    "clustering": ("ALTER TABLE {} CLUSTER BY (id)", "ALTER TABLE {} CLUSTER BY NONE"),
    "allowColumnDefaults": (
        f"{SET}('delta.feature.allowColumnDefaults' = 'supported'); ALTER TABLE {{}} ALTER COLUMN name SET DEFAULT 'x'",
        "ALTER TABLE {} ALTER COLUMN name DROP DEFAULT",
    ),
}
if pyspark.__version__.startswith(("3.", "4.0")):
    # Delta 3.3 and 4.0 cannot drop row tracking.
    del WRITERS["rowTracking"]
else:
    WRITERS["materializePartitionColumns"] = (
        f"{SET}('delta.feature.materializePartitionColumns' = 'supported')",
        "ALTER TABLE {} DROP FEATURE materializePartitionColumns",
    )
READERS = {
    "columnMapping": (f"{SET}('delta.columnMapping.mode' = 'name')", RESTORE),
    "columnMapping, set back": (
        f"{SET}('delta.columnMapping.mode' = 'name')",
        f"{SET}('delta.columnMapping.mode' = 'none')",
    ),
    "typeWidening": (
        f"{SET}('delta.enableTypeWidening' = 'true'); ALTER TABLE {{}} ALTER COLUMN amount TYPE DECIMAL(14,2)",
        RESTORE,
    ),
}
ON_SPARK_3 = pyspark.__version__.startswith("3.")
if ON_SPARK_3:
    # Delta 3.3 widens no column by SQL.
    del READERS["typeWidening"]
# Listed, and nothing that is active: merges go on.
FINE = {
    "typeWidening": f"{SET}('delta.enableTypeWidening' = 'true')",
    "v2Checkpoint": f"{SET}('delta.checkpointPolicy' = 'v2')",
    **{
        feature: f"{SET}('delta.feature.{feature}' = 'supported')"
        for feature in (
            "allowColumnDefaults",
            "changeDataFeed",
            "checkConstraints",
            "columnMapping",
            "domainMetadata",
            "generatedColumns",
            "identityColumns",
            "inCommitTimestamp",
            "vacuumProtocolCheck",
            *(() if ON_SPARK_3 else ("variantType",)),
        )
    },
}


def prepared(path: Path, **options: Any) -> ModTable:
    """A table with a base of 12 rows, merged once, and three newer mods pending."""
    data, settings = table_of(simple_rows(0, 12, 0), SIMPLE), Settings(compact_bytes=0)
    table = create(path, data=data, settings=settings, **options)
    table.apply(table_of(simple_rows(0, 4, 100), SIMPLE), merge=True)
    table.apply(table_of(simple_rows(5, 3, 200), SIMPLE), merge=False)
    return table


def run(spark, statement: str, table: ModTable) -> None:
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    for command in statement.split("; "):
        spark.sql(command.replace("{}", f"delta.`{table.url}`"))


@pytest.mark.parametrize("name", list(STATEMENTS))
def test_a_foreign_write_is_noticed_and_named(spark, tmp_path, name):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, STATEMENTS[name], table)
    operation = "DELETE" if name == "TRUNCATE" else name
    for handle in (table, ModTable.open(table.url)):
        assert shown(handle) == expected
        with pytest.warns(RuntimeWarning, match="Delta version 2 is another writer's"):
            frame = handle.read()
        assert spark_rows(frame, handle) == expected
        with pytest.raises(ForeignWriteError, match=operation) as caught:
            handle.merge()
        assert (caught.value.delta_version, caught.value.operation) == (2, operation)
        assert handle.status().foreign == 2
        [problem] = handle.verify().problems
        assert "Delta version 2" in problem
    assert table.version == 2
    plain = spark.read.format("delta").load(table.url)
    foreign_rows = {row["id"]: row for row in spark_rows(plain, table)}
    pending = {row["id"]: row for row in expected if row["seq"] >= 200}
    assert table.repair(foreign="take_in").committed == 3
    merged_rows = sorted((foreign_rows | pending).values(), key=lambda row: row["id"])
    going_on(table, merged_rows)
    assert spark_rows(spark.read.format("delta").load(table.url), table) == merged_rows
    assert rows_of(table.to_arrow(version=2), table) == expected


def test_an_apply_returns_and_says_that_its_merge_failed(spark, tmp_path, caplog):
    table = prepared(tmp_path / "t", merge="always")
    run(spark, STATEMENTS["DELETE"], table)
    run(spark, "UPDATE {} SET name = 'theirs' WHERE id > 3", table)
    result = table.apply(frame_of(spark, table_of(simple_rows(8, 2, 300), SIMPLE)))
    assert "the batch is applied, but merging it failed" in caplog.text
    assert (result.version, result.upserts) == (3, 2)
    assert result.merge is not None
    assert result.merge.status == "failed"
    assert isinstance(result.merge.error, ForeignWriteError)
    assert result.merge.error.delta_version == 2
    assert [row["seq"] for row in shown(table)] == [100, 101, 102, 103, 4, 205, 206, 207, 308, 309, 10, 11]

    # What the error says to do makes it good.
    run(spark, RESTORE, table)
    reopened = ModTable.open(table.url)
    assert reopened.merge().status == "merged"
    assert [row["seq"] for row in shown(reopened)] == [100, 101, 102, 103, 4, 205, 206, 207, 308, 309, 10, 11]
    assert spark_rows(reopened.read(), reopened) == shown(reopened)
    assert reopened.verify().ok


@pytest.mark.parametrize("name", list(UNDONE))
def test_a_change_that_delta_restores_is_over(spark, tmp_path, name):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, UNDONE[name], table)
    with pytest.raises(ForeignWriteError, match=r"RESTORE TABLE .* TO VERSION AS OF 1") as caught:
        table.merge()
    assert (caught.value.delta_version, caught.value.operation) == (2, name)
    assert table.status().stopped == str(caught.value)
    table.apply(table_of(simple_rows(5, 3, 200), SIMPLE), merge=False)
    run(spark, RESTORE, table)
    going_on(table, expected)


@pytest.mark.parametrize("name", list(UNDONE))
def test_a_change_that_a_repair_takes_back_is_over(spark, tmp_path, name):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, UNDONE[name], table)
    if name == "UPDATE":
        spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
        run(spark, "VACUUM {} RETAIN 0 HOURS", table)
    table.repair(foreign="undo")
    going_on(table, expected)
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert spark_rows(spark.read.format("delta").load(table.url), table) == expected


def test_features_that_a_repair_takes_back(spark, tmp_path):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    for set_it, _ in (*WRITERS.values(), *READERS.values()):
        run(spark, set_it, table)
        assert table.status().stopped is not None, set_it
        table.repair(foreign="undo")
        assert table.status().stopped is None, set_it
        assert shown(table) == expected, set_it
    going_on(table, expected)
    run(spark, "OPTIMIZE {}", table)
    run(spark, "DELETE FROM {} WHERE id < 3", table)
    table.repair(foreign="undo")
    going_on(table, expected)


def going_on(table: ModTable, expected: list[Any]) -> None:
    """Merges go on, for an open table and for a new one, and Delta reads what they wrote."""
    for handle in (table, ModTable.open(table.url)):
        assert handle.status().stopped is None
        assert handle.merge().status in ("merged", "nothing")
        assert shown(handle) == expected
    assert spark_rows(table.read(), table) == expected
    assert table.verify().ok


def test_optimize_and_its_like_are_taken_in_silently(spark, tmp_path):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, "OPTIMIZE {}", table)
    run(spark, "ALTER TABLE {} SET TBLPROPERTIES ('who' = 'us')", table)
    for handle in (table, ModTable.open(table.url)):
        assert spark_rows(handle.read(), handle) == expected
        assert handle.status().foreign is None
    assert table.merge().status == "merged"
    assert shown(table) == expected
    run(spark, "DELETE FROM {} WHERE id < 0", table)
    assert table.status().foreign is None
    assert table.verify().ok


@pytest.mark.parametrize("feature", list(WRITERS))
def test_a_feature_of_writers_stops_merges_only(spark, tmp_path, feature):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    set_it, remedy = WRITERS[feature]
    run(spark, set_it, table)
    for handle in (table, ModTable.open(table.url)):
        with pytest.raises(UnsupportedTableError) as caught:
            handle.merge()
        assert (caught.value.table, caught.value.feature) == (handle.url, feature)
        assert remedy.partition("{} ")[2] in str(caught.value)
        assert handle.status().stopped == str(caught.value)
        assert shown(handle) == expected
        assert spark_rows(handle.read(), handle) == expected
        # The same content again, so that nothing changes.
        assert handle.apply(table_of(simple_rows(5, 3, 200), SIMPLE), merge=False).upserts == 3
    run(spark, remedy, table)
    going_on(table, expected)


@pytest.mark.parametrize("feature", list(READERS))
def test_a_feature_of_readers_leaves_reads_at_the_state_before_it(spark, tmp_path, feature):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    set_it, remedy = READERS[feature]
    run(spark, set_it, table)
    for handle in (table, ModTable.open(table.url)):
        with pytest.raises((UnsupportedTableError, ForeignWriteError), match=r"RESTORE TABLE .* TO VERSION AS OF \d"):
            handle.merge()
        assert shown(handle) == expected
        with pytest.warns(RuntimeWarning, match="this read stays at Delta version"):
            frame = handle.read()
        assert spark_rows(frame, handle) == expected
        assert handle.apply(table_of(simple_rows(5, 3, 200), SIMPLE), merge=False).upserts == 3
    run(spark, remedy, table)
    going_on(table, expected)


@pytest.mark.parametrize("feature", list(FINE))
def test_a_feature_that_is_listed_and_not_active_is_written_past(spark, tmp_path, feature):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, FINE[feature], table)
    going_on(table, expected)


def test_a_column_added_by_delta_is_a_foreign_write(spark, tmp_path):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, "ALTER TABLE {} ADD COLUMNS (more STRING)", table)
    for handle in (ModTable.open(table.url), table):
        with pytest.raises(ForeignWriteError, match="ADD COLUMNS"):
            handle.merge()
        assert shown(handle) == expected
        with pytest.warns(RuntimeWarning, match="another writer's"):
            frame = handle.read()
        assert spark_rows(frame, handle) == expected


def test_a_merge_that_another_writer_overwrote_is_noticed(spark, tmp_path):
    table = prepared(tmp_path / "t")
    entry = tmp_path / "t" / "_delta_log" / f"{1:020}.json"
    own_entry = entry.read_bytes()
    # What Delta's log store does when it lost a race that it did not see.
    info, rest = own_entry.split(b"\n", 1)
    foreign_info = {**json.loads(info)["commitInfo"], "txnId": "theirs", "engineInfo": "Apache-Spark/4.2.0", "tags": {}}
    entry.write_bytes(json.dumps({"commitInfo": foreign_info}).encode() + b"\n" + rest)
    with pytest.raises(ForeignWriteError) as caught:
        ModTable.open(table.url).to_arrow()
    assert caught.value.delta_version == 1
    entry.write_bytes(own_entry)
    assert ModTable.open(table.url).verify().ok


def test_old_versions_after_a_vacuum_are_evaluated_from_the_log(spark, tmp_path):
    table = create(tmp_path / "t", settings=Settings(compact_bytes=0))
    for number in range(1, 4):
        table.apply(table_of(simple_rows(0, 6, 100 * number), SIMPLE), merge=True)
    expected = [table.to_arrow(version=version).sort_by("id").to_pylist() for version in range(4)]
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    files = len(list((tmp_path / "t").glob("*.parquet")))
    run(spark, "VACUUM {} RETAIN 0 HOURS", table)
    assert len(list((tmp_path / "t").glob("*.parquet"))) < files
    for handle in (table, ModTable.open(table.url)):
        for version, rows in enumerate(expected):
            assert handle.to_arrow(version=version).sort_by("id").to_pylist() == rows
            frame = handle.read(version=version)
            assert sorted(row["seq"] for row in frame.collect()) == sorted(row["seq"] for row in rows)
