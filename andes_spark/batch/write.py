"""Writing of a batch to the log's folder: rows are prepared, written as mod files, and checked across parts.

Rows come from a :class:`Source`: Arrow data of the calling process, or a Spark DataFrame whose tasks write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from andes_spark.batch.columns import dropped_columns, listing_column, table_names
from andes_spark.batch.conditions import Conditions
from andes_spark.batch.cross_check import check_across
from andes_spark.batch.parts import Part, check_quarantine, concat_parts, delete_unreferenced, write_part
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.prepare import Prepared, prepare
from andes_spark.batch.tie_break import TieBreak
from andes_spark.model.mod import OP
from andes_spark.run.executor import Executor
from andes_spark.run.steps import Steps
from andes_spark.schema.differences import refuse_repeated
from andes_spark.schema.names import refuse_reserved
from andes_spark.storage.interface import Storage

InMemory = dict[str, pa.Table]
"""Tables written by this process, by path of their file."""


@dataclass(frozen=True)
class PartWriter:
    """Writer of the parts of one batch; sent to tasks.

    Attributes:
        storage: the table's folder.
        plan: plan of the batch.
        head: newest version seen at the start of the batch.
        target_bytes: Arrow bytes at which files are split.
        threads: files written side by side.
        allowed: maximum number of bad mods.
    """

    storage: Storage
    plan: BatchPlan
    head: int
    target_bytes: int
    threads: int
    allowed: int

    def prepare(self, rows: pa.Table, *, offset: int = 0, condition_only: Iterable[str] = ()) -> Prepared:
        """Turn rows into mods; arguments and errors are those of ``batch.prepare``."""
        return prepare(rows, self.plan, offset=offset, condition_only=tuple(condition_only))

    def write(self, prepared: Prepared, *, in_memory: InMemory | None = None) -> Part:
        """Write prepared mods; durable when this returns.

        Args:
            prepared: mods and refused rows.
            in_memory: receives the written tables.
        """
        return write_part(
            self.storage,
            prepared,
            self.plan,
            head=self.head,
            target_bytes=self.target_bytes,
            threads=self.threads,
            in_memory=in_memory,
        )


class Source(Protocol):
    """Rows of a batch, with the code that prepares and writes them."""

    def parts(self, writer: PartWriter, *, steps: Steps, in_memory: InMemory) -> Iterator[Part]:
        """Write all rows, part by part.

        Files of parts that were yielded are deleted by the caller if a later part fails; files of parts that were
        not yielded are deleted here.

        Args:
            writer: writer of the parts.
            steps: collector of steps.
            in_memory: receives the written tables if this process writes the batch as one part.
        """


@dataclass(frozen=True)
class ArrowRows:
    """Arrow tables of the calling process as the rows of a batch.

    Attributes:
        tables: the rows, in order; read once.
        conditions: for the operation of each row.
        tie_break: order of mods of one key at one sequence.
    """

    tables: Iterable[pa.Table]
    conditions: Conditions
    tie_break: TieBreak

    def parts(self, writer: PartWriter, *, steps: Steps, in_memory: InMemory) -> Iterator[Part]:
        """See :class:`Source`."""
        offset = 0
        for number, rows in enumerate(self.tables):
            if number:
                # A batch of many parts may be larger than the memory.
                in_memory.clear()
            with steps.step("prepare mods"):
                prepared = self.prepared(rows, writer, offset)
            # A part with too many bad mods is refused before it is written.
            check_quarantine(Part.of_prepared(prepared), writer.plan, allowed=writer.allowed)
            offset += rows.num_rows
            with steps.step("write mods"):
                part = writer.write(prepared, in_memory=None if number else in_memory)
            # Released before the next table is read.
            del rows, prepared
            yield part

    def prepared(self, rows: pa.Table, writer: PartWriter, offset: int = 0) -> Prepared:
        """Turn one of the tables into mods; ``offset`` is the number of its first row within the batch."""
        plan = writer.plan
        refuse_reserved(rows.column_names, plan.table)
        refuse_repeated(rows.column_names)
        names = rows.column_names
        spelled = table_names(names, plan)
        used = self.conditions.columns(names) | self.tie_break.columns(names)
        stored = {*spelled, listing_column(names, plan)}
        condition_only = [name for name in names if name in used and name not in stored]
        dropped = dropped_columns(names, spelled, plan, used=condition_only)
        rows = self.tie_break.evaluate(rows).append_column(OP, self.conditions.evaluate(rows)).drop_columns(dropped)
        return writer.prepare(rows, offset=offset, condition_only=condition_only)


def write_batch(
    source: Source,
    writer: PartWriter,
    *,
    executor: Callable[[], Executor],
    byte_budget: int,
    steps: Steps,
    in_memory: InMemory,
) -> Part:
    """Write a batch as mod files, without committing it; an error leaves no file behind.

    Args:
        source: rows of the batch.
        writer: writer of the parts.
        executor: returns the executor of the check across parts.
        byte_budget: Arrow bytes up to which that check runs in this process.
        steps: collector of steps.
        in_memory: receives the written tables if this process writes the batch as one part.

    Raises:
        SchemaMismatchError: missing, extra and wrong-type columns, all at once.
        BadModsError: more bad mods than ``writer.allowed``.
        SequenceTieError: two different mods of one key at one sequence.
        OptionError: a condition that cannot be resolved or evaluated.
    """
    parts: list[Part] = []
    try:
        for part in source.parts(writer, steps=steps, in_memory=in_memory):
            parts.append(part)
        batch = concat_parts(parts)
        check_quarantine(batch, writer.plan, allowed=writer.allowed)
        if len(parts) > 1:
            in_memory.clear()
            with steps.step("check across parts"):
                batch = check_across(writer.storage, batch, writer.plan, writer.head, executor, byte_budget)
    except BaseException:
        delete_unreferenced(writer.storage, parts)
        raise
    return batch
