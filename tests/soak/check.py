"""What must hold after a trial: every acknowledged batch once, none in part, rows as the oracle's, nothing damaged."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from andes_spark import ModTable
from andes_spark.log.clock import TOLERANCE_MS
from andes_spark.model.history import HistoryEntry
from andes_spark.model.results import MergeCounts
from andes_spark.testing.oracle import Mod, snapshot
from tests.soak.trial import SCHEMA, Trial, loaded_rows, mods_of, rows_of

Batch = tuple[int, int]
"""Number of a writer, and of its batch."""


@dataclass
class Heard:
    """What the processes of a trial told.

    Attributes:
        acknowledged: version by batch.
        reads: versions that were read, with their rows.
        counts: merges and vacuums.
    """

    acknowledged: dict[Batch, int] = field(default_factory=dict)
    reads: list[tuple[int, list[Any]]] = field(default_factory=list)
    created: dict[int, list[int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, process: int, kind: str, event: list[Any]) -> None:
        """Take an event of a process."""
        match kind, event:
            case "acknowledged", [number, version]:
                before = self.acknowledged.setdefault((process, number), version)
                assert before == version, f"batch {number} of writer {process} is in versions {before} and {version}"
            case "read", [version, rows]:
                self.reads.append((version, rows))
            case "created", [number]:
                self.created.setdefault(number, []).append(process)
            case _:
                self.counts[f"{kind}s"] += 1

    def next_batch(self, writer: int) -> int:
        """Number of the first batch that is not acknowledged."""
        return sum(process == writer for process, _ in self.acknowledged)


def check(trial: Trial, url: str, options: dict[str, str], heard: Heard, *, begun: float) -> Counter[str]:
    """Compare a table with what was heard of it, and with the oracle; return counts."""
    table = ModTable.open(url, storage_options=options)
    history = sorted(table.history(), key=lambda entry: entry.version)
    check_batches(trial, history, heard)
    check_times(history, begun)
    versions = versions_of(trial, history)
    expected = oracle_rows(trial, versions)
    assert rows(table.to_arrow()) == expected, "rows before the last merge"
    assert table.merge().status in ("merged", "nothing")
    assert rows(table.to_arrow()) == expected, "rows after the last merge"
    assert rows(ModTable.open(url, storage_options=options).to_arrow()) == expected, "rows of a new handle"
    assert rows(base_rows(url, options)) == expected, "rows of the base by delta-rs"
    for version, seen in heard.reads:
        assert seen == oracle_rows(trial, versions[: version + 1]), f"a read of version {version}"
    check_mods_counted(table, versions)
    check_sound(table)
    vacuum(trial, table)
    # Versions of a clock that is ahead by less than the tolerance count as newer than those of this process.
    check_sound(table, unused=None if trial.clocks else ())
    assert rows(ModTable.open(url, storage_options=options).to_arrow()) == expected, "rows after the last vacuum"
    return heard.counts + Counter(
        {"acknowledged batches": len(heard.acknowledged), "versions": len(history), "reads": len(heard.reads)}
    )


def vacuum(trial: Trial, table: ModTable) -> None:
    """Vacuum all that nothing needs. Files that were begun on the newest version stay, so that there is a newer one."""
    table.alter.set(comment="over")
    time.sleep(1.1 if trial.store == "s3" else 0.01)  # S3 dates objects to the second
    table.vacuum("0 seconds")


def check_batches(trial: Trial, history: list[HistoryEntry], heard: Heard) -> None:
    """Every acknowledged batch is in its version, none twice, and whole: its rows were all received."""
    committed: dict[Batch, int] = {}
    for entry in history:
        for batch in entry.batches:
            place = place_of(batch)
            assert place not in committed, f"batch {place} is in versions {committed[place]} and {entry.version}"
            committed[place] = entry.version
        received = sum(len(rows_of(trial, *place_of(batch))) for batch in entry.batches)
        if entry.batches:
            assert entry.counts.received == received, entry
    lost_batches = {place for place, version in heard.acknowledged.items() if committed.get(place) != version}
    assert not lost_batches, f"acknowledged, and not in its version: {sorted(lost_batches)}"
    sent = {(writer, number) for writer in range(trial.writers) for number in range(trial.batches)}
    assert set(committed) <= sent


def check_times(history: list[HistoryEntry], begun: float) -> None:
    """Times of versions do not decrease, and are those of the store, within the tolerance."""
    times = [entry.time.timestamp() for entry in history]
    tolerance = TOLERANCE_MS / 1000
    assert times == sorted(times)
    assert begun - tolerance <= times[0], (begun, times[0])
    assert times[-1] <= time.time() + tolerance, (times[-1], time.time())


def check_mods_counted(table: ModTable, versions: list[list[Mod]]) -> None:
    """Every mod is counted by one merge."""
    names = [count_field.name for count_field in fields(MergeCounts) if not count_field.name.startswith("ties")]
    merged = sum(getattr(entry, name) for entry in table.merges() for name in names)
    assert merged == sum(len(mods) for mods in versions[1:]), "mods counted by merges"


def check_sound(table: ModTable, *, unused: tuple[str, ...] | None = None) -> None:
    """Nothing is damaged; files that nothing needs may be left, but after a vacuum."""
    checked = table.verify()
    assert (checked.problems, checked.missing) == ((), ()), checked.details()
    assert unused is None or checked.unused == unused, checked.unused


def versions_of(trial: Trial, history: list[HistoryEntry]) -> list[list[Mod]]:
    """Mods of all versions, in the order in which the log has their batches."""
    versions = [
        [
            mod
            for place, batch in enumerate(entry.batches)
            for mod in mods_of(trial, rows_of(trial, *place_of(batch)), place)
        ]
        for entry in history
    ]
    assert [entry.version for entry in history] == list(range(len(history)))
    return [mods_of(trial, loaded_rows(trial)), *versions[1:]]


def place_of(batch: Any) -> Batch:
    return int(batch.source), int(batch.id.removeprefix("i:"))


def oracle_rows(trial: Trial, versions: list[list[Mod]]) -> list[list[Any]]:
    columns = ("part", "value") if trial.sequenced else ("part", "lsn", "value")
    state = snapshot(versions, columns)
    return [
        [key, row["part"], sequence[0] if trial.sequenced else row["lsn"], row["value"]]
        for (key,), (sequence, row) in sorted(state.rows.items())
    ]


def rows(table: pa.Table) -> list[list[Any]]:
    return sorted(list(row.values()) for row in table.select(SCHEMA.names).to_pylist())


def base_rows(url: str, options: dict[str, str]) -> pa.Table:
    table = DeltaTable(url, storage_options=options or None)
    return pa.table(QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all())
