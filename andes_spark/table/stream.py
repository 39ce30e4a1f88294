"""A stream into a table: each micro-batch of a Spark stream becomes a version, exactly once."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from andes_spark.errors import AndesError, OptionError
from andes_spark.inputs.rows import is_spark
from andes_spark.model.display import Displayed, count_text
from andes_spark.model.mod import BatchId
from andes_spark.model.options import ApplyOptions
from andes_spark.model.results import ApplyResult
from andes_spark.model.stream_options import ApplyStreamOptions
from andes_spark.table.about import about
from andes_spark.table.observed import observe
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.apply import apply_batch

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.query import StreamingQuery

_OF_STREAM = ("batch_id",)


@dataclass(frozen=True, repr=False)
class StreamProgress(Displayed):
    """Progress of a stream since it was started, or started again, as ``TableStream.progress`` returns it.

    Attributes:
        batches: number of micro-batches that were applied.
        replayed: number of those micro-batches that an earlier run had applied.
        received: number of rows of the other micro-batches.
        version: version of the last micro-batch; None before the first.
        mods_per_second: number of rows of the last micro-batch per second of ``seconds``.
        seconds: time from the begin of the last micro-batch to its commit and merge.
        waiting: seconds since the last micro-batch ended.
        behind: what Spark's sources tell of how far they are behind, such as ``maxOffsetsBehindLatest`` of Kafka.
    """

    batches: int
    replayed: int
    received: int
    version: int | None
    mods_per_second: float
    seconds: float
    waiting: float
    behind: dict[str, str]

    def summary(self) -> str:
        """See ``Displayed``."""
        rows = f"{count_text(self.batches, 'batches')}, {count_text(self.received, 'rows')}"
        at = "" if self.version is None else f", version {self.version}"
        return f"{rows}{at}: {self.mods_per_second:,.0f} mods a second, {self.seconds:.2f} s a batch"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        behind = "\n".join(f"{name} {value}" for name, value in self.behind.items())
        fields = {"stream": self.summary(), "replayed": str(self.replayed or ""), "behind": behind}
        return {name: text for name, text in fields.items() if text}


class TableStream:
    """A running stream into a table; created by ``ModTable.apply_stream``.

    Attributes:
        query: Spark's streaming query.
        last: result of the last micro-batch; None before the first.
        error: error of the library that ended the stream; None if there is none.
    """

    def __init__(self, open_table: OpenTable, options: ApplyStreamOptions, apply: ApplyOptions) -> None:
        self._open_table = open_table
        self._options = options
        self._apply = apply
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._batches = self._replayed = self._received = 0
        self._seconds, self._ended = 0.0, time.monotonic()
        self.query: StreamingQuery
        self.last: ApplyResult | None = None
        self.error: AndesError | None = None

    def __repr__(self) -> str:
        state = "running" if self.query.isActive else "ended" if self.error is None else "failed"
        return f"TableStream({self._open_table.table!r}, {self._options.source!r}, {state})"

    @classmethod
    def start(
        cls, open_table: OpenTable, frame: DataFrame, options: ApplyStreamOptions, apply: ApplyOptions
    ) -> TableStream:
        """Start a stream on a handle of its own. See ``ModTable.apply_stream``."""
        from andes_spark.spark.session import require_running
        from andes_spark.spark.streams import start

        require_running(frame.sparkSession)
        stream = cls(open_table.copy(), options, apply)
        stream.query = start(
            frame,
            stream._take,
            checkpoint=options.checkpoint,
            trigger=options.trigger,
            name=options.query_name,
        )
        return stream

    def _take(self, frame: DataFrame, query: str, number: int) -> None:
        """Apply a micro-batch, in the thread of the query."""
        self._idle.clear()
        try:
            self._apply_micro_batch(frame, query, number)
        finally:
            self._idle.set()

    def _apply_micro_batch(self, frame: DataFrame, query: str, number: int) -> None:
        begun = time.monotonic()
        # A stream with a new checkpoint numbers other rows from 0 on: its ids are those of another source.
        chosen = replace(self._apply, batch_id=BatchId(f"{self._options.source}/{query}", number))
        open_table = self._open_table
        try:
            with about(open_table.table):
                result = observe(open_table, "apply", lambda: apply_batch(open_table, frame, chosen))
        except AndesError as error:
            self.error = error
            raise
        with self._lock:
            self._batches += 1
            self._replayed += result.replayed
            self._received += 0 if result.replayed else result.received
            self._ended = time.monotonic()
            self._seconds, self.last = self._ended - begun, result
        if self._options.on_batch is not None:
            self._options.on_batch(result)

    def progress(self) -> StreamProgress:
        """Return the progress since the start. Runs no Spark job and sends no request."""
        newest: Any = self.query.lastProgress or {}
        behind = {
            name: value
            for source in newest.get("sources", ())
            for name, value in (source.get("metrics") or {}).items()
            if "behind" in name.lower()
        }
        with self._lock:
            rows = 0 if self.last is None else self.last.received
            return StreamProgress(
                batches=self._batches,
                replayed=self._replayed,
                received=self._received,
                version=None if self.last is None else self.last.version,
                mods_per_second=rows / self._seconds if self._seconds else 0.0,
                seconds=self._seconds,
                waiting=time.monotonic() - self._ended,
                behind=behind,
            )

    def await_termination(self, timeout: float | None = None) -> bool:
        """Wait until the stream ends, at most ``timeout`` seconds, whole ones; return whether it has ended.

        Raises:
            AndesError: the error of a micro-batch that ended the stream.
            StreamingQueryException: another error of the query.
        """
        try:
            if timeout is None:
                self.query.awaitTermination()
                return True
            return bool(self.query.awaitTermination(math.ceil(timeout)))
        except Exception as error:
            if self.error is not None:
                raise self.error from error
            raise

    def stop(self) -> None:
        """Stop the stream once the micro-batch under way has ended.

        A micro-batch that began in the same moment is interrupted, repeated by the next start, and applied once.
        """
        # Spark interrupts a micro-batch by errors in the log, and its work would be lost.
        self._idle.wait()
        self.query.stop()


def check_stream(frame: Any, options: dict[str, Any]) -> ApplyOptions:
    """Check the input of a stream and the options of its micro-batches.

    Raises:
        OptionError: not a streaming DataFrame, or options that a stream does not take.
    """
    for name in _OF_STREAM:
        if name in options:
            raise OptionError(f"apply_stream makes the {name} of each micro-batch itself: leave it out", option=name)
    if not is_spark(frame) or not getattr(frame, "isStreaming", False):
        raise OptionError(
            f"stream is a streaming DataFrame, of spark.readStream, and {type(frame).__name__} was given; apply() "
            "takes a batch",
            option="stream",
        )
    return ApplyOptions.of(options, where="apply_stream")
