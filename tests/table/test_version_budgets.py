"""Requests with ten and with a thousand versions: they follow what is pending, not the history."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from andes_spark import ModTable
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import create, fill, rows

FEW, MANY = 13, 1_003


class Bench:
    """A table of some versions, all merged."""

    def __init__(self, versions: int) -> None:
        self.storage = MemoryStorage()
        self.table = create(self.storage)
        fill(self.table, 1, versions)
        self.table.merge()
        self.number = versions
        self.append(self.table)

    def append(self, table: ModTable) -> None:
        self.number += 1
        table.apply(rows((1, self.number, "x")), batch_id=("s", self.number))

    def requests(self, verb: Callable[[Bench], object]) -> int:
        before = self.storage.counts.snapshot()
        verb(self)
        return self.storage.counts.minus(before).requests


VERBS: dict[str, Callable[[Bench], object]] = {
    "open": lambda bench: ModTable.open(bench.storage),
    "open and status": lambda bench: ModTable.open(bench.storage).status(),
    "open and read": lambda bench: ModTable.open(bench.storage).to_arrow(),
    "warm status": lambda bench: bench.table.status(),
    "warm append": lambda bench: bench.append(bench.table),
    "open and append": lambda bench: bench.append(ModTable.open(bench.storage)),
    "warm tag": lambda bench: bench.table.tag("warm", 1),
    "open and tag": lambda bench: ModTable.open(bench.storage).tag("cold", 2),
    "open and list tags": lambda bench: ModTable.open(bench.storage).tags(),
    "warm read by tag": lambda bench: bench.table.to_arrow(tag="warm"),
    "open and changes": lambda bench: ModTable.open(bench.storage).changes(bench.number - 2).read_all(),
    "warm changes": lambda bench: bench.table.changes(bench.number - 2).read_all(),
}

PARTS = {"open and status": 3, "warm status": 3, "warm read by tag": 2}
"""Further requests of the old table: its log is listed in parts of fewer than a thousand objects, a page of S3; and the
manifests of a version far below the head are not kept in memory."""


@pytest.fixture(scope="module")
def benches() -> tuple[Bench, Bench]:
    return Bench(FEW), Bench(MANY)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_requests_do_not_follow_the_number_of_versions(benches: tuple[Bench, Bench], verb: str) -> None:
    short_requests, long_requests = (bench.requests(VERBS[verb]) for bench in benches)
    assert long_requests <= 1.2 * short_requests + PARTS.get(verb, 0)
