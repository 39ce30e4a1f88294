"""Requests of the verbs of upkeep and of the reads of the log on S3, and the longest chain of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from andes_spark import ModTable
from tests.integration.test_request_budgets import Bench, bench, proxy

__all__ = ["bench", "proxy"]

pytestmark = pytest.mark.integration

Verb = Callable[[ModTable], object]


def nothing(_: ModTable) -> None:
    """Nothing has to be done before the verb."""


def drop_face(table: ModTable) -> None:
    """Delete the Iceberg face."""
    storage = table._open_table.storage
    storage.delete([info.path for info in storage.list("_andes/iceberg")])


VERBS: dict[str, tuple[Verb, Verb, int, int]] = {
    "verify": (nothing, lambda table: table.verify(), 32, 37),
    "to_batches": (nothing, lambda table: table.to_batches().read_all(), 2, 6),
    "mods": (nothing, lambda table: table.mods(), 5, 6),
    "quarantined": (nothing, lambda table: table.quarantined(), 1, 2),
    "merges": (nothing, lambda table: table.merges(), 1, 1),
    "history": (nothing, lambda table: table.history(), 1, 1),
    "untag": (lambda table: table.tag("x", 1), lambda table: table.untag("x"), 2, 3),
    "unpin": (lambda table: table.pin(1), lambda table: table.unpin(1), 2, 2),
    "compact, nothing worn": (nothing, lambda table: table.compact(), 3, 3),
    "sync_iceberg, nothing new": (nothing, lambda table: table.sync_iceberg(), 2, 4),
    "sync_iceberg, nothing shown": (drop_face, lambda table: table.sync_iceberg(), 6, 11),
    "maintain, nothing due": (nothing, lambda table: table.maintain(), 10, 17),
}
"""What comes before each verb, the verb, its rounds and its requests."""


@pytest.mark.parametrize("verb", VERBS)
def test_requests_of_each_verb(bench: Bench, verb: str) -> None:
    table = bench.open()
    before, act, rounds, requests = VERBS[verb]
    before(table)
    act(table)
    cost = bench.cost(lambda: act(table), rounds, times=2, before=lambda: before(table))
    assert (cost.rounds, cost.requests) == (rounds, requests), cost.paths


def test_sync_iceberg_after_a_merge(bench: Bench) -> None:
    table = bench.open()
    table.sync_iceberg()
    cost = bench.cost(lambda: table.sync_iceberg(), 6, before=lambda: bench.apply(table))
    # The face, log and base beside each other, the vectors, what is written beside each other, and the commit.
    assert cost.rounds <= 6, cost.paths
    assert cost.later == 1, cost.paths


@pytest.mark.parametrize("by", ["up_to", "older_than"])
def test_expire_with_its_merge(bench: Bench, by: str) -> None:
    table = bench.open()
    bench.apply(table)

    def expire(table: ModTable) -> None:
        # Every mod of the newest batch has one sequence, and the expire is below it.
        result = table.expire(bench.sequence - 1) if by == "up_to" else table.expire(older_than="0 seconds")
        assert result.sequence == (bench.sequence - 1,)
        assert result.merge is not None
        assert result.merge.status == "merged"

    cost = bench.cost(lambda: expire(table), 7, before=lambda: bench.apply(table))
    assert (cost.rounds, cost.requests) == (7, 11), cost.paths


@pytest.mark.parametrize("options", [{"up_to": 1}, {"older_than": "0 seconds"}], ids=["up_to", "older_than"])
def test_cold_choice_of_an_expire(bench: Bench, options: dict[str, Any]) -> None:
    cost = bench.cost(lambda: bench.open().expire(**options, dry_run=True), 4)
    # Opening, which reads the manifests of a table with few versions; the log's head, as before each commit; the base.
    assert (cost.rounds, cost.requests) == (4, 16), cost.paths


def test_cold_sync_iceberg(bench: Bench) -> None:
    bench.open().sync_iceberg()
    cost = bench.cost(lambda: bench.open().sync_iceberg(), 4)
    assert (cost.rounds, cost.requests) == (8, 20), cost.paths


def test_forget_of_a_key(bench: Bench) -> None:
    """A forget writes anew, verifies and reads all that it leaves, its proof included: rarely called, never fast."""
    keys = iter(range(1_000, 1_100))
    cost = bench.cost(lambda: bench.open().forget([next(keys)], confirm="t"), 61, times=1)
    assert cost.rounds <= 61, cost.paths
    assert cost.requests <= 144, cost.paths
