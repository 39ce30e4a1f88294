"""Reads by Spark: with mods pending, with nothing pending, and after many merges, against plain reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame

from benchmarks import data
from benchmarks.lab import Lab, Spread, alternate, fingerprint, scan
from benchmarks.report import Table, verdict

_TIMES = 9
_TIMES_SAME = 27
"""For two reads of the same plan, which differ by noise alone."""
_FILTER = "quantity = 7"
_LIMITS = {0: 1.0, 1: 1.4, 10: 2.0}
_NOISE = 1.05
_COMPACTED = 1.15


def fresh(lab: Lab) -> Table:
    """Fresh reads with 0%, 1% and 10% of the table pending, and plain reads of the same rows merged."""
    table = Table(
        "Fresh reads by Spark against a plain Delta read of the merged table (seconds)",
        ["pending", "read", "fresh", "plain, merged", "ratio", "limit", "met"],
        notes=[
            "All rows and columns are evaluated into one hash. The filter is on a column outside the key "
            f"({_FILTER}). With nothing pending both are the same plan; up to {_NOISE} is taken for noise."
        ],
    )
    for percent, limit in _LIMITS.items():
        path = lab.table("bigint", "ours-read")
        feed = lab.feed("bigint", f"read-{percent}")
        if percent:
            mods = feed.table(lab.rows * percent // 100, "random")
            lab.open(path).apply(mods, apply_as_deletes=data.DELETES, merge=False)
        merged = lab.copy(path, "ours-read-merged")
        lab.open(merged).merge()
        pending = lab.open(path, spark=lab.spark)
        if fingerprint(pending.read()) != fingerprint(lab.delta(merged)):
            raise AssertionError("the fresh read differs from the merged table")
        for name, where in (("full scan", None), ("filter", _FILTER)):
            reads: dict[str, Callable[[], DataFrame]] = {"fresh": pending.read, "plain": partial(lab.delta, merged)}
            times = _timed(reads, where, times=_TIMES if percent else _TIMES_SAME)
            ratio = times["fresh"].median / times["plain"].median
            allowed = limit * _NOISE if percent == 0 else limit
            table.add(
                f"{percent}%", name, times["fresh"], times["plain"], f"{ratio:.2f}", limit, verdict(ratio <= allowed),
                pending=percent, read=name, ratio=ratio, limit=limit, **times,
            )  # fmt: skip
    return table


def after_merges(lab: Lab, path: Path, batches: int, key_type: str) -> Table:
    """A plain read of a table after many merges, and of a freshly compacted copy of it."""
    compacted = _compacted(lab, path)
    if fingerprint(lab.delta(path)) != fingerprint(lab.delta(compacted)):
        raise AssertionError("the compacted copy differs")
    table = Table(
        f"Plain Spark reads of the base after {batches} batches, {key_type} keys, each merged (seconds)",
        ["read", "as it is", "freshly compacted", "ratio", "limit", "met", "files", "files compacted"],
        notes=["Compacted: a copy after Delta's REORG TABLE ... APPLY (PURGE) and OPTIMIZE."],
    )
    counts = [len(lab.delta(folder).inputFiles()) for folder in (path, compacted)]
    for name, where in (("full scan", None), ("filter", _FILTER)):
        times = _timed({"ours": partial(lab.delta, path), "compacted": partial(lab.delta, compacted)}, where)
        ratio = times["ours"].median / times["compacted"].median
        table.add(
            name, times["ours"], times["compacted"], f"{ratio:.2f}", _COMPACTED, verdict(ratio <= _COMPACTED), *counts,
            read=name, ratio=ratio, **times,
        )  # fmt: skip
    return table


def _compacted(lab: Lab, path: Path) -> Path:
    copy = lab.copy(path, "compacted")
    name = f"delta.`{copy}`"
    lab.spark.sql(f"REORG TABLE {name} APPLY (PURGE)")
    lab.spark.sql(f"OPTIMIZE {name}")
    return copy


def _timed(
    reads: dict[str, Callable[[], DataFrame]], condition: str | None, *, times: int = _TIMES
) -> dict[str, Spread]:
    """Time reads of all rows, or of those that a condition picks, planning included."""

    def work(read: Callable[[], DataFrame]) -> None:
        frame = read()
        scan(frame if condition is None else frame.where(condition))

    return alternate({name: partial(work, read) for name, read in reads.items()}, times=times, warm=2)
