"""The ledger: ids of the batches that the log contains.

The ids of batches after the last roll-up are in the manifests, those of older batches in the ledger files that the
roll-up names: Parquet, sorted by source and id. Files whose newest batch is older than the table's
``batch_retention`` are left out of the next roll-up; after that, such an id counts as new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.log.mod_files import described, new_path, open_entry, read_columns, read_entry
from andes_spark.model.durations import parse_duration
from andes_spark.model.files import LedgerFile
from andes_spark.model.manifest import Manifest
from andes_spark.model.mod import BatchId
from andes_spark.schema.versions import numbered
from andes_spark.storage.interface import Storage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.parquet import Written, write_parquet
from andes_spark.storage.scheduler import Asked, Lazy

LEDGER_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("id", pa.string()),
        ("version", pa.int64()),
        ("time", pa.int64()),
    ]
)
_LISTED_SOURCES = 32
_LISTED_LENGTH = 256
_GROUP_ROWS = 16 * 1024
"""Maximum number of ids in a row group, the unit that a look-up reads."""
_KEPT_GROUPS = 4
"""Number of row groups of each file that stay in memory."""


_SOUGHT = ["source", "id", "version"]


@dataclass(frozen=True)
class _Group:
    """A row group of a file: least and greatest source, least and greatest id; None where the footer lacks them."""

    number: int
    sources: tuple[str, str] | None
    ids: tuple[str, str] | None

    def may_hold(self, batch: BatchId) -> bool:
        """Whether a batch may be named in it."""
        return all(
            limits is None or limits[0] <= value <= limits[1]
            for limits, value in ((self.sources, batch.source), (self.ids, batch.tagged))
        )


@dataclass(frozen=True)
class _Rows:
    """Row groups of a file, and the rows of those that were read."""

    groups: tuple[_Group, ...]
    rows: dict[int, pa.Table]


class Ledger:
    """Lookup of batch ids. Of each file the row groups are read in which the id may be; few of them stay in memory."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._recent: dict[tuple[str, str], int] = {}
        self._seen = -1
        self._files_read: dict[str, _Rows] = {}
        self._answers: dict[str, Asked[_Rows]] = {}
        self._written: dict[str, pa.Table] = {}
        """Rows of files that this handle wrote, which are folded into larger ones."""

    def ask(self, *batches: BatchId) -> None:
        """Begin to read what :meth:`find` needs of ledger files for batches."""
        self._trim()
        needed: dict[str, tuple[LedgerFile, list[BatchId]]] = {}
        for batch in batches:
            if self._find_recent(batch) is None:
                for file in self._files_of(batch):
                    if self._unread(file, batch):
                        needed.setdefault(file.path, (file, []))[1].append(batch)
        ask = self._log.storage.scheduler.ask
        self._answers = {path: ask(self._read_for, file, unread) for path, (file, unread) in needed.items()}

    def find_recent(self, batch: BatchId) -> Manifest | None:
        """Return the manifest that applied a batch, if it is one of those after the last roll-up; sends no request."""
        version = self._find_recent(batch)
        return None if version is None else self._log.manifest(version)

    def find(self, batch: BatchId) -> Manifest | None:
        """Return the manifest of the version with a batch, up to the head in memory; None if the batch is new."""
        version = self._find_recent(batch)
        if version is None:
            version = self._find_old(batch)
        return None if version is None else self._log.manifest(version)

    def roll_up(self, version: int, time: int) -> list[LedgerFile]:
        """Return the ledger files for the roll-up at ``version``: those of the last one, and one of the batches since.

        Args:
            version: version of the manifest that carries the roll-up.
            time: time of that manifest; files older than the retention at that time are left out.
        """
        return self.begin_roll_up(version, time).result()

    def begin_roll_up(self, version: int, time: int) -> Asked[list[LedgerFile]]:
        """Start to write the new file of :meth:`roll_up`, without waiting."""
        start = self._log.last_roll_up
        manifest = self._log.manifest(start)
        definition = self._log.definition_at(version - 1)
        retention_ms = parse_duration(definition.batch_retention, option="batch_retention").total_seconds() * 1000
        oldest = time - retention_ms
        files = [file for file in (manifest.roll_up.ledger if manifest.roll_up else []) if file.newest_time >= oldest]
        fresh = _batches(self._log.manifests(start, version - 1))
        if fresh.num_rows == 0:
            return Lazy(lambda: files)
        folded: list[LedgerFile] = []
        # Each file is at least twice as large as the next one: there are few files, and rows are seldom rewritten.
        while files and files[-1].rows < 2 * (fresh.num_rows + sum(file.rows for file in folded)):
            folded.append(files.pop())
        first = folded[-1].from_version if folded else start
        return self._log.storage.scheduler.start(self._folded, files, folded, fresh, first, version - 1)

    def _folded(
        self, kept: list[LedgerFile], folded: list[LedgerFile], fresh: pa.Table, first: int, last: int
    ) -> list[LedgerFile]:
        rows = pa.concat_tables([fresh, *(self._rows_of(file) for file in folded)])
        written = self._write(rows, first, last)
        self._written = {file.path: self._written[file.path] for file in kept if file.path in self._written}
        if rows.num_rows <= _GROUP_ROWS:
            self._written[written.path] = rows
        return [*kept, written]

    def _rows_of(self, file: LedgerFile) -> pa.Table:
        return self._written[file.path] if file.path in self._written else self._read(file)

    def _find_recent(self, batch: BatchId) -> int | None:
        first = max(self._seen + 1, self._log.last_roll_up)
        for manifest in self._log.manifests(first, self._log.head) if first <= self._log.head else ():
            for known in manifest.batches:
                self._recent[known.source, known.id] = manifest.version
        self._seen = self._log.head
        # Older ids are in the files that the roll-up names.
        oldest = self._log.last_roll_up
        if self._recent and min(self._recent.values()) < oldest - ROLL_UP_INTERVAL:
            self._recent = {place: version for place, version in self._recent.items() if version >= oldest}
        return self._recent.get((batch.source, batch.tagged))

    def _find_old(self, batch: BatchId) -> int | None:
        paths = {file.path for file in self._files()}
        self._files_read = {path: read for path, read in self._files_read.items() if path in paths}
        for file in reversed(self._files_of(batch)):
            answer = self._answers.pop(file.path, None)
            if answer is not None:
                self._keep(file, answer.result())
            if self._unread(file, batch):
                self._keep(file, self._read_for(file, [batch]))
            version = _version_in(self._files_read[file.path], batch)
            if version is not None:
                return version
        return None

    def _unread(self, file: LedgerFile, batch: BatchId) -> bool:
        """Whether a row group that may name a batch is not in memory."""
        read = self._files_read.get(file.path)
        return read is None or any(group.may_hold(batch) and group.number not in read.rows for group in read.groups)

    def _read_for(self, file: LedgerFile, batches: Sequence[BatchId]) -> _Rows:
        """Read the row groups of a file that may name one of some batches."""
        opened = open_entry(self._log.storage, file, table=self._log.table)
        groups = tuple(_group(opened.metadata, number) for number in range(opened.num_row_groups))
        needed = [group.number for group in groups if any(group.may_hold(batch) for batch in batches)]
        return _Rows(
            groups,
            {
                number: read_columns(opened, file, table=self._log.table, columns=_SOUGHT, row_groups=[number])
                for number in needed
            },
        )

    def _keep(self, file: LedgerFile, read: _Rows) -> None:
        before = self._files_read.get(file.path)
        older = {} if before is None else {n: rows for n, rows in before.rows.items() if n not in read.rows}
        self._files_read[file.path] = _Rows(read.groups, {**older, **read.rows})

    def _trim(self) -> None:
        """Drop all but the row groups that were read last; between :meth:`ask` and :meth:`find` all are needed."""
        for path, read in self._files_read.items():
            kept = list(read.rows)[-_KEPT_GROUPS:]
            self._files_read[path] = _Rows(read.groups, {number: read.rows[number] for number in kept})

    def _files(self) -> list[LedgerFile]:
        roll_up = self._log.manifest(self._log.last_roll_up).roll_up
        return roll_up.ledger if roll_up else []

    def _files_of(self, batch: BatchId) -> list[LedgerFile]:
        """Files that may name a batch, oldest first."""
        return [file for file in self._files() if file.may_name(batch)]

    def _read(self, file: LedgerFile) -> pa.Table:
        return read_entry(self._log.storage, file, table=self._log.table)

    def _write(self, rows: pa.Table, first: int, last: int) -> LedgerFile:
        path = new_path("ledger", last)
        rows, written = _write_sorted(self._log.storage, path, rows)
        return LedgerFile(
            **described(path, rows, written),
            from_version=first,
            to_version=last,
            newest_time=pc.max(rows["time"]).as_py(),
            ids=_limits(rows),
        )


