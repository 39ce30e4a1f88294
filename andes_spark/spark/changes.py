"""Changes between versions as Spark DataFrames: a batch, and a stream whose offsets are versions."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from andes_spark.errors import OptionError
from andes_spark.spark.reads import relaxed_type
from andes_spark.spark.tasks import SparkExecutor

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.datasource import DataSource
    from pyspark.sql.types import StructType

    from andes_spark.schema.schema import Schema
    from andes_spark.spark.change_reader import Feed, Part

_ADDED = (("_change_type", "string"), ("_commit_version", "long"), ("_commit_timestamp", "timestamp"))


def change_type(schema: Schema) -> StructType:
    """Return Spark's type of changes of some columns."""
    from pyspark.sql.types import StructType

    fields = relaxed_type(schema).jsonValue()["fields"]
    added = [{"name": name, "type": kind, "nullable": False, "metadata": {}} for name, kind in _ADDED]
    return StructType.fromJson({"type": "struct", "fields": [*fields, *added]})


def change_frame(executor: SparkExecutor, parts: Sequence[Part], schema: Schema) -> DataFrame:
    """Return changes as a DataFrame, each part by a task, when it is evaluated."""
    payload = [pickle.dumps(part) for part in parts]

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pickle

        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from pickle.loads(payload[number])()

    return executor.spark.range(0, len(parts), 1, len(parts)).mapInArrow(run, change_type(schema))


def change_stream(spark: SparkSession, feed: Feed, schema: Schema) -> DataFrame:
    """Return changes as a streaming DataFrame.

    Raises:
        OptionError: the session cannot read from data sources in Python, or has no limits for them.
    """
    try:
        from pyspark.sql import datasource  # noqa: F401
    except ImportError as error:
        raise OptionError("read_stream needs Spark 4.0 or newer; use read_changes", option="spark") from error
    if feed.max_versions is not None:
        _require_limits()
    source = _source(feed, change_type(schema))
    spark.dataSource.register(source)
    return spark.readStream.format(source.name()).load()


def _require_limits() -> None:
    try:
        from pyspark.sql.streaming.datasource import ReadMaxFiles  # noqa: F401
    except ImportError as error:
        raise OptionError(
            "max_versions needs Spark 4.2 or newer: leave it out, and each micro-batch takes all versions since the"
            " one before",
            option="max_versions",
        ) from error


def _source(feed: Feed, kind: StructType) -> type[DataSource]:
    """Make the data source of a feed.

    Spark makes sources by their class, in other processes: it is nested, so that it is pickled with its feed.
    """
    from pyspark.sql.datasource import DataSource

    from andes_spark.spark.change_reader import ChangeReader

    source_name = f"andes_changes_{uuid.uuid4().hex}"

    class Changes(DataSource):
        @classmethod
        def name(cls) -> str:
            return source_name

        def schema(self) -> StructType:
            return kind

        def streamReader(self, schema: StructType) -> Any:  # noqa: N802
            return ChangeReader(feed)

    return Changes
