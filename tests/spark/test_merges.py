"""Merges in the process, with the scan in tasks, and in tasks by ranges of keys: the same rows and counts."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Schema, Settings
from tests.spark.batches import frame_of, shown, spark_rows

DDL = "a INT, b STRING, c DECIMAL(9,2), p STRING, seq BIGINT, v STRING, w DOUBLE"
ARROW = Schema.from_ddl(DDL).to_arrow()
KEYS: dict[str, dict[str, Any]] = {
    "integer": {"primary_key": ["a"]},
    "string": {"primary_key": ["b"], "deletion_vectors": False},
    "composite": {"primary_key": ["b", "c", "a"]},
    "partitioned": {"primary_key": ["p", "a"], "partition_by": ["p"]},
    "partitioned, rewritten": {"primary_key": ["a"], "partition_by": ["p"], "deletion_vectors": False},
    "no sequence": {"primary_key": ["b", "a"], "sequence_by": []},
}


def rows(keys: list[int], seq: int) -> pa.Table:
    drawn = [
        {
            "a": k,
            "b": f"k'{k:05}é" if k % 3 else f"{k}",
            "c": Decimal(k).scaleb(-2),
            "p": [None, "x", "y/z"][k % 3] or "ü",
            "seq": seq + k % 7,
            "v": f"v{seq}" * (k % 5),
            "w": k / 3,
        }
        for k in keys
    ]
    return pa.Table.from_pylist(drawn, schema=ARROW)


def drive(table: ModTable, settings: Settings) -> list[Any]:
    """The same work whatever the settings; what came of it, and where it ran."""
    table = ModTable.open(table.url, settings=settings)
    chance = random.Random(3)
    outcomes: list[Any] = []
    sequenced = bool(table.sequence_by)
    for number in range(1, 4):
        keys = sorted(chance.sample(range(3000), 300))
        deleted = sorted(chance.sample(range(3000), 150))
        table.apply(rows(keys, 1000 * number), batch_id=("up", number))
        table.apply(rows(deleted, 1000 * number + 500), apply_as_deletes="true", batch_id=("down", number))
        if sequenced:
            table.apply(rows(keys[:50], 1000 * number - 600), batch_id=("late", number))
            partial = rows(deleted[50:80] + keys[100:150], 1000 * number + 700).drop_columns(["w"])
            table.apply(partial, except_column_list=["w"], batch_id=("part", number))
        result = table.merge()
        outcomes.append((result.counts, shown(table)))
        outcomes.append(sorted({step.name for step in result.steps if step.spark_jobs}))
    if sequenced:
        cut = rows([0], 2000).set_column(4, ARROW.field("seq"), pa.array([2003], pa.int64()))
        table.apply(cut, apply_as_truncates="true")
        table.apply(rows(list(range(200)), 2001), batch_id=("after", 1))
        outcomes.append((table.merge().counts, shown(table)))
        outcomes.append([])
    assert table.verify().ok
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KEYS))
def test_wherever_a_merge_runs_it_does_the_same(spark, tmp_path, kind):
    options = {"sequence_by": ["seq"], "merge": "manual", **KEYS[kind]}
    loaded = rows(list(range(0, 3000, 2)), 0)
    outcomes = {}
    for name, budget in (("here", 1 << 29), ("scan", 60_000), ("buckets", 0)):
        settings = Settings(byte_budget=budget, target_file_bytes=30_000)
        data: Any = loaded if name == "here" else frame_of(spark, loaded).repartition(2)
        table = ModTable.create(tmp_path / name, DDL, data=data, settings=settings, **options)
        outcomes[name] = drive(table, settings)
        assert spark_rows(table.read(), table) == outcomes[name][-2][1]
    for name in ("scan", "buckets"):
        for one, two in zip(outcomes["here"][::2], outcomes[name][::2], strict=True):
            assert one == two, name
    assert outcomes["here"][1] == []
    assert "merge rows" in outcomes["buckets"][1]
