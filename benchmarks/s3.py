"""Verbs on S3 with 25 ms added to each request: requests, rounds and seconds, beside delta-rs' open and merge."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from andes_spark.settings import Settings
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server, serve
from benchmarks.lab import Lab
from benchmarks.report import Table
from benchmarks.s3_peers import iceberg_costs
from benchmarks.s3_rows import DELAY, SCHEMA, keyed_rows
from benchmarks.s3_sizes import sizes_table
from benchmarks.s3_spark import spark_costs

_MODS = 100
_TIMES = 7
_FILES = 100
# Dollars a request, S3 Standard in us-east-1: https://aws.amazon.com/s3/pricing/.
_PRICES = {"PUT": 0.005 / 1000, "POST": 0.005 / 1000, "GET": 0.0004 / 1000, "HEAD": 0.0004 / 1000, "DELETE": 0.0}
_LISTING = "list-type="
_COMMITS = ("append", "merge", "MERGE", "upsert")


def run(lab: Lab) -> list[Table]:
    """Measure each verb several times in one run, the peer's in turn with ours."""
    rows = 100_000 if lab.quick else 1_000_000
    table = Table(
        f"S3 with {1000 * DELAY:.0f} ms added to each request ({rows:,} rows, {_MODS} random mods a batch)",
        ["operation", "requests", "rounds", "later", "seconds", "of delta-rs", "dollars a million mods"],
        notes=[
            "Rounds: the longest chain of requests of which each began after the one before it had ended. Later: "
            "requests after the caller had its answer. Medians; the server is MiniStack behind a loopback proxy "
            "without Nagle's algorithm. delta-rs: open the table and merge the same mods, deletion vectors off, as it "
            "writes none. Later requests are priced as PUTs."
        ],
    )
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as folder, serve(Path(folder)) as server:
        verbs = _Verbs(server, rows)
        costs = verbs.measure()
        base = keyed_rows(np.arange(rows), 0)
        costs |= iceberg_costs(server, Path(folder), base, verbs.mods, DELAY)
        costs |= spark_costs(server, base, verbs.mods, DELAY)
        sizes = sizes_table(lab, server, DELAY)
    peer = statistics.median(cost.seconds for cost in costs["delta-rs: open, merge"])
    for operation, measured in costs.items():
        seconds = statistics.median(cost.seconds for cost in measured)
        table.add(
            operation,
            _middle(measured, lambda cost: cost.requests),
            _middle(measured, lambda cost: cost.rounds),
            _middle(measured, lambda cost: cost.later),
            f"{seconds:.3f} ({min(c.seconds for c in measured):.3f}-{max(c.seconds for c in measured):.3f})",
            f"{seconds / peer:.2f}",
            _dollars(measured) if any(word in operation for word in _COMMITS) else "",
            operation=operation,
            costs=[{"requests": c.requests, "rounds": c.rounds, "seconds": c.seconds} for c in measured],
        )
    return [table, sizes]


def _dollars(costs: list[Cost]) -> str:
    """Price of the requests of a million mods, in batches of this size."""
    prices = [sum(map(_price, cost.paths)) + cost.later * _PRICES["PUT"] for cost in costs]
    return f"{statistics.median(prices) * 1e6 / _MODS:.2f}"


def _price(request: str) -> float:
    """Price of a request, of which method and path are given: a page of a listing costs what a PUT does."""
    method, _, path = request.partition(" ")
    return _PRICES["PUT" if method == "GET" and _LISTING in path else method]


def _middle(costs: list[Cost], value: Callable[[Cost], int]) -> str:
    values = [value(cost) for cost in costs]
    middle, low, high = int(statistics.median(values)), min(values), max(values)
    return str(middle) if low == high else f"{middle} ({low}-{high})"


class _Verbs:
    """One table of this library and one of delta-rs, and what is done to both."""

    def __init__(self, server: S3Server, rows: int) -> None:
        self._server = server
        self._rows = rows
        self._random = np.random.default_rng(7)
        self._sequence = 0
        self._costs: dict[str, list[Cost]] = {}
        self._url = f"s3://{server.make_bucket()}/lake/orders"
        self._filed = f"s3://{server.make_bucket()}/lake/orders"
        self._peer = f"s3://{server.make_bucket()}/lake/orders"

    def measure(self) -> dict[str, list[Cost]]:
        """All costs by operation."""
        base = keyed_rows(np.arange(self._rows), 0)
        options = self._server.options
        keys: dict[str, Any] = {"primary_key": ["id"], "sequence_by": ["seq"]}
        ModTable.create(self._url, SCHEMA, **keys, data=base, storage_options=options)
        settings = Settings(target_file_bytes=base.nbytes // (2 * _FILES))
        filed = ModTable.create(self._filed, SCHEMA, **keys, data=base, storage_options=options, settings=settings)
        assert abs(filed.status().files - _FILES) <= 1, filed.status()
        write_deltalake(self._peer, base, storage_options=_writable(options))
        with FaultProxy(self._server, delay=DELAY) as proxy:
            self._meter = Meter(proxy)
            self._options = proxy.options
            warm = self._open()
            for number in range(_TIMES + 3):
                # The first ones open connections and fill caches.
                with self._cost("warm apply with its merge", number >= 3):
                    self._apply(warm)
                with self._cost("delta-rs: open, merge", number >= 3):
                    self._merge_peer()
            for _ in range(_TIMES):
                with self._cost("warm append"):
                    self._apply(warm, merge=False)
            warm.merge()
            for _ in range(_TIMES):
                self._cold()
                warm.merge()
        return self._costs

    def _cold(self) -> None:
        with self._cost("cold: open"):
            self._open()
        with self._cost("cold: open, append"):
            self._apply(self._open(), merge=False)
        with self._cost("cold: open, apply with its merge"):
            self._apply(self._open())
        with self._cost("cold: open, to_arrow"):
            self._open().to_arrow()
        with self._cost("cold: open, status"):
            self._open().status()
        key = int(self._random.integers(0, self._rows))
        with self._cost(f"cold: open, get of one key in {_FILES} files"):
            rows = ModTable.open(self._filed, storage_options=self._options).get(key)
        assert rows["id"].to_pylist() == [key]

    @contextmanager
    def _cost(self, operation: str, counted: bool = True) -> Iterator[None]:
        with self._meter.verb():
            yield
        if counted:
            self._costs.setdefault(operation, []).append(self._meter.cost)

    def _open(self) -> ModTable:
        return ModTable.open(self._url, storage_options=self._options)

    def mods(self) -> pa.Table:
        """The next batch."""
        self._sequence += 1
        return keyed_rows(np.unique(self._random.integers(0, self._rows, _MODS)), self._sequence)

    def _apply(self, table: ModTable, **options: Any) -> None:
        mods = self.mods()
        result = table.apply(mods, batch_id=("bench", self._sequence), **options)
        assert result.upserts == mods.num_rows, result
        assert result.merge is None or result.merge.status == "merged", result

    def _merge_peer(self) -> None:
        table = DeltaTable(self._peer, storage_options=_writable(self._options))
        merger = table.merge(self.mods(), "t.id = s.id", source_alias="s", target_alias="t")
        merger.when_matched_update_all().when_not_matched_insert_all().execute()


def _writable(options: dict[str, str]) -> dict[str, str]:
    """Storage options with which delta-rs commits by ``If-None-Match``, as this library does."""
    return {**options, "conditional_put": "etag", "aws_conditional_put": "etag"}
