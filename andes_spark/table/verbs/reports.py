"""What a table says of itself: status, history, quarantined mods, the raw log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.merge.bucket import QUARANTINED_SCHEMA
from andes_spark.delta.log import read_commit
from andes_spark.errors import OptionError
from andes_spark.law.columns import FILE, ROW, VERSION
from andes_spark.law.presence import present_matrix
from andes_spark.log.mod_files import open_entry, read_as, read_entry
from andes_spark.model.events import SetAside, files_of, mods_of, quarantine_of
from andes_spark.model.files import Entry, SideFile
from andes_spark.model.manifest import Manifest
from andes_spark.model.mod import OP, PRESENT
from andes_spark.model.values import json_rows
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.read import evaluated, pin

SET_ASIDE = "set aside with its version"
"""Reason that ``quarantined`` gives for mods of a version that was set aside."""


@dataclass(frozen=True)
class Status:
    """A table at a glance.

    Attributes:
        table: URL.
        table_id: UUID.
        version: newest version of the log.
        applied: version that the base contains.
        pending_versions, pending_mods, pending_bytes: what the base does not contain yet.
        rows: rows of the base; None where its statistics do not say.
        files, bytes: live files of the base.
        deleted_rows: rows of those files that are marked as deleted.
        tombstones: rows of the tombstone files.
        quarantined: mods set aside by the law in merged versions.
        delta_version: of the base.
        foreign: first Delta version of another writer that changed rows or columns, if there is one.
        stopped: why merges stop, and what to do; None while they go on.
        primary_key, sequence_by, partition_by, merge: as the table was created.
        schema: as DDL.
    """

    table: str
    table_id: str
    version: int
    applied: int
    pending_versions: int
    pending_mods: int
    pending_bytes: int
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
    schema: str


def status(open_table: OpenTable) -> Status:
    """Read the status from logs alone; no data file is opened."""
    snapshot = pin(open_table, None)
    files = snapshot.base.state.files.values()
    live = [file.live_records for file in files]
    record = snapshot.base.record
    definition = open_table.definition
    obstacle = open_table.base.obstacle(snapshot.base)
    return Status(
        table=open_table.table,
        table_id=open_table.table_id,
        version=snapshot.version,
        applied=snapshot.base.applied,
        pending_versions=snapshot.version - snapshot.base.applied,
        pending_mods=snapshot.case.pending.rows + snapshot.case.pending.truncate_rows,
        pending_bytes=snapshot.case.pending.bytes,
        rows=None if None in live else sum(each for each in live if each is not None),
        files=len(live),
        bytes=sum(file.size for file in files),
        deleted_rows=sum(file.vector.cardinality for file in files if file.vector is not None),
        tombstones=sum(file.rows for file in record.tombstones),
        quarantined=sum(file.rows for file in record.quarantined),
        delta_version=snapshot.base.version,
        foreign=None if snapshot.base.foreign is None else snapshot.base.foreign.delta_version,
        stopped=None if obstacle is None else str(obstacle),
        primary_key=tuple(definition.primary_key),
        sequence_by=tuple(definition.sequence_by),
        partition_by=tuple(definition.partition_by),
        merge=definition.merge,
        schema=snapshot.case.shape.schema.to_ddl(),
    )


def history(open_table: OpenTable, *, limit: int | None = None) -> list[Manifest]:
    """Manifests, newest first."""
    head = open_table.log.refresh()
    first = 0 if limit is None else max(0, head - limit + 1)
    return list(reversed(open_table.log.manifests(first, head)))


def merges(open_table: OpenTable, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Merges of the base, newest first: Delta version, time, range of versions, counts."""
    found: list[dict[str, Any]] = []
    for version in range(open_table.base.snapshot().version, 0, -1):
        if limit is not None and len(found) >= limit:
            break
        commit = read_commit(open_table.storage, version)
        if commit is None or not open_table.base.is_merge(commit):
            continue
        info = commit.commit_info or {}
        parameters = info.get("operationParameters", {})
        found.append(
            {
                "delta_version": version,
                "time": info.get("timestamp"),
                "from_version": int(parameters.get("andes_from", -1)) + 1,
                "to_version": int(parameters.get("andes_to", -1)),
                **{name: int(value) for name, value in info.get("operationMetrics", {}).items()},
            }
        )
    return found


def mods_schema(case: EvaluationInput) -> pa.Schema:
    """Columns of the raw log: version, operation, columns that a partial mod carries, then the table's."""
    return pa.schema(
        [
            pa.field(VERSION, pa.int64(), nullable=False),
            pa.field("_andes_operation", pa.string(), nullable=False),
            pa.field("_andes_columns", pa.list_(pa.string())),
            *(field.with_nullable(True) for field in case.shape.arrow),
        ]
    )


