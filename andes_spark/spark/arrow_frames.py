"""DataFrames of Arrow tables, and Arrow tables of DataFrames, alike on every Spark.

Spark 4 has both. Spark 3.5 has neither: there rows travel as Arrow IPC bytes, with tasks and as their results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from andes_spark.spark.columns import arrow_schema, numbered

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

BATCH_ROWS = 65_536
"""Rows of a batch that a task hands to Spark."""


def arrow_frame(spark: SparkSession, data: pa.Table, kind: StructType) -> DataFrame:
    """Return a DataFrame whose rows are part of the query plan; on Spark 3.5 they are sent with a task."""
    if data.num_rows == 0:
        return spark.createDataFrame([], kind)
    if not _takes_arrow():
        return shipped_frame(spark, data, kind, tasks=1)
    # Spark 4.2 takes a table that begins with two empty chunks for an empty one, and pyspark stumbles over slices of
    # nested arrays with NULLs; one chunk, and a trip through Arrow IPC, leave neither.
    return spark.createDataFrame(from_ipc(to_ipc(data.combine_chunks())), schema=kind)


def shipped_frame(spark: SparkSession, data: pa.Table, kind: StructType, *, tasks: int) -> DataFrame:
    """Return a DataFrame whose rows are sent with the tasks that give them."""
    payload = to_ipc(data)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with pa.ipc.open_stream(pa.py_buffer(payload)) as stream:
            rows = stream.read_all()
        for batch in batches:
            for number in batch.column(0).to_pylist():
                low, high = number * rows.num_rows // tasks, (number + 1) * rows.num_rows // tasks
                yield from rows.slice(low, high - low).combine_chunks().to_batches(max_chunksize=BATCH_ROWS)

    return spark.range(0, tasks, 1, tasks).mapInArrow(run, kind)


def arrow_table(frame: DataFrame) -> pa.Table:
    """Return the rows of a DataFrame as an Arrow table, in the order of its partitions. Runs one Spark job."""
    if hasattr(frame, "toArrow"):
        return frame.toArrow()

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            yield pa.record_batch([pa.array([sink.getvalue().to_pybytes()], pa.binary())], names=["rows"])

    collected = numbered(frame).mapInArrow(run, "rows binary").collect()
    schema = arrow_schema(frame.schema.jsonValue()["fields"])
    tables = [from_ipc(bytes(row.rows)).rename_columns(schema.names).cast(schema) for row in collected]
    return pa.concat_tables([schema.empty_table(), *tables])


def to_ipc(table: pa.Table) -> bytes:
    """Encode a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_ipc(data: bytes) -> pa.Table:
    """Decode the table of an Arrow IPC stream."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        return stream.read_all()


def _takes_arrow() -> bool:
    """Whether ``createDataFrame`` accepts Arrow tables."""
    import pyspark

    return int(pyspark.__version__.split(".")[0]) >= 4
