"""Tables on S3 with the S3A of each Spark, by both schemes: each way in which Spark and this library share a base."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import ForeignWriteError
from andes_spark.spark.arrow_frames import arrow_table
from tests.s3 import bucket_of_spark
from tests.spark.batches import (
    SIMPLE,
    TASKS,
    create,
    in_partitions,
    rows_of,
    shown,
    simple_rows,
    spark_rows,
    table_of,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def bucket(spark, s3_server) -> Iterator[str]:
    with bucket_of_spark(spark, s3_server) as bucket:
        yield bucket


def test_verbs_with_spark_by_both_schemes(spark, bucket):
    url = f"s3a://{bucket}/lake/orders"
    table = create(url, data=in_partitions(spark, table_of(simple_rows(0, 12, 0), SIMPLE)), settings=TASKS)
    table.apply(in_partitions(spark, table_of(simple_rows(0, 4, 100), SIMPLE)), batch_id=("s", 1), merge=True)
    deletes = pa.table({"id": [1, 9], "seq": [900, 900]})
    table.apply(in_partitions(spark, deletes), apply_as_deletes="true", batch_id=("s", 2))
    expected = [row for row in simple_rows(0, 4, 100) + simple_rows(4, 8, 0) if row["id"] not in (1, 9)]
    opened = ModTable.open(f"s3://{bucket}/lake/orders")
    assert spark_rows(opened.read(), opened) == shown(opened) == expected
    table.create_view("orders_on_s3")
    assert spark.sql("SELECT count(*) FROM orders_on_s3").first()[0] == len(expected)
    assert opened.merge().status == "merged"
    assert spark_rows(opened.read(), opened) == expected
    assert rows_of(arrow_table(spark.read.format("delta").load(url)), opened) == expected
    assert ModTable.open(url).verify().ok


def test_delta_in_spark_beside_merges(spark, bucket):
    url = f"s3a://{bucket}/orders"
    spark.createDataFrame([(1, 1, "a"), (2, 1, "b")], "id BIGINT, seq BIGINT, v STRING").write.format("delta").save(url)
    table = ModTable.convert(url, primary_key="id", sequence_by="seq")
    table.apply([{"id": 2, "seq": 2, "v": "c"}, {"id": 3, "seq": 2, "v": "d"}], merge=True)
    spark.sql(f"OPTIMIZE delta.`{url}`")
    table.apply([{"id": 1, "seq": 3, "v": "e"}], merge=True)
    expected = [(1, 3, "e"), (2, 2, "c"), (3, 2, "d")]
    assert sorted(map(tuple, spark.read.format("delta").load(url).collect())) == expected
    spark.sql(f"DELETE FROM delta.`{url}` WHERE id = 3")
    table.apply([{"id": 4, "seq": 1, "v": "f"}], merge=False)
    expected.append((4, 1, "f"))
    with pytest.raises(ForeignWriteError, match="DELETE"):
        table.merge()
    with pytest.warns(RuntimeWarning, match="another writer's"):
        assert sorted(map(tuple, table.read().collect())) == expected
    table.repair(foreign="take_in")
    assert sorted(map(tuple, table.read().collect())) == [expected[0], expected[1], expected[3]]
    assert ModTable.open(url).verify().ok
