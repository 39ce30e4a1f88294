"""Spark DataFrames in, and Delta's MERGE by S3A, on S3 with a delay on each request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from andes_spark.spark.session import spark_session
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_TIMES = 4
_WARM = 2
Mods = Callable[[], pa.Table]


def spark_costs(server: S3Server, base: pa.Table, mods: Mods, delay: float) -> dict[str, list[Cost]]:
    """Costs of batches as Spark DataFrames, of this library and of Delta's MERGE in turn."""
    own_table, merge_table = (f"s3a://{server.make_bucket()}/lake/orders" for _ in range(2))
    costs: dict[str, list[Cost]] = {"Spark DataFrame in, apply with its merge": [], "Delta MERGE in Spark": []}
    ModTable.create(
        own_table, base.schema, primary_key=["id"], sequence_by=["seq"], data=base, storage_options=server.options
    )
    with FaultProxy(server) as proxy:
        spark = _session(proxy)
        try:
            spark.createDataFrame(base.to_pandas()).write.format("delta").save(merge_table)
            proxy.delay = delay
            meter = Meter(proxy)
            table = ModTable.open(own_table, storage_options=proxy.options, spark=spark)
            works: tuple[Callable[[], object], ...] = (
                lambda: _apply(spark, table, mods()),
                lambda: _merge(spark, merge_table, mods()),
            )
            for number in range(_WARM + _TIMES):
                for name, work in zip(costs, works, strict=True):
                    with meter.verb():
                        work()
                    if number >= _WARM:
                        costs[name].append(meter.cost)
        finally:
            spark.stop()
    return costs


def _session(proxy: FaultProxy) -> SparkSession:
    settings = {
        "endpoint": proxy.endpoint,
        "endpoint.region": "us-east-1",
        "access.key": "test",
        "secret.key": "test",
        "path.style.access": "true",
        "connection.ssl.enabled": "false",
    }
    return spark_session(
        "benchmarks",
        s3=True,
        config={
            **{f"spark.hadoop.fs.s3a.{name}": value for name, value in settings.items()},
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "4",
            "spark.databricks.delta.properties.defaults.enableDeletionVectors": "true",
        },
    )


def _apply(spark: SparkSession, table: ModTable, mods: pa.Table) -> None:
    result = table.apply(spark.createDataFrame(mods.to_pandas()), merge=True)
    if result.merge is None or result.merge.status != "merged":
        raise AssertionError(f"the batch did not end in the base: {result.merge}")


def _merge(spark: SparkSession, path: str, mods: pa.Table) -> Any:
    from delta.tables import DeltaTable

    source = spark.createDataFrame(mods.to_pandas()).alias("s")
    merge = DeltaTable.forPath(spark, path).alias("t").merge(source, "t.id = s.id")
    return merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
