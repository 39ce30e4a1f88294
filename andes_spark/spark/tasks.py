"""Parts of an operation as Spark tasks, by ``mapInArrow``; descriptions and number of jobs, errors of tasks.

No JVM internals are used: a session of Spark 3.5 to the newest will do, and Spark Connect should.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from andes_spark.spark.task_errors import missing_package, task_error

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

A = TypeVar("A")
B = TypeVar("B")
Row = tuple[str, int, bytes]
"""What a task hands back: what it is, the number of the part, and its bytes."""

_DESCRIPTION = "spark.job.description"
_GROUP = "spark.jobGroup.id"


def result_type() -> StructType:
    """Return Spark's type of a :data:`Row`."""
    from pyspark.sql.types import BinaryType, LongType, StringType, StructField, StructType

    return StructType(
        [StructField("kind", StringType()), StructField("part", LongType()), StructField("payload", BinaryType())]
    )


class SparkExecutor:
    """Executor of parts as tasks of one Spark job, see ``run.executor.Executor``.

    Attributes:
        distributed: always true.
        spark: the session.
        jobs: Spark jobs run so far.
        purpose: purpose of the jobs, such as ``apply s3://lake/orders v7``; part of their description.
    """

    distributed = True

    def __init__(self, spark: SparkSession, table: str) -> None:
        self.spark = spark
        self.jobs = 0
        self.purpose = table
        self._table = table

    @property
    def slots(self) -> int:
        """Number of tasks that run in parallel."""
        context = _classic(self.spark)
        if context is not None:
            return int(context.defaultParallelism)
        return int(self.spark.conf.get("spark.default.parallelism", "") or 2)

    def map(self, function: Callable[[A], B], parts: Iterable[A], *, step: str) -> list[B]:
        """Run one task per part, in one Spark job.

        Raises:
            AndesError: what a part raised; an error of the store only after Spark's own retries.
            MissingPackageError: an executor lacks a package; ``package``.
            TaskError: a task failed otherwise, more often than Spark retries.
        """
        from pyspark import cloudpickle

        work = list(parts)
        if not work:
            return []
        payload: bytes = cloudpickle.dumps((function, work))  # type: ignore[no-untyped-call]
        frame = self.spark.range(0, len(work), 1, len(work)).mapInArrow(_task(payload), result_type())
        results = {part: pickle.loads(data) for _, part, data in self.collect(frame, step=step)}
        return [results[number] for number in range(len(work))]

    def collect(self, frame: DataFrame, *, step: str, undo: Callable[[list[Row]], None] | None = None) -> list[Row]:
        """Return the rows of a frame of :func:`result_type`. Runs one Spark job; raises as :meth:`map`.

        Args:
            frame: of the job.
            step: description of the job.
            undo: takes what tasks handed back, if one of them raised an error of this library.
        """
        with self.described(step):
            collected = frame.collect()
        rows = [(str(kind), int(part), bytes(payload)) for kind, part, payload in collected]
        failed = [row for row in rows if row[0] in ("error", "missing")]
        if failed:
            if undo is not None:
                undo(rows)
            kind, _, payload = failed[0]
            raise pickle.loads(payload) if kind == "error" else missing_package(payload.decode(), self._table)
        return rows

    @contextmanager
    def described(self, step: str) -> Iterator[None]:
        """Name and count the Spark jobs of the block, whose errors are raised as those of :meth:`map`.

        The caller's description is restored after it.
        """
        context = _classic(self.spark)
        if context is None:
            with self._translated(step):
                yield
            self.jobs += 1
            return
        kept = {name: context.getLocalProperty(name) for name in (_DESCRIPTION, _GROUP)}
        group = f"andes-{uuid.uuid4()}"
        context.setLocalProperty(_DESCRIPTION, f"andes {self.purpose}: {step}")
        context.setLocalProperty(_GROUP, group)
        try:
            with self._translated(step):
                yield
        finally:
            self.jobs += len(context.statusTracker().getJobIdsForGroup(group))
            for name, value in kept.items():
                context.setLocalProperty(name, value)

    @contextmanager
    def _translated(self, step: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise task_error(error, step, self._table) from error


def _task(payload: bytes) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in a task.

    Nested, so that it is pickled by value: an executor without this library can still say so.
    """

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pickle

        import pyarrow as pa

        def row(kind: str, part: int, data: bytes) -> pa.RecordBatch:
            return pa.record_batch(
                [pa.array([kind]), pa.array([part], pa.int64()), pa.array([data], pa.binary())],
                names=["kind", "part", "payload"],
            )

        for batch in batches:
            for number in batch.column(0).to_pylist():
                try:
                    from andes_spark.errors import AndesError, StorageError
                    from andes_spark.spark.task_errors import note

                    function, parts = pickle.loads(payload)
                except ImportError as error:
                    yield row("missing", number, str(error.name or error).encode())
                    return
                try:
                    result = function(parts[number])
                except StorageError as error:
                    # The store may answer the next attempt: Spark retries the task.
                    note(error)
                    raise
                except AndesError as error:
                    yield row("error", number, pickle.dumps(error))
                    return
                yield row("done", number, pickle.dumps(result))

    return run


def _classic(spark: SparkSession) -> Any:
    """Return the SparkContext; None with Spark Connect."""
    from pyspark.errors import PySparkException

    try:
        return spark.sparkContext
    except (PySparkException, AttributeError):
        return None
