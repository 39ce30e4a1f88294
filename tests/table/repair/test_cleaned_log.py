"""Lost entries of the Delta log: harmless below a checkpoint; and nothing is cut off that cannot be made again."""

from __future__ import annotations

import json

import pytest

from andes_spark import ModTable
from andes_spark.delta import actions
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.log import load_state
from andes_spark.delta.paths import entry_path
from andes_spark.errors import LogDamagedError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of
from tests.table.test_foreign_writes import foreign_commit, removal, with_property


def apply(table: ModTable, key: int) -> None:
    table.apply([{"k": key, "v": "x", "s": key}], merge=True)


def vacuumed(*, after: int = 1, before: int = 5) -> MemoryStorage:
    storage = MemoryStorage()
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])
    for key in range(1, before + 1):
        apply(table, key)
    table.vacuum(retain="0 seconds")
    for key in range(after):
        apply(table, 50 + key)
    return storage


def content(storage: MemoryStorage) -> dict[str, bytes]:
    return {info.path: storage.get(info.path) for info in storage.list()}


def with_checkpoint(storage: MemoryStorage) -> int:
    state = load_state(storage)
    write_checkpoint(storage, state, now_ms=1)
    return state.version


def check_goes_on(storage: MemoryStorage, rows: int) -> None:
    table = ModTable.open(storage)
    assert table.verify().problems == ()
    assert table.status().stopped is None
    before = content(storage)
    result = table.repair()
    assert (result.findings, result.actions, result.left) == ((), (), ())
    assert content(storage) == before
    assert table.to_arrow().num_rows == rows
    apply(table, 90)
    apply(table, 91)
    assert ModTable.open(storage).to_arrow(version=table.version - 1).num_rows == rows + 1
    assert ModTable.open(storage).verify().ok
    ModTable.open(storage).vacuum(retain="0 seconds")
    apply(table, 92)
    assert ModTable.open(storage).verify().ok
    assert ModTable.open(storage).to_arrow().num_rows == rows + 3


@pytest.mark.slow
def test_one_entry_below_a_checkpoint() -> None:
    whole = vacuumed()
    newest = with_checkpoint(whole)
    for version in range(newest):
        storage = copy_of(whole)
        storage.delete([entry_path(version)])
        check_goes_on(storage, 6)


@pytest.mark.slow
@pytest.mark.parametrize("forgets", [False, True])
def test_all_entries_below_a_checkpoint(forgets: bool) -> None:
    storage = vacuumed()
    table = ModTable.open(storage)
    if forgets:
        table.forget([1], confirm=storage.url)
        apply(table, 60)
    newest = with_checkpoint(storage)
    storage.delete(entry_path(version) for version in range(newest))
    check_goes_on(storage, 6)


def test_a_table_without_a_vacuum_whose_log_was_cleaned() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])
    for key in range(3):
        apply(table, key)
    newest = with_checkpoint(storage)
    storage.delete(entry_path(version) for version in range(newest))
    with pytest.raises(LogDamagedError, match=r"delta\.logRetentionDuration"):
        ModTable.open(storage).to_arrow(version=1)
    check_goes_on(storage, 3)


def test_a_log_that_was_cleaned_up_to_an_entry_of_another_writer() -> None:
    storage = vacuumed()
    foreign_commit(
        storage, "SET TBLPROPERTIES", with_property(storage, "delta.logRetentionDuration", "interval 0 days")
    )
    newest = with_checkpoint(storage)
    storage.delete(entry_path(version) for version in range(newest))
    check_goes_on(storage, 6)


def test_a_change_of_another_writer_whose_state_before_was_cleaned_is_named() -> None:
    storage = vacuumed()
    foreign_commit(storage, "DELETE", *removal(storage))
    newest = with_checkpoint(storage)
    storage.delete(entry_path(version) for version in range(newest))
    with pytest.raises(LogDamagedError, match=r"\(DELETE\) is another writer's, .* restore those entries"):
        ModTable.open(storage).to_arrow()


@pytest.mark.parametrize("change", ["gone", "damaged"])
def test_nothing_is_cut_off_that_cannot_be_made_again(change: str) -> None:
    whole = vacuumed(after=2, before=3)
    floor = ModTable.open(whole).status().floor
    mended = 0
    for version in range(load_state(whole).version + 1):
        storage = copy_of(whole)
        if change == "gone":
            storage.delete([entry_path(version)])
        else:
            storage.put(entry_path(version), b'{"add"')
        before = content(storage)
        result = ModTable.open(storage).repair(dry_run=True)
        if result.actions:
            assert ModTable.open(storage).repair().left == ()
            assert ModTable.open(storage).to_arrow().num_rows == 5
            assert ModTable.open(storage).verify().ok
            mended += 1
            continue
        result = ModTable.open(storage).repair()
        assert "restore the file from a backup" in result.left[0], version
        assert content(storage) == before, version
        storage.put(entry_path(version), whole.get(entry_path(version)))
        assert ModTable.open(storage).verify().ok
    assert floor > 0
    assert mended >= 2


def test_a_damaged_entry_below_a_checkpoint_is_left_alone() -> None:
    storage = vacuumed()
    with_checkpoint(storage)
    storage.put(entry_path(3), b'{"add"')
    before = content(storage)
    [left, *_] = ModTable.open(storage).repair().left
    assert "restore the file from a backup" in left
    assert content(storage) == before
    assert ModTable.open(storage).to_arrow().num_rows == 6


def test_damaged_mods_are_not_merged_again() -> None:
    """What is cut off has to come from mods that are as they were committed."""
    storage = vacuumed(after=2, before=3)
    (path, *_) = sorted((info.path for info in storage.list("_andes/mods")), reverse=True)
    data = storage.get(path)
    storage.put(path, data[:-9] + bytes(9))
    newest = load_state(storage).version
    info = json.loads(storage.get(entry_path(newest)).splitlines()[0])
    assert actions.ENGINE in json.dumps(info)
    storage.delete([entry_path(newest - 1)])
    before = content(storage)
    [left, *_] = ModTable.open(storage).repair().left
    assert "cannot be made again" in left
    assert content(storage) == before
