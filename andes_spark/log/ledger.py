"""The ledger: ids of the batches that the log contains.

The ids of batches after the last roll-up are in the manifests, those of older batches in the ledger files that the
roll-up names: Parquet, sorted by source and id. Files whose newest batch is older than the table's
``batch_retention`` are left out of the next roll-up; after that, such an id counts as new.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.log.mod_files import described, new_path, read_entry
from andes_spark.model.durations import parse_duration
from andes_spark.model.files import LedgerFile
from andes_spark.model.manifest import Manifest
from andes_spark.model.mod import BatchId
from andes_spark.schema.versions import numbered
from andes_spark.storage.parquet import write_parquet
from andes_spark.storage.scheduler import Asked

LEDGER_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("id", pa.string()),
        ("digest", pa.string()),
        ("version", pa.int64()),
        ("time", pa.int64()),
    ]
)
_LISTED_SOURCES = 32


class Ledger:
    """Lookup of batch ids, with a cache of the ids that were read."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._recent: dict[tuple[str, str], int] = {}
        self._seen = -1
        self._old: dict[tuple[str, str], dict[str, int]] = {}
        self._asked: dict[str, Asked[pa.Table]] = {}

    def ask(self, *batches: BatchId) -> None:
        """Begin to read the ledger files that :meth:`find` needs for batches."""
        self._asked = {
            file.path: self._asked.get(file.path) or self._log.storage.scheduler.ask(self._read_file, file)
            for batch in batches
            if self._find_recent(batch) is None
            for file in self._files_of(batch)
            if (file.path, batch.source) not in self._old
        }

    def find_recent(self, batch: BatchId) -> Manifest | None:
        """Manifest that applied a batch, if it is one of those after the last roll-up; sends no request."""
        version = self._find_recent(batch)
        return None if version is None else self._log.manifest(version)

    def find(self, batch: BatchId) -> Manifest | None:
        """Manifest of the version that applied a batch, up to the head in memory; None if the batch is new."""
        version = self._find_recent(batch)
        if version is None:
            version = self._find_old(batch)
        return None if version is None else self._log.manifest(version)

    def roll_up(self, version: int, time: int) -> list[LedgerFile]:
        """Ledger files for the roll-up at ``version``: those of the last roll-up, and one with the batches after it.

        Args:
            version: version of the manifest that carries the roll-up.
            time: time of that manifest; files older than the retention at that time are left out.
        """
        start = self._log.last_roll_up
        manifest = self._log.manifest(start)
        definition = self._log.definition_at(version - 1)
        retention_ms = parse_duration(definition.batch_retention, option="batch_retention").total_seconds() * 1000
        oldest = time - retention_ms
        files = [file for file in (manifest.roll_up.ledger if manifest.roll_up else []) if file.newest_time >= oldest]
        fresh = _batches(self._log.manifests(start, version - 1))
        if fresh.num_rows == 0:
            return files
        tables, first = [fresh], start
        # Each file is at least twice as large as the next one: there are few files, and rows are seldom rewritten.
        while files and files[-1].rows < 2 * sum(table.num_rows for table in tables):
            last = files.pop()
            tables.append(self._read(last))
            first = last.from_version
        return [*files, self._write(pa.concat_tables(tables), first, version - 1)]

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
        self._old = {place: ids for place, ids in self._old.items() if place[0] in paths}
        for file in reversed(self._files_of(batch)):
            place = (file.path, batch.source)
            if place not in self._old:
                rows = self._read(file)
                rows = rows.filter(pc.equal(rows["source"], batch.source))
                self._old[place] = dict(zip(rows["id"].to_pylist(), rows["version"].to_pylist(), strict=True))
            version = self._old[place].get(batch.tagged)
            if version is not None:
                return version
        return None

    def _files(self) -> list[LedgerFile]:
        roll_up = self._log.manifest(self._log.last_roll_up).roll_up
        return roll_up.ledger if roll_up else []

    def _files_of(self, batch: BatchId) -> list[LedgerFile]:
        """Files that may name a batch, oldest first."""
        return [file for file in self._files() if file.sources is None or batch.source in file.sources]

    def _read(self, file: LedgerFile) -> pa.Table:
        asked = self._asked.pop(file.path, None)
        return self._read_file(file) if asked is None else asked.result()

    def _read_file(self, file: LedgerFile) -> pa.Table:
        return read_entry(self._log.storage, file, table=self._log.table)

    def _write(self, rows: pa.Table, first: int, last: int) -> LedgerFile:
        rows = rows.sort_by([("source", "ascending"), ("id", "ascending")])
        path = new_path("ledger", last)
        written = write_parquet(self._log.storage, path, rows, numbered(LEDGER_SCHEMA), sorted_by=("source", "id"))
        sources = pc.unique(rows["source"]).to_pylist()
        return LedgerFile(
            **described(path, rows, written),
            from_version=first,
            to_version=last,
            newest_time=pc.max(rows["time"]).as_py(),
            sources=sources if len(sources) <= _LISTED_SOURCES else None,
        )


def _batches(manifests: list[Manifest]) -> pa.Table:
    rows = [
        {
            "source": batch.source,
            "id": batch.id,
            "digest": batch.digest,
            "version": manifest.version,
            "time": manifest.time,
        }
        for manifest in manifests
        for batch in manifest.batches
    ]
    return pa.Table.from_pylist(rows, schema=LEDGER_SCHEMA)
