"""Requests with 10 and with 10,000 files of the base: they follow the files that a verb needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.log import load_state
from andes_spark.storage.open import open_storage
from andes_spark.testing.far_files import add_far_files
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server

pytestmark = pytest.mark.integration
DELAY = 0.1
ROWS = 20_000
NEAR = 10
FAR = 9_990
CALLS, MOST_CALLS = 3, 6
SETTINGS = Settings(compact_bytes=0, checkpoint_interval=1_000, target_file_bytes=ROWS * 16 // (2 * NEAR))


class Bench:
    """A table behind the proxy, whose first files hold the keys of all batches."""

    def __init__(self, server: S3Server, proxy: FaultProxy, *, far: int) -> None:
        self.url, self.meter = f"s3://{server.make_bucket()}/t", Meter(proxy)
        data = pa.table({"id": range(ROWS), "lsn": [0] * ROWS})
        ModTable.create(
            self.url, "id bigint, lsn bigint", primary_key=["id"], sequence_by=["lsn"], data=data,
            storage_options=server.options, settings=SETTINGS,
        )  # fmt: skip
        self._add_files(server, far)
        self.options = proxy.options
        self.sequence = 0
        for _ in range(2):
            self.apply(self.open())

    def _add_files(self, server: S3Server, count: int) -> None:
        """Commit files that are never opened, and a checkpoint with them."""
        storage = open_storage(self.url, options=server.options)
        assert len(load_state(storage).files) == NEAR
        add_far_files(storage, count)
        assert write_checkpoint(storage, load_state(storage), now_ms=1)

    def open(self) -> ModTable:
        return ModTable.open(self.url, storage_options=self.options, settings=SETTINGS)

    def apply(self, table: ModTable, **options: Any) -> Any:
        self.sequence += 1
        keys = sorted({(7 * self.sequence + 997 * number) % ROWS for number in range(20)})
        mods = pa.table({"id": keys, "lsn": [self.sequence] * len(keys)})
        return table.apply(mods, batch_id=("s", self.sequence), **options)

    def cost(self, verb: Callable[[], object]) -> Cost:
        with self.meter.verb():
            verb()
        return self.meter.cost


@pytest.fixture(scope="module")
def benches(s3_server: S3Server) -> Iterator[tuple[Bench, Bench]]:
    with FaultProxy(s3_server, delay=DELAY) as proxy:
        yield Bench(s3_server, proxy, far=0), Bench(s3_server, proxy, far=FAR)


def merged(bench: Bench, table: ModTable) -> None:
    result = bench.apply(table, merge=True)
    assert result.merge is not None
    assert result.merge.status == "merged", result.merge


VERBS: dict[str, Callable[[Bench, ModTable], object]] = {
    "open": lambda bench, _: bench.open(),
    "open and append": lambda bench, _: bench.apply(bench.open(), merge=False),
    "open and status": lambda bench, _: bench.open().status(),
    "warm append": lambda bench, table: bench.apply(table, merge=False),
    "warm status": lambda _, table: table.status(),
    "warm apply with its merge": merged,
    "open and apply with its merge": lambda bench, _: merged(bench, bench.open()),
}


def fewest(costs: list[Cost]) -> Cost:
    return min(costs, key=lambda cost: (cost.rounds, cost.requests))


@pytest.mark.parametrize("verb", VERBS)
def test_requests_do_not_follow_the_number_of_files(benches: tuple[Bench, Bench], verb: str) -> None:
    """A busy machine makes requests seem to follow others: the fewest rounds count, of more calls while they differ."""
    tables = [bench.open() for bench in benches]
    if verb.startswith("warm"):
        for bench, table in zip(benches, tables, strict=True):
            merged(bench, table)
    costs: tuple[list[Cost], list[Cost]] = [], []
    while len(costs[0]) < CALLS or (len(costs[0]) < MOST_CALLS and fewest(costs[0]).rounds != fewest(costs[1]).rounds):
        for bench, table, bench_costs in zip(benches, tables, costs, strict=True):
            bench_costs.append(bench.cost(lambda bench=bench, table=table: VERBS[verb](bench, table)))  # type: ignore[misc]
    small_cost, large_cost = fewest(costs[0]), fewest(costs[1])
    assert large_cost.rounds == small_cost.rounds, (small_cost, large_cost)
    assert large_cost.requests <= 1.2 * small_cost.requests, (small_cost, large_cost)
    assert not any("part-far" in path for path in large_cost.paths)


def test_a_synchronization_of_iceberg_after_a_merge(benches: tuple[Bench, Bench]) -> None:
    tables = [bench.open() for bench in benches]
    costs: tuple[list[Cost], list[Cost]] = [], []
    for table in tables:
        table.sync_iceberg()
    while len(costs[0]) < CALLS or (len(costs[0]) < MOST_CALLS and fewest(costs[1]).rounds > 6):
        for bench, table, bench_costs in zip(benches, tables, costs, strict=True):
            merged(bench, table)
            bench_costs.append(bench.cost(table.sync_iceberg))
    small_cost, large_cost = fewest(costs[0]), fewest(costs[1])
    assert large_cost.rounds <= 6, (small_cost, large_cost)
    assert large_cost.requests <= 1.2 * small_cost.requests, (small_cost, large_cost)
    assert not any("part-far" in path for path in large_cost.paths)
