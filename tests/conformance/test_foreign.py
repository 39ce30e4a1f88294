"""Other writers of the base: a change of rows is noticed and named, upkeep is taken in, new features are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import ForeignWriteError, UnsupportedTableError
from tests.spark.batches import SIMPLE, create, shown, simple_rows, spark_rows, table_of

STATEMENTS = {
    "DELETE": "DELETE FROM {} WHERE id < 3",
    "UPDATE": "UPDATE {} SET name = 'theirs' WHERE id < 3",
    "WRITE": "INSERT INTO {} SELECT id + 100, seq, name, amount, day, at, score, ok FROM {}",
    "TRUNCATE": "DELETE FROM {}",
}
FEATURES = {
    "change data feed": "ALTER TABLE {} SET TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')",
    "columnMapping": "ALTER TABLE {} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')",
    "CHECK": "ALTER TABLE {} ADD CONSTRAINT positive CHECK (id >= 0)",
    "rowTracking": "ALTER TABLE {} SET TBLPROPERTIES ('delta.enableRowTracking' = 'true')",
    "inCommitTimestamp": "ALTER TABLE {} SET TBLPROPERTIES ('delta.enableInCommitTimestamps' = 'true')",
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
    spark.sql(statement.replace("{}", f"delta.`{table.url}`"))


@pytest.mark.parametrize("name", list(STATEMENTS))
def test_a_foreign_write_is_noticed_and_named(spark, tmp_path, name):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, STATEMENTS[name], table)
    operation = "DELETE" if name == "TRUNCATE" else name
    for each in (table, ModTable.open(table.url)):
        assert shown(each) == expected
        with pytest.warns(RuntimeWarning, match="Delta version 2 is another writer's"):
            frame = each.read()
        assert spark_rows(frame, each) == expected
        with pytest.raises(ForeignWriteError, match=operation) as caught:
            each.merge()
        assert (caught.value.delta_version, caught.value.operation) == (2, operation)
        assert each.status().foreign == 2
        [problem] = each.verify().problems
        assert "Delta version 2" in problem
    assert table.version == 2


def test_an_apply_returns_and_says_that_its_merge_failed(spark, tmp_path, caplog):
    table = prepared(tmp_path / "t", merge="always")
    run(spark, STATEMENTS["DELETE"], table)
    run(spark, "UPDATE {} SET name = 'theirs' WHERE id > 3", table)
    result = table.apply(spark.createDataFrame(table_of(simple_rows(8, 2, 300), SIMPLE)))
    assert "the batch is applied, but merging it failed" in caplog.text
    assert (result.version, result.upserts) == (3, 2)
    assert result.merge is not None
    assert result.merge.status == "failed"
    assert isinstance(result.merge.error, ForeignWriteError)
    assert result.merge.error.delta_version == 2
    assert [row["seq"] for row in shown(table)] == [100, 101, 102, 103, 4, 205, 206, 207, 308, 309, 10, 11]

    # What the error says to do makes it good.
    for entry in (tmp_path / "t" / "_delta_log").iterdir():
        version = re.match(r"\.?(\d{20})\.", entry.name)
        if version and int(version[1]) >= 2:
            entry.unlink()
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    again = ModTable.open(table.url)
    assert again.merge().status == "merged"
    assert [row["seq"] for row in shown(again)] == [100, 101, 102, 103, 4, 205, 206, 207, 308, 309, 10, 11]
    assert spark_rows(again.read(), again) == shown(again)
    assert again.verify().ok


def test_optimize_and_its_like_are_taken_in_silently(spark, tmp_path):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, "OPTIMIZE {}", table)
    run(spark, "ALTER TABLE {} SET TBLPROPERTIES ('who' = 'us')", table)
    for each in (table, ModTable.open(table.url)):
        assert spark_rows(each.read(), each) == expected
        assert each.status().foreign is None
    assert table.merge().status == "merged"
    assert shown(table) == expected
    run(spark, "DELETE FROM {} WHERE id < 0", table)
    assert table.status().foreign is None
    assert table.verify().ok


@pytest.mark.parametrize("feature", list(FEATURES))
def test_a_feature_outside_the_list_is_refused_by_name(spark, tmp_path, feature):
    table = prepared(tmp_path / "t")
    run(spark, FEATURES[feature], table)
    for each in (table, ModTable.open(table.url)):
        for act in (each.merge, each.read, each.to_arrow):
            with pytest.raises(UnsupportedTableError) as caught:
                act()
            assert caught.value.table == each.url
            assert caught.value.feature, str(caught.value)
    with pytest.raises(UnsupportedTableError):
        ModTable.open(table.url).apply(table_of(simple_rows(8, 2, 300), SIMPLE))
    # Whoever knows the base already learns it at the merge, when the batch is safe.
    result = table.apply(table_of(simple_rows(8, 2, 400), SIMPLE), merge=True)
    assert result.merge is not None
    assert isinstance(result.merge.error, UnsupportedTableError)
    assert table.version == 3


def test_a_column_added_by_delta_is_a_foreign_write(spark, tmp_path):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    run(spark, "ALTER TABLE {} ADD COLUMNS (more STRING)", table)
    for each in (ModTable.open(table.url), table):
        with pytest.raises(ForeignWriteError, match="ADD COLUMNS"):
            each.merge()
        assert shown(each) == expected
        with pytest.warns(RuntimeWarning, match="another writer's"):
            frame = each.read()
        assert spark_rows(frame, each) == expected


def test_a_merge_that_another_writer_overwrote_is_noticed(spark, tmp_path):
    table = prepared(tmp_path / "t")
    entry = tmp_path / "t" / "_delta_log" / f"{1:020}.json"
    ours = entry.read_bytes()
    # What Delta's log store does when it lost a race that it did not see.
    info, rest = ours.split(b"\n", 1)
    theirs = {**json.loads(info)["commitInfo"], "txnId": "theirs", "engineInfo": "Apache-Spark/4.2.0", "tags": {}}
    entry.write_bytes(json.dumps({"commitInfo": theirs}).encode() + b"\n" + rest)
    with pytest.raises(ForeignWriteError) as caught:
        ModTable.open(table.url).to_arrow()
    assert caught.value.delta_version == 1
    entry.write_bytes(ours)
    assert ModTable.open(table.url).verify().ok
