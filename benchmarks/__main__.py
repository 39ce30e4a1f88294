"""``python -m benchmarks``: measure this library side by side with Delta's MERGE, and write the results.

Part by part, in the order of ``PARTS``; each checks that both sides end equal. See ``--help``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from benchmarks import (
    append,
    applies,
    compaction,
    data,
    growth,
    history,
    load,
    machine,
    memory,
    pairs,
    reads,
    s3,
    spark_in,
    streams,
    upkeep,
    writers,
)
from benchmarks.data import KeyType
from benchmarks.lab import FULL_ROWS, QUICK_ROWS, Lab
from benchmarks.peers import contest
from benchmarks.report import Report, Table
from benchmarks.series import Name, Series, run_series

PARTS = (
    "append", "arrow", "spark", "bytes", "reads", "load", "history", "memory", "compaction", "s3", "growth", "peers",
    "pairs", "streams", "upkeep", "writers",
)  # fmt: skip
_SERIES: dict[str, tuple[Name, ...]] = {
    "arrow": ("arrow",),
    "bytes": ("arrow",),
    "reads": ("arrow",),
    "spark": ("frame", "tasks"),
}
Runner = Callable[[KeyType], Series]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for; 1 if one of them failed."""
    options = _parser().parse_args(arguments)
    parts = [part for part in PARTS if part in (options.only or PARTS)]
    rows = options.rows or (QUICK_ROWS if options.quick else FULL_ROWS)
    report = Report("make bench" + _shown(arguments), machine.describe())
    with _folder(options.work) as folder:
        lab = Lab(Path(folder), rows, quick=options.quick, say=_say)
        series = _runner(lab, parts, options.keys or list(data.KEY_TYPES))
        for part in parts:
            _say(f"== {part}")
            try:
                for table in _tables(lab, part, series, options.keys or list(data.KEY_TYPES)):
                    report.tables.append(table)
                    print(table.markdown() + "\n", flush=True)
            except Exception as error:  # noqa: BLE001 - the other parts are still worth having
                traceback.print_exc()
                report.failed[part] = f"{type(error).__name__}: {error}"
            report.write(options.out)
        lab.stop()
    return 1 if report.failed else 0


def _tables(lab: Lab, part: str, series: Runner, key_types: Sequence[KeyType]) -> Iterator[Table]:
    """The tables of a part."""
    simple = {"append": append.run, "load": load.run, "history": history.run, "memory": memory.run, "s3": s3.run}
    simple |= {"compaction": compaction.run, "growth": growth.run, "pairs": pairs.run, "peers": contest.run}
    simple |= {"streams": streams.run, "upkeep": upkeep.run, "writers": writers.run}
    if part in simple:
        yield from simple[part](lab)
        return
    if part == "reads":
        yield reads.fresh(lab)
    for key_type in key_types:
        if part == "arrow":
            yield applies.speed(lab, series(key_type), key_type, "arrow")
        if part == "spark":
            yield applies.speed(lab, series(key_type), key_type, "frame")
            yield applies.speed(lab, series(key_type), key_type, "tasks")
            yield spark_in.throughput(lab, key_type)
        if part == "bytes":
            yield applies.bytes_written(lab, series(key_type), key_type)
            yield applies.packing(lab, series(key_type), key_type)
        if part == "reads":
            finished = series(key_type)
            yield reads.after_merges(lab, finished.paths["arrow"], len(finished.samples("arrow")), key_type)


def _runner(lab: Lab, parts: Sequence[str], key_types: Sequence[KeyType]) -> Runner:
    """Runs a series for a key type when it is first asked for, with all that any part will look at."""
    names: list[Name] = []
    for part in parts:
        names += [name for name in _SERIES.get(part, ()) if name not in names]

    @cache
    def run(key_type: KeyType) -> Series:
        return run_series(lab, key_type, [*names, "MERGE"])

    return run


def _folder(work: Path | None) -> tempfile.TemporaryDirectory[str] | _Kept:
    return tempfile.TemporaryDirectory(prefix="bench-") if work is None else _Kept(work)


class _Kept:
    """A folder that is kept, for the input data in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> str:
        self.path.mkdir(parents=True, exist_ok=True)
        return str(self.path.resolve())

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path / "spark", ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, help=f"of the table; {FULL_ROWS:,}, or {QUICK_ROWS:,} with --quick")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--keys", action="append", choices=data.KEY_TYPES, help="one key type only")
    parser.add_argument("--quick", action="store_true", help="a small table and short histories: minutes")
    parser.add_argument("--work", type=Path, help="folder for data and tables, kept; a temporary one by default")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of results.md and .json")
    return parser


def _shown(arguments: Sequence[str] | None) -> str:
    text = " ".join(sys.argv[1:] if arguments is None else arguments)
    return f' ARGS="{text}"' if text else ""


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
