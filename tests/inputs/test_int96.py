"""Times that Spark writes as INT96: moments, whatever the file says of their zone."""

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

NOON = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC)
LAST = datetime.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=datetime.UTC)  # beyond what nanoseconds reach


def test_int96_is_a_moment(tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2, 3], "at": pa.array([NOON, LAST, None], pa.timestamp("us", "UTC"))})
    path = tmp_path / "a.parquet"
    pq.write_table(rows, path, use_deprecated_int96_timestamps=True, store_schema=False)
    assert pq.ParquetFile(path).schema.column(1).physical_type == "INT96"
    table = ModTable.create(MemoryStorage(), "id BIGINT, at TIMESTAMP", primary_key="id")
    table.apply(str(path), batch_id=("s", 1))
    assert sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"]) == rows.to_pylist()
    created = ModTable.create(MemoryStorage(), primary_key="id", data=str(path))
    assert created.schema.to_ddl() == "id BIGINT NOT NULL, at TIMESTAMP"
