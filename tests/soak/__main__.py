"""``python -m tests.soak``: trials of random processes, kills, pauses and faults, until the time is over.

Each trial is drawn from its seed, which is printed; ``--seed N --trials 1`` repeats one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from andes_spark.testing.s3 import serve
from tests.soak.race import prove_atomic
from tests.soak.run import run_trial
from tests.soak.trial import Trial

SERVED_TRIALS = 25
"""Trials with one server, which keeps all objects in memory."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    first = int(time.time()) % 1_000_000 if options.seed is None else options.seed
    ends = time.monotonic() + 60 * options.minutes
    seeds: Iterator[int] = iter(range(first, first + options.trials))
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="soak-", dir=options.work) as work:
        while counts["trials"] < options.trials and time.monotonic() < ends:
            try:
                counts += run_some(islice(seeds, SERVED_TRIALS), Path(work), ends, with_spark=options.spark)
            except BrokenError as broken:
                traceback.print_exception(broken.__cause__)
                print(f"BROKEN: repeat it by --seed {broken} --trials 1", flush=True)
                return 1
    print(closing_line(counts, first))
    return 0


class BrokenError(Exception):
    """A trial failed; the text is its seed."""


def run_some(seeds: Iterator[int], work: Path, ends: float, *, with_spark: bool = False) -> Counter[str]:
    """Run trials with a server of their own."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=work) as served, serve(Path(served)) as server:
        for seed in seeds:
            trial = Trial.drawn(seed)
            if with_spark:
                trial = trial.with_spark()
            print(f"seed {seed}: {trial}", flush=True)
            try:
                if not counts:
                    counts["races"] += prove_atomic(server, Path(served) / "race", seed=seed)
                counts += run_trial(trial, work / str(seed), server)
            except pytest.skip.Exception as skipped:
                print(f"  skipped: {skipped}", flush=True)
                counts["trials"] += 1
            except Exception as error:
                raise BrokenError(str(seed)) from error
            if time.monotonic() > ends:
                break
    return counts


def closing_line(counts: Counter[str], first: int) -> str:
    steps = {name for name in counts if " at " in name}
    shown = {name: counts[name] for name in sorted(counts) if name not in steps}
    shown["steps stopped or killed at"] = len(steps)
    totals = ", ".join(f"{count:,} {name}" for name, count in shown.items())
    return f"seeds {first} to {first + counts['trials'] - 1}: {totals}; nothing lost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="time after which no trial begins; 10")
    parser.add_argument("--seed", type=int, help="of the first trial; the next ones follow it")
    parser.add_argument("--trials", type=int, default=1_000_000, help="most trials")
    parser.add_argument("--spark", action="store_true", help="one writer of each trial is a Spark job")
    parser.add_argument("--work", type=Path, help="folder for tables and journals; the temporary one by default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
