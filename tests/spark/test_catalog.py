"""A table by its name in the catalog of a session."""

from __future__ import annotations

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import NoSuchTableError
from tests.spark.batches import TASKS


@pytest.mark.spark
def test_a_name_of_the_session_leads_to_all_rows(spark, tmp_path):
    folder = tmp_path / "a folder" / "orders"
    orders = ModTable.create(folder, "id BIGINT, Location STRING", primary_key="id", merge="manual")
    orders.apply(pa.table({"id": [1], "Location": ["x"]}), batch_id=("shop", 1))
    orders.merge()
    orders.apply(pa.table({"id": [2], "Location": ["y"]}), batch_id=("shop", 2))
    spark.sql("CREATE DATABASE shop_by_name")
    spark.sql(f"CREATE TABLE shop_by_name.orders USING delta LOCATION '{folder}'")
    try:
        named = ModTable.for_name(spark, "shop_by_name.orders", settings=TASKS)
        assert named.url == orders.url
        named.create_view("orders_by_name")
        rows = {row.id for row in spark.sql("SELECT id FROM orders_by_name").collect()}
        assert rows == {1, 2}
        assert {row.id for row in spark.sql("SELECT id FROM shop_by_name.orders").collect()} == {1}
        for name in ("shop_by_name.gone", "orders_by_name", "no_such_database.orders"):
            with pytest.raises(NoSuchTableError, match="has no table"):
                ModTable.for_name(spark, name)
    finally:
        spark.sql("DROP DATABASE shop_by_name CASCADE")
        spark.catalog.dropTempView("orders_by_name")
