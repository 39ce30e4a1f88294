"""verify() at scale: each file is opened a fixed number of times, however many ranges of keys there are, and memory is
bounded by the byte budget."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.memory import arrow_memory

MIB = 1024 * 1024
OPENS = 2
"""Reads of rows of one data file, and checks of its page index."""


class CountingStorage(MemoryStorage):
    """Counts the opens of each file, and the reads of whole objects."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: dict[str, int] = {}
        self.reads: dict[str, int] = {}

    def open_input(self, path: str) -> Any:
        self.opened[path] = self.opened.get(path, 0) + 1
        return super().open_input(path)

    def find(self, path: str) -> bytes | None:
        self.reads[path] = self.reads.get(path, 0) + 1
        return super().find(path)


def keyed(rows: int, *, files: int = 8, **options: Any) -> tuple[CountingStorage, ModTable]:
    """A table of ``rows`` keys whose files each span all of them, with deletes and new values for every second key."""
    storage = CountingStorage()
    table = ModTable.create(
        storage, "k BIGINT, v STRING, s BIGINT", primary_key=["k"], sequence_by=["s"],
        settings=Settings(compact_bytes=0), **options,
    )  # fmt: skip
    for number in range(files):
        keys = np.arange(number, rows, files)
        table.apply(pa.table({"k": keys, "v": [f"value {key}" for key in keys], "s": keys}))
    keys = np.arange(0, rows, 2)
    operations = np.where(keys % 10 == 0, "D", "U")
    changes = pa.table({"k": keys, "v": np.char.add("new ", keys.astype(str)), "s": keys + 10**9, "op": operations})
    table.apply(changes, apply_as_deletes="op = 'D'")
    return storage, table


def verified(storage: MemoryStorage, budget: int) -> Any:
    return ModTable.open(storage, settings=Settings(byte_budget=budget, key_cache_bytes=0)).verify()


@pytest.mark.parametrize("budget", [512 * MIB, 1024 * 1024, 256 * 1024])
def test_each_file_is_opened_a_fixed_number_of_times(budget: int) -> None:
    storage, table = keyed(20_000)
    rows = table.to_arrow().num_rows
    storage.opened.clear()
    result = verified(storage, budget)
    assert (result.problems, result.rows) == ((), rows)
    data = {path: times for path, times in storage.opened.items() if path.startswith("part-")}
    assert len(data) >= 9
    assert max(data.values()) <= OPENS
    assert max(storage.opened.values()) <= OPENS


def test_each_ledger_file_is_read_once() -> None:
    storage = CountingStorage()
    table = ModTable.create(storage, "k BIGINT, s BIGINT", primary_key=["k"], sequence_by=["s"], merge="manual")
    for number in range(65):
        table.apply(pa.table({"k": [number], "s": [number]}), batch_id=("s", number))
    storage.reads.clear()
    assert verified(storage, 512 * MIB).ok
    ledgers = {path: times for path, times in storage.reads.items() if "/ledger/" in path}
    assert len(ledgers) >= 6
    assert set(ledgers.values()) == {1}


@pytest.mark.slow
def test_memory_is_bounded_by_the_budget() -> None:
    text = "x" * 200
    ids = np.arange(400_000)
    data = pa.table({"k": ids, "v": pa.array([f"{text}{number}" for number in ids]), "s": ids})
    storage = MemoryStorage()
    table = ModTable.create(
        storage, "k BIGINT, v STRING, s BIGINT", primary_key=["k"], sequence_by=["s"], data=data,
        settings=Settings(compact_bytes=0),
    )  # fmt: skip
    table.apply(data.slice(0, 200_000).set_column(2, "s", pa.array(ids[:200_000] + 10**6)))
    assert data.nbytes > 80 * MIB
    del data, table
    with arrow_memory() as pool:
        result = verified(storage, 16 * MIB)
    assert (result.problems, result.rows) == ((), 400_000)
    assert pool.max_memory() <= 16 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("budget", [512 * MIB, 128 * 1024])
@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_row_that_differs_is_named_whatever_the_budget(budget: int, partial: bool, ordered: bool) -> None:
    storage = MemoryStorage()
    rng = random.Random(7)
    names = [f"k{n:05}" for n in range(2_000)]
    data = pa.table({"k": names, "a": range(2_000), "b": ["b"] * 2_000, "s": [0] * 2_000})
    table = ModTable.create(
        storage, "k STRING, a BIGINT, b STRING, s BIGINT", primary_key=["k"],
        sequence_by=["s"] if ordered else [], settings=Settings(compact_bytes=0),
        data=data,
    )  # fmt: skip
    for version in range(1, 5):
        keys = sorted(rng.sample(range(2_500), 300))
        mods = pa.table(
            {
                "k": [f"k{n:05}" for n in keys],
                "a": [n * version for n in keys],
                "b": [f"{version}"] * len(keys),
                "s": [version] * len(keys),
                "op": ["D" if n % 4 == 0 else "U" for n in keys],
            }
        )
        options: dict[str, Any] = {"batch_id": ("s", version), "apply_as_deletes": "op = 'D'"}
        if partial and version % 2 == 0:
            mods, options = (
                mods.filter(pa.array([n % 4 != 0 and n < 2_000 for n in keys])),
                {"batch_id": ("s", version)},
            )
            options["column_list"] = ["k", "b", "s"]
            mods = mods.select(["k", "b", "s"])
        table.apply(mods, **options)
    result = verified(storage, budget)
    assert (result.problems, result.rows) == ((), table.to_arrow().num_rows)
    lost_key = table.to_arrow().sort_by("k")["k"][5].as_py()
    mutilated = _without_row(table, lost_key)
    [problem] = verified(mutilated, budget).problems
    assert "are not the same rows" in problem
    assert repr(lost_key) in problem


def _without_row(table: ModTable, key: str) -> MemoryStorage:
    """A copy of the table whose base lacks the row of a key, by a commit that looks like a merge."""
    from andes_spark.delta import actions
    from andes_spark.delta.log import create_entry
    from andes_spark.delta.vectors import from_positions, load_vector, write_vectors
    from andes_spark.testing.tables import copy_of

    original: Any = table._open_table.storage
    storage = copy_of(original)
    base = ModTable.open(storage)._open_table.base.snapshot()
    for path, file in base.state.files.items():
        import pyarrow.parquet as pq

        keys = pq.read_table(pa.BufferReader(storage.get(path)), columns=["k"])["k"].to_pylist()
        dead = load_vector(storage, file.vector) if file.vector is not None else from_positions(np.zeros(0, np.int64))
        at = [row for row, value in enumerate(keys) if value == key and row not in dead]
        if at:
            [vector] = write_vectors(storage, {path: dead | from_positions(np.array(at))}).values()
            info = actions.commit_info("MERGE", timestamp_ms=1, commit_id="x", previous=base.state.commit_id)
            changes = [actions.remove(file, timestamp_ms=1), actions.add_with_vector(file, vector)]
            transaction = actions.txn(table._open_table.table_id, base.applied)
            create_entry(storage, base.version + 1, [info, transaction, *changes])
            storage.delete(["_andes/merging.json"])
            return storage
    raise AssertionError(key)
