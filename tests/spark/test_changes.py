"""Changes as Spark DataFrames: a batch, and a stream that goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyspark
import pytest

from andes_spark import ModTable
from andes_spark.base.merge import plan
from andes_spark.errors import NoSuchVersionError, OptionError
from andes_spark.spark.arrow_frames import arrow_table
from tests.spark.versions import BEFORE_4

DDL = "id BIGINT, lsn BIGINT, n STRUCT<x: INT, y: ARRAY<STRING>>, at TIMESTAMP"
BEFORE_LIMITS = pyspark.__version__.startswith(("3.", "4.0"))
on_spark_4_2 = pytest.mark.skipif(BEFORE_LIMITS, reason="before 4.2 a run ends at the version that it finds first")
on_spark_4 = pytest.mark.skipif(BEFORE_4, reason="data sources in Python came with Spark 4.0")
KINDS = ["delete", "insert", "update_postimage", "update_preimage"]


def mods(table: ModTable, keys: list[int], lsn: int, deleted: bool = False) -> pa.Table:
    values = [None if key % 3 == 0 else {"x": key, "y": [None, "z"] if key % 2 else None} for key in keys]
    kinds = table.schema.to_arrow()
    columns = {"id": keys, "lsn": [lsn] * len(keys), "n": values, "at": [lsn * 1_000_000] * len(keys)}
    columns |= {name: [None] * len(keys) for name in table.schema.names if name not in columns}
    arrays = {name: pa.array(column, kinds.field(name).type) for name, column in columns.items()}
    return pa.table({**arrays, "gone": [deleted] * len(keys)})


def apply(table: ModTable, keys: list[int], lsn: int, deleted: bool = False) -> None:
    table.apply(mods(table, keys, lsn, deleted), apply_as_deletes="gone")


@pytest.fixture
def table(spark, tmp_path: Path) -> ModTable:
    table = ModTable.create(tmp_path / "t", DDL, primary_key="id", sequence_by="lsn", merge="always", spark=spark)
    apply(table, list(range(20)), 1)
    apply(table, [3, 4, 30], 2)
    apply(table, [5, 6], 3, deleted=True)
    return table


def in_order(rows: pa.Table) -> list[dict[str, Any]]:
    return rows.sort_by([("id", "ascending"), ("_change_type", "descending")]).to_pylist()


@pytest.mark.parametrize("ranges", [1, 3])
def test_a_batch_equals_the_changes_in_arrow(spark, table, ranges, monkeypatch):
    monkeypatch.setattr(plan, "BUCKET_ROWS", 40 // ranges // 2)
    monkeypatch.setattr(plan, "BUCKET_BYTES", 1)
    frame = table.read_changes(1, before_images=True)
    expected = table.changes(1, before_images=True).read_all()
    assert frame.columns == expected.schema.names
    assert sorted({row["_change_type"] for row in frame.collect()}) == KINDS
    apply(table, [4], 9)
    assert in_order(arrow_table(frame)) == in_order(expected), "pinned at the call"
    assert (
        arrow_table(table.read_changes(0, 1, columns=["n"])).to_pylist()
        == table.changes(0, 1, columns="n").read_all().to_pylist()
    )
    assert table.read_changes(3, 3).count() == 0
    with pytest.raises(NoSuchVersionError):
        table.read_changes(99)
    with pytest.raises(OptionError, match="say which version"):
        table.read_changes()


class Query:
    """A query that keeps each micro-batch in a folder of its own: exactly once by the numbers of the batches."""

    def __init__(self, spark, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.fails_at: int | None = None

    def run(self, table: ModTable, *begin: int, **options: Any) -> list[int]:
        """Run to the newest version; numbers of rows of the micro-batches."""
        query = self.start(table, *begin, available_now=True, **options)
        query.awaitTermination()
        return [progress["numInputRows"] for progress in query.recentProgress if progress["numInputRows"]]

    def start(self, table: ModTable, *begin: int, available_now: bool = False, **options: Any) -> Any:
        stream = table.read_stream(*begin, before_images=True, **options)
        assert stream.isStreaming
        writer = stream.writeStream.foreachBatch(self.write)
        writer = writer.trigger(availableNow=True) if available_now else writer.trigger(processingTime="0 seconds")
        return writer.option("checkpointLocation", str(self.folder / "checkpoint")).start()

    def write(self, frame, number: int) -> None:
        frame.write.mode("overwrite").parquet(str(self.folder / f"batch-{number}"))
        if number == self.fails_at:
            raise ValueError("after the write")

    def rows(self, first: int = 0) -> list[dict[str, Any]]:
        """Rows of the micro-batches from a number on."""
        folders = [path for path in self.folder.glob("batch-*") if int(path.name.split("-")[1]) >= first]
        return in_order(arrow_table(self.spark.read.parquet(*map(str, folders))))


@pytest.mark.skipif(not BEFORE_4, reason="Spark 4.0 has data sources in Python")
def test_a_stream_is_refused_by_name_before_spark_4(table):
    with pytest.raises(OptionError, match=r"read_stream needs Spark 4\.0 or newer; use read_changes"):
        table.read_stream(0)


@on_spark_4
def test_a_stream_goes_on_from_its_checkpoint(spark, table, tmp_path):
    query = Query(spark, tmp_path / "q")
    first = table.changes(1, 3, before_images=True).read_all()
    assert query.run(table, 1) == [first.num_rows]
    assert query.rows() == in_order(first)
    assert query.run(table, 1) == [], "nothing is new"
    apply(table, [4, 40], 4)
    table.restore(3)
    apply(table, [41], 5)
    # The checkpoint counts, not what is said here.
    assert query.run(table, 5) == [1]
    second = table.changes(3, 6, before_images=True).read_all()
    assert query.rows() == in_order(pa.concat_tables([first, second]))


@on_spark_4_2
def test_a_micro_batch_that_failed_is_the_same_again(spark, table, tmp_path):
    query = Query(spark, tmp_path / "q")
    query.fails_at = 0
    with pytest.raises(Exception, match="after the write"):
        query.run(table, 0)
    written = query.rows()
    apply(table, [1, 2], 7)
    table.merge()
    query.fails_at = None
    later = table.changes(3, 4, before_images=True).read_all()
    # The versions of the first one are in the checkpoint, and what was applied since is in the second.
    assert query.run(table, 0)[-1] == later.num_rows
    assert written == in_order(table.changes(0, 3, before_images=True).read_all())
    assert (query.rows(first=1), query.rows()) == (in_order(later), in_order_of(written, later))


def in_order_of(written: list[dict[str, Any]], later: pa.Table) -> list[dict[str, Any]]:
    return in_order(pa.concat_tables([pa.Table.from_pylist(written, later.schema), later]))


@pytest.mark.skipif(BEFORE_4 or not BEFORE_LIMITS, reason="Spark 4.2 has limits")
def test_a_limit_of_versions_is_refused_by_name_before_spark_4_2(table):
    with pytest.raises(OptionError, match=r"max_versions needs Spark 4\.2 or newer"):
        table.read_stream(0, max_versions=1)


@on_spark_4_2
def test_a_micro_batch_of_few_versions(spark, table, tmp_path):
    query = Query(spark, tmp_path / "q")
    sizes = [table.changes(version, version + 1, before_images=True).read_all().num_rows for version in range(3)]
    assert query.run(table, 0, max_versions=1) == sizes
    assert [row["_commit_version"] for row in query.rows(first=2)] == [3] * sizes[2]
    with pytest.raises(OptionError, match="max_versions"):
        table.read_stream(0, max_versions=0)


@on_spark_4
def test_a_query_takes_what_is_applied_while_it_runs(spark, table, tmp_path):
    query = Query(spark, tmp_path / "q")
    running = query.start(table, 3)
    try:
        apply(table, [50], 8)
        running.processAllAvailable()
        apply(table, [51], 9)
        running.processAllAvailable()
    finally:
        running.stop()
    assert [row["id"] for row in query.rows()] == [50, 51]


@on_spark_4_2
def test_the_schema_changes_while_a_query_runs(spark, table, tmp_path):
    """New columns are left out; a wider type, or a column that is gone, ends the query until it is made anew."""
    query = Query(spark, tmp_path / "q")
    query.fails_at = 1
    running = query.start(table, 3)
    table.alter.add_column("more", "STRING")
    apply_with(table, 60, more="x")
    running.processAllAvailable()
    assert query.rows(first=0) == in_order(table.changes(3, columns=["id", "lsn", "n", "at"]).read_all())
    table.alter.widen("n.x", "BIGINT")
    with pytest.raises(Exception, match=r"began with the column n STRUCT<x: INT.* version 6; make the stream anew"):
        running.processAllAvailable()
    assert not running.isActive
    # The versions of this micro-batch are in the checkpoint; the rows now have the new type.
    apply_with(table, 61, more="y")
    query.fails_at = None
    assert query.run(table, 3) == [1]
    assert [(row["id"], row["more"]) for row in query.rows(first=1) if row["id"] == 61] == [(61, "y")]


def apply_with(table: ModTable, key: int, more: str) -> None:
    rows = mods(table, [key], key).drop_columns(["gone"])
    table.apply(rows.set_column(rows.schema.get_field_index("more"), "more", pa.array([more])))
