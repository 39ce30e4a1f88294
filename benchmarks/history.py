"""Whether cost grows with history: small applies late and early, and opening tables of many and few versions."""

from __future__ import annotations

import statistics
from pathlib import Path

from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.table.mod_table import ModTable
from benchmarks import data
from benchmarks.lab import Lab, Spread, alternate, stopwatch
from benchmarks.report import Table, verdict

_ROWS = 200_000
_MODS = 100
_WINDOW = 10
_OPENS = 30


def run(lab: Lab) -> list[Table]:
    """Measure on a table of its own, each small batch merged."""
    early, late, versions = (20, 100, 200) if lab.quick else (20, 500, 1000)
    table = Table(
        f"Cost over history ({_ROWS:,} rows, {_MODS} mods a batch, Arrow in, each merged)",
        ["what", "late", "early", "ratio", "limit", "met"],
        notes=[
            f"An apply's time is the median of the {_WINDOW} around it, packing and checkpoints included; "
            f"with the fsync of all files. A table is opened from its last roll-up, every {ROLL_UP_INTERVAL}th "
            f"version: both have {(versions - 1) % ROLL_UP_INTERVAL} manifests after it, the most that there can be."
        ],
    )
    small, _ = _grow(lab, "history-few", 9)
    large, spent = _grow(lab, "history-many", versions - 1)
    for name, merged in (("apply and merge", True), ("apply alone", False)):
        if not merged:
            spent = _grow(lab, "history-unmerged", late + _WINDOW, merged=False)[1]
        first, last = _around(spent, early), _around(spent, late)
        ratio = last.median / first.median
        what = f"{name}: number {late} against number {early}"
        table.add(what, last, first, f"{ratio:.2f}", 1.2, verdict(ratio <= 1.2), what=what, ratio=ratio)
    found = alternate(
        {
            "many": lambda: ModTable.open(str(large)).status(),
            "few": lambda: ModTable.open(str(small)).status(),
            "open many": lambda: ModTable.open(str(large)),
            "open few": lambda: ModTable.open(str(small)),
        },
        times=_OPENS,
        warm=3,
    )
    for name, many, few in (("open", "open many", "open few"), ("open and status", "many", "few")):
        ratio = found[many].median / found[few].median
        what = f"{name}: {versions:,} versions against 10"
        table.add(what, found[many], found[few], f"{ratio:.2f}", 1.5, verdict(ratio <= 1.5), what=what, ratio=ratio)
    return [table]


def _grow(lab: Lab, name: str, batches: int, *, merged: bool = True) -> tuple[Path, list[float]]:
    """A table after so many small batches, and the seconds of each."""
    path = lab.fresh(name)
    rows = next(iter(data.base_parts(_ROWS, "bigint", 1)))
    table = ModTable.create(
        str(path), rows.schema, primary_key=["id"], sequence_by=[data.SEQUENCE], data=rows,
        merge="always" if merged else "manual",
    )  # fmt: skip
    feed = data.Feed(lab.folder / "unused", _ROWS, "bigint")
    spent = []
    for number in range(batches):
        mods = feed.table(_MODS, "random")
        with stopwatch() as clock:
            table.apply(mods, apply_as_deletes=data.DELETES, batch_id=("history", number))
        spent.append(clock())
    return path, spent


def _around(spent: list[float], number: int) -> Spread:
    window = spent[number - _WINDOW // 2 : number + _WINDOW // 2]
    return Spread(statistics.median(window), min(window), max(window))
