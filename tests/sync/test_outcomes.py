"""What became of synchronizations: one file for each target, of which damaged ones count as missing."""

from __future__ import annotations

import pytest

from andes_spark.storage.memory import MemoryStorage
from andes_spark.sync.outcomes import TargetOutcome, read_outcomes, write_outcome

DONE = TargetOutcome("glue sales.orders", "delta", 1_790_000_000_000, applied=7)
FAILED = TargetOutcome("glue sales.größe/../x", "iceberg", 1_790_000_000_000, error="AccessDeniedError: no right")


def test_outcomes_are_read_back_by_target_and_replaced():
    storage = MemoryStorage()
    write_outcome(storage, DONE)
    write_outcome(storage, FAILED)
    assert list(read_outcomes(storage)) == [FAILED, DONE]
    later = TargetOutcome(FAILED.target, "iceberg", 1_790_000_001_000, applied=8)
    write_outcome(storage, later)
    assert list(read_outcomes(storage)) == [later, DONE]
    assert [outcome.text() for outcome in (FAILED, DONE)] == [
        "FAILED 2026-09-21 14:13:20 UTC: AccessDeniedError: no right",
        "delta, shows version 7, synchronized 2026-09-21 14:13:20 UTC",
    ]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"target": "x"}', b'{"target": "x", "form": "y", "time": "z"}'])
def test_a_damaged_outcome_counts_as_missing(data):
    storage = MemoryStorage()
    write_outcome(storage, DONE)
    storage.put("_andes/targets/damaged.json", data)
    assert list(read_outcomes(storage)) == [DONE]