def _limits(rows: pa.Table) -> dict[str, list[str]] | None:
    """Least and greatest id of each source; None if there are too many sources, or their ids are long."""
    if (
        pc.count_distinct(rows["source"]).as_py() > _LISTED_SOURCES
        or pc.max(pc.utf8_length(rows["id"])).as_py() > _LISTED_LENGTH
    ):
        return None
    limits: dict[str, tuple[BatchId, BatchId]] = {}
    for source, tagged in zip(rows["source"].to_pylist(), rows["id"].to_pylist(), strict=True):
        batch = BatchId.from_tagged(source, tagged)
        low, high = limits.get(source, (batch, batch))
        limits[source] = (min(low, batch, key=_place), max(high, batch, key=_place))
    return {source: [low.tagged, high.tagged] for source, (low, high) in limits.items()}


def _place(batch: BatchId) -> tuple[bool, int | str]:
    return batch.place


def _group(metadata: pq.FileMetaData, number: int) -> _Group:
    limits = []
    for column in (0, 1):
        statistics = metadata.row_group(number).column(column).statistics
        limits.append((statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None)
    return _Group(number, *limits)


def _version_in(read: _Rows, batch: BatchId) -> int | None:
    for group in read.groups:
        if group.may_hold(batch) and group.number in read.rows:
            rows = read.rows[group.number]
            named = pc.and_(pc.equal(rows["source"], batch.source), pc.equal(rows["id"], batch.tagged))
            versions: list[int] = rows["version"].filter(named).to_pylist()
            if versions:
                return versions[-1]
    return None


def made_again(manifests: list[Manifest], file: LedgerFile) -> bytes | None:
    """Return the bytes of a ledger file from the manifests of its versions; None if these are not as committed."""
    rows = _batches(manifests)
    if rows.num_rows != file.rows:
        return None
    storage = MemoryStorage()
    _write_sorted(storage, file.path, rows)
    data = storage.get(file.path)
    return data if hashlib.sha256(data).hexdigest() == file.sha256 else None


def _write_sorted(storage: Storage, path: str, rows: pa.Table) -> tuple[pa.Table, Written]:
    rows = rows.sort_by([("source", "ascending"), ("id", "ascending")])
    schema, order = numbered(LEDGER_SCHEMA), ("source", "id")
    return rows, write_parquet(storage, path, rows, schema, sorted_by=order, group_rows=_GROUP_ROWS)


def _batches(manifests: list[Manifest]) -> pa.Table:
    rows = [
        {
            "source": batch.source,
            "id": batch.id,
            "version": manifest.version,
            "time": manifest.time,
        }
        for manifest in manifests
        for batch in manifest.batches
    ]
    return pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA)
