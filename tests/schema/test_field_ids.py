"""Field ids: one for each column and part of a column, carried by files."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import numbered, one_version, with_field_ids

SCHEMA = Schema.from_ddl("a INT, s STRUCT<x: INT, l: ARRAY<STRUCT<y: INT>>>, m MAP<STRING, ARRAY<INT>>, z INT")


def ids_in_file(schema: pa.Schema) -> list[str]:
    """Field ids as the Parquet schema of an empty file shows them."""
    sink = io.BytesIO()
    pq.write_table(schema.empty_table(), sink, store_schema=False)
    lines = str(pq.ParquetFile(io.BytesIO(sink.getvalue())).schema).splitlines()
    return [line.split("field_id=")[1].split()[0] for line in lines if "field_id=" in line]


def test_files_carry_the_ids_of_nested_fields():
    # The groups between a list or map and its parts have none.
    expected = ["-1", "1", "2", "3", "4", "-1", "5", "6", "7", "-1", "8", "9", "-1", "10", "11"]
    assert ids_in_file(with_field_ids(one_version(SCHEMA).current, SCHEMA.to_arrow())) == expected


def test_plain_columns_are_numbered_by_position():
    schema = numbered(pa.schema([("a", pa.int64()), ("b", pa.string())]))
    assert ids_in_file(schema) == ["-1", "1", "2"]
