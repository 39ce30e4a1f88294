"""Spark DataFrames in, beside MERGE of the same Spark and Delta: run once on each pair that fleets have.

``matrix.sh speed emr-7 emr-8 spark`` does that.
"""

from __future__ import annotations

import importlib.metadata

from benchmarks.lab import Lab, Spread
from benchmarks.report import Table, verdict
from benchmarks.series import run_series

_TARGETS = {5_000: 8, 500_000: 4}
"""How many times as fast as MERGE, by mods in a batch."""
_QUICK = {5_000: 8, 50_000: 4}


def run(lab: Lab) -> list[Table]:
    """Measure batches of random keys."""
    targets = _QUICK if lab.quick else _TARGETS
    pair = " ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pyspark", "delta-spark"))
    series = run_series(lab, "bigint", ["frame", "MERGE"], sizes=tuple(targets), choices=("random",))
    table = Table(
        f"Spark DataFrame in, {lab.rows:,} rows, {pair}, each batch ending in the base (seconds)",
        [
            "mods",
            "keys",
            "this library",
            "packing beside",
            "MERGE",
            "times as fast",
            "packing included",
            "target",
            "met",
        ],
        notes=["Packing included: of the sums of all batches. MERGE is written the way that was fastest."],
    )
    for size, target in targets.items():
        ours, theirs = series.samples("frame", size), series.samples("MERGE", size)
        mine = Spread.of([sample.seconds for sample in ours])
        packing = Spread.of([sample.pack_seconds for sample in ours])
        merge = Spread.of([sample.seconds for sample in theirs])
        ratio = merge.median / mine.median
        whole = sum(sample.seconds for sample in theirs) / sum(sample.seconds + sample.pack_seconds for sample in ours)
        table.add(
            f"{size:,}", "random", mine, packing, merge, f"{ratio:.1f}", f"{whole:.1f}", target,
            verdict(ratio >= target),
            pair=pair, mods=size, ours=mine, packing=packing, merge=merge, ratio=ratio, whole=whole, target=target,
            variant=str(series.trials[size, "random"][0]),
        )  # fmt: skip
    return [table]
