"""Run by test_archive with the archive: applies rows in tasks of a cluster, and prints what it saw as JSON."""

from __future__ import annotations

import json
import sys

from andes_spark import ModTable, Settings, spark_session


def where(batches):
    import pyarrow as pa

    import andes_spark

    for batch in batches:
        if batch.num_rows:
            yield pa.RecordBatch.from_pydict({"file": [andes_spark.__file__]})


def main(path: str, rows: int) -> None:
    spark = spark_session("package")
    table = ModTable.create(
        path, "id BIGINT, name STRING", primary_key="id", settings=Settings(byte_budget=0), spark=spark
    )
    frame = spark.range(0, rows, 1, 4).selectExpr("id", "concat('n', id) AS name")
    result = table.apply(frame, batch_id=("package", 1))
    files = {row["file"] for row in spark.range(0, 4, 1, 4).mapInArrow(where, "file STRING").collect()}
    report = {"upserts": result.upserts, "rows": table.read().count(), "ok": table.verify().ok, "files": sorted(files)}
    print(json.dumps(report))  # noqa: T201
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
