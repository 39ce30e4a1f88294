"""What the tasks of a batch hand back stays within the driver's share of the budget, however many tasks there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from andes_spark.batch.parts import Part
from andes_spark.settings import MIB
from andes_spark.spark.frames import FrameTask, hand_back_bytes
from andes_spark.storage.memory import MemoryStorage


@dataclass(frozen=True)
class Writer:
    """Writer of parts that writes nothing."""

    storage: MemoryStorage = field(default_factory=MemoryStorage)
    target_bytes: int = 128 * MIB
    threads: int = 1

    def prepare(self, rows: pa.Table, **_: Any) -> pa.Table:
        return rows

    def write(self, rows: pa.Table) -> Part:
        return Part()


@pytest.mark.parametrize(("budget", "tasks"), [(512 * MIB, 540), (64 * MIB, 2_000), (16 * MIB, 200)])
def test_many_medium_partitions_stay_within_the_budget(
    budget: int, tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("andes_spark.spark.frames.with_operations", lambda rows, on_null: rows)
    largest = budget // 256
    batch = pa.record_batch({"id": np.zeros(int(largest * 0.95) // 8, np.int64)})
    handed_back = files = 0
    for number in range(tasks):
        work = FrameTask(Writer(), budget, "quarantine", ())  # type: ignore[arg-type]
        for kind, data in work.run(iter([batch]), number):
            handed_back += len(data) if kind == "rows" else 0
            files += kind == "part"
    assert files, "the others are files"
    assert handed_back > budget // 16, "few partitions are handed back as before"
    assert handed_back <= budget // 2 + tasks * 4096


def test_the_share_of_a_task() -> None:
    assert {hand_back_bytes(512 * MIB, task) for task in range(64)} == {2 * MIB}
    shares = [hand_back_bytes(512 * MIB, task) for task in range(100_000)]
    assert shares == sorted(shares, reverse=True)
    assert sum(share for share in shares if share > 4096) <= 256 * MIB
    assert shares[-1] == 4096, "a few rows are no file"
    assert {hand_back_bytes(0, task) for task in range(1000)} == {0}
