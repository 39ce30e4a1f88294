"""Parts of a batch written to the log's folder, and concatenated: entries, counts, digest, truncates.

A batch is one part if it fits the calling process, and many if tasks write it. Its files become visible
when a manifest refers to them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.prepare import EXAMPLES, Prepared
from andes_spark.batch.ties import tie_columns
from andes_spark.errors import BadModsError
from andes_spark.law.hashing.digest import Digest
from andes_spark.log.mod_files import write_mods, write_quarantine
from andes_spark.model.events import Event, Mods, Quarantine, Truncate
from andes_spark.model.files import Entry
from andes_spark.model.manifest import COUNTED, Counts
from andes_spark.model.mod import OP, Op
from andes_spark.model.values import to_json
from andes_spark.storage.interface import Storage, Tally


@dataclass(frozen=True)
class Part:
    """Files and counts of one part of a batch.

    Attributes:
        mods: files of mods.
        refused: files of refused rows.
        counts: rows by kind.
        digest: sum of the row hashes of its mods.
        truncate: sequences of its truncates; None without truncates.
        reasons: number of bad mods by reason.
        examples: some bad mods, as JSON.
        narrow_bytes: Arrow bytes of the key and sequence columns of its mods.
        tally: requests and bytes of the task that wrote it; zero for the calling process.
    """

    mods: tuple[Entry, ...] = ()
    refused: tuple[Entry, ...] = ()
    counts: Counts = field(default_factory=Counts)
    digest: Digest = field(default_factory=Digest)
    truncate: Truncate | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    narrow_bytes: int = 0
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of_prepared(cls, prepared: Prepared) -> Part:
        """Return a part without written files."""
        return cls(counts=prepared.counts, digest=prepared.digest, reasons=prepared.reasons, examples=prepared.examples)

    @property
    def files(self) -> tuple[Entry, ...]:
        """All files of the part: those of mods, then those of refused rows."""
        return (*self.mods, *self.refused)

    def events(self, *, backfill: bool = False) -> tuple[Event, ...]:
        """Events of a version that commits this part."""
        truncates = () if self.truncate is None else (self.truncate,)
        return events_of(self.mods, self.refused, truncates, backfill=backfill)


def events_of(
    mods: Sequence[Entry], refused: Sequence[Entry], truncates: Sequence[Truncate], *, backfill: bool = False
) -> tuple[Event, ...]:
    """Return the events of a version with these files and truncates."""
    events: list[Event] = []
    if mods:
        events.append(Mods(files=list(mods), backfill=backfill))
    if refused:
        events.append(Quarantine(files=list(refused)))
    return (*events, *(msgspec.structs.replace(truncate, backfill=backfill) for truncate in truncates))


def write_part(
    storage: Storage,
    prepared: Prepared,
    plan: BatchPlan,
    *,
    head: int,
    target_bytes: int,
    threads: int,
    in_memory: dict[str, pa.Table] | None = None,
) -> Part:
    """Write the mods and the refused rows of a part; durable when this returns.

    Args:
        storage: the table's folder.
        prepared: mods and refused rows.
        plan: plan of the batch.
        head: newest version seen at the start of the batch.
        target_bytes: Arrow bytes at which files are split.
        threads: files written side by side.
        in_memory: receives the written tables, by path.
    """
    mods = prepared.mods
    entries = write_files(
        storage, mods, plan, head=head, target_bytes=target_bytes, threads=threads, in_memory=in_memory
    )
    refused: tuple[Entry, ...] = ()
    if prepared.quarantined.num_rows:
        refused = (write_quarantine(storage, prepared.quarantined, head=head, schema_id=plan.version.id),)
    return replace(
        Part.of_prepared(prepared),
        mods=tuple(entries),
        refused=refused,
        truncate=truncate_event(mods, plan) if prepared.counts.truncates else None,
        narrow_bytes=mods.select(list(plan.columns.narrow)).nbytes,
    )


def write_files(
    storage: Storage,
    mods: pa.Table,
    plan: BatchPlan,
    *,
    head: int,
    target_bytes: int,
    threads: int,
    in_memory: dict[str, pa.Table] | None = None,
    batches: int = 1,
) -> list[Entry]:
    """Write sorted mods of one or several batches as files; arguments as for :func:`write_part`.

    The mods of several batches have ``_andes_batch``.
    """
    count = max(1, math.ceil(mods.nbytes / target_bytes)) if mods.num_rows else 0
    edges = np.linspace(0, mods.num_rows, count + 1).astype(np.int64)
    pieces = [mods.slice(int(low), int(high - low)) for low, high in itertools.pairwise(edges)]

    def write(piece: pa.Table) -> Entry:
        entry = write_mods(
            storage,
            piece,
            head=head,
            version=plan.version,
            primary_key=plan.columns.key,
            sequence_by=plan.columns.sequence,
            batches=batches,
        )
        if in_memory is not None:
            in_memory[entry.path] = piece.drop_columns(tie_columns(piece.column_names))
        return entry

    if len(pieces) > 1:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(write, pieces))
    return [write(piece) for piece in pieces]


def concat_parts(parts: Iterable[Part]) -> Part:
    """Concatenate parts; shared mods are left to the check across parts."""
    mods: list[Entry] = []
    refused: list[Entry] = []
    counts: dict[str, int] = {}
    digest = Digest()
    reasons: dict[str, int] = {}
    examples: tuple[str, ...] = ()
    narrow_bytes = 0
    tally = Tally()
    truncates = []
    for part in parts:
        mods += part.mods
        refused += part.refused
        for name in COUNTED:
            counts[name] = counts.get(name, 0) + getattr(part.counts, name)
        digest.merge(part.digest)
        for reason, count in part.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
        examples = (*examples, *part.examples)[:EXAMPLES]
        narrow_bytes += part.narrow_bytes
        tally = tally.plus(part.tally)
        if part.truncate is not None:
            truncates.append(part.truncate)
    return Part(
        tuple(mods),
        tuple(refused),
        msgspec.convert(counts, Counts),
        digest,
        _all_truncates(truncates),
        reasons,
        examples,
        narrow_bytes,
        tally,
    )


def check_quarantine(part: Part, plan: BatchPlan, *, allowed: int) -> None:
    """Refuse a batch with more bad mods than allowed.

    Raises:
        BadModsError: ``reasons`` counts them, ``examples`` shows some rows.
    """
    quarantined = part.counts.quarantined
    if quarantined > allowed:
        shown = ", ".join(f"{reason} ({count})" for reason, count in sorted(part.reasons.items()))
        raise BadModsError(
            f"{plan.table}: {quarantined} bad mods, max_quarantined is {allowed}: {shown}; for example "
            f"{', '.join(part.examples)}. Mend the batch, or raise max_quarantined to set them aside",
            table=plan.table,
            quarantined=quarantined,
            reasons=part.reasons,
            examples=part.examples,
        )


def delete_unreferenced(storage: Storage, parts: Iterable[Part]) -> None:
    """Delete the files of parts that are not committed."""
    storage.delete(entry.path for part in parts for entry in part.files)


def truncate_event(mods: pa.Table, plan: BatchPlan, *, batch: int = 0) -> Truncate:
    """Return the event of the truncates among mods."""
    rows = mods.filter(pc.equal(mods[OP], pa.scalar(int(Op.TRUNCATE), pa.int8())))
    names = list(plan.columns.sequence)
    distinct = rows.select(names).group_by(names).aggregate([]) if names else rows.slice(0, 0)
    sequences = [_quoted(distinct, names, row) for row in range(distinct.num_rows)]
    return Truncate(sequences=sequences, batch=batch)


def _quoted(rows: pa.Table, names: list[str], row: int) -> list[Any]:
    return [to_json(rows[name][row]) for name in names]


def _all_truncates(truncates: list[Truncate]) -> Truncate | None:
    """Combine the truncates of several parts."""
    if not truncates:
        return None
    sequences: list[list[Any]] = []
    for truncate in truncates:
        sequences += [sequence for sequence in truncate.sequences if sequence not in sequences]
    return Truncate(sequences=sequences)
