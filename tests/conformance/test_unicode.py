"""Spark's plain reader of Delta over random Unicode: conditions find the rows that they must."""

from __future__ import annotations

from functools import reduce

import pytest

from tests.other_readers import Condition, random_table


def spark_condition(condition: Condition):
    """The condition as a column, whose texts need no escapes."""
    from pyspark.sql import functions as F

    column, texts = F.col(condition.column), [F.lit(text) for text in condition.texts]
    match condition.operator:
        case "null":
            return column.isNull()
        case "in":
            return column.isin(texts)
        case "prefix":
            return column.startswith(texts[0])
        case "<":
            return column < texts[0]
        case ">":
            return column > texts[0]
    return column == texts[0]


@pytest.mark.parametrize("checkpoint", [False, True], ids=["entries", "checkpoint"])
@pytest.mark.parametrize("partitioned", [False, True], ids=["plain", "partitioned"])
def test_spark_finds_the_same_rows(spark, tmp_path, partitioned, checkpoint):
    for seed in (3, 6):
        table = random_table(tmp_path / str(seed), seed, partitioned=partitioned, checkpoint=checkpoint)
        spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
        frame = spark.read.format("delta").load(table.url)
        conditions = list(table.conditions(12))
        # One job for all, each with a scan and a choice of files of its own.
        parts = [
            frame.where(spark_condition(sql_condition)).selectExpr("k", f"{n} AS n")
            for n, sql_condition in enumerate(conditions)
        ]
        rows = [(row["n"], row["k"]) for row in reduce(lambda one, two: one.unionAll(two), parts).collect()]
        for number, condition in enumerate(conditions):
            assert {key for n, key in rows if n == number} == table.keys(condition), (seed, condition)
