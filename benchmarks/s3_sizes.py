"""Whether verbs on S3 cost more where a table has many versions or many files: the same batches on small and large."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.log import load_state
from andes_spark.settings import Settings
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.s3 import S3Storage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.far_files import add_far_files
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server
from benchmarks.lab import Lab
from benchmarks.report import Table
from benchmarks.s3_rows import SCHEMA, keyed_rows

_ROWS = 100_000
_FILES = 10
_MODS = 100
_TIMES = 10
"""Calls of a verb, one after each of as many versions, so that each distance from a roll-up and a checkpoint counts."""
_WARM = 3
_UPLOADS = 8
_SETTINGS = Settings(compact_bytes=0, target_file_bytes=_ROWS * 26 // (2 * _FILES))
_FEW, _MANY, _QUICK_MANY = 10, (1_000, 10_000), (100, 1_000)


def sizes_table(lab: Lab, server: S3Server, delay: float) -> Table:
    """Measure four tables on a server, each request ``delay`` seconds late."""
    versions, files = _QUICK_MANY if lab.quick else _MANY
    made: dict[str, Callable[[Path], None]] = {
        f"{_FEW} versions": lambda path: _aged(path, _FEW),
        f"{versions:,} versions": lambda path: _aged(path, versions),
        f"{_FEW} files": lambda path: _filed(path, _FEW),
        f"{files:,} files": lambda path: _filed(path, files),
    }
    measured = {}
    with FaultProxy(server) as proxy:
        for name, make in made.items():
            lab.say(f"s3: a table of {name}")
            path = lab.fresh("s3-sizes")
            make(path)
            url = _uploaded(server, path)
            proxy.delay = delay
            measured[name] = _Sized(url, proxy).measure()
            proxy.delay = 0.0
    table = Table(
        f"The same with many versions and many files ({_ROWS:,} rows, {_MODS} mods a batch)",
        ["operation: requests, rounds, seconds", *measured],
        notes=[
            f"Medians of {_TIMES} calls. The rows are in ten files, and so are the keys of the batches, the same each "
            "time; the other files are in the Delta log alone, and nothing opens them. Compactions are off, which "
            "would open them."
        ],
    )
    for verb in VERBS:
        costs = [column[verb] for column in measured.values()]
        table.add(verb, *(_cell(cost) for cost in costs), verb=verb, costs=[_figures(cost) for cost in costs])
    return table


def _aged(path: Path, versions: int) -> None:
    """Make a table of so many versions, each merged, of the same keys: its rows replace those of the last merge."""
    table = _created(path)
    for version in range(1, versions + 1):
        table.apply(keyed_rows(np.arange(_MODS), version), batch_id=("age", version))


def _filed(path: Path, files: int) -> None:
    """Make a table of so many files, with a checkpoint."""
    _created(path)
    storage = DiskStorage(str(path))
    add_far_files(storage, files - len(load_state(storage).files), sequence="seq")
    assert write_checkpoint(storage, load_state(storage), now_ms=1)


def _created(path: Path) -> ModTable:
    rows = keyed_rows(np.arange(_ROWS), 0)
    return ModTable.create(
        str(path), SCHEMA, primary_key=["id"], sequence_by=["seq"], data=rows, merge="always", settings=_SETTINGS
    )


def _uploaded(server: S3Server, path: Path) -> str:
    """Copy a table to a bucket of its own; return its URL."""
    url = f"s3://{server.make_bucket()}/lake/orders"
    disk, stored = DiskStorage(str(path)), S3Storage(url, server.options)
    with ThreadPoolExecutor(_UPLOADS) as pool:
        list(pool.map(lambda info: stored.put(info.path, disk.get(info.path)), disk.list()))
    return url


class _Sized:
    """A table behind the proxy, and the verbs that are measured on it."""

    def __init__(self, url: str, proxy: FaultProxy) -> None:
        self._url, self._options = url, proxy.options
        self._meter = Meter(proxy)
        self._sequence = 1_000_000

    def measure(self) -> dict[str, list[Cost]]:
        """Costs of each verb; what it leaves pending is merged before the next one."""
        warm = self.open()
        for _ in range(_WARM):
            self.apply(warm, merge=True)
        costs = {}
        for verb, call in VERBS.items():
            costs[verb] = [self._cost(lambda call=call: call(self, warm)) for _ in range(_TIMES)]  # type: ignore[misc]
            warm.merge()
        return costs

    def _cost(self, call: Callable[[], object]) -> Cost:
        with self._meter.verb():
            call()
        return self._meter.cost

    def open(self) -> ModTable:
        """A handle that knows nothing."""
        return ModTable.open(self._url, storage_options=self._options, settings=_SETTINGS)

    def apply(self, table: ModTable, *, merge: bool) -> None:
        """Apply the next batch."""
        self._sequence += 1
        mods = keyed_rows(np.arange(0, _ROWS, _ROWS // _MODS), self._sequence)
        result = table.apply(mods, batch_id=("bench", self._sequence), merge=merge)
        assert result.merge is None or result.merge.status == "merged", result


VERBS: dict[str, Callable[[_Sized, ModTable], object]] = {
    "warm append": lambda sized, warm: sized.apply(warm, merge=False),
    "warm apply with its merge": lambda sized, warm: sized.apply(warm, merge=True),
    "open": lambda sized, _: sized.open(),
    "open, append": lambda sized, _: sized.apply(sized.open(), merge=False),
    "open, status": lambda sized, _: sized.open().status(),
    "open, apply with its merge": lambda sized, _: sized.apply(sized.open(), merge=True),
}


def _cell(costs: list[Cost]) -> str:
    requests, rounds, seconds = (statistics.median(values) for values in _figures(costs).values())
    return f"{int(requests)}, {int(rounds)}, {seconds:.3f}"


def _figures(costs: list[Cost]) -> dict[str, list[float]]:
    return {
        "requests": [cost.requests for cost in costs],
        "rounds": [cost.rounds for cost in costs],
        "seconds": [cost.seconds for cost in costs],
    }
