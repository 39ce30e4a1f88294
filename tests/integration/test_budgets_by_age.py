"""Requests of each verb at 10 and at 1,000 versions: the same rounds and requests.

Both tables hold the same rows in the same number of files; each version was merged when it was applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server

pytestmark = pytest.mark.integration
DELAY = 0.05
ROWS = 1_000
YOUNG, OLD = 12, 1_002
CALLS, MOST_CALLS = 2, 6
SETTINGS = Settings(compact_bytes=0)


@dataclass
class Aged:
    """A table on S3 behind the proxy; ``versions`` is its newest version."""

    url: str
    server: S3Server
    options: dict[str, str]
    meter: Meter
    versions: int

    def advance(self) -> None:
        """Merge what is pending, and apply batches up to the second version after a roll-up."""
        table = ModTable.open(self.url, storage_options=self.server.options, settings=SETTINGS)
        table.merge()
        while self.versions % 10 != 2:
            self.apply(table)

    def open(self) -> ModTable:
        return ModTable.open(self.url, storage_options=self.options, settings=SETTINGS)

    def mods(self) -> pa.Table:
        self.versions += 1
        return batch(self.versions)

    def append(self, table: ModTable) -> None:
        table.apply(self.mods(), batch_id=("s", self.versions), merge=False)

    def append_elsewhere(self) -> None:
        self.append(ModTable.open(self.url, storage_options=self.server.options, settings=SETTINGS))

    def set_aside(self, table: ModTable) -> None:
        """Set the newest version aside."""
        table.set_aside(version=self.versions)
        self.versions += 1

    def changes(self, table: ModTable) -> None:
        """Read the changes of the newest two versions."""
        assert table.changes(self.versions - 2).read_all().num_rows == 20

    def apply(self, table: ModTable) -> None:
        table.apply(self.mods(), batch_id=("s", self.versions))


def batch(number: int) -> pa.Table:
    """Mods of the same keys each time, so that the rows of one merge replace those of the last."""
    return pa.table({"id": range(20), "lsn": [number] * 20})


def aged(server: S3Server, proxy: FaultProxy, versions: int) -> Aged:
    memory = MemoryStorage()
    table = ModTable.create(
        memory, "id bigint, lsn bigint", primary_key=["id"], sequence_by=["lsn"], merge="always", settings=SETTINGS,
        data=pa.table({"id": range(ROWS), "lsn": [0] * ROWS}),
    )  # fmt: skip
    for number in range(1, versions + 1):
        table.apply(batch(number), batch_id=("s", number))
    url = f"s3://{server.make_bucket()}/t"
    stored = S3Storage(url, server.options)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda info: stored.put(info.path, memory.get(info.path)), memory.list()))
    return Aged(url, server, proxy.options, Meter(proxy), versions)


@pytest.fixture
def tables(s3_server: S3Server) -> Iterator[list[Aged]]:
    with FaultProxy(s3_server, delay=DELAY) as proxy:
        yield [aged(s3_server, proxy, versions) for versions in (YOUNG, OLD)]


@dataclass(frozen=True)
class Budget:
    """Requests of a verb on the young table.

    Attributes:
        verb: the verb.
        kinds: number of requests by method.
        rounds: length of the longest chain of requests.
        warm: whether the handle did the same before.
        before: what another handle does before it.
        pages: requests of the old table alone, beside others: pages of the listing of the log.
    """

    verb: Callable[[Aged, ModTable], object]
    kinds: dict[str, int]
    rounds: int
    warm: bool = False
    before: Callable[[Aged], object] = lambda aged: None
    pages: int = 0


BUDGETS = {
    "append": Budget(lambda aged, table: aged.append(table), {"GET": 2, "PUT": 2}, 2, warm=True),
    # The rows of the merge before are all replaced, so that there is no vector.
    "apply with its merge": Budget(lambda aged, table: aged.apply(table), {"GET": 4, "PUT": 5}, 3, warm=True),
    "status": Budget(lambda aged, table: table.status(), {"GET": 3}, 1, warm=True, pages=3),
    "get": Budget(lambda aged, table: table.get(7), {"GET": 4}, 2, warm=True),
    "open": Budget(lambda aged, table: None, {"GET": 7}, 2),
    # No ledger file may name the batch.
    "open and append": Budget(lambda aged, table: aged.append(table), {"GET": 10, "PUT": 2, "HEAD": 1}, 5),
    "open, apply with its merge": Budget(lambda aged, table: aged.apply(table), {"GET": 17, "PUT": 5, "HEAD": 1}, 8),
    "open and to_arrow": Budget(lambda aged, table: table.to_arrow(), {"GET": 17}, 4),
    "open and status": Budget(lambda aged, table: table.status(), {"GET": 15}, 3, pages=3),
    "open and get": Budget(lambda aged, table: table.get(7), {"GET": 17}, 5),
    "open and history": Budget(lambda aged, table: table.history(limit=3), {"GET": 8}, 3),
    "changes": Budget(lambda aged, table: aged.changes(table), {"GET": 7, "HEAD": 1}, 5, warm=True),
    "open and changes": Budget(lambda aged, table: aged.changes(table), {"GET": 24, "HEAD": 1}, 10),
    "set aside": Budget(
        lambda aged, table: aged.set_aside(table),
        {"GET": 9, "PUT": 2, "HEAD": 1},
        8,
        warm=True,
        before=Aged.append_elsewhere,
    ),
}


def cost_of(aged: Aged, budget: Budget, rounds: int) -> Cost:
    """The cost of a verb; the fewest rounds of two calls, and of up to six while the rounds exceed what is allowed.

    On a busy machine a request may begin so late that it seems to follow another; a chain of requests that the verb
    needs is there in every call.
    """
    costs: list[Cost] = []
    while len(costs) < CALLS or (len(costs) < MOST_CALLS and all(cost.rounds > rounds for cost in costs)):
        aged.advance()
        table = aged.open()
        for _ in range(2 if budget.warm else 0):
            budget.before(aged)
            budget.verb(aged, table)
        budget.before(aged)
        with aged.meter.verb():
            budget.verb(aged, table if budget.warm else aged.open())
        costs.append(aged.meter.cost)
    return min(costs, key=lambda cost: cost.rounds)


VACUUM = {"GET": 18, "PUT": 5, "HEAD": 1, "POST": 1}
# The newest manifest tells whether the folder still has this table, beside the look for a newer one.
PIN = {"GET": 3, "PUT": 1}
"""Requests of a vacuum that releases all old versions, and of a pin, on the young table."""
VACUUM_ROUNDS = 14
VACUUM_PAGES = 9
"""Requests of the old table alone: pages of listings of mods, records and data files, and of deletions."""


def check_vacuums(young_table: Aged, old_table: Aged) -> None:
    """A vacuum reads the log from the floor on, and nothing of the versions that it releases."""
    costs: list[Cost] = []
    for aged_table in (young_table, old_table):
        aged_table.advance()
        table = aged_table.open()
        table.to_arrow()
        with aged_table.meter.verb():
            table.pin()
        assert aged_table.meter.cost.kinds == PIN
        with aged_table.meter.verb():
            result = table.vacuum("0 seconds")
        assert result.files > 2 * aged_table.versions
        costs.append(aged_table.meter.cost)
    young, old = costs
    assert all(count <= VACUUM.get(kind, 0) for kind, count in young.kinds.items()), young.paths
    assert young.rounds <= VACUUM_ROUNDS, young.paths
    assert old.requests <= young.requests + VACUUM_PAGES, old.paths
    assert old.rounds <= young.rounds + VACUUM_PAGES, old.paths


def test_the_age_of_a_table_costs_nothing(tables: list[Aged]) -> None:
    """Verbs in a fixed order, so that both tables are equally far from their last roll-up and checkpoint."""
    young_table, old_table = tables
    costs = {
        name: (cost_of(young_table, budget, budget.rounds), cost_of(old_table, budget, budget.rounds))
        for name, budget in BUDGETS.items()
    }
    assert {name: (young.kinds, young.rounds) for name, (young, _) in costs.items()} == {
        name: (budget.kinds, budget.rounds) for name, budget in BUDGETS.items()
    }
    for name, (young, old) in costs.items():
        budget = BUDGETS[name]
        assert old.rounds <= young.rounds, (name, old.paths)
        assert old.requests <= young.requests + budget.pages, (name, old.paths)
    check_vacuums(young_table, old_table)
