"""Merge policies compared: seconds of applies and of fresh reads, on disk and on S3 with a delay per request.

Run: ``python -m benchmarks.merge_policy [disk|s3] [warm|cold] ROWS MODS APPLIES READ_EVERY [POLICY ...]``.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from andes_spark import ModTable
from andes_spark.testing.s3 import FaultProxy, serve
from benchmarks.s3_rows import DELAY

POLICIES = ("always", "auto", "manual")


@contextmanager
def store(kind: str) -> Iterator[tuple[str, dict[str, str] | None, dict[str, str] | None]]:
    """Yield the folder of tables, and the options to open it directly and with the delay."""
    with tempfile.TemporaryDirectory(prefix="bench-policy-") as folder:
        if kind == "disk":
            yield folder, None, None
            return
        with serve(Path(folder)) as server, FaultProxy(server, delay=DELAY) as proxy:
            yield f"s3://{server.make_bucket()}", server.options, proxy.options


def measure(
    url: str, options: dict[str, str] | None, *, cold: bool, rows: int, mods: int, applies: int, read_every: int
) -> tuple[list[float], list[float], int]:
    """Apply random batches and read a tenth of the rows in between; return seconds of both, and the merges.

    ``cold``: each apply and each read opens the table, as a job of its own does.
    """
    table, random = ModTable.open(url, storage_options=options), np.random.default_rng(5)
    applied, read, merges = [], [], 0
    for number in range(1, applies + 1):
        keys = np.sort(random.choice(rows, mods, replace=False))
        batch = pa.table({"id": keys, "seq": np.full(mods, number), "name": [f"row {number}"] * mods})
        begun = time.perf_counter()
        table = ModTable.open(url, storage_options=options) if cold else table
        result = table.apply(batch, batch_id=("bench", number))
        applied.append(time.perf_counter() - begun)
        merges += result.merge is not None and result.merge.status == "merged"
        if number % read_every == 0:
            low = int(random.integers(0, rows * 9 // 10))
            begun = time.perf_counter()
            table = ModTable.open(url, storage_options=options) if cold else table
            table.to_arrow(filter=f"id >= {low} AND id < {low + rows // 10}")
            read.append(time.perf_counter() - begun)
    return applied, read, merges


def main() -> None:
    """Print a line for each policy."""
    kind, cold = sys.argv[1], sys.argv[2] == "cold"
    rows, mods, applies, read_every = map(int, sys.argv[3:7])
    data = pa.table({"id": np.arange(rows), "seq": np.zeros(rows, np.int64), "name": [f"row {i}" for i in range(rows)]})
    schema = pa.schema([pa.field("id", pa.int64(), False), ("seq", pa.int64()), ("name", pa.string())])
    with store(kind) as (folder, direct, delayed):
        for policy in sys.argv[7:] or POLICIES:
            url = f"{folder}/{policy}"
            ModTable.create(
                url, schema, primary_key="id", sequence_by="seq", data=data, merge=policy, storage_options=direct
            )
            applied, read, merges = measure(
                url, delayed, cold=cold, rows=rows, mods=mods, applies=applies, read_every=read_every
            )
            print(
                f"{kind}, {sys.argv[2]}, {rows:,} rows, {mods:,} mods, {policy}: {merges} merges; "
                f"apply {statistics.median(applied):.3f} s ({sum(applied):.1f} in all), "
                f"read {statistics.median(read):.3f} s ({sum(read):.1f} in all), both {sum(applied) + sum(read):.1f} s"
            )


if __name__ == "__main__":
    main()
