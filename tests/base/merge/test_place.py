"""Where a merge runs follows from what is left to be read once its keys prune files, not from the size of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.base.evaluate import local_locator
from andes_spark.storage.interface import Storage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.open_table import OpenTable

A = TypeVar("A")
B = TypeVar("B")
MIB = 1024 * 1024
ROWS = 200_000


class Tasks:
    """An executor of tasks that runs them here and notes their steps."""

    distributed = True
    slots = 2

    def __init__(self) -> None:
        self.steps: list[str] = []

    def map(self, function: Callable[[A], B], parts: Iterable[A], *, step: str) -> list[B]:
        self.steps.append(step)
        return [function(part) for part in parts]


class Opens(MemoryStorage):
    """A store that notes which files of the base are opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open_input(self, path: str) -> pa.NativeFile:
        if path.startswith("part-"):
            self.opened.append(path)
        return super().open_input(path)


def table_of(storage: Storage, **settings: Any) -> ModTable:
    ids = np.arange(ROWS)
    return ModTable.create(
        storage,
        "id BIGINT, seq BIGINT, name STRING",
        primary_key=["id"],
        sequence_by=["seq"],
        data=pa.table({"id": ids, "seq": ids, "name": [f"n{number}" for number in ids]}),
        settings=Settings(target_file_bytes=300_000, compact_bytes=0, **settings),
    )


def mods(*ids: int, sequence: int = 10**9) -> pa.Table:
    return pa.table({"id": ids, "seq": [sequence] * len(ids), "name": ["new"] * len(ids)})


@pytest.fixture
def locators(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Threads of each locator of the process, and whether it has the cache."""
    caches: list[tuple[int, bool]] = []

    def noting(storage: Storage, shape: Any, threads: int, cache: Any = None) -> Any:
        caches.append((threads, cache is not None))
        return local_locator(storage, shape, threads, cache)

    monkeypatch.setattr("andes_spark.base.merge.plan.local_locator", noting)
    return caches


def test_a_small_merge_stays_here_whatever_the_table_holds(
    locators: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, storage = Tasks(), Opens()
    table = table_of(storage, byte_budget=2 * MIB)
    assert ROWS * 16 > 2 * MIB, "all keys and sequences are beyond the budget"
    monkeypatch.setattr(OpenTable, "executor", lambda self: tasks)
    assert table.status().files > 5
    storage.opened.clear()
    for number in range(3):
        merged = table.apply(mods(5, sequence=10**9 + number)).merge
        assert merged is not None
        assert (merged.status, merged.updated) == ("merged", 1)
    assert tasks.steps == []
    assert locators == [(4, True)] * 3
    assert len(set(storage.opened)) <= 2, "the file of the key, and that of its last row"
    assert len(storage.opened) <= 3, "the page of the key, each time"
    assert table.to_arrow(filter="id = 5").num_rows == 1
    assert table.verify().ok


def test_without_tasks_a_scan_beyond_the_budget_uses_all_threads_and_the_cache(
    locators: list[tuple[int, bool]],
) -> None:
    table = table_of(MemoryStorage(), byte_budget=2 * MIB)
    ids = tuple(range(0, ROWS, 5_000))
    merged = table.apply(mods(*ids)).merge
    assert merged is not None
    assert (merged.status, merged.updated) == ("merged", len(ids))
    assert locators == [(4, True)]


def test_with_tasks_only_the_pruned_scan_beyond_the_budget_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks()
    table = table_of(MemoryStorage(), byte_budget=2 * MIB)
    monkeypatch.setattr(OpenTable, "executor", lambda self: tasks)
    ids = tuple(range(0, ROWS, 2_000))
    merged = table.apply(mods(*ids)).merge
    assert merged is not None
    assert (merged.status, merged.updated) == ("merged", len(ids))
    assert "locate rows" in tasks.steps
    assert table.verify().ok


def test_keys_in_the_cache_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks()
    table = table_of(MemoryStorage(), byte_budget=2 * MIB)
    ids = tuple(range(0, ROWS, 2_000))
    table.apply(mods(*ids))
    monkeypatch.setattr(OpenTable, "executor", lambda self: tasks)
    merged = table.apply(mods(*ids, sequence=10**9 + 1)).merge
    assert merged is not None
    assert merged.updated == len(ids)
    assert "locate rows" not in tasks.steps


@pytest.mark.slow
def test_mods_beyond_the_budget_go_range_by_range(locators: list[tuple[int, bool]]) -> None:
    table = table_of(MemoryStorage(), byte_budget=MIB)
    ids = tuple(range(0, ROWS, 2))
    merged = table.apply(mods(*ids)).merge
    assert merged is not None
    assert (merged.status, merged.updated) == ("merged", len(ids))
    assert locators == [(2, True)]
    assert table.verify().ok


def test_sizes_of_files_are_those_of_their_rows() -> None:
    table = table_of(MemoryStorage())
    state = table._open_table.base.snapshot().state
    rows = table.to_arrow()
    known = sum(file.arrow_bytes for file in state.files.values())
    assert 0.95 * rows.nbytes < known < 1.1 * rows.nbytes
