"""Batches for tests of what Spark does: rows of all types, tables of them, and rows read back to compare."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark import ModTable, Schema, Settings
from andes_spark.spark.arrow_frames import arrow_frame, arrow_table
from andes_spark.spark.reads import relaxed_type

UTC = datetime.UTC
TASKS = Settings(byte_budget=0)
HERE = Settings()
SIMPLE = "id BIGINT, seq BIGINT, name STRING, amount DECIMAL(12,2), day DATE, at TIMESTAMP, score DOUBLE, ok BOOLEAN"
EVERY = """id BIGINT, seq TIMESTAMP_NTZ, bo BOOLEAN, i1 TINYINT, i2 SMALLINT, i4 INT, i8 BIGINT, f FLOAT, g DOUBLE,
    d DECIMAL(38,10), s STRING, b BINARY, dt DATE, ts TIMESTAMP, ntz TIMESTAMP_NTZ, arr ARRAY<INT>,
    arr2 ARRAY<ARRAY<STRING>>, st STRUCT<x: INT NOT NULL, y: STRUCT<z: TIMESTAMP, `q.r`: DECIMAL(5,2)>>,
    m MAP<STRING, STRUCT<v: DECIMAL(5,2) NOT NULL, w: ARRAY<DATE>>>, m2 MAP<INT, TIMESTAMP_NTZ>"""


def simple_rows(first: int = 0, count: int = 12, seq: int = 100) -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "seq": seq + i,
            "name": None if i % 5 == 0 else f"näme '{i}'",
            "amount": None if i % 7 == 0 else Decimal(i * 31).scaleb(-2),
            "day": datetime.date(1969, 12, 25) + datetime.timedelta(days=i),
            "at": datetime.datetime(1969, 12, 31, 23, 59, 59, 999990 + i % 9, tzinfo=UTC),
            "score": None if i % 4 == 0 else i / 3,
            "ok": None if i % 3 == 0 else i % 2 == 0,
        }
        for i in range(first, first + count)
    ]


def every_rows(first: int, count: int) -> list[dict[str, Any]]:
    at = datetime.datetime(1800, 1, 1, 1, 2, 3, 456789)
    rows = []
    for i in range(first, first + count):
        step = datetime.timedelta(days=i * 997, microseconds=i)
        full = {
            "bo": i % 2 == 0,
            "i1": i % 128,
            "i2": -i,
            "i4": i * 1000,
            "i8": i * 10**12,
            "f": i / 4,
            "g": float("nan") if i % 3 == 0 else -i / 7,
            "d": Decimal(10**27 + i).scaleb(-10),
            "s": "" if i % 2 else f"ü'\"`%{i}",
            "b": bytes([i % 256, 0, 255]),
            "dt": datetime.date(1, 1, 1) + datetime.timedelta(days=i),
            "ts": (at + step).replace(tzinfo=UTC),
            "ntz": at + step,
            "arr": [i, None],
            "arr2": [[f"a{i}", None], None, []],
            "st": {"x": i, "y": {"z": (at + step).replace(tzinfo=UTC), "q.r": Decimal("1.25")}},
            "m": [("k", {"v": Decimal("-0.50"), "w": [datetime.date(2024, 2, 29), None]}), ("l", None)],
            "m2": [(i, at + step), (i + 1, None)],
        }
        row = dict.fromkeys(full) if i % 4 == 3 else full
        rows.append({"id": i, "seq": datetime.datetime(2024, 1, 1) + step, **row})
    return rows


def table_of(rows: list[dict[str, Any]], ddl: str, *, op: list[str | None] | None = None) -> pa.Table:
    table = pa.Table.from_pylist(rows, schema=Schema.from_ddl(ddl).to_arrow())
    return table if op is None else table.append_column("op", pa.array(op, pa.string()))


def shown(table: ModTable) -> list[dict[str, Any]]:
    return rows_of(table.to_arrow(), table)


def rows_of(data: pa.Table, table: ModTable) -> list[dict[str, Any]]:
    """Rows of a result in the table's types, by key; NaN compares equal."""
    arrow = table.schema.to_arrow()
    schema = pa.schema([field.with_nullable(True) for field in arrow])
    rows: list[dict[str, Any]] = (
        pa.Table.from_arrays([data[column.name].cast(column.type) for column in schema], schema=schema)
        .sort_by([(name, "ascending") for name in table.primary_key])
        .to_pylist()
    )
    return [{k: "NaN" if isinstance(v, float) and v != v else v for k, v in row.items()} for row in rows]


def spark_rows(frame, table: ModTable) -> list[dict[str, Any]]:
    """Rows of a Spark DataFrame, as ``rows_of`` gives them."""
    from pyspark.sql.types import StructType

    def relaxed(value: dict[str, Any]) -> dict[str, Any]:
        return {k: True if k in ("nullable", "containsNull", "valueContainsNull") else v for k, v in value.items()}

    # toArrow of pyspark fails for a NULL struct that has NOT NULL fields.
    kinds = StructType.fromJson(json.loads(frame.schema.json(), object_hook=relaxed))
    columns = [frame["`" + field.name.replace("`", "``") + "`"].cast(field.dataType) for field in kinds]
    names = [field.name for field in kinds]
    return rows_of(arrow_table(frame.select(*(c.alias(n) for c, n in zip(columns, names, strict=True)))), table)


def create(path: Path | str, ddl: str = SIMPLE, **options: Any) -> ModTable:
    return ModTable.create(path, ddl, **{"primary_key": ["id"], "sequence_by": ["seq"], "merge": "manual", **options})


def frame_of(spark, table: pa.Table):
    """A DataFrame of an Arrow table, which ``createDataFrame`` of Spark 3.5 does not take."""
    return arrow_frame(spark, table, relaxed_type(Schema.from_arrow(table.schema)))


def in_partitions(spark, table: pa.Table, number: int = 3):
    return frame_of(spark, table).repartition(number)


def side_by_side(spark, *tables: pa.Table):
    """Tables, a partition each."""

    def give(batches):
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from tables[number].to_batches()

    return spark.range(0, len(tables), 1, len(tables)).mapInArrow(give, frame_of(spark, tables[0]).schema)


def parquet_frame(spark, path: Path, table: pa.Table):
    pq.write_table(table, path)
    return read_parquet(spark, path).repartition(2)


def read_parquet(spark, path: Path):
    """A file of pyarrow's, of which Spark 3.5 does not know how it counts days before 1582."""
    return spark.read.option("datetimeRebaseMode", "CORRECTED").parquet(str(path))


def reader_of(table: pa.Table) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=5))


def forms(spark, batch: pa.Table) -> Iterator[tuple[str, Any, Settings]]:
    yield "arrow", batch, HERE
    yield "record batch", batch.combine_chunks().to_batches()[0], HERE
    yield "polars", pl.from_arrow(batch), HERE
    yield "polars lazy", pl.DataFrame(batch).lazy(), HERE
    yield "pandas", batch.to_pandas(types_mapper=nullable_pandas().get), HERE
    yield "stream", reader_of(batch), HERE
    yield "stream in parts", reader_of(batch), TASKS
    yield "spark", in_partitions(spark, batch), HERE
    yield "spark in tasks", in_partitions(spark, batch), TASKS


def nullable_pandas() -> dict[pa.DataType, Any]:
    """Pandas types that keep NULLs apart from NaN and integers from floats."""
    import pandas as pd

    kinds = [pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.decimal128(12, 2), pa.timestamp("us", "UTC")]
    return {kind: pd.ArrowDtype(kind) for kind in kinds}
