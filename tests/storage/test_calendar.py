"""Files of Spark in the hybrid calendar are refused where a value of them is another day than it seems."""

from __future__ import annotations

import datetime
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark.errors import UnsupportedTableError
from andes_spark.storage.calendar import check_calendar
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from tests.table.adoption.test_convert import contents

LEGACY = {"org.apache.spark.version": "3.5.0", "org.apache.spark.legacyDateTime": ""}
OLD, NEW = datetime.date(1582, 10, 14), datetime.date(1582, 10, 15)
DATE, MOMENT, WALL = pa.date32(), pa.timestamp("us", "UTC"), pa.timestamp("us")


def spark_file(column: pa.Array, footer: dict[str, str], **options: Any) -> bytes:
    """A file as Spark writes it: no Arrow schema, and what it says of its calendar in the footer."""
    rows = pa.table({"id": [1] * len(column), "x": column, "seq": [1] * len(column)})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, rows.schema, store_schema=False, **options) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata(footer)
    return sink.getvalue()


def is_refused(data: bytes) -> bool:
    try:
        check_calendar(pq.ParquetFile(pa.BufferReader(data), coerce_int96_timestamp_unit="us"), path="a.parquet")
    except UnsupportedTableError:
        return True
    return False


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("kind", [DATE, MOMENT], ids=str)
@pytest.mark.parametrize(
    ("wrap", "outer"),
    [
        (lambda value: value, lambda kind: kind),
        (lambda value: [value], pa.list_),
        (lambda value: {"y": [value]}, lambda kind: pa.struct([("y", pa.list_(kind))])),
        (lambda value: [("k", value)], lambda kind: pa.map_(pa.string(), kind)),
    ],
    ids=["plain", "list", "struct", "map"],
)
def test_values_before_the_switch(statistics: bool, kind: pa.DataType, wrap: Any, outer: Any) -> None:
    old, new = (OLD, NEW) if kind == DATE else (datetime.datetime(1899, 12, 31), datetime.datetime(1900, 1, 1))
    for value, expected in ((old, True), (new, False), (None, False)):
        column = pa.array([wrap(value)], outer(kind))
        assert is_refused(spark_file(column, LEGACY, write_statistics=statistics)) == expected


@pytest.mark.parametrize(
    ("footer", "int96", "expected"),
    [
        ({"org.apache.spark.version": "2.4.5"}, False, True),
        ({"org.apache.spark.version": "3.0.1"}, False, False),
        ({"org.apache.spark.version": "3.0.1"}, True, True),
        ({"org.apache.spark.version": "3.1.0"}, True, False),
        ({"org.apache.spark.version": "3.5.0", "org.apache.spark.legacyINT96": ""}, True, True),
        ({"org.apache.spark.version": "3.5.0", "org.apache.spark.legacyINT96": ""}, False, False),
        (LEGACY, True, False),
        ({}, True, False),
    ],
    ids=str,
)
def test_the_footer_says_the_calendar(footer: dict[str, str], int96: bool, expected: bool) -> None:
    column = pa.array([datetime.datetime(1500, 1, 1)], MOMENT)
    assert is_refused(spark_file(column, footer, use_deprecated_int96_timestamps=int96)) == expected


def test_times_without_a_zone_have_one_calendar() -> None:
    assert not is_refused(spark_file(pa.array([datetime.datetime(1500, 1, 1)], WALL), LEGACY))


def test_a_table_with_such_days_is_neither_converted_nor_loaded(tmp_path: Any) -> None:
    data = spark_file(pa.array([OLD], DATE), LEGACY)
    storage = MemoryStorage()
    storage.put("a.parquet", data)
    (tmp_path / "a.parquet").write_bytes(data)
    before = contents(storage)
    with pytest.raises(UnsupportedTableError, match=r"was written by Spark .*'x' has values before 1582") as caught:
        ModTable.convert(storage, primary_key="id", sequence_by="seq")  # type: ignore[arg-type]
    assert (caught.value.path, caught.value.column, caught.value.feature) == ("a.parquet", "x", "legacyDateTime")
    assert contents(storage) == before
    table = ModTable.create(MemoryStorage(), "id BIGINT, x DATE, seq BIGINT", primary_key="id", sequence_by="seq")
    with pytest.raises(UnsupportedTableError, match="datetimeRebaseModeInWrite"):
        table.apply(str(tmp_path / "a.parquet"))
    assert table.version == 0
