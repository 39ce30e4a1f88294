"""Forget: tombstones of all origins lose their keys, and none of the others."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.storage.memory import MemoryStorage
from tests.forgotten import SETTINGS, confirmed, opened
from tests.table.repair.test_take_in import content, named, overwrite
from tests.vacuumed import sound


def created() -> tuple[MemoryStorage, ModTable]:
    storage = MemoryStorage()
    table = ModTable.create(
        storage, "id BIGINT, seq BIGINT, name STRING", primary_key="id", sequence_by="seq", settings=SETTINGS
    )
    return storage, table


@pytest.mark.slow
@pytest.mark.parametrize("key", [2, 3, 4, 9])
def test_rows_that_a_take_in_removed_stay_deleted(key: int) -> None:
    """Key 2 stays, 3 and 4 were removed by the other writer, 9 came back over a tombstone."""
    storage, table = created()
    table.apply(named((1, 10, "a"), (2, 10, "b"), (3, 10, "c"), (4, 10, "d"), (9, 50, "x")))
    table.apply(named((9, 50, None)), apply_as_deletes="name IS NULL")
    overwrite(storage, (1, 10, "a"), (2, 10, "b"), (9, 20, "back"))
    table.repair("take_in")
    handles = [table, opened(storage)]
    result = table.forget([key], confirm=confirmed(storage))
    assert (result.ok, result.verify().ok) == (True, True)
    sound(storage)
    for handle in (*handles, opened(storage)):
        assert (handle.repair().findings, handle.repair(lost="accept").actions) == ((), ())
    opened(storage).apply(named((key, 10, "late"), (3, 5, "late"), (4, 10, "late")))
    expected = {1: (10, "a"), 2: (10, "b"), 9: (20, "back")}
    expected.pop(key, None)
    for handle in (*handles, opened(storage)):
        assert content(handle) == expected
    sound(storage)


DELETE, UPSERT, TRUNCATE = "DUT"


def send(table: ModTable, *mods: tuple[str, int | None, int]) -> None:
    ops, ids, seqs = zip(*mods, strict=True)
    batch = pa.table({"id": pa.array(ids, pa.int64()), "name": ["x"] * len(ids), "seq": seqs, "op": ops})
    conditions: Any = {"apply_as_deletes": "op = 'D'", "apply_as_truncates": "op = 'T'"}
    table.apply(batch, **conditions)


@pytest.mark.parametrize(
    "batches",
    [
        [[(DELETE, 1, 11)], [(UPSERT, 1, 13)], [(TRUNCATE, None, 25)], [(UPSERT, 2, 30)]],
        [[(DELETE, 1, 11)], [(UPSERT, 1, 13)], [(DELETE, 1, 24), (TRUNCATE, None, 25)], [(UPSERT, 2, 30)]],
        [[(DELETE, 4, 10), (DELETE, 1, 11)], [(UPSERT, 1, 13)], [(TRUNCATE, None, 25)], [(DELETE, 5, 32)]],
        [[(DELETE, 1, 11)], [(UPSERT, 1, 13)], [(UPSERT, 1, 40)]],
    ],
)
def test_tombstones_that_ended_are_forgotten(batches: Any) -> None:
    """A key whose tombstone a row ended is named by both, also where a truncate erased that row."""
    storage, table = created()
    for batch in batches:
        send(table, *batch)
    last = max(row["seq"] for row in [{"seq": 13}, *table.get([1]).to_pylist()])
    before = {key: row for key, row in content(table).items() if key != 1}
    result = table.forget([1], confirm=confirmed(storage))
    assert (result.ok, table.forget([1], confirm=confirmed(storage)).version) == (True, None), result.details()
    sound(storage)
    send(opened(storage), (UPSERT, 1, last))
    assert content(opened(storage)) == before
    sound(storage)
    send(table, (UPSERT, 1, 50), (UPSERT, 4, 5))
    assert content(opened(storage)).keys() - {4} == {*before, 1}
    sound(storage)


def test_a_tombstone_that_a_take_in_ended_does_not_come_back() -> None:
    storage, table = created()
    send(table, (UPSERT, 1, 10), (UPSERT, 9, 10))
    send(table, (DELETE, 9, 50))
    overwrite(storage, (1, 10, "a"), (9, 20, "back"))
    table.repair("take_in")
    assert table.forget([9], confirm=confirmed(storage)).ok
    send(table, (UPSERT, 9, 20))
    assert content(table) == {1: (10, "a")}
    send(table, (UPSERT, 9, 30))
    assert content(opened(storage)).keys() == {1, 9}
    sound(storage)
