"""Spark DataFrames as batches of mods: rows and conditions evaluated once, by Spark.

One job runs: each task hands its rows back while they are few, and writes files of mods otherwise.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from andes_spark.batch.conditions import with_operations
from andes_spark.batch.parts import Part, delete_unreferenced
from andes_spark.batch.prepare import Prepared
from andes_spark.batch.write import InMemory, PartWriter
from andes_spark.model.mod import OnNull
from andes_spark.model.options import ApplyOptions
from andes_spark.run.steps import Steps
from andes_spark.spark.arrow_frames import from_ipc, to_ipc
from andes_spark.spark.columns import arrow_schema, numbered, select_mods
from andes_spark.spark.tasks import Row, SparkExecutor, result_type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SHARES = 256
"""Divisor of the byte budget that gives the Arrow bytes up to which each of the first tasks hands its rows back."""
_FIRST_TASKS = 64
_LEAST_SHARE = 4096


def hand_back_bytes(byte_budget: int, task: int) -> int:
    """Return the Arrow bytes up to which a task hands its rows back instead of writing files.

    A task does not know the number of tasks. So shares become smaller with the number of the task: each doubling of
    their number adds half as much as the one before, and all shares together are at most half of the budget, beside a
    few rows for each task, which take less than a file would.
    """
    first = byte_budget // SHARES
    doublings = (task // _FIRST_TASKS).bit_length()
    share = first if not doublings else first >> (2 * doublings - 1)
    return max(share, min(_LEAST_SHARE, first))


@dataclass(frozen=True)
class FrameTask:
    """Work of one task on a batch; sent to tasks.

    Attributes:
        writer: writer of the parts.
        byte_budget: of the process that collects the rows, see ``hand_back_bytes``.
        on_null: operation of a row for which a condition is NULL.
        condition_only: columns that only the conditions use, as text.
    """

    writer: PartWriter
    byte_budget: int
    on_null: OnNull
    condition_only: tuple[str, ...]

    def run(self, batches: Iterator[pa.RecordBatch], task: int) -> Iterator[tuple[str, bytes]]:
        """Yield ``rows`` with Arrow IPC bytes, or ``part`` with a pickled ``Part``, as often as needed."""
        pending: list[pa.RecordBatch] = []
        size = rows = 0
        written = False
        for batch in batches:
            if batch.num_rows == 0:
                continue
            pending.append(batch)
            size += batch.nbytes
            if size >= self.writer.target_bytes:
                yield "part", self._written(pending, (task << 40) + rows)
                rows += sum(part.num_rows for part in pending)
                pending, size, written = [], 0, True
        if pending and (written or size > hand_back_bytes(self.byte_budget, task)):
            yield "part", self._written(pending, (task << 40) + rows)
        elif pending:
            yield "rows", to_ipc(pa.Table.from_batches(pending))

    def prepare(self, rows: pa.Table, *, offset: int = 0) -> Prepared:
        """Turn rows with their columns of conditions into mods; errors as ``batch.prepare``."""
        rows = with_operations(rows, self.on_null)
        return self.writer.prepare(rows, offset=offset, condition_only=self.condition_only)

    def _written(self, pending: list[pa.RecordBatch], offset: int) -> bytes:
        before = self.writer.storage.counts.snapshot()
        prepared = self.prepare(pa.Table.from_batches(pending), offset=offset)
        # One file for each part: rows are cut at the target, and mods take a little more.
        writer = replace(self.writer, threads=1, target_bytes=2 * self.writer.target_bytes)
        part = writer.write(prepared)
        return pickle.dumps(replace(part, tally=self.writer.storage.counts.minus(before)))


@dataclass(frozen=True)
class FrameRows:
    """A Spark DataFrame as the rows of a batch, see ``batch.write.Source``.

    Attributes:
        executor: of the session that the DataFrame belongs to.
        frame: the rows.
        options: options of the apply.
        byte_budget: of this process.
    """

    executor: SparkExecutor
    frame: DataFrame
    options: ApplyOptions
    byte_budget: int

    def parts(self, writer: PartWriter, *, steps: Steps, in_memory: InMemory) -> Iterator[Part]:
        """Evaluate the DataFrame once, in one Spark job, and write its rows as mods.

        Raises:
            SchemaMismatchError: missing, extra and wrong-type columns, before any job runs.
            OptionError: a condition that cannot be resolved.
            AndesError: the error of a task.
        """
        with steps.step("write mods"):
            selected, condition_only = select_mods(self.frame, self.options, writer.plan)
            task = FrameTask(writer, self.byte_budget, self.options.on_null_operation, condition_only)
            job = numbered(selected).mapInArrow(_task(pickle.dumps((task, selected.columns))), result_type())
            rows = self.executor.collect(
                job, step="write mods", undo=lambda rows: delete_unreferenced(writer.storage, _parts(rows))
            )
        parts = _parts(rows)
        yield from parts
        tables = [from_ipc(payload) for kind, _, payload in rows if kind == "rows"]
        if tables or not parts:
            with steps.step("write mods"):
                prepared = task.prepare(pa.concat_tables(tables) if tables else empty_batch(selected))
                part = writer.write(prepared, in_memory=None if parts else in_memory)
            yield part


def _parts(rows: list[Row]) -> list[Part]:
    return [pickle.loads(payload) for kind, _, payload in rows if kind == "part"]


def empty_batch(frame: DataFrame) -> pa.Table:
    """Build an empty batch with the columns of a DataFrame."""
    return arrow_schema(frame.schema.jsonValue()["fields"]).empty_table()


def _task(payload: bytes) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in a task; pickled by value, see ``spark.tasks``."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pickle

        import pyarrow as pa
        from pyspark import TaskContext

        context = TaskContext.get()
        task = context.partitionId() if context is not None else 0

        def row(kind: str, data: bytes) -> pa.RecordBatch:
            return pa.record_batch(
                [pa.array([kind]), pa.array([task], pa.int64()), pa.array([data], pa.binary())],
                names=["kind", "part", "payload"],
            )

        try:
            from andes_spark.errors import AndesError, StorageError
            from andes_spark.spark.task_errors import note

            work, names = pickle.loads(payload)
        except ImportError as error:
            yield row("missing", str(error.name or error).encode())
            return
        try:
            for kind, data in work.run((batch.rename_columns(names) for batch in batches), task):
                yield row(kind, data)
        except StorageError as error:
            note(error)
            raise
        except AndesError as error:
            yield row("error", pickle.dumps(error))

    return run