def mods(open_table: OpenTable, from_version: int, to_version: int | None) -> pa.Table:
    """The raw log; see ``ModTable.mods``."""
    head = open_table.log.refresh() if to_version is None else to_version
    open_table.log.refresh()
    open_table.log.check_readable(from_version)
    open_table.log.check_readable(head)
    if head < from_version:
        raise OptionError(
            f"{open_table.table}: from_version {from_version} is above to_version {head}", option="from_version"
        )
    snapshot = pin(open_table, None)
    schema = mods_schema(snapshot.case)
    tables = [schema.empty_table()]
    for manifest in open_table.log.manifests(from_version, head):
        for entry in mods_of(manifest.events):
            tables.append(_raw(open_table, entry, manifest.version, snapshot.case).cast(schema))
    return pa.concat_tables(tables)


def _raw(open_table: OpenTable, entry: Entry, version: int, case: EvaluationInput) -> pa.Table:
    names = case.shape.schema.names
    columns = [*names, OP, *([PRESENT] if entry.partial else [])]
    file = open_entry(open_table.storage, entry, table=open_table.table)
    rows = read_as(file, entry, table=open_table.table, schemas=case.shape.versions, columns=columns)
    present = present_matrix(rows, len(names))
    carried: list[list[str] | None] = [None] * rows.num_rows
    if present is not None:
        carried = [
            None if row.all() else [name for name, here in zip(names, row, strict=True) if here] for row in present
        ]
    operations = pa.array(["upsert", "delete", "truncate"])
    return pa.table(
        [
            pa.repeat(pa.scalar(version, pa.int64()), rows.num_rows),
            operations.take(rows[OP].combine_chunks()),
            pa.array(carried, pa.list_(pa.string())),
            *(rows[name] for name in names),
        ],
        names=[VERSION, "_andes_operation", "_andes_columns", *names],
    )


def quarantined(open_table: OpenTable, version: int | None) -> pa.Table:
    """Mods set aside, at apply and by the law; see ``ModTable.quarantined``."""
    snapshot = pin(open_table, version)
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
    for manifest in open_table.log.manifests(0, snapshot.version):
        for entry in quarantine_of(manifest.events):
            rows = read_entry(open_table.storage, entry, table=open_table.table)
            number = pa.repeat(pa.scalar(manifest.version, pa.int64()), rows.num_rows)
            tables.append(rows.add_column(0, "version", number).select(schema.names).cast(schema))
        for event in manifest.events:
            if isinstance(event, SetAside):
                for entry in mods_of(open_table.log.manifest(event.version).events):
                    rows_ = [(row, SET_ASIDE) for row in range(entry.rows)]
                    tables.append(_law_rows(open_table, entry.path, event.version, rows_, schema))
    by_file: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for path, at, row, reason in _by_law(open_table, snapshot.base.record.quarantined, snapshot.case):
        by_file.setdefault((path, at), []).append((row, reason))
    for (path, at), rows_ in by_file.items():
        tables.append(_law_rows(open_table, path, at, rows_, schema))
    return pa.concat_tables(tables)


def _by_law(open_table: OpenTable, files: list[SideFile], case: EvaluationInput) -> list[tuple[str, int, int, str]]:
    """(path, version, row, reason) of mods that the law set aside, merged and pending."""
    found: list[tuple[str, int, int, str]] = []
    for file in files:
        rows = read_entry(open_table.storage, file, table=open_table.table, columns=QUARANTINED_SCHEMA.names)
        found += [(each["path"], each["version"], each["row"], each["reason"]) for each in rows.to_pylist()]
    done = evaluated(open_table.storage, case, open_table.settings, columns=case.shape.columns.key)
    if done is not None:
        for row in done.quarantined.to_dicts():
            path = case.pending.files[row[FILE]].entry.path
            found.append((path, row[VERSION], row[ROW], row["reason"]))
    return found


def _law_rows(
    open_table: OpenTable, path: str, version: int, rows: list[tuple[int, str]], schema: pa.Schema
) -> pa.Table:
    """Mods of one file that the law set aside; the file is read once."""
    entry = next(each for each in files_of(open_table.log.manifest(version).events) if each.path == path)
    data = read_entry(open_table.storage, entry, table=open_table.table)
    numbers = [row for row, _ in rows]
    picked = data.drop_columns([name for name in (OP, PRESENT) if name in data.column_names]).take(pa.array(numbers))
    return pa.table(
        [
            [version] * len(rows),
            [reason for _, reason in rows],
            [None] * len(rows),
            numbers,
            json_rows(picked),
        ],
        schema=schema,
    )
