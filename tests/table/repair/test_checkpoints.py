"""Damaged checkpoints of the Delta log stop other readers: they are found, and deleted where nothing needs them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from andes_spark import ModTable
from andes_spark.delta.checkpoints import HINT_PATH, checkpoint_path
from andes_spark.delta.log import load_state
from andes_spark.delta.paths import entry_path
from andes_spark.storage.memory import MemoryStorage
from tests.table.repair.test_cleaned_log import apply, check_goes_on, content, with_checkpoint

NEWEST = 3


def created() -> MemoryStorage:
    """Three merges, and a checkpoint of the last one."""
    storage = MemoryStorage()
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])
    for key in range(1, NEWEST + 1):
        apply(table, key)
    assert with_checkpoint(storage) == NEWEST
    return storage


def change(path: str, damage: Callable[[bytes], bytes]) -> Callable[[MemoryStorage], None]:
    return lambda storage: storage.put(path, damage(storage.get(path)))


CHECKPOINT = checkpoint_path(NEWEST)
DAMAGE: dict[str, tuple[Callable[[MemoryStorage], None], str]] = {
    "empty": (change(CHECKPOINT, lambda data: b""), f"{CHECKPOINT}: "),
    "cut": (change(CHECKPOINT, lambda data: data[: len(data) // 2]), f"{CHECKPOINT}: "),
    "zeros": (change(CHECKPOINT, lambda data: data[:4] + bytes(len(data) // 2) + data[4:]), f"{CHECKPOINT}: "),
    "gone": (lambda storage: storage.delete([CHECKPOINT]), "names a checkpoint of version 3, which is not there"),
    "hint": (change(HINT_PATH, lambda data: b"{{{"), f"{HINT_PATH} cannot be read"),
    "hint of another": (
        change(HINT_PATH, lambda data: json.dumps({"version": 99, "size": 3}).encode()),
        "names a checkpoint of version 99, which is not there",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_found_and_deleted(kind: str) -> None:
    storage, (damage, problem) = created(), DAMAGE[kind]
    damage(storage)
    (message,) = ModTable.open(storage).verify().problems
    assert problem in message
    result = ModTable.open(storage).repair()
    assert (result.findings, result.left) == ((message,), ())
    assert all("is deleted: readers do without it" in action for action in result.actions)
    check_goes_on(storage, NEWEST)


def test_a_damaged_checkpoint_that_is_needed_stays() -> None:
    storage = created()
    storage.put(CHECKPOINT, storage.get(CHECKPOINT)[:-20])
    storage.delete([entry_path(1)])
    before = content(storage)
    result = ModTable.open(storage).repair(dry_run=True)
    assert not any(CHECKPOINT in action for action in result.actions)
    assert content(storage) == before


def test_the_newest_entry_is_gone_below_its_own_checkpoint() -> None:
    storage = created()
    storage.delete([entry_path(NEWEST)])
    assert not ModTable.open(storage).verify().ok
    result = ModTable.open(storage).repair()
    assert result.left == ()
    assert f"cut off before version {NEWEST}" in result.actions[0]
    assert load_state(storage).version >= NEWEST
    check_goes_on(storage, NEWEST)
