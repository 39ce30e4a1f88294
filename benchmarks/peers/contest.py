"""The same batches through this library and its peers, each in a process of its own, one after another.

Every peer ends each batch with one row per key for its plain readers. What a peer holds at the end is compared with
what polars makes of the same rows and batches.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from andes_spark.errors import MissingPackageError
from benchmarks import data
from benchmarks.data import Batch, KeyChoice
from benchmarks.lab import ROUNDS, Lab
from benchmarks.processes import watched
from benchmarks.report import Table

_WARM = 3
_COMMITS, _QUICK_COMMITS = 200, 40
_COMMIT_MODS = 100
_COMMIT_SECONDS = 60


@dataclass(frozen=True)
class Plan:
    """Batches of a contest in their order.

    Attributes:
        rows: number of rows of the table.
        base: folder of Parquet files with the first rows.
        batches: those that warm up, those of the cells, and the small commits.
        measured: number of batches that belong to cells.
    """

    rows: int
    base: Path
    batches: list[Batch]
    measured: int

    def timed(self) -> list[Batch]:
        """The batches of the cells."""
        return self.batches[_WARM : _WARM + self.measured]


@dataclass(frozen=True)
class Peer:
    """One contestant.

    Attributes:
        name: in the table.
        module: run as ``python -m MODULE ...``.
        options: further arguments of the module.
        largest: mods of the largest batch that it is given.
        rounds: rounds of the batches of cells that it is given however long they take; then its time is limited.
    """

    name: str
    module: str
    options: tuple[str, ...] = ()
    largest: int = 10**9
    rounds: int = ROUNDS


@dataclass
class Outcome:
    """Measurements of one peer.

    Attributes:
        load: seconds of the initial load.
        cells: seconds by size and choice of keys.
        commits: seconds of each small commit.
        memory: most resident bytes of its largest process.
    """

    load: float
    memory: int
    cells: dict[tuple[int, KeyChoice], list[float]] = field(default_factory=dict)
    commits: list[float] = field(default_factory=list)


PEERS = (
    Peer("andes_spark", "benchmarks.peers.andes"),
    Peer("Paimon core 1.3.1, merge on read", "benchmarks.peers.paimon", ("mor",)),
    Peer("Paimon core 1.3.1, deletion vectors", "benchmarks.peers.paimon", ("dv",)),
    Peer("delta-rs merge", "benchmarks.peers.delta_rs"),
    Peer("PyIceberg upsert", "benchmarks.peers.iceberg", largest=5_000, rounds=1),
    Peer("Delta MERGE in Spark", "benchmarks.peers.spark_merge"),
)


def run(lab: Lab) -> list[Table]:
    """Run all peers; one that is not installed is left out with a word."""
    plan = _plan(lab)
    outcomes: dict[str, Outcome] = {}
    notes = []
    lab.stop()
    for peer in PEERS:
        lab.say(f"peers: {peer.name}")
        try:
            outcomes[peer.name] = _contest(lab, plan, peer)
        except MissingPackageError as error:
            notes.append(f"{peer.name} did not run: {error}")
    return [_cells(lab, plan, outcomes, notes), _commits(plan, outcomes)]


def _plan(lab: Lab) -> Plan:
    feed = data.Feed(lab.fresh("peers-feed"), lab.rows, "bigint")
    warm = [feed.batch(_COMMIT_MODS, "random") for _ in range(_WARM)]
    cells = [feed.batch(size, choice) for _ in range(lab.rounds) for size in lab.sizes for choice in data.KEY_CHOICES]
    small = [feed.batch(_COMMIT_MODS, "random") for _ in range(_QUICK_COMMITS if lab.quick else _COMMITS)]
    return Plan(lab.rows, lab.base("bigint"), [*warm, *cells, *small], len(cells))


def _contest(lab: Lab, plan: Plan, peer: Peer) -> Outcome:
    batches = [batch for batch in plan.batches if batch.size <= peer.largest]
    folder = lab.fresh("peer")
    folder.mkdir()
    names = folder / "batches.txt"
    names.write_text("\n".join(str(batch.path) for batch in batches), encoding="utf-8")
    needed = sum(batch.size <= peer.largest for batch in plan.batches[: _WARM + plan.measured * peer.rounds // ROUNDS])
    arguments = [str(value) for value in (folder, plan.base, plan.rows, names, needed, _COMMIT_SECONDS)]
    command = [sys.executable, "-m", peer.module, *arguments]
    peaks, lines = watched([*command, *peer.options])
    lab.fresh("peer")
    outcome = Outcome(lines[0]["load"], max(peaks.values()))
    sums: Sequence[int] = lines[-1]["sums"]
    batches = batches[: len(lines) - 2]
    expected = _expected(plan, batches)
    if tuple(sums) != expected:
        raise AssertionError(f"{peer.name} holds {sums} (rows, sums of id and lsn), expected are {expected}")
    spent = [line["apply"] for line in lines[1:-1]]
    timed = {batch.number for batch in plan.timed()}
    for batch, seconds in list(zip(batches, spent, strict=True))[_WARM:]:
        if batch.number in timed:
            outcome.cells.setdefault((batch.size, batch.choice), []).append(seconds)
        else:
            outcome.commits.append(seconds)
    return outcome


def _expected(plan: Plan, batches: Sequence[Batch]) -> tuple[int, int, int]:
    """Number of rows, sum of keys and sum of sequences after the batches."""
    base = pl.scan_parquet(plan.base / "*.parquet").select("id", data.SEQUENCE, op=pl.lit("U"))
    mods = pl.scan_parquet([batch.path for batch in batches]).select("id", data.SEQUENCE, "op")
    newest = pl.concat([base, mods]).group_by("id").agg(pl.all().sort_by(data.SEQUENCE).last())
    alive = newest.filter(pl.col("op") != "D")
    row = alive.select(pl.len(), pl.col("id").sum(), lsn=pl.col(data.SEQUENCE).sum()).collect().row(0)
    return int(row[0]), int(row[1]), int(row[2])


def _cells(lab: Lab, plan: Plan, outcomes: dict[str, Outcome], notes: list[str]) -> Table:
    table = Table(
        f"Beside others that keep rows unique by key ({plan.rows:,} rows of 8 columns, seconds a batch)",
        ["mods, keys", *outcomes],
        notes=[
            "Each batch ends merged; rows in memory of the process that applies them, Spark's in a Parquet file. "
            "Paimon: 4 buckets, compaction within the commit as by default. Each in a process of its own, one after "
            "another; medians of three, of PyIceberg of those that were begun within "
            f"{_COMMIT_SECONDS} s of the first. At the end all hold the rows that polars computes. Empty: not tried at "
            "that size.",
            *notes,
        ],
    )
    for size in lab.sizes:
        for choice in data.KEY_CHOICES:
            cells = [outcome.cells.get((size, choice), []) for outcome in outcomes.values()]
            label = f"{size:,}, {'random' if choice == 'random' else 'newest 5%'}"
            table.add(
                label, *(f"{statistics.median(cell):.3g}" if cell else "" for cell in cells),
                mods=size, choice=choice, seconds=dict(zip(outcomes, cells, strict=True)),
            )  # fmt: skip
    return table


def _commits(plan: Plan, outcomes: dict[str, Outcome]) -> Table:
    table = Table(
        f"The same: load, commits of {_COMMIT_MODS} random mods, memory",
        ["library", "load, s", "commits", "p50, s", "p99, s", "mods a second and core", "peak memory, GiB"],
        notes=[
            f"Commits: {len(plan.batches) - _WARM - plan.measured}, or as many as were begun in {_COMMIT_SECONDS} s. "
            "Mods a second and core: of the largest random batch it was given, on two cores. Peak memory: of the "
            "largest process; a JVM takes what heap it may."
        ],
    )
    for name, outcome in outcomes.items():
        largest = max(size for size, _ in outcome.cells)
        rate = largest / statistics.median(outcome.cells[largest, "random"]) / 2
        middle, high = (_percentile(outcome.commits, share) for share in (50, 99))
        table.add(
            name, f"{outcome.load:.1f}", len(outcome.commits), middle, high,
            f"{rate:,.0f} ({largest:,})", f"{outcome.memory / 2**30:.2f}",
            library=name, commits=outcome.commits, rate=rate, memory=outcome.memory,
        )  # fmt: skip
    return table


def _percentile(seconds: Sequence[float], share: int) -> str:
    return f"{float(np.percentile(seconds, share)):.3f}" if seconds else ""
