"""Look-ups of random keys: milliseconds to locate them in the base, and of ``get``, warm and cold.

Run: ``python -m benchmarks.look_ups FOLDER ROWS [int|text] [KEY_FOLDER]``. The table in FOLDER is made if it is not
there; with KEY_FOLDER keys are kept there, and a second run finds them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark import ModTable, Settings
from andes_spark.base.evaluate import files_with
from andes_spark.base.key_folder import KeyFolder
from andes_spark.base.keys import KeyCache
from andes_spark.base.locator import key_lookup, locate_files
from andes_spark.base.paged import PageSource
from andes_spark.settings import MIB
from andes_spark.table.verbs.read import pin

PART = 1_000_000
TENANTS = 200
NEWER = 2**38
"""A sequence above all others."""
DDL = {
    "int": "id BIGINT, lsn BIGINT, v DOUBLE, t STRING",
    "text": "tenant STRING, code STRING, lsn BIGINT, v DOUBLE",
}
KEY = {"int": ["id"], "text": ["tenant", "code"]}


def parts(kind: str, rows: int) -> Iterator[pa.RecordBatch]:
    """Rows in the order of their keys: ids with gaps, or codes of tenants; with random sequences."""
    random, last = np.random.default_rng(1), 0
    size = PART if kind == "int" else rows // TENANTS
    for number, start in enumerate(range(0, rows, size)):
        count = min(size, rows - start)
        keys = last + np.cumsum(random.integers(1, 20 if kind == "int" else 2**30, count))
        values = {"lsn": random.integers(0, 2**37, count), "v": random.random(count)}
        if kind == "int":
            last = int(keys[-1])
            text = [f"text-of-this-row-{key % 10_000_000:07d}" for key in keys.tolist()]
            yield pa.record_batch({"id": keys, **values, "t": text})
        else:
            codes = [f"{key:012x}" for key in keys.tolist()]
            yield pa.record_batch({"tenant": [f"tenant-{number:03d}"] * count, "code": codes, **values})


def opened(folder: Path, kind: str, rows: int, settings: Settings) -> ModTable:
    """Open the table, or create it."""
    if folder.exists():
        return ModTable.open(folder, settings=settings)
    batches = parts(kind, rows)
    data = pa.RecordBatchReader.from_batches(next(parts(kind, rows)).schema, batches)
    return ModTable.create(
        folder, DDL[kind], primary_key=KEY[kind], sequence_by="lsn", merge="manual", data=data, settings=settings
    )


def forget_pages(folder: Path) -> None:
    """Drop the table's files from the cache of the operating system."""
    for path in folder.glob("*.parquet"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def milliseconds(function: Any) -> float:
    begun = time.perf_counter()
    function()
    return (time.perf_counter() - begun) * 1000


def main(folder: Path, rows: int, kind: str, key_folder: str | None) -> None:
    settings = Settings(threads=2, key_folder=key_folder)
    table = opened(folder, kind, rows, settings)
    inputs, storage = pin(table._open_table, None).inputs, table._open_table.storage
    keys = pl.concat(
        [
            frame
            for batch in table.to_batches(columns=KEY[kind])
            if isinstance(frame := pl.from_arrow(batch), pl.DataFrame)
        ]
    )

    def sample(count: int) -> pl.DataFrame:
        frame = keys.sample(count, seed=time.perf_counter_ns()).sort(KEY[kind])
        return frame.with_columns(pl.lit(NEWER, pl.Int64).alias("lsn"))

    def locate(requested: pl.DataFrame, cache: KeyCache) -> None:
        lookup = key_lookup(requested, inputs.shape)
        located = locate_files(
            PageSource(storage, inputs.shape, cache), files_with(inputs, requested), lookup, threads=2
        )
        assert sum(frame.height for frame in located) == requested.height

    images = None if key_folder is None else KeyFolder(key_folder, settings.key_folder_bytes)
    for count in (100, 50_000):
        samples = [sample(count) for _ in range(6)]
        forget_pages(folder)
        cache = KeyCache(256 * MIB, images)
        show(f"locate {count}: cold, then warm", [milliseconds(lambda: locate(some, cache)) for some in samples])  # noqa: B023
    for count in (1, 1_000):
        forget_pages(folder)
        table = ModTable.open(folder, settings=settings)
        some = [sample(count).select(KEY[kind]).rows() for _ in range(6)]
        show(f"get {count}: cold, then warm", [milliseconds(lambda: table.get(rows)) for rows in some])  # noqa: B023


def show(name: str, times: list[float]) -> None:
    print(f"{name:32s}", *(f"{milliseconds:9.1f}" for milliseconds in times), flush=True)


if __name__ == "__main__":
    folder, rows, kind, key_folder, *_ = (*sys.argv[1:], *("int", "")[len(sys.argv) - 3 :])
    main(Path(folder), int(rows), kind, key_folder or None)
