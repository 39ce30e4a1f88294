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
from andes_spark.batch.parts import Part, write_part
from andes_spark.batch.prepare import BatchPlan, prepare
from andes_spark.model.mod import OnNull
from andes_spark.model.options import ApplyOptions
from andes_spark.schema.schema import Schema
from andes_spark.settings import Settings
from andes_spark.spark.columns import numbered, select_mods
from andes_spark.spark.tasks import Row, SparkExecutor, result_type
from andes_spark.storage.interface import Storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SHARES = 256
"""A task hands rows back up to this part of the byte budget: 2 MiB by default, as many tasks may do so at once."""


@dataclass(frozen=True)
class PartWriter:
    """What a task does with its rows; travels to tasks.

    Attributes:
        storage: the table's folder.
        plan: how rows become mods.
        settings: of the process that asked.
        head: newest version seen when the batch was begun.
        on_null: what a row is for which a condition is NULL.
        told: columns that only the conditions used, as text.
    """

    storage: Storage
    plan: BatchPlan
    settings: Settings
    head: int
    on_null: OnNull
    told: tuple[str, ...] = ()

    @property
    def share(self) -> int:
        """Bytes up to which a task hands its rows back."""
        return self.settings.byte_budget // SHARES

    def run(self, batches: Iterator[pa.RecordBatch], task: int) -> Iterator[tuple[str, bytes]]:
        """``rows`` with Arrow IPC bytes, or ``part`` with a pickled ``Part``, as often as needed."""
        held: list[pa.RecordBatch] = []
        size = rows = 0
        written = False
        for batch in batches:
            if batch.num_rows == 0:
                continue
            held.append(batch)
            size += batch.nbytes
            if size >= self.settings.target_file_bytes:
                yield "part", self._write(held, (task << 40) + rows)
                rows += sum(each.num_rows for each in held)
                held, size, written = [], 0, True
        if held and (written or size > self.share):
            yield "part", self._write(held, (task << 40) + rows)
        elif held:
            yield "rows", to_ipc(pa.Table.from_batches(held))

    def write(
        self,
        rows: pa.Table,
        *,
        target_bytes: int,
        threads: int,
        offset: int = 0,
        warm: dict[str, pa.Table] | None = None,
    ) -> Part:
        """Write rows, with the answers of the conditions beside them, as mods; raises as ``prepare``."""
        prepared = prepare(with_operations(rows, self.on_null), self.plan, offset=offset, told=self.told)
        return write_part(
            self.storage, prepared, self.plan, head=self.head, target_bytes=target_bytes, threads=threads, warm=warm
        )

    def _write(self, held: list[pa.RecordBatch], offset: int) -> bytes:
        before = self.storage.counts.snapshot()
        rows = pa.Table.from_batches(held)
        part = self.write(rows, offset=offset, target_bytes=2 * self.settings.target_file_bytes, threads=1)
        spent = self.storage.counts.minus(before)
        return pickle.dumps(
            Part(
                part.entries,
                part.counts,
                part.digest,
                part.truncate,
                part.reasons,
                part.examples,
                spent,
            )
        )


def write_frame(
    executor: SparkExecutor,
    frame: DataFrame,
    options: ApplyOptions,
    writer: PartWriter,
    *,
    warm: dict[str, pa.Table],
) -> list[Part]:
    """Evaluate a DataFrame once and write its rows as mods. Runs one Spark job.

    Args:
        executor: of the session that the DataFrame belongs to.
        frame: the batch.
        options: of the apply.
        writer: what tasks do with rows.
        warm: takes the tables that this process wrote, if it wrote all.

    Raises:
        SchemaMismatchError: missing, extra and wrong-type columns, before any job runs.
        OptionError: a condition that cannot be resolved.
        AndesError: what a task raised.
    """
    selected, told = select_mods(frame, options, writer.plan)
    writer = replace(writer, told=told)
    task = _task(pickle.dumps((writer, selected.columns)))
    job = numbered(selected).mapInArrow(task, result_type())
    rows = executor.collect(job, step="write mods", undo=lambda rows: _drop(writer.storage, _parts(rows)))
    parts = _parts(rows)
    tables = [from_ipc(payload) for kind, _, payload in rows if kind == "rows"]
    if tables or not parts:
        held = pa.concat_tables(tables) if tables else empty_batch(selected)
        try:
            settings = writer.settings
            parts.append(
                writer.write(
                    held,
                    target_bytes=settings.target_file_bytes,
                    threads=settings.threads,
                    warm=warm if not parts else None,
                )
            )
        except BaseException:
            _drop(writer.storage, parts)
            raise
    return parts


def _parts(rows: list[Row]) -> list[Part]:
    return [pickle.loads(payload) for kind, _, payload in rows if kind == "part"]


def _drop(storage: Storage, parts: list[Part]) -> None:
    storage.delete(entry.path for part in parts for entry in part.entries)


def to_ipc(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_ipc(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        return stream.read_all()


def empty_batch(frame: DataFrame) -> pa.Table:
    """No rows, with the columns of a frame."""
    schema = Schema.from_json(frame.schema.json())
    return schema.to_arrow().empty_table()


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

            writer, names = pickle.loads(payload)
        except ImportError as error:
            yield row("missing", str(error.name or error).encode())
            return
        try:
            for kind, data in writer.run((batch.rename_columns(names) for batch in batches), task):
                yield row(kind, data)
        except StorageError:
            raise
        except AndesError as error:
            yield row("error", pickle.dumps(error))

    return run
