"""Whether cost grows with history: small applies late and early, and opening tables of many and few versions."""

from __future__ import annotations

import statistics

from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.table.mod_table import ModTable
from benchmarks import data
from benchmarks.lab import Lab, Spread, alternate, stopwatch
from benchmarks.report import Table, verdict

_ROWS = 200_000
_MODS = 100
_WINDOW = 20
_OPENS = 30
_NEWEST, _FEW = 10, 20
"""Versions whose changes are read, and versions of the table that has few."""


def run(lab: Lab) -> list[Table]:
    """Measure on tables of its own, each small batch merged."""
    early, late, versions = (20, 100, 200) if lab.quick else (20, 500, 1000)
    table = Table(
        f"Cost over history ({_ROWS:,} rows, {_MODS} mods a batch, Arrow in, each merged)",
        ["what", "late", "early", "ratio", "limit", "met"],
        notes=[
            f"An apply's time is the median of the {_WINDOW} around it, early and late ones in turns on two tables, "
            "packing, checkpoints and the fsync of all files included. A table is opened from its last roll-up, every "
            f"{ROLL_UP_INTERVAL}th version: both have {(versions - 1) % ROLL_UP_INTERVAL} manifests after it, the most "
            "that there can be."
        ],
    )
    for name, merged in (("apply alone", False), ("apply and merge", True)):
        old, young = _Grown(lab, "history-old", merged), _Grown(lab, "history-young", merged)
        old.grow(late - _WINDOW // 2)
        young.grow(early - _WINDOW // 2)
        spent = [(old.apply(), young.apply()) for _ in range(_WINDOW)]
        last, first = (_spread(list(spreads)) for spreads in zip(*spent, strict=True))
        ratio = last.median / first.median
        comparison = f"{name}: number {late} against number {early}"
        table.add(comparison, last, first, f"{ratio:.2f}", 1.2, verdict(ratio <= 1.2), what=comparison, ratio=ratio)
    old.grow(versions - 1)
    short = _Grown(lab, "history-few", merged=True)
    short.grow(9)
    times = alternate(
        {
            "many": lambda: ModTable.open(old.url).status(),
            "few": lambda: ModTable.open(short.url).status(),
            "open many": lambda: ModTable.open(old.url),
            "open few": lambda: ModTable.open(short.url),
        },
        times=_OPENS,
        warm=3,
    )
    for name, long_name, short_name in (("open", "open many", "open few"), ("open and status", "many", "few")):
        _compare(table, f"{name}: {versions:,} versions against 10", times[long_name], times[short_name])
    _changes(lab, table, old, versions)
    return [table]


def _changes(lab: Lab, table: Table, old: _Grown, versions: int) -> None:
    """Measure the changes of the newest versions, by tables that are opened anew each time."""
    young = _Grown(lab, "history-changes", merged=True)
    for grown, last in ((old, versions), (young, _FEW)):
        grown.grow(last)
    times = alternate(
        {"many": lambda: old.changes(_NEWEST), "few": lambda: young.changes(_NEWEST)}, times=_OPENS, warm=3
    )
    comparison = f"open and changes of the last {_NEWEST}: {versions:,} versions against {_FEW}"
    _compare(table, comparison, times["many"], times["few"])


def _compare(table: Table, comparison: str, long_time: Spread, short_time: Spread) -> None:
    ratio = long_time.median / short_time.median
    table.add(
        comparison, long_time, short_time, f"{ratio:.2f}", 1.5, verdict(ratio <= 1.5), what=comparison, ratio=ratio
    )


class _Grown:
    """A table that grows by small batches."""

    def __init__(self, lab: Lab, name: str, merged: bool) -> None:
        self.url = str(lab.fresh(name))
        rows = next(iter(data.base_parts(_ROWS, "bigint", 1)))
        self._table = ModTable.create(
            self.url, rows.schema, primary_key=["id"], sequence_by=[data.SEQUENCE], data=rows,
            merge="always" if merged else "manual",
        )  # fmt: skip
        self._feed = data.Feed(lab.folder / "unused", _ROWS, "bigint")

    def grow(self, version: int) -> None:
        """Apply batches up to a version."""
        while self._table.version < version:
            self.apply()

    def apply(self) -> float:
        """Apply a batch; seconds."""
        mods = self._feed.table(_MODS, "random")
        with stopwatch() as clock:
            self._table.apply(mods, apply_as_deletes=data.DELETES, batch_id=("history", self._table.version))
        return clock()

    def changes(self, count: int) -> None:
        """Read the changes of the newest versions by another handle."""
        table = ModTable.open(self.url)
        assert table.changes(self._table.version - count).read_all().num_rows


def _spread(spent: list[float]) -> Spread:
    return Spread(statistics.median(spent), min(spent), max(spent))
