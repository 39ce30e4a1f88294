"""The merge policy "auto": small merges at once, large ones when reads have paid as much, within a staleness."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from andes_spark.model.merge_cost import (
    AT_ONCE_SECONDS,
    LOCAL,
    MERGE_ROUNDS,
    REMOTE,
    BaseCost,
    MergeDecision,
    PendingCost,
    StoreCost,
    decide_merge,
    merge_work,
    read_work,
)

SMALL = BaseCost(rows=100_000, files=1, key_bytes=16, unread_rows=100_000)
LARGE = BaseCost(rows=100_000_000, files=500, key_bytes=16, unread_rows=100_000_000)
BATCH = PendingCost(mods=50_000, bytes=2_000_000)
OPTIONS: dict[str, Any] = {
    "reads_per_version": 0.1,
    "waited_seconds": 0.0,
    "staleness_seconds": 900.0,
    "most_bytes": 128 * 1024 * 1024,
}


def decide(versions: list[PendingCost], base: BaseCost, store: StoreCost = REMOTE, **options: Any) -> MergeDecision:
    return decide_merge(versions, base, store, **{**OPTIONS, **options})


@pytest.mark.parametrize("store", [LOCAL, REMOTE])
def test_small_merges_are_due_at_once(store: StoreCost) -> None:
    decision = decide([PendingCost(100, 5_000)], SMALL, store)
    assert (decision.due, decision.reason) == (True, "small")
    assert str(decision).startswith("due: a merge takes about ")
    # A few mods of a large table too: only the pages that hold their keys are read.
    assert decide([PendingCost(10, 5_000)], LARGE, store).reason == "small"


def test_merges_are_due_at_once_where_the_keys_are_in_memory() -> None:
    held = replace(LARGE, unread_rows=0)
    assert [decide([BATCH], base).reason for base in (LARGE, held)] == ["cheaper later", "small"]


def test_nothing_is_never_due() -> None:
    decision = decide([], LARGE, waited_seconds=1e9)
    assert (decision.due, str(decision)) == (False, "not due: nothing is pending")


@pytest.mark.parametrize("store", [LOCAL, REMOTE])
def test_large_merges_are_due_once_reads_have_paid_as_much(store: StoreCost) -> None:
    reasons = [decide([BATCH] * count, LARGE, store).reason for count in range(1, 30)]
    first = reasons.index("reads")
    assert 2 < first < 25
    assert set(reasons[:first]) == {"cheaper later"}
    assert set(reasons[first:]) == {"reads"}
    decision = decide([BATCH] * (first + 1), LARGE, store)
    assert (decision.read_seconds or 0) >= (decision.merge_seconds or 1)
    assert str(decision).startswith(
        f"due: reads have spent about {decision.read_seconds:.2g} s on {first + 1} versions"
    )


def test_more_reads_make_it_due_earlier() -> None:
    def first_due(reads: float) -> int:
        due = (count for count in itertools.count(1) if decide([BATCH] * count, LARGE, reads_per_version=reads).due)
        return next(due)

    counts = [first_due(reads) for reads in (10, 1, 0.1, 0.01)]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] > 20


def test_reads_that_are_known_count_if_they_are_more_than_expected() -> None:
    assert [decide([BATCH] * 2, LARGE, reads=reads).due for reads in (0, 1, 2)] == [False, True, True]
    expected = decide([BATCH] * 4, LARGE).read_seconds
    assert decide([BATCH] * 4, LARGE, reads_per_version=0.0, reads=1).read_seconds != expected


def test_without_reads_the_staleness_and_the_limits_decide() -> None:
    none: dict[str, Any] = {"reads_per_version": 0.0}
    waiting = decide([BATCH], LARGE, waited_seconds=300, **none)
    assert (waiting.due, waiting.reason, waiting.due_in_seconds) == (False, "cheaper later", 600)
    assert str(waiting).endswith("; due in 10 minutes at the latest")
    assert decide([BATCH], LARGE, waited_seconds=900, **none).reason == "staleness"
    assert decide([BATCH] * 70, LARGE, **none).reason == "limit"
    assert decide([PendingCost(1_000_000, 10)] * 500, LARGE, **none).reason == "limit"


def test_the_sum_of_costs_is_near_that_of_the_best_interval() -> None:
    """Over many versions: the rule against each fixed number of versions, with as many reads as expected."""

    def cost(interval: int, reads: float) -> float:
        sums = [PendingCost(BATCH.mods * count, BATCH.bytes * count) for count in range(1, interval + 1)]
        merge = merge_work(LARGE, REMOTE, mods=sums[-1].mods) + MERGE_ROUNDS * REMOTE.request_seconds
        read = sum(
            read_work(LARGE, REMOTE, mods=part.mods, size=part.bytes) + 2 * REMOTE.request_seconds for part in sums[:-1]
        )
        return (merge + reads * read) / interval

    for reads in (2.0, 0.5, 0.1, 0.02):
        chosen = next(
            count for count in itertools.count(1) if decide([BATCH] * count, LARGE, reads_per_version=reads).due
        )
        best = min(cost(count, reads) for count in range(1, 60))
        assert cost(chosen, reads) <= 2.1 * best, reads


def test_the_texts_of_the_other_policies() -> None:
    assert str(MergeDecision(False, "manual")) == "not due: merges are manual"
    assert str(MergeDecision(True, "always")) == "due after each apply"
    assert str(MergeDecision(False, "staleness", 3, due_in_seconds=125.0)) == (
        "not due: 3 versions wait; due in 2 minutes at the latest"
    )
    assert str(MergeDecision(True, "staleness", 1)) == "due: 1 version has waited as long as the policy allows"
    assert AT_ONCE_SECONDS > 0
