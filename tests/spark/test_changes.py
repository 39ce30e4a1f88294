"""Changes as Spark DataFrames: a batch, and a stream that goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.base.merge import plan
from andes_spark.errors import NoSuchVersionError, OptionError

DDL = "id BIGINT, lsn BIGINT, n STRUCT<x: INT, y: ARRAY<STRING>>, at TIMESTAMP"
KINDS = ["delete", "insert", "update_postimage", "update_preimage"]


def mods(table: ModTable, keys: list[int], lsn: int, gone: bool = False) -> pa.Table:
    values = [None if key % 3 == 0 else {"x": key, "y": [None, "z"] if key % 2 else None} for key in keys]
    kinds = table.schema.to_arrow()
    columns = {"id": keys, "lsn": [lsn] * len(keys), "n": values, "at": [lsn * 1_000_000] * len(keys)}
    made = {name: pa.array(column, kinds.field(name).type) for name, column in columns.items()}
    return pa.table({**made, "gone": [gone] * len(keys)})


def apply(table: ModTable, keys: list[int], lsn: int, gone: bool = False) -> None:
    table.apply(mods(table, keys, lsn, gone), apply_as_deletes="gone")


@pytest.fixture
def table(spark, tmp_path: Path) -> ModTable:
    table = ModTable.create(tmp_path / "t", DDL, primary_key="id", sequence_by="lsn", merge="always", spark=spark)
    apply(table, list(range(20)), 1)
    apply(table, [3, 4, 30], 2)
    apply(table, [5, 6], 3, gone=True)
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
    assert in_order(frame.toArrow()) == in_order(expected), "pinned at the call"
    assert (
        table.read_changes(0, 1, columns=["n"]).toArrow().to_pylist()
        == table.changes(0, 1, columns="n").read_all().to_pylist()
    )
    assert table.read_changes(3, 3).count() == 0
    with pytest.raises(NoSuchVersionError):
        table.read_changes(99)
    with pytest.raises(OptionError, match="say which version"):
        table.read_changes()


class Query:
    """A query that appends the changes to a folder of Parquet."""

    def __init__(self, spark, folder: Path) -> None:
        self.spark, self.folder = spark, folder

    def run(self, table: ModTable, *begin: int, **options: Any) -> int:
        """Run to the newest version; number of micro-batches with rows."""
        stream = table.read_stream(*begin, before_images=True, **options)
        assert stream.isStreaming
        writer = stream.writeStream.foreachBatch(self.write).option(
            "checkpointLocation", str(self.folder / "checkpoint")
        )
        query = writer.trigger(availableNow=True).start()
        query.awaitTermination()
        return sum(progress["numInputRows"] > 0 for progress in query.recentProgress)

    def write(self, frame, number: int) -> None:
        # As a sink that is exactly once by the number of the batch.
        frame.write.mode("overwrite").parquet(str(self.folder / f"batch-{number}"))

    def rows(self) -> list[dict[str, Any]]:
        return in_order(self.spark.read.parquet(*map(str, sorted(self.folder.glob("batch-*")))).toArrow())


def test_a_stream_goes_on_from_its_checkpoint(spark, table, tmp_path):
    query = Query(spark, tmp_path / "q")
    assert query.run(table, 1) == 1
    expected = in_order(table.changes(1, 3, before_images=True).read_all())
    assert query.rows() == expected
    assert query.run(table, 1) == 0, "nothing is new"
    apply(table, [4, 40], 4)
    table.restore(3)
    apply(table, [41], 5)
    # What the query says is not what counts, but the checkpoint.
    assert query.run(table, 5) == 1
    assert query.rows() == in_order(pa.concat_tables([
        table.changes(1, 3, before_images=True).read_all(), table.changes(3, 6, before_images=True).read_all(),
    ]))  # fmt: skip
