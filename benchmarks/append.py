"""The append alone, without a merge and without Spark: Arrow in, all checks on, fsync apart."""

from __future__ import annotations

from benchmarks import data
from benchmarks.lab import Lab, Spread, stopwatch
from benchmarks.report import Table, verdict

_LIMITS = {100: 0.010, 500_000: 0.6}
_WARM = 3


def _times(size: int) -> int:
    """How often a size is measured: small ones more often, since single times of some milliseconds scatter widely."""
    return min(max(20_000 // size, 7), 41)


def run(lab: Lab) -> list[Table]:
    """Measure both key types and all sizes."""
    table = Table(
        "The append alone: Arrow in, no merge (seconds without fsync)",
        ["key", "mods", "append", "fsync beside", "requests", "bytes", "limit", "met"],
        notes=["The limit stands for bigint keys; string keys are shown for comparison."],
    )
    for key_type in data.KEY_TYPES:
        keyed = lab.open(lab.table(key_type, "ours-append"))
        feed = lab.feed(key_type, "append")
        for size in lab.sizes:
            spent: list[float] = []
            synced: list[float] = []
            for _ in range(_WARM + _times(size)):
                batch = feed.batch(size, "random")
                mods = batch.arrow()
                with stopwatch() as clock:
                    result = keyed.apply(
                        mods, apply_as_deletes=data.DELETES, batch_id=("append", batch.number), merge=False
                    )
                synced.append(sum(step.sync_seconds for step in result.steps))
                spent.append(clock() - synced[-1])
            seconds, sync = Spread.of(spent[_WARM:]), Spread.of(synced[_WARM:])
            requests = sum(step.requests for step in result.steps)
            written = sum(step.bytes_written for step in result.steps)
            limit = _LIMITS.get(size) if key_type == "bigint" else None
            met = "" if limit is None else verdict(seconds.median <= limit)
            table.add(
                key_type, f"{size:,}", seconds, sync, requests, f"{written:,}", limit or "", met,
                key=key_type, mods=size, seconds=seconds, sync=sync, steps=result.steps,
            )  # fmt: skip
    return [table]
