"""Programs that run where the wheel is installed and nothing else is, with and without the extra for Spark."""

from __future__ import annotations

BARE = """
import importlib.util
import sys

import polars as pl
import pyarrow as pa

from andes_spark import ModTable, spark_session
from andes_spark.errors import MissingPackageError

for absent in ("pandas", "pyspark", "delta", "boto3"):
    assert importlib.util.find_spec(absent) is None, absent
rows = pa.table({"id": [1, 2, 3], "seq": [1, 1, 1], "name": ["a", "b", "c"]})
table = ModTable.create("t", "id BIGINT, seq BIGINT, name STRING", primary_key=["id"], sequence_by=["seq"], data=rows)
changes = pa.table({"id": [1, 4], "seq": [2, 2], "name": ["x", "y"], "op": ["D", "U"]})
assert table.apply(changes, apply_as_deletes="op = 'D'", batch_id=("s", 1)).deletes == 1
assert table.apply(pl.DataFrame({"id": [5], "seq": [3], "name": ["z"]}), merge=False).upserts == 1
assert table.apply([{"id": 6, "seq": 3, "name": None}], merge=False).upserts == 1
assert table.apply(changes.drop_columns("op").to_reader()).upserts == 2
assert table.merge().applied == table.version
assert table.to_arrow(filter="id > 4").num_rows == 2
assert ModTable.open("t").verify().ok
assert table.status().version == len(table.history()) - 1
table.mods(), table.quarantined(), table.merges(), table.manifest(1)
for call in (
    spark_session,
    table.read,
    lambda: table.create_view("v"),
):
    try:
        call()
    except MissingPackageError as error:
        assert error.package == "pyspark", error.package
        assert "andes_spark[spark]" in error.message, error.message
    else:
        raise AssertionError(call)
assert not {"pandas", "pyspark"} & set(sys.modules)
print("done")
"""

WITH_SPARK = """
import sys

from pyspark.sql import functions as F

from andes_spark import ModTable, Settings, spark_session

spark = spark_session("alone", master="local[1]", cache_dir=sys.argv[1], config={"spark.ui.enabled": "false"})
rows = spark.createDataFrame([(1, 1, "a"), (2, 1, "b")], "id BIGINT, seq BIGINT, name STRING")
changes = spark.createDataFrame([(1, 2, "x", "D"), (3, 2, "y", "U")], "id BIGINT, seq BIGINT, name STRING, op STRING")
options = {"primary_key": ["id"], "sequence_by": ["seq"]}
for name, settings in (("here", Settings()), ("tasks", Settings(byte_budget=0))):
    table = ModTable.create(name, rows.schema, data=rows, settings=settings, **options)
    assert table.apply(changes, apply_as_deletes=F.col("op") == "D", merge=False).deletes == 1
    expected = [(2, 1, "b"), (3, 2, "y")]
    assert sorted(map(tuple, table.read().collect())) == expected
    table.create_view("v")
    assert spark.sql("SELECT count(*) FROM v").first()[0] == 2
    table.merge()
    assert sorted(map(tuple, table.read().collect())) == expected
    assert table.apply(rows.toPandas()).upserts == 2
    assert table.apply(changes, apply_as_deletes="op = 'D'").upserts == 1
    assert table.verify().ok
spark.stop()
print("done")
"""
