"""The same batches through several contestants, each with a table of its own, the order rotating.

A series is three batches of each size and choice of keys, round by round: 24 batches at full size. Every batch
ends in the base. After each round all tables must be equal.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from andes_spark.model.results import ApplyResult, Step
from andes_spark.settings import Settings
from benchmarks import data
from benchmarks.data import Batch, KeyChoice, KeyType
from benchmarks.lab import Lab, Spread, fingerprint, stopwatch
from benchmarks.merge_delta import DeltaMerge, Variant, best_variants

Name = Literal["arrow", "frame", "tasks", "MERGE"]


@dataclass(frozen=True)
class Sample:
    """What one contestant did with one batch.

    Attributes:
        seconds: wall time without packing.
        pack_seconds: packing.
        written: bytes of new files by kind: ``rows``, ``mods``, ``vectors``, ``other``; without packing.
        packed: bytes of files that packing wrote.
        files: new files.
        requests: to the store.
        spark_jobs: run.
    """

    seconds: float
    pack_seconds: float = 0.0
    written: dict[str, int] = field(default_factory=dict)
    packed: int = 0
    files: int = 0
    requests: int = 0
    spark_jobs: int = 0


@dataclass(frozen=True)
class Record:
    """A sample with its contestant and batch."""

    name: Name
    size: int
    choice: KeyChoice
    sample: Sample


class Contestant(Protocol):
    """Applies batches to a table in ``path``."""

    path: Path

    def apply(self, batch: Batch) -> Sample:
        """Apply a batch, so that it ends in the base."""


class Ours:
    """This library; batches handed in as Arrow, or as Spark DataFrames over their Parquet files."""

    def __init__(self, lab: Lab, key_type: KeyType, name: Name) -> None:
        self.lab = lab
        self.path = lab.table(key_type, f"ours-{key_type}-{name}")
        self.as_frame = name != "arrow"
        self.table = lab.open(self.path, Settings(byte_budget=0) if name == "tasks" else None)

    def apply(self, batch: Batch) -> Sample:
        """See :class:`Contestant`. An Arrow batch is in memory before the clock starts."""
        held = None if self.as_frame else batch.arrow()
        before = listing(self.path)
        with stopwatch() as spent:
            mods = self.lab.spark.read.parquet(str(batch.path)) if held is None else held
            result = self.table.apply(mods, apply_as_deletes=data.DELETES, batch_id=("bench", batch.number))
        return _sample(result, spent(), new_files(self.path, before))


class Theirs:
    """Delta's MERGE, written the way that was fastest for this kind of batch."""

    def __init__(self, lab: Lab, key_type: KeyType, best: dict[tuple[int, KeyChoice], Variant]) -> None:
        self.merge = DeltaMerge.create(lab, key_type, f"delta-{key_type}")
        self.path = self.merge.path
        self.best = best

    def apply(self, batch: Batch) -> Sample:
        """See :class:`Contestant`."""
        before = listing(self.path)
        with stopwatch() as spent:
            jobs = self.merge.apply(batch, self.best[batch.size, batch.choice])
        new = new_files(self.path, before)
        return Sample(spent(), written=by_kind(new), files=len(new), spark_jobs=jobs)


@dataclass
class Series:
    """Records of a series, and the tables that it left behind.

    Attributes:
        records: of all contestants and batches.
        paths: tables.
        trials: how MERGE was written, and the seconds of each way that was tried.
    """

    records: list[Record] = field(default_factory=list)
    paths: dict[Name, Path] = field(default_factory=dict)
    trials: dict[tuple[int, KeyChoice], tuple[Variant, dict[str, float]]] = field(default_factory=dict)

    def samples(self, name: Name, size: int | None = None, choice: KeyChoice | None = None) -> list[Sample]:
        """Samples of a contestant, of all batches or some."""
        return [
            record.sample
            for record in self.records
            if record.name == name and size in (None, record.size) and choice in (None, record.choice)
        ]

    def time(self, name: Name, size: int, choice: KeyChoice) -> Spread:
        """Seconds of a contestant without packing."""
        return Spread.of([sample.seconds for sample in self.samples(name, size, choice)])


