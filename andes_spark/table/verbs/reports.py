"""Reports on a table: status, history, quarantined mods."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.base.evaluate import expired_truncates
from andes_spark.base.evaluation import EvaluationInput, Snapshot
from andes_spark.base.merge.bucket import QUARANTINED_SCHEMA
from andes_spark.delta.ranges import UNKNOWN
from andes_spark.errors import FileDamagedError
from andes_spark.law.columns import FILE, ROW
from andes_spark.log.line import line
from andes_spark.log.mod_files import read_entry
from andes_spark.log.origin import origin_of
from andes_spark.log.readable import floor_of
from andes_spark.log.tags import current_tags
from andes_spark.model.display import (
    Displayed,
    Listing,
    count_text,
    counts_text,
    moment,
    size_text,
    span_text,
    time_text,
)
from andes_spark.model.events import SetAside, files_of, mods_of, quarantine_of
from andes_spark.model.files import SideFile
from andes_spark.model.history import HistoryEntry, MergeEntry
from andes_spark.model.merge_cost import MergeDecision
from andes_spark.model.mod import SYSTEM_IDS
from andes_spark.model.results import MergeCounts
from andes_spark.model.values import json_rows
from andes_spark.sync.outcomes import TARGETS, TargetOutcome, read_outcomes
from andes_spark.table.face_status import FaceStatus, face_statuses
from andes_spark.table.maintenance.vacuum import VacuumResult, preview
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.due import decide_on, merge_decision
from andes_spark.table.verbs.log_sizes import ask_sizes, sizes_of
from andes_spark.table.verbs.read import evaluated, pin, while_pinned

SET_ASIDE = "set aside with its version"
"""Reason in ``quarantined`` for mods of a version that was set aside."""

_RECENT = 20
"""Versions, and entries of the Delta log, among which the last apply and the last merge are looked for."""
_BATCHES = frozenset({"apply", "load", "truncate"})


@dataclass(frozen=True, repr=False)
class Status(Displayed):
    """A table at a glance; times are UTC, sizes bytes.

    Attributes:
        table: URL of the table.
        table_id: UUID of the table.
        version: newest version of the log.
        applied: version that the base contains.
        pending_versions, pending_mods, pending_bytes: numbers of versions and mods that the base does not contain yet,
            and bytes of their files.
        pending_since: commit time of the oldest pending version; None if nothing is pending.
        last_apply, last_merge: commit times; None where none of the newest versions is one.
        log_bytes, mod_bytes: bytes of all that lies below ``_andes``, and of the files of mods among it.
        rows: number of rows of the base; None where its statistics do not say.
        files, bytes: number and size of the live files of the base.
        deleted_rows: number of rows of those files that are marked as deleted.
        tombstones: number of rows of the tombstone files.
        quarantined: number of mods that the law refused in merged versions.
        delta_version: Delta version of the base.
        foreign: first Delta version of another writer that changed rows or columns, if there is one.
        stopped: why merges stop, and what to do; None while they go on.
        primary_key, sequence_by, partition_by, merge: as the table was created.
        decision: whether a merge is due by the merge policy, and why.
        floor: oldest version that can be read, besides those with a tag or a pin.
        cut: sequence at or below which mods take no part, unless they are a backfill; None before the first expire.
        orphan_bytes: size of old files that no version needs, as of interrupted writers; None unless asked for.
        vacuum: what a vacuum would delete, and what keeps it from more; None unless asked for.
        schema: columns of the table, as DDL.
        targets: what became of the last synchronization with each system that shows the table, as by ``sync_glue``.
        faces: what readers of other formats see, for each face that the table's definition asks for.
    """

    table: str
    table_id: str
    version: int
    applied: int
    pending_versions: int
    pending_mods: int
    pending_bytes: int
    pending_since: datetime.datetime | None
    last_apply: datetime.datetime | None
    last_merge: datetime.datetime | None
    log_bytes: int
    mod_bytes: int
    rows: int | None
    files: int
    bytes: int
    deleted_rows: int
    tombstones: int
    quarantined: int
    delta_version: int
    foreign: int | None
    stopped: str | None
    primary_key: tuple[str, ...]
    sequence_by: tuple[str, ...]
    partition_by: tuple[str, ...]
    merge: str
    decision: MergeDecision
    floor: int
    schema: str
    cut: tuple[object, ...] | None = None
    orphan_bytes: int | None = None
    vacuum: VacuumResult | None = None
    targets: tuple[TargetOutcome, ...] = ()
    faces: tuple[FaceStatus, ...] = ()

    @property
    def pending_age(self) -> datetime.timedelta | None:
        """The time since the oldest pending version was committed, by the clock of this machine; None without one."""
        return None if self.pending_since is None else datetime.datetime.now(datetime.UTC) - self.pending_since

    def summary(self) -> str:
        """See ``Displayed``."""
        warning = "" if self.stopped is None else "MERGES ARE STOPPED; "
        return f"{warning}{self.table}, version {self.version}, {self._rows()}, {self._pending()} pending"

    def details(self) -> dict[str, str]:
        """See ``Displayed``."""
        counts = {"tombstones": self.tombstones, "quarantined": self.quarantined}
        lists = {"sequence by": self.sequence_by, "partition by": self.partition_by}
        return {
            **self._stopped(),
            "table": self.table,
            "version": f"{self.version}, last apply {time_text(self.last_apply)}",
            "base": f"contains version {self.applied}, last merge {time_text(self.last_merge)}",
            "pending": self._pending(),
            "rows": self._rows(),
            "files": f"{count_text(self.files, 'files')} of the base, {size_text(self.bytes)}",
            "log": f"{size_text(self.log_bytes)}, of these {size_text(self.mod_bytes)} of mods",
            **{name: f"{count:,}" for name, count in counts.items() if count},
            "primary key": ", ".join(self.primary_key),
            **{name: ", ".join(names) for name, names in lists.items() if names},
            "merge": f"{self.merge}; {self.decision}",
            **({} if self.cut is None else {"expired up to": ", ".join(map(str, self.cut))}),
            **({"readable": f"versions from {self.floor} on"} if self.floor else {}),
            **({} if self.vacuum is None else self._upkeep(self.vacuum)),
            **{outcome.target: outcome.text() for outcome in self.targets},
            **{face.name: str(face) for face in self.faces},
            "schema": self.schema,
        }

    def _upkeep(self, vacuum: VacuumResult) -> dict[str, str]:
        return {**vacuum.details(), "orphans": size_text(self.orphan_bytes or 0)}

    def _stopped(self) -> dict[str, str]:
        return {} if self.stopped is None else {"MERGES ARE STOPPED": self.stopped}

    def _pending(self) -> str:
        if not self.pending_versions:
            return "nothing"
        age = "" if self.pending_age is None else f", for {span_text(self.pending_age)}"
        counts = {"versions": self.pending_versions, "mods": self.pending_mods}
        return f"{counts_text(counts, none='')}, {size_text(self.pending_bytes)}{age}"

    def _rows(self) -> str:
        known = "an unknown number of rows" if self.rows is None else count_text(self.rows, "rows")
        return f"{known}, {self.deleted_rows:,} more marked as deleted" if self.deleted_rows else known


def status(open_table: OpenTable, *, files: bool = False) -> Status:
    """Read the status from logs and a listing of ``_andes``; no data file is opened.

    Args:
        open_table: the table.
        files: whether to find out what a vacuum would delete.
    """
    unneeded, previewed = preview(open_table) if files else (None, None)
    listed = ask_sizes(open_table.storage, open_table.log.head)
    snapshot = pin(open_table, None)
    live = snapshot.base.state.files
    records = live.records
    record = snapshot.base.record
    definition = open_table.definition
    obstacle = open_table.base.obstacle(snapshot.base)
    sizes = sizes_of(listed)
    return Status(
        table=open_table.table,
        table_id=open_table.table_id,
        version=snapshot.version,
        applied=snapshot.base.applied,
        pending_versions=snapshot.version - snapshot.base.applied,
        pending_mods=snapshot.inputs.pending.rows + snapshot.inputs.pending.truncate_rows,
        pending_bytes=snapshot.inputs.pending.bytes,
        pending_since=_pending_since(open_table, snapshot),
        last_apply=_last_apply(open_table, snapshot.version),
        last_merge=next((entry.time for entry in _merges(open_table, snapshot.base.version, _RECENT)), None),
        log_bytes=sum(sizes.values()),
        mod_bytes=sizes["mods"],
        rows=None if (records == UNKNOWN).any() else int((records - live.deleted).sum()),
        files=len(live),
        bytes=int(live.sizes.sum()),
        deleted_rows=int(live.deleted.sum()),
        tombstones=sum(file.rows for file in record.tombstones),
        quarantined=sum(file.rows for file in record.quarantined),
        delta_version=snapshot.base.version,
        foreign=None if snapshot.base.foreign is None else snapshot.base.foreign.delta_version,
        stopped=None if obstacle is None else str(obstacle),
        primary_key=tuple(definition.primary_key),
        sequence_by=tuple(definition.sequence_by),
        partition_by=tuple(definition.partition_by),
        merge=definition.merge,
        decision=_decision(open_table, snapshot),
        floor=floor_of(open_table.log),
        cut=snapshot.inputs.pending.expiry.new_cut,
        orphan_bytes=unneeded,
        vacuum=previewed,
        schema=snapshot.inputs.shape.schema.to_ddl(),
        targets=tuple(read_outcomes(open_table.storage)) if sizes[TARGETS] else (),
        faces=face_statuses(open_table, snapshot.base.applied),
    )


def _decision(open_table: OpenTable, snapshot: Snapshot) -> MergeDecision:
    if open_table.definition.merge != "auto":
        return merge_decision(open_table)
    base = snapshot.base
    return decide_on(open_table, base, open_table.log.pending(base.applied, snapshot.version))


def _pending_since(open_table: OpenTable, snapshot: Snapshot) -> datetime.datetime | None:
    if snapshot.version <= snapshot.base.applied:
        return None
    return moment(open_table.log.manifest(snapshot.base.applied + 1).time)


def _last_apply(open_table: OpenTable, head: int) -> datetime.datetime | None:
    """The time of the newest version that brought a batch, if it is among the newest."""
    for version in range(head, max(-1, head - _RECENT), -1):
        manifest = open_table.log.manifest(version)
        if manifest.operation in _BATCHES:
            return moment(manifest.time)
    return None


def history(open_table: OpenTable, *, limit: int | None = None) -> Listing[HistoryEntry]:
    """Return the versions, newest first."""
    head = open_table.log.refresh()
    first = 0 if limit is None else max(0, head - limit + 1)
    names: dict[int | None, list[str]] = {}
    for name, tag in current_tags(open_table.log).items():
        names.setdefault(tag.event.version, []).append(name)
    return Listing(
        HistoryEntry.of(manifest, names.get(manifest.version, ()))
        for manifest in reversed(open_table.log.manifests(first, head))
    )


def merges(open_table: OpenTable, *, limit: int | None = None) -> Listing[MergeEntry]:
    """Return the merges of the base, newest first."""
    newest = open_table.base.snapshot().version
    return Listing(itertools.islice(_merges(open_table, newest, newest), limit))


def _merges(open_table: OpenTable, newest: int, entries: int) -> Iterator[MergeEntry]:
    """Merges among the newest entries of the Delta log, newest first."""
    first = origin_of(open_table.log).delta_version + 1
    for version, info in open_table.base.recent.merges(newest, max(first, newest - entries + 1)):
        yield _merge_entry(version, info)


def _merge_entry(version: int, info: Mapping[str, Any]) -> MergeEntry:
    parameters, metrics = info.get("operationParameters", {}), info.get("operationMetrics", {})
    names = MergeCounts.__dataclass_fields__
    return MergeEntry(
        delta_version=version,
        time=moment(info.get("timestamp")),
        from_version=int(parameters.get("andes_from", -1)) + 1,
        to_version=int(parameters.get("andes_to", -1)),
        counts=MergeCounts(**{name: int(value) for name, value in metrics.items() if name in names}),
    )


def quarantined(open_table: OpenTable, version: int | None) -> pa.Table:
    """Return the mods set aside, at apply and by the law; see ``ModTable.quarantined``."""
    floor = floor_of(open_table.log)
    snapshot = pin(open_table, version)
    with while_pinned(open_table, snapshot.version, snapshot.inputs, floor=floor):
        try:
            return _quarantined(open_table, snapshot)
        except FileDamagedError as error:
            if error.path is None or open_table.storage.size(error.path) is not None:
                raise
        # A forget may have put another file in the place of one that manifests in memory name.
        open_table.log.read_again()
        return _quarantined(open_table, pin(open_table, version))


def _quarantined(open_table: OpenTable, snapshot: Snapshot) -> pa.Table:
    schema = pa.schema(
        [
            ("version", pa.int64()),
            ("reason", pa.string()),
            ("column", pa.string()),
            ("row_number", pa.int64()),
            ("row", pa.string()),
        ]
    )
    tables = [schema.empty_table()]
    # What a restore left out was not refused, and what it brought back is not set aside.
    for part in line([manifest.pending for manifest in open_table.log.manifests(0, snapshot.version)]):
        for entry in quarantine_of(part.events):
            rows = read_entry(open_table.storage, entry, table=open_table.table)
            number = pa.repeat(pa.scalar(part.version, pa.int64()), rows.num_rows)
            tables.append(rows.add_column(0, "version", number).select(schema.names).cast(schema))
        for event in part.events:
            if isinstance(event, SetAside):
                for entry in mods_of(open_table.log.manifest(event.version).events):
                    rows_ = [(row, SET_ASIDE) for row in range(entry.rows)]
                    tables.append(_law_rows(open_table, entry.path, event.version, rows_, schema))
    by_file: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for path, at, row, reason in _by_law(open_table, snapshot.base.record.quarantined, snapshot.inputs):
        by_file.setdefault((path, at), []).append((row, reason))
    for (path, at), rows_ in by_file.items():
        tables.append(_law_rows(open_table, path, at, rows_, schema))
    return pa.concat_tables(tables)


def _by_law(open_table: OpenTable, files: list[SideFile], inputs: EvaluationInput) -> list[tuple[str, int, int, str]]:
    """(path, version, row, reason) of mods that the law set aside, merged and pending."""
    refused: list[tuple[str, int, int, str]] = []
    for file in files:
        rows = read_entry(open_table.storage, file, table=open_table.table, columns=QUARANTINED_SCHEMA.names)
        refused += [(record["path"], record["version"], record["row"], record["reason"]) for record in rows.to_pylist()]
    evaluation = evaluated(open_table.storage, inputs, open_table.settings, columns=inputs.shape.columns.key)
    frames = [] if evaluation is None else [evaluation.quarantined.select(FILE, ROW, "reason")]
    for row in pl.concat([*frames, expired_truncates(open_table.storage, inputs)]).to_dicts():
        file = inputs.pending.files[row[FILE]]
        refused.append((file.entry.path, file.version, row[ROW], row["reason"]))
    return refused


def _law_rows(
    open_table: OpenTable, path: str, version: int, rows: list[tuple[int, str]], schema: pa.Schema
) -> pa.Table:
    """Mods of one file that the law set aside; the file is read once."""
    numbers = [row for row, _ in rows]
    texts: list[str | None] = [None] * len(rows)
    # The mods of versions up to the floor may have been deleted by a vacuum.
    if version > floor_of(open_table.log) or open_table.storage.size(path) is not None:
        events = open_table.log.manifest(version).events
        entry = next(candidate for candidate in files_of(events) if candidate.path == path)
        data = read_entry(open_table.storage, entry, table=open_table.table)
        texts[:] = json_rows(
            data.drop_columns([n for n in SYSTEM_IDS if n in data.column_names]).take(pa.array(numbers))
        )
    return pa.table(
        [
            [version] * len(rows),
            [reason for _, reason in rows],
            [None] * len(rows),
            numbers,
            texts,
        ],
        schema=schema,
    )
