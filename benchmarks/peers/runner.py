"""What the processes of all Python peers do: load, apply each batch, tell the sums."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data
from benchmarks.processes import MISSING


class Contestant(ABC):
    """A table that batches are applied to.

    Args:
        folder: empty, for the table.
    """

    requires: Sequence[str] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def load(self, base: Path) -> None:
        """Create the table from a folder of Parquet files."""

    def read(self, path: Path) -> Any:
        """Read a batch into memory, before the clock starts."""
        return pq.read_table(path)

    @abstractmethod
    def apply(self, mods: Any, number: int) -> None:
        """Apply a batch so that the table's readers see one row per key."""

    @abstractmethod
    def rows(self) -> pa.Table:
        """Columns ``id`` and ``lsn`` of all rows."""


def main(contestant: type[Contestant], arguments: Sequence[str] | None = None) -> None:
    """Run a contestant.

    Arguments: folder, folder of the base, its number of rows, file with the paths of batches, number of batches that
    are applied however long they take, and seconds after which no further one is begun.
    """
    folder, base, _, names, needed, limit = sys.argv[1:7] if arguments is None else arguments
    for package in contestant.requires:
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed", flush=True)
            sys.exit(MISSING)
    table = contestant(Path(folder) / "table")
    _timed("load", lambda: table.load(Path(base)))
    end = math.inf
    for number, path in enumerate(Path(names).read_text(encoding="utf-8").splitlines()):
        if number == int(needed):
            end = time.monotonic() + float(limit)
        if time.monotonic() > end:
            break
        mods = table.read(Path(path))
        _timed("apply", lambda mods=mods, number=number: table.apply(mods, number))
    rows = pl.from_arrow(table.rows())
    assert isinstance(rows, pl.DataFrame)
    print(json.dumps({"sums": [rows.height, int(rows["id"].sum()), int(rows[data.SEQUENCE].sum())]}), flush=True)
    # Threads of delta-rs end the process with a signal if the interpreter shuts down while they live.
    os._exit(0)


def newest(mods: pa.Table) -> pa.Table:
    """The mod with the highest sequence of each key, as peers without a sequence need it."""
    frame = pl.from_arrow(mods)
    assert isinstance(frame, pl.DataFrame)
    return frame.sort(data.SEQUENCE).unique("id", keep="last", maintain_order=True).to_arrow()


def parts(base: Path) -> Iterable[pa.Table]:
    """The first rows, a file at a time."""
    return (pq.read_table(path) for path in sorted(base.glob("*.parquet")))


def _timed(name: str, work: Any) -> None:
    begin = time.perf_counter()
    work()
    print(json.dumps({name: time.perf_counter() - begin}), flush=True)
