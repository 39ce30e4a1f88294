"""Spark DataFrames as batches of mods: conditions evaluated by Spark, rows evaluated once.

One job runs: each task hands its rows back while they are few, and writes files of mods otherwise.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from andes_spark.errors import OptionError
from andes_spark.law.batch import UNKNOWN_OP
from andes_spark.log.conditions import check_sql
from andes_spark.log.parts import Part, write_part
from andes_spark.log.prepare import BatchPlan, prepare
from andes_spark.model.conform import differences
from andes_spark.model.mod import OP, ApplyOptions, Op
from andes_spark.model.schema import Schema
from andes_spark.settings import Settings
from andes_spark.spark.tasks import RESULT, SparkExecutor
from andes_spark.storage.base import Storage

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

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
        told: columns that only the conditions used, as text.
    """

    storage: Storage
    plan: BatchPlan
    settings: Settings
    head: int
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

    def _write(self, held: list[pa.RecordBatch], offset: int) -> bytes:
        before = self.storage.counts.snapshot()
        prepared = prepare(pa.Table.from_batches(held), self.plan, offset=offset, told=self.told)
        part = write_part(
            self.storage,
            prepared,
            self.plan,
            head=self.head,
            target_bytes=2 * self.settings.target_file_bytes,
            threads=1,
        )
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
    job = numbered(selected).mapInArrow(_task(pickle.dumps((writer, selected.columns))), RESULT)
    rows = executor.collect(job, step="write mods")
    parts = [pickle.loads(payload) for kind, _, payload in rows if kind == "part"]
    tables = [from_ipc(payload) for kind, _, payload in rows if kind == "rows"]
    if tables or not parts:
        held = pa.concat_tables(tables) if tables else empty_batch(selected)
        prepared = prepare(held, writer.plan, told=told)
        parts.append(
            write_part(
                writer.storage,
                prepared,
                writer.plan,
                head=writer.head,
                target_bytes=writer.settings.target_file_bytes,
                threads=writer.settings.threads,
                warm=warm if not parts else None,
            )
        )
    return parts


def select_mods(frame: DataFrame, options: ApplyOptions, plan: BatchPlan) -> tuple[DataFrame, tuple[str, ...]]:
    """The columns of the table that the batch has, and ``_andes_op``; checked by analysis alone.

    Returns:
        The DataFrame, and which of its columns only the conditions used; they are text there, to be shown.
    """
    conditions = {
        option: _condition(frame, option, getattr(options, option))
        for option in ("apply_as_upserts", "apply_as_deletes", "apply_as_truncates")
    }
    if OP in frame.columns:
        raise OptionError(
            f"{plan.table}: the batch has a column {OP!r}; names that begin with _andes_ are reserved",
            table=plan.table,
            column=OP,
        )
    given = [column for column in conditions.values() if column is not None]
    known = {*plan.schema.names, plan.columns_to_update}
    extra = [name for name in frame.columns if name not in known]
    used = tuple(name for name in extra if given and not _resolves(frame, name, given))
    kept = [name for name in frame.columns if name not in used]
    operation = _operation(conditions, options).alias(OP)
    _check_columns(frame.select(*(quoted(name) for name in kept), operation), plan, may_lack=bool(given))
    shown = [quoted(name).cast("string").alias(name) for name in used]
    return frame.select(*(quoted(name) for name in kept), *shown, operation), used


def quoted(name: str) -> Column:
    """A column by its exact name, whatever characters that has."""
    from pyspark.sql import functions as F

    return F.col("`" + name.replace("`", "``") + "`")


def numbered(frame: DataFrame) -> DataFrame:
    """The same columns under plain names: ``mapInArrow`` of pyspark takes a dot or backtick in one for syntax."""
    return frame.toDF(*(f"c{i}" for i in range(len(frame.columns))))


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


def _condition(frame: DataFrame, option: str, given: Any) -> Column | None:
    from pyspark.errors import AnalysisException, ParseException
    from pyspark.sql import Column
    from pyspark.sql import functions as F

    if given is None:
        return None
    if isinstance(given, str):
        check_sql(option, given)
    elif not isinstance(given, Column):
        raise OptionError(
            f"{option}: give a SQL expression or a Spark Column with a Spark DataFrame, not {type(given).__name__}",
            option=option,
        )
    try:
        with _analysing():
            column = F.expr(given) if isinstance(given, str) else given
            # Beside the rows, so that an aggregate does not pass for a condition.
            kind = frame.select("*", column.alias("condition")).schema[-1].dataType.typeName()
    except (AnalysisException, ParseException) as error:
        raise OptionError(f"{option}: it cannot be resolved: {_first_line(error)}", option=option) from error
    if kind != "boolean":
        raise OptionError(f"{option}: it gives {kind}, not a condition", option=option)
    return column


def _resolves(frame: DataFrame, without: str, conditions: list[Column]) -> bool:
    from pyspark.errors import AnalysisException

    left = frame.select(*(quoted(name) for name in frame.columns if name != without))
    try:
        with _analysing():
            # Asking for the schema makes Spark analyse the plan; nothing runs.
            return bool(left.select(*(each.alias(str(i)) for i, each in enumerate(conditions))).schema)
    except AnalysisException:
        return False


@contextmanager
def _analysing() -> Iterator[None]:
    """Spark 4 logs each analysis that fails, as an error; inside, a failure is an answer."""
    try:
        from pyspark.logger import PySparkLogger
    except ImportError:
        yield
        return
    # By pyspark's own function: a logger of this name that is not of its class breaks its error handling.
    logger = PySparkLogger.getLogger("SQLQueryContextLogger")
    silent, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = silent


def _operation(conditions: dict[str, Column | None], options: ApplyOptions) -> Column:
    """The operation of a row; the same rules as ``log.conditions.combine``."""
    from pyspark.sql import functions as F

    ops = {
        "apply_as_upserts": Op.UPSERT,
        "apply_as_deletes": Op.DELETE,
        "apply_as_truncates": Op.TRUNCATE,
    }
    given = [(ops[option], column) for option, column in conditions.items() if column is not None]
    no_hit = UNKNOWN_OP if conditions["apply_as_upserts"] is not None else int(Op.UPSERT)
    result = F.lit(no_hit)
    hits = F.lit(0)
    null = F.lit(False)
    for op, column in given:
        result = F.when(column, F.lit(int(op))).otherwise(result)
        hits = hits + F.when(column, F.lit(1)).otherwise(F.lit(0))
        null = null | column.isNull()
    on_null = UNKNOWN_OP if options.on_null_operation == "quarantine" else int(Op.UPSERT)
    result = F.when(null, F.lit(on_null)).when(hits > 1, F.lit(UNKNOWN_OP)).otherwise(result)
    return result.cast("tinyint")


def _check_columns(frame: DataFrame, plan: BatchPlan, *, may_lack: bool) -> None:
    """Report all differences before a job runs; only a batch of deletes may lack columns, which tasks see."""
    left_out = {OP} if plan.columns_to_update in plan.schema.names else {OP, plan.columns_to_update}
    arrow = Schema.from_json(frame.schema.json()).to_arrow()
    given = pa.schema([field for field in arrow if field.name not in left_out])
    found = differences(
        given,
        plan.schema,
        partial_ok=may_lack or plan.listed is not None or plan.columns_to_update is not None,
        required=plan.columns.narrow,
        cast=plan.cast,
    )
    found.raise_if_any()


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0]


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
