"""Several prepared batches written together, as one version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from andes_spark.batch.parts import events_of, truncate_event, write_files
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.prepare import Prepared
from andes_spark.law.rows import sort_mods
from andes_spark.log.mod_files import write_quarantine
from andes_spark.model.events import Event, Truncate
from andes_spark.model.files import Entry
from andes_spark.model.manifest import COUNTED, Counts
from andes_spark.model.mod import BATCH, OP, PRESENT
from andes_spark.storage.interface import Storage


@dataclass(frozen=True)
class WrittenGroup:
    """Files and counts of several batches.

    Attributes:
        mods: files of mods, with the mods of all batches.
        refused: files of refused rows, one per batch with such rows.
        truncates: events of the batches with truncates.
        counts: number of rows of all batches.
    """

    mods: tuple[Entry, ...]
    refused: tuple[Entry, ...]
    truncates: tuple[Truncate, ...]
    counts: Counts

    @property
    def files(self) -> tuple[Entry, ...]:
        """All files of the group: those of mods, then those of refused rows."""
        return (*self.mods, *self.refused)

    @property
    def events(self) -> tuple[Event, ...]:
        """Events of the version that commits the batches."""
        return events_of(self.mods, self.refused, self.truncates)


def write_group(
    storage: Storage,
    group: Sequence[Prepared],
    plan: BatchPlan,
    *,
    head: int,
    target_bytes: int,
    threads: int,
    in_memory: dict[str, pa.Table],
) -> WrittenGroup:
    """Write the mods of several batches as common files, and their refused rows.

    Args:
        storage: the table's folder.
        group: batches in the order of arrival, with the same schema; their positions are their numbers.
        plan: plan of one of the batches.
        head: newest version seen before.
        target_bytes: Arrow bytes at which files are split.
        threads: number of files written in parallel.
        in_memory: receives the written tables, by path.
    """
    entries = write_files(
        storage,
        _together(group, plan),
        plan,
        head=head,
        target_bytes=target_bytes,
        threads=threads,
        in_memory=in_memory,
        batches=len(group),
    )
    refused = [
        write_quarantine(storage, batch.quarantined, head=head, schema_id=plan.version.id)
        for batch in group
        if batch.quarantined.num_rows
    ]
    truncates = [
        truncate_event(batch.mods, plan, batch=number) for number, batch in enumerate(group) if batch.counts.truncates
    ]
    counts = {name: sum(getattr(batch.counts, name) for batch in group) for name in COUNTED}
    return WrittenGroup(tuple(entries), tuple(refused), tuple(truncates), msgspec.convert(counts, Counts))


def _together(group: Sequence[Prepared], plan: BatchPlan) -> pa.Table:
    """Concatenate the mods of batches, sorted by key, then sequence, then number of the batch."""
    has_present = any(PRESENT in batch.mods.column_names for batch in group)
    tables = []
    for number, batch in enumerate(group):
        mods = batch.mods
        table = mods.select([*plan.schema.names, OP])
        if has_present:
            missing = pa.chunked_array([pa.nulls(mods.num_rows, pa.binary())])
            table = table.append_column(PRESENT, mods[PRESENT] if PRESENT in mods.column_names else missing)
        if len(group) > 1:
            table = table.append_column(BATCH, pa.repeat(pa.scalar(number, pa.int32()), mods.num_rows))
        tables.append(table)
    return sort_mods(pa.concat_tables(tables), plan.columns) if len(tables) > 1 else tables[0]
