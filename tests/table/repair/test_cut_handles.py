"""Handles that were open while a repair cut the Delta log off: they drop what they have read of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from andes_spark import ModTable
from andes_spark.delta.paths import entry_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.maintenance.delta_history import entry_versions
from andes_spark.table.repair import delta_cut

ROWS = 4


def apply(table: ModTable, key: int, *, merge: bool = True) -> None:
    table.apply([{"k": key, "v": "x", "s": key}], merge=merge)


def cut_beside(handle: Callable[[MemoryStorage], ModTable] = ModTable.open) -> tuple[MemoryStorage, ModTable]:
    """A table whose Delta log was cut off and made again, with a handle from before that has read the base."""
    storage = MemoryStorage()
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])
    for key in range(1, ROWS + 1):
        apply(table, key)
    old = handle(storage)
    assert old.to_arrow().num_rows == ROWS
    storage.delete([entry_path(2)])
    result = ModTable.open(storage).repair()
    assert "cut off before version 2" in result.actions[0]
    assert ModTable.open(storage).verify().ok
    return storage, old


def check(storage: MemoryStorage, keys: set[int]) -> None:
    versions = sorted(entry_versions(storage))
    assert versions == list(range(len(versions)))
    table = ModTable.open(storage)
    assert table.verify().problems == ()
    assert set(table.to_arrow()["k"].to_pylist()) == keys


def append_and_merge(table: ModTable) -> None:
    apply(table, 50, merge=False)
    table.merge()


def append_and_set_aside(table: ModTable) -> None:
    apply(table, 50, merge=False)
    table.set_aside(table.version)


VERBS: dict[str, tuple[Callable[[ModTable], object], set[int]]] = {
    "apply": (lambda table: apply(table, 50), {50}),
    "append and merge": (append_and_merge, {50}),
    "vacuum": (lambda table: table.vacuum(retain="0 seconds"), set[int]()),
    "maintain": (lambda table: table.maintain(retain="0 seconds"), set[int]()),
    "compact": (lambda table: table.compact(), set[int]()),
    "repair": (lambda table: table.repair(), set[int]()),
    "set aside": (append_and_set_aside, set[int]()),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_handle_from_before_goes_on(verb: str) -> None:
    storage, old = cut_beside()
    action, added = VERBS[verb]
    action(old)
    old.merge()
    check(storage, {*range(1, ROWS + 1), *added})
    assert old.verify().ok
    apply(old, 60)
    check(storage, {*range(1, ROWS + 1), *added, 60})


def test_a_forget_of_a_handle_from_before() -> None:
    storage, old = cut_beside()
    old.forget([2], confirm=storage.url)
    check(storage, {1, 3, 4})


@pytest.mark.slow
@pytest.mark.parametrize("version", [None, 3])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_log_that_has_grown_again_is_not_read_on_the_state_before(after: int, version: int | None) -> None:
    storage, old = cut_beside()
    table = ModTable.open(storage)
    for key in range(after):
        apply(table, 70 + key)
    expected = table.to_arrow(version=version)
    assert old.to_arrow(version=version).sort_by("k") == expected.sort_by("k")
    apply(old, 80)
    check(storage, {*range(1, ROWS + 1), *range(70, 70 + after), 80})


def test_an_apply_during_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle commits between the announcement of a cut and its end, and once more later."""
    storage = MemoryStorage()
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])
    for key in range(1, ROWS + 1):
        apply(table, key)
    old = ModTable.open(storage)
    assert old.to_arrow().num_rows == ROWS
    storage.delete([entry_path(2)])
    announce, calls = delta_cut._announce, list[int]()

    def announced(open_table: object) -> None:
        announce(open_table)  # type: ignore[arg-type]
        if not calls:
            calls.append(1)
            apply(old, 50)  # its merge fails: the Delta log is damaged

    monkeypatch.setattr(delta_cut, "_announce", announced)
    ModTable.open(storage).repair()
    monkeypatch.undo()
    assert calls
    apply(old, 60)
    check(storage, {*range(1, ROWS + 1), 50, 60})
