"""Seconds and memory of the state of a Delta log with very many files: python -m benchmarks.state [FILES]."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from andes_spark.delta import actions
from andes_spark.delta.checkpoint_writer import checkpoint_table, write_checkpoint
from andes_spark.delta.log import create_entry, load_state
from andes_spark.delta.prune import candidates
from andes_spark.delta.replay import advanced
from andes_spark.delta.state import Commit
from andes_spark.schema.schema import Schema
from andes_spark.storage.disk import DiskStorage

T = TypeVar("T")
NUMBERS = ("id", "seq", "a", "b", "c", "d", "e")
SCHEMA = Schema.from_ddl("name STRING, " + ", ".join(f"{name} BIGINT" for name in NUMBERS))
ROWS = 1_000


def add(number: int) -> dict[str, Any]:
    """An ``add`` of a file that holds a range of ids of its own."""
    low = dict.fromkeys(NUMBERS, number * ROWS) | {"name": f"n{number * ROWS:012}"}
    high = dict.fromkeys(NUMBERS, number * ROWS + ROWS - 1) | {"name": f"n{number * ROWS + ROWS - 1:012}"}
    statistics = {"numRecords": ROWS, "minValues": low, "maxValues": high, "nullCount": dict.fromkeys(low, 0)}
    path = f"part-{number:08}-0123456789abcdef0123.zstd.parquet"
    tags = {"andes.footer": "1130-9f2c01ab/98120-512-0be1f3a2", "andes.arrow_bytes": "41943040"}
    return actions.add(path, size=10 << 20, modified_ms=1, statistics=statistics, tags=tags)


def build(storage: DiskStorage, files: int) -> None:
    """Write a Delta log whose newest state is in a checkpoint."""
    metadata = actions.metadata(
        table_id="t", schema_json=SCHEMA.to_json(), partition_columns=[], configuration={}, created_ms=1
    )
    info = actions.commit_info("WRITE", timestamp_ms=1, commit_id="0")
    create_entry(storage, 0, [info, actions.protocol(), metadata, *map(add, range(files))])
    write_checkpoint(storage, load_state(storage), now_ms=1)


def memory() -> float:
    """Resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def timed(name: str, function: Callable[[], T], times: int = 3) -> T:
    """Print the least time of some calls, and the memory after them; return the last result."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begun)
    print(f"{name}: {min(seconds) * 1000:.1f} ms; {memory():.0f} MiB")
    return result


def main(files: int) -> None:
    """Build a log, then measure."""
    with tempfile.TemporaryDirectory() as folder:
        storage = DiskStorage(folder)
        build(storage, files)
        print(f"{files} files; {memory():.0f} MiB")
        state = timed("load", lambda: load_state(storage), 1)
        keys = pa.table({"id": np.sort(np.random.default_rng(1).integers(0, files * ROWS, 100))})
        timed("first prune by 100 keys", lambda: candidates(state.files, SCHEMA, (), keys), 1)
        timed("prune by 100 keys", lambda: candidates(state.files, SCHEMA, (), keys))
        removal = actions.remove(state.files.at(0), timestamp_ms=1)
        entry = [actions.commit_info("MERGE", timestamp_ms=1, commit_id="1"), removal, add(files)]
        commit = Commit(state.version + 1, tuple(member for action in entry for member in action.items()))
        following = timed("advance by one commit", lambda: advanced(state, commit))
        timed("prune after it", lambda: candidates(following.files, SCHEMA, (), keys))
        timed("rows of a checkpoint", lambda: checkpoint_table(following, now_ms=1), 1)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
