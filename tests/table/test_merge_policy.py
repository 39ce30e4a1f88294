"""Merge policies of a table: what an apply merges, and what status, results and the command line say about it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark import ModTable, Settings
from andes_spark.cli.app import andes
from andes_spark.model import merge_cost
from andes_spark.storage.memory import MemoryStorage


def create(storage: Any, merge: str, **settings: Any) -> ModTable:
    return ModTable.create(
        storage, "id BIGINT, v STRING, seq BIGINT", primary_key="id", sequence_by="seq", merge=merge,
        settings=Settings(**settings),
    )  # fmt: skip


def rows(sequence: int, count: int = 50) -> pa.Table:
    return pa.table({"id": range(count), "v": ["x"] * count, "seq": [sequence] * count})


def test_small_tables_merge_after_each_apply() -> None:
    table = create(MemoryStorage(), "auto")
    for number in range(3):
        result = table.apply(rows(number))
        assert result.merge is not None
        assert (result.merge.status, result.merge.applied) == ("merged", number + 1)
        assert result.merge.decision is not None
        assert result.merge.decision.reason == "small"
    status = table.status()
    assert (status.pending_versions, status.decision.reason) == (0, "nothing pending")
    assert status.details()["merge"] == "auto; not due: nothing is pending"


def test_large_merges_wait_until_reads_have_paid_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_cost, "AT_ONCE_SECONDS", -1.0)
    table = create(MemoryStorage(), "auto", auto_merge_reads=1.0)
    merges = [table.apply(rows(number), batch_id=("s", number)).merge for number in range(12)]
    states = [merge.status for merge in merges if merge is not None]
    assert states.count("merged") >= 2
    first = states.index("merged")
    assert first >= 2
    assert states[:first] == ["waiting"] * first
    waiting, merged = merges[0], merges[first]
    assert waiting is not None
    assert merged is not None
    assert merged.applied == first + 1
    assert merged.decision is not None
    assert merged.decision.reason == "reads"
    assert waiting.summary() == str(waiting.decision)
    assert "not due: a merge takes about" in waiting.summary()
    assert len(table.to_arrow()) == 50
    assert table.verify().ok


def test_a_handle_that_did_not_read_the_base_decides_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_cost, "AT_ONCE_SECONDS", -1.0)
    storage = MemoryStorage()
    create(storage, "auto")
    states = []
    for number in range(16):
        result = ModTable.open(storage, settings=Settings(auto_merge_reads=1.0)).apply(rows(number))
        assert result.merge is not None
        states.append(result.merge.status)
    assert 2 <= states.count("merged") <= 6
    pending = ModTable.open(storage).status()
    assert pending.pending_versions == pending.decision.pending_versions


def test_pending_versions_are_merged_within_the_staleness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_cost, "AT_ONCE_SECONDS", -1.0)
    storage = MemoryStorage()
    create(storage, "auto")
    table = ModTable.open(storage, settings=Settings(auto_merge_reads=0))
    result = table.apply(rows(1))
    assert result.merge is not None
    assert result.merge.status == "waiting"
    assert re.search("due in 1[45] minutes at the latest", table.status().details()["merge"])
    late = ModTable.open(storage, settings=Settings(auto_merge_reads=0, auto_merge_seconds=0))
    assert late.status().decision.reason == "staleness"
    result = late.apply(rows(2))
    assert result.merge is not None
    assert (result.merge.status, result.merge.applied) == ("merged", 2)


def test_the_caller_decides_over_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_cost, "AT_ONCE_SECONDS", -1.0)
    table = create(MemoryStorage(), "auto")
    assert table.apply(rows(1), merge=False).merge is None
    forced = table.apply(rows(2), merge=True).merge
    assert forced is not None
    assert (forced.status, forced.decision) == ("merged", None)
    assert table.merge().status == "nothing"


def test_reads_of_the_same_handle_count_if_they_are_more_than_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_cost, "AT_ONCE_SECONDS", -1.0)
    table = create(MemoryStorage(), "auto", auto_merge_reads=0)
    states = []
    for number in range(9):
        result = table.apply(rows(number))
        assert result.merge is not None
        states.append(result.merge.status)
        table.to_arrow()
    assert states == ["waiting", "waiting", "merged"] * 3
    table.merge()
    table.to_arrow()
    assert table.apply(rows(100)).merge.status == "waiting"  # type: ignore[union-attr]


def test_an_age_tells_how_long_versions_still_wait() -> None:
    table = create(MemoryStorage(), "15 minutes")
    result = table.apply(rows(1))
    assert result.merge is not None
    assert result.merge.status == "waiting"
    assert re.fullmatch("not due: 1 version waits; due in 1[45] minutes at the latest", result.merge.summary())
    assert table.status().decision.reason == "staleness"
    assert create(MemoryStorage(), "manual").apply(rows(1)).merge is None


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(merge_cost, "AT_ONCE_SECONDS", -1.0)
    table = create("t", "auto")
    table.apply(rows(1))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(andes, ["table", *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "not due: a merge takes about" in run("status", "t")
    assert "not due: a merge takes about" in run("merge", "t", "--if-due")
    document = json.loads(run("merge", "t", "--if-due", "--output", "json"))
    assert (document["status"], document["decision"]["reason"]) == ("not due", "cheaper later")
    assert json.loads(run("status", "t", "--output", "json"))["decision"]["pending_versions"] == 1
    assert json.loads(run("merge", "t", "--output", "json"))["status"] == "merged"


@pytest.mark.parametrize(("policy", "like", "bound"), [("auto", "always", 0.1), ("auto", "manual", -1.0)])
def test_the_decision_costs_no_request(policy: str, like: str, bound: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_cost, "AT_ONCE_SECONDS", bound)

    def requests(merge: str) -> int:
        table = create(MemoryStorage(), merge, auto_merge_reads=0, compact_bytes=0, checkpoint_interval=100)
        for number in range(3):
            table.apply(rows(number), batch_id=("s", number))
        before = table._open_table.storage.counts.snapshot()
        table.apply(rows(4), batch_id=("s", 4))
        return table._open_table.storage.counts.minus(before).requests

    assert requests(policy) == requests(like)
