"""Writer processes on one table on S3, with 25 ms added to each request, beside one merger: batches a minute."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from andes_spark.settings import Settings
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.s3 import FaultProxy, S3Server, serve
from benchmarks.lab import Lab
from benchmarks.report import Table, verdict
from benchmarks.s3_rows import DELAY, SCHEMA, keyed_rows

_COUNTS = (1, 2, 4, 8)
_KEYS = 50_000
_MODS = 100
_GROWTH = 1.5
_PENDING_S = 5.0
"""A merger keeps up if the versions that are pending in the end were committed in so many seconds."""
_LONGEST_S = 300
_SETTINGS = Settings(threads=2)
spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Contest:
    """A table, and for how long processes write to it.

    Attributes:
        url, options: of the table.
        same_keys: whether all write the same keys.
        seconds: time of the measurement.
        starts: when all processes are ready.
        over: set when the writers are done.
    """

    url: str
    options: dict[str, str]
    same_keys: bool
    seconds: float
    starts: Any
    over: Any


def run(lab: Lab) -> list[Table]:
    """Measure each number of writers, on different and on the same keys."""
    seconds = 10.0 if lab.quick else 30.0
    table = Table(
        f"Writer processes on one table on S3 with {1000 * DELAY:.0f} ms added to each request, beside one merger "
        f"({_MODS} mods a batch, {seconds:.0f} s)",
        ["keys", "writers", "batches a minute", "of one writer", "lost races a batch", "merges", "pending in the end",
         "met"],
        notes=[
            f"Commits follow one another. Met: four writers at least {_GROWTH} times one, eight no fewer than four, "
            f"and the versions that are pending in the end are those of {_PENDING_S:.0f} seconds at most. All rows are "
            "compared in the end."
        ],
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="bench-writers-") as folder,
        serve(Path(folder)) as server,
        FaultProxy(server, delay=DELAY) as proxy,
    ):
        for same_keys in (False, True):
            rates: dict[int, float] = {}
            for count in _COUNTS:
                proxy.trace.clear()
                proxy.seen.clear()
                contest = _prepared(server, proxy, same_keys=same_keys, seconds=seconds, count=count)
                _add(table, contest, rates, *_measured(contest, count))
    return [table]


def _prepared(server: S3Server, proxy: FaultProxy, *, same_keys: bool, seconds: float, count: int) -> Contest:
    url = f"s3://{server.make_bucket()}/lake/orders"
    rows = keyed_rows(np.arange(_KEYS * max(_COUNTS)), 0)
    ModTable.create(
        url, SCHEMA, primary_key=["id"], sequence_by=["seq"], data=rows, merge="manual", storage_options=server.options
    )
    return Contest(url, proxy.options, same_keys, seconds, spawn.Barrier(count + 1), spawn.Event())


def _measured(contest: Contest, count: int) -> tuple[list[list[int]], tuple[int, int]]:
    """Let writers and a merger work; return the batches and lost races of each, and merges and pending versions."""
    written, merged = spawn.Queue(), spawn.Queue()
    processes = [spawn.Process(target=_write, args=(contest, number, written)) for number in range(count)]
    processes.append(spawn.Process(target=_merge, args=(contest, merged)))
    for process in processes:
        process.start()
    counts = [counts for _, *counts in sorted(written.get(timeout=_LONGEST_S) for _ in range(count))]
    contest.over.set()
    merges = merged.get(timeout=_LONGEST_S)
    for process in processes:
        process.join(_LONGEST_S)
        assert process.exitcode == 0
    return counts, merges


def _add(
    table: Table, contest: Contest, rates: dict[int, float], counts: list[list[int]], merges: tuple[int, int]
) -> None:
    batches, lost = (sum(values) for values in zip(*counts, strict=True))
    writers, timed = len(counts), batches - len(counts)
    rate = rates[writers] = 60 * timed / contest.seconds
    merged, pending = merges
    _check(contest, counts)
    met = pending <= _PENDING_S * rate / 60
    met = met and (writers != 4 or rate >= _GROWTH * rates[1]) and (writers != 8 or rate >= rates[4])
    keys = "same" if contest.same_keys else "different"
    table.add(
        keys, writers, f"{rate:,.0f}", f"{rate / rates[1]:.2f}", f"{lost / timed:.2f}", merged, pending, verdict(met),
        keys=keys, writers=writers, rate=rate, lost=lost, merges=merged, pending=pending,
    )  # fmt: skip


def _batches(contest: Contest, writer: int, number: int) -> Any:
    random = np.random.default_rng((writer, number))
    first = 0 if contest.same_keys else _KEYS * writer
    keys = first + np.unique(random.integers(0, _KEYS, _MODS))
    return keyed_rows(keys, 1 + number * max(_COUNTS) + writer)


def _open(contest: Contest) -> ModTable:
    return ModTable.open(contest.url, storage_options=contest.options, settings=_SETTINGS)


def _write(contest: Contest, writer: int, written: Any) -> None:
    """Apply batches; the first one loads modules, for a second of a core in each process, and is not timed."""
    table = _open(contest)
    table.apply(_batches(contest, writer, 0), batch_id=(str(writer), 0))
    contest.starts.wait(_LONGEST_S)
    ends = time.monotonic() + contest.seconds
    batches, lost = 1, 0
    while time.monotonic() < ends:
        result = table.apply(_batches(contest, writer, batches), batch_id=(str(writer), batches))
        batches, lost = batches + 1, lost + result.conflicts
    written.put((writer, batches, lost))


def _merge(contest: Contest, merged: Any) -> None:
    table = _open(contest)
    table.merge()
    contest.starts.wait(_LONGEST_S)
    merges = 0
    while not contest.over.is_set():
        merges += table.merge().status == "merged"
    merged.put((merges, table.status().pending_versions))


def _check(contest: Contest, counts: list[list[int]]) -> None:
    """Compare all rows with what was written."""
    expected = np.zeros(_KEYS * max(_COUNTS), np.int64)
    for writer, (batches, _) in enumerate(counts):
        for number in range(batches):
            rows = _batches(contest, writer, number)
            keys = rows["id"].to_numpy()
            expected[keys] = np.maximum(expected[keys], rows["seq"].to_numpy())
    table = _open(contest)
    assert len(table.history()) == 1 + sum(batches for batches, _ in counts)
    rows = table.to_arrow(columns=["id", "seq"]).sort_by("id")
    assert np.array_equal(rows["id"].to_numpy(), np.arange(len(expected)))
    assert np.array_equal(rows["seq"].to_numpy(), expected)
