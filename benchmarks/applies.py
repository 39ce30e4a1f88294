"""Batches that end in the base, Arrow or Spark DataFrame in, against MERGE; what of it packing takes; bytes.

All contestants take part in one series; each function here shows one side of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from benchmarks import data
from benchmarks.data import KeyChoice, KeyType
from benchmarks.lab import Lab, Spread
from benchmarks.report import Table, megabytes, verdict
from benchmarks.series import Name, Sample, Series

_SIZES = (100, 5_000, 50_000, 500_000)
_ARROW = {"random": (25, 25, 15, 6), "newest": (15, 15, 10, 5)}
_FRAME = (10, 10, 8, 4)
_TASKS = 3


def target(name: Name, key_type: KeyType, size: int, choice: KeyChoice) -> float:
    """How many times as fast as MERGE a contestant should be."""
    if name == "tasks":
        return _TASKS
    full = _FRAME if name == "frame" else _ARROW[choice]
    factor = full[_SIZES.index(size)]
    return factor / 2 if key_type == "strings" and name == "arrow" else factor


def speed(lab: Lab, series: Series, key_type: KeyType, name: Name) -> Table:
    """Seconds per batch against MERGE, for each size and choice of keys."""
    titles = {
        "arrow": "Arrow in",
        "frame": "Spark DataFrame in, within the byte budget",
        "tasks": "Spark DataFrame in, byte budget 0: all in Spark tasks",
    }
    table = Table(
        f"{titles[name]}, {key_type} keys, each batch ending in the base (seconds)",
        ["mods", "keys", "this library", "MERGE", "times as fast", "target", "met", "packing beside",
         "files", "requests", "Spark jobs", "MERGE files", "MERGE jobs"],
    )  # fmt: skip
    for size in lab.sizes:
        for choice in data.KEY_CHOICES:
            own_time, merge_time = series.time(name, size, choice), series.time("MERGE", size, choice)
            applies, merges = series.samples(name, size, choice), series.samples("MERGE", size, choice)
            goal = target(name, key_type, size, choice)
            ratio = merge_time.median / own_time.median
            packing = Spread.of([sample.pack_seconds for sample in applies])
            variant, trials = series.trials[size, choice]
            table.add(
                f"{size:,}", choice, own_time, merge_time, f"{ratio:.1f}", f"{goal:g}", verdict(ratio >= goal), packing,
                _median(sample.files for sample in applies), _median(sample.requests for sample in applies),
                _median(sample.spark_jobs for sample in applies),
                _median(sample.files for sample in merges), _median(sample.spark_jobs for sample in merges),
                key=key_type, mods=size, keys=choice, ours=own_time, merge=merge_time, ratio=ratio, target=goal,
                packing=packing, variant=str(variant), trials=trials,
            )  # fmt: skip
    table.notes.append(_totals(series, name))
    return table


def bytes_written(lab: Lab, series: Series, key_type: KeyType) -> Table:
    """Bytes of mods, new rows and the rest against those of MERGE; what packing writes anew."""
    table = Table(
        f"Bytes written per batch, Arrow in, {key_type} keys",
        ["mods", "keys", "mod files", "new rows", "vectors, logs", "MERGE rows", "MERGE vectors, log",
         "mods + rows / MERGE rows", "limit", "met"],
    )  # fmt: skip
    for size in lab.sizes:
        for choice in data.KEY_CHOICES:
            applies, merges = series.samples("arrow", size, choice), series.samples("MERGE", size, choice)
            mods, rows = _bytes(applies, "mods"), _bytes(applies, "rows")
            their_rows = _bytes(merges, "rows")
            ratio = (mods + rows) / their_rows
            table.add(
                f"{size:,}", choice, megabytes(mods), megabytes(rows), megabytes(_bytes(applies, "vectors", "other")),
                megabytes(their_rows), megabytes(_bytes(merges, "vectors", "other")),
                f"{ratio:.2f}", "2.2", verdict(ratio <= 2.2),
                key=key_type, mods=size, keys=choice, ratio=ratio, mod_bytes=mods, row_bytes=rows,
                merge_row_bytes=their_rows,
            )  # fmt: skip
    applies, merges = series.samples("arrow"), series.samples("MERGE")
    total = sum(sample.written["mods"] + sample.written["rows"] for sample in applies)
    their_total = sum(sample.written["rows"] for sample in merges)
    table.add(
        "all", "all", megabytes(sum(sample.written["mods"] for sample in applies)),
        megabytes(sum(sample.written["rows"] for sample in applies)),
        megabytes(sum(sample.written["vectors"] + sample.written["other"] for sample in applies)),
        megabytes(their_total),
        megabytes(sum(sample.written["vectors"] + sample.written["other"] for sample in merges)),
        f"{total / their_total:.2f}", "2.2", verdict(total <= 2.2 * their_total),
        key=key_type, mods="all", keys="all", ratio=total / their_total,
    )  # fmt: skip
    table.notes.append(
        "Rows by size are medians per batch, the last one is the sum over all. The log keeps every mod of a batch "
        "that holds keys twice, MERGE writes one row for each key: large batches of newest keys show that."
    )
    return table


def packing(lab: Lab, series: Series, key_type: KeyType) -> Table:
    """Time and bytes of packing over a series, and the total with it against MERGE's."""
    samples, merges = series.samples("arrow"), series.samples("MERGE")
    size = sum(path.stat().st_size for path in lab.base(key_type).iterdir())
    packed = sum(sample.packed for sample in samples)
    own_seconds = sum(sample.seconds for sample in samples)
    spent = sum(sample.pack_seconds for sample in samples)
    merge_seconds = sum(sample.seconds for sample in merges)
    table = Table(
        f"Packing over {len(samples)} batches, Arrow in, {key_type} keys",
        ["what", "measured", "limit", "met"],
    )
    table.add(
        "bytes that packing wrote / bytes of the table", f"{packed / size:.2f}", "1.5", verdict(packed <= 1.5 * size),
        key=key_type, packed=packed, table=size,
    )  # fmt: skip
    table.add(
        "seconds of packing, total", f"{spent:.2f}", "", "", per_batch=[sample.pack_seconds for sample in samples]
    )
    table.add(
        "batches that packed, and the longest packing (s)",
        f"{sum(sample.packed > 0 for sample in samples)}, {max(sample.pack_seconds for sample in samples):.2f}", "", "",
    )  # fmt: skip
    table.add("seconds of all batches without packing", f"{own_seconds:.2f}", "", "")
    table.add("seconds of all batches by MERGE", f"{merge_seconds:.2f}", "", "")
    ratio = merge_seconds / (own_seconds + spent)
    table.add(
        "times as fast as MERGE in total, packing included", f"{ratio:.1f}", "8", verdict(ratio >= 8), total_ratio=ratio
    )
    return table


def _totals(series: Series, name: Name) -> str:
    own_seconds = sum(sample.seconds for sample in series.samples(name))
    packing = sum(sample.pack_seconds for sample in series.samples(name))
    merge_seconds = sum(sample.seconds for sample in series.samples("MERGE"))
    ways = sorted({str(variant) for variant, _ in series.trials.values()})
    return (
        f"All batches: {own_seconds:.1f} s and {packing:.1f} s of packing against {merge_seconds:.1f} s by MERGE, "
        f"{merge_seconds / (own_seconds + packing):.1f} times as fast with packing. MERGE was written the way that was "
        f"fastest for each kind of batch: {'; '.join(ways)}."
    )


def _median(values: Iterable[float]) -> str:
    return f"{statistics.median(values):g}"


def _bytes(samples: Sequence[Sample], *kinds: str) -> float:
    return statistics.median(sum(sample.written[kind] for kind in kinds) for sample in samples)
