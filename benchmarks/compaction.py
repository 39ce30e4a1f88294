"""Compaction under random batches: bytes written, files whose range holds a key, and reads beside a fresh copy."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from benchmarks.lab import Lab
from benchmarks.report import Table, megabytes, verdict

_ROWS, _QUICK_ROWS = 2_000_000, 200_000
_FILES = 30
_ROW_BYTES = 15
"""Bytes of a row in a file, about."""
_AMPLIFICATION, _MEAN, _MOST, _READ = 7.0, 15.0, 25, 1.15
_READS = 7


@dataclass
class _Measured:
    new: int = 0
    rewritten: int = 0
    means: list[float] = field(default_factory=list)
    most: int = 0


def run(lab: Lab) -> list[Table]:
    """Measure batches of 1% and of 0.1% of a table of thirty files."""
    rows, batches = (_QUICK_ROWS, 60) if lab.quick else (_ROWS, 200)
    table = Table(
        f"Compaction under 200 random batches: {rows:,} rows in {_FILES} files, in memory",
        [
            "batch",
            "written per byte of new rows",
            "new rows",
            "files that hold a key, mean",
            "most",
            "read, to fresh",
            "met",
        ],
        notes=[
            f"Goals: at most {_AMPLIFICATION} times, {_MEAN:g} files on average and {_MOST} at most, {_READ} reads."
        ],
    )
    for share in (0.01, 0.001):
        grown, measured = _measure(rows, share, batches)
        fresh = _create(grown.to_arrow().sort_by("id"), rows)
        ratio = _read_seconds(grown) / _read_seconds(fresh)
        amplification, mean = (measured.new + measured.rewritten) / measured.new, float(np.mean(measured.means))
        met = amplification <= _AMPLIFICATION and mean <= _MEAN and measured.most <= _MOST and ratio <= _READ
        table.add(
            f"{share:.1%}", f"{amplification:.2f}", megabytes(measured.new), f"{mean:.1f}", measured.most,
            f"{ratio:.2f}", verdict(met), share=share, amplification=amplification, mean=mean, most=measured.most,
            ratio=ratio,
        )  # fmt: skip
    return [table]


def _create(data: pa.Table, rows: int) -> ModTable:
    settings = Settings(target_file_bytes=rows * _ROW_BYTES // _FILES, threads=2)
    return ModTable.create(
        MemoryStorage(),
        "id BIGINT, seq BIGINT, a DOUBLE, b BIGINT",
        primary_key=["id"],
        sequence_by=["seq"],
        merge="always",
        data=data,
        settings=settings,
    )


def _measure(rows: int, share: float, batches: int) -> tuple[ModTable, _Measured]:
    random = np.random.default_rng(5)

    def mods(ids: npt.NDArray[np.int64], sequence: int) -> pa.Table:
        values = {"a": random.random(len(ids)), "b": random.integers(0, 2**40, len(ids))}
        return pa.table({"id": ids, "seq": np.full(len(ids), sequence), **values})

    table, measured = _create(mods(np.arange(rows), 0), rows), _Measured()
    for number in range(1, batches + 1):
        merged = table.apply(mods(np.unique(random.integers(0, rows, int(rows * share))), number)).merge
        if merged is None or merged.status != "merged" or merged.advisory:
            raise AssertionError(merged)
        measured.new += merged.written.new
        measured.rewritten += merged.written.rewritten
        low, high = _ranges(table).T
        keys = random.integers(0, rows, 300)[:, None]
        within = ((low <= keys) & (keys <= high)).sum(axis=1)
        measured.means.append(float(within.mean()))
        measured.most = max(measured.most, int(within.max()))
    return table, measured


def _ranges(table: ModTable) -> npt.NDArray[np.int64]:
    """Least and greatest key of each file."""
    files = table._open_table.base.in_memory().state.files.values()
    keys = (json.loads(file.add["tags"]["andes.keys"]) for file in files)
    return np.array([[low[0], high[0]] for low, high in keys])


def _read_seconds(table: ModTable) -> float:
    """Seconds of processors for a full read, the least of some."""
    spent = []
    for _ in range(_READS):
        begun = time.process_time()
        sum(batch.num_rows for batch in table.to_batches())
        spent.append(time.process_time() - begun)
    return min(spent)
