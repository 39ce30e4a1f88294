"""Program: rows of Iceberg tables as Iceberg's Java library reads them on a Spark of its own.

``python -m tests.conformance.iceberg JAR REQUESTS``: the second file lists in JSON what to read. Rows become Parquet.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
}


def read(spark: SparkSession, request: dict[str, Any]) -> None:
    """Write the rows of a table, which is named by its metadata file or its folder."""
    reader = spark.read.format("iceberg")
    for name, value in request["options"].items():
        reader = reader.option(name, value)
    frame = reader.load(request["metadata"]).where(request["filter"])
    frame = frame.selectExpr(*request["columns"]) if request["columns"] else frame
    frame.coalesce(1).write.parquet(request["out"])


def main() -> None:
    """Read what was asked for, one after the other."""
    jar, requests = sys.argv[1:]
    builder = SparkSession.builder.master("local[1]").config("spark.jars", jar)
    for name, value in SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    for request in json.loads(Path(requests).read_text("utf-8")):
        read(spark, request)
    spark.stop()


if __name__ == "__main__":
    main()
