"""Structured Streaming: micro-batches handed to a function, each with the id that Spark gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from andes_spark.errors import OptionError
from andes_spark.spark.session import is_connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

AVAILABLE_NOW = "available now"
_QUERY_ID = "sql.streaming.queryId"
"""Local property of the thread of a micro-batch: id of the query, which its checkpoint keeps."""


def start(
    frame: DataFrame,
    function: Callable[[DataFrame, str, int], None],
    *,
    checkpoint: str,
    trigger: str | None,
    name: str | None,
) -> StreamingQuery:
    """Start a query that calls a function with each micro-batch, the id of the query, and the batch's number.

    A query that is started again with its checkpoint has the same id, and repeats the number and the rows of a batch
    that was not finished.

    Args:
        frame: the stream.
        function: called one batch after the other, in a thread of the query.
        checkpoint: folder.
        trigger: ``"available now"``, an interval, or None.
        name: name of the query; None for none.

    Raises:
        OptionError: an interval that Spark does not know, or a session of Spark Connect; ``option``.
    """
    from pyspark.errors import PySparkException

    if is_connect(frame.sparkSession):
        raise OptionError(
            "apply_stream needs a classic Spark session: with Spark Connect micro-batches run on the server, without"
            " this table; start the stream in a job on the cluster",
            option="stream",
        )
    context = frame.sparkSession.sparkContext

    def call(batch: DataFrame, number: int) -> None:
        query = context.getLocalProperty(_QUERY_ID)
        assert query is not None
        function(batch, query, number)

    writer = frame.writeStream.foreachBatch(call).option("checkpointLocation", checkpoint)
    writer = writer if name is None else writer.queryName(name)
    try:
        if trigger == AVAILABLE_NOW:
            writer = writer.trigger(availableNow=True)
        elif trigger is not None:
            writer = writer.trigger(processingTime=trigger)
    except (PySparkException, ValueError) as error:
        raise OptionError(
            f'trigger is "{AVAILABLE_NOW}" or an interval such as "10 seconds", and {trigger!r} was given',
            option="trigger",
            value=trigger,
        ) from error
    return writer.start()