def run_series(
    lab: Lab,
    key_type: KeyType,
    names: Sequence[Name],
    *,
    sizes: Sequence[int] = (),
    choices: Sequence[KeyChoice] = data.KEY_CHOICES,
) -> Series:
    """Run a series, of other sizes than the lab's if some are given, and check that all tables end equal."""
    sizes = sizes or lab.sizes
    series = Series(trials=best_variants(lab, key_type, sizes, choices))
    best = {cell: variant for cell, (variant, _) in series.trials.items()}
    contestants: dict[Name, Contestant] = {
        name: Theirs(lab, key_type, best) if name == "MERGE" else Ours(lab, key_type, name) for name in names
    }
    series.paths = {name: contestant.path for name, contestant in contestants.items()}
    feed = lab.feed(key_type, f"series-{key_type}")
    _run(lab, contestants, [feed.batch(sizes[0], choice) for choice in choices])
    for number in range(lab.rounds):
        batches = [feed.batch(size, choice) for size in sizes for choice in choices]
        series.records += _run(lab, contestants, batches)
        check_equal(lab, {name: contestant.path for name, contestant in contestants.items()})
        lab.say(f"{key_type}: round {number + 1} of {lab.rounds}: all tables equal")
    return series


def _run(lab: Lab, contestants: dict[Name, Contestant], batches: Sequence[Batch]) -> list[Record]:
    names = list(contestants)
    records = []
    for turn, batch in enumerate(batches):
        shift = turn % len(names)
        for name in [*names[shift:], *names[:shift]]:
            gc.collect()
            sample = contestants[name].apply(batch)
            records.append(Record(name, batch.size, batch.choice, sample))
        latest = ", ".join(f"{record.name} {record.sample.seconds:.3f}" for record in records[-len(names) :])
        lab.say(f"{batch.size} {batch.choice}: {latest}")
    return records


def check_equal(lab: Lab, paths: dict[Name, Path]) -> None:
    """Compare tables by number of rows and hashes of all of them, as Spark's Delta reader sees them."""
    fingerprints = {name: fingerprint(lab.delta(path)) for name, path in paths.items()}
    if len(set(fingerprints.values())) > 1:
        raise AssertionError(f"tables differ: {fingerprints}")


def listing(folder: Path) -> set[Path]:
    """Files below a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}


def new_files(folder: Path, before: set[Path]) -> dict[Path, int]:
    """Files that came since, with their sizes; checksum files of Hadoop's local file system left out."""
    return {path: path.stat().st_size for path in listing(folder) - before if path.suffix != ".crc"}


def by_kind(files: dict[Path, int]) -> dict[str, int]:
    """Bytes by what files are for."""
    sizes = {"rows": 0, "mods": 0, "vectors": 0, "other": 0}
    for path, size in files.items():
        if "_andes" in path.parts:
            kind = "mods" if "mods" in path.parts else "other"
        elif path.suffix == ".bin":
            kind = "vectors"
        else:
            kind = "rows" if path.suffix == ".parquet" and "_delta_log" not in path.parts else "other"
        sizes[kind] += size
    return sizes


def _sample(result: ApplyResult, spent: float, new: dict[Path, int]) -> Sample:
    merge = result.merge
    if merge is None or merge.status != "merged":
        raise AssertionError(f"the batch did not end in the base: {merge}")
    written = by_kind(new)
    written["rows"] -= merge.compaction.bytes_added
    steps: tuple[Step, ...] = (*result.steps, *merge.steps)
    return Sample(
        spent - merge.compaction.seconds,
        pack_seconds=merge.compaction.seconds,
        written=written,
        packed=merge.compaction.bytes_added,
        files=len(new) - merge.compaction.files_added,
        requests=sum(step.requests for step in steps),
        spark_jobs=sum(step.spark_jobs for step in steps),
    )
