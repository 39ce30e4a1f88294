"""Forget: tombstones of all origins lose their keys, and none of the others."""

from __future__ import annotations

import pytest

from andes_spark import ModTable
from andes_spark.storage.memory import MemoryStorage
from tests.forgotten import SETTINGS, confirmed, opened
from tests.table.repair.test_take_in import content, named, overwrite


def sound(storage: MemoryStorage) -> None:
    checked = opened(storage).verify()
    assert (checked.problems, checked.missing, checked.unused) == ((), (), ()), checked.details()


def created() -> tuple[MemoryStorage, ModTable]:
    storage = MemoryStorage()
    table = ModTable.create(
        storage, "id BIGINT, seq BIGINT, name STRING", primary_key="id", sequence_by="seq", settings=SETTINGS
    )
    return storage, table


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
