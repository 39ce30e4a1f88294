"""What a repair leaves names each loss once, with a remedy that helps."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from andes_spark import ModTable
from andes_spark.delta.log import load_state
from andes_spark.delta.paths import entry_path
from andes_spark.errors import FileDamagedError
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of
from tests.table.repair.test_cleaned_log import vacuumed as without_checkpoint
from tests.table.repair.test_lost import sound
from tests.table.test_foreign_writes import foreign_commit, removal


def apply(table: ModTable, seq: int, *keys: int, deletes: str | None = None) -> None:
    table.apply([{"k": key, "v": f"v{seq}", "s": seq} for key in keys], apply_as_deletes=deletes)


def created() -> tuple[MemoryStorage, ModTable]:
    storage = MemoryStorage()
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])
    return storage, table


@pytest.fixture(scope="module")
def vacuumed() -> MemoryStorage:
    """A tag below the floor, a state at it with deleted keys, and two merges above."""
    storage, table = created()
    apply(table, 1, 1, 2, 3)
    apply(table, 2, 2, 4)
    table.tag("a", version=2)
    apply(table, 3, 3, deletes="k = 3")
    apply(table, 5, 5)
    table.vacuum("0 seconds")
    apply(table, 6, 6)
    apply(table, 7, 2, 7)
    return storage


def without(whole: MemoryStorage, paths: Callable[[MemoryStorage], set[str]]) -> tuple[MemoryStorage, set[str]]:
    storage = copy_of(whole)
    deleted = paths(storage)
    assert deleted
    storage.delete(deleted)
    return storage, deleted


def named(storage: MemoryStorage, pattern: str) -> set[str]:
    return {info.path for info in storage.list() if re.search(pattern, info.path)}


def only_in_old_states(storage: MemoryStorage) -> set[str]:
    live = load_state(storage)
    vectors = {file.vector.file_path for file in live.files.values() if file.vector is not None}
    return named(storage, r"^(part-|deletion_vector_)") - {*live.files, *vectors}


def check_remedies(texts: tuple[str, ...]) -> None:
    assert texts
    for text in texts:
        assert "repair() makes" not in text
        assert "restore" in text
    assert len(set(texts)) == len(texts)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["_andes/tombstones/", "_andes/merges/", r"^part-", "_andes/mods/"])
def test_any_file_that_cannot_be_made_again(vacuumed: MemoryStorage, pattern: str) -> None:
    left: set[str] = set()
    for path in named(vacuumed, pattern):
        storage, _ = without(vacuumed, lambda storage, path=path: {path})  # type: ignore[misc]
        result = ModTable.repair_folder(storage)
        if result.left:
            left.add(path)
            check_remedies(result.left)
            assert any(path in text for text in result.left), result.left
            assert len([text for text in result.left if path in text]) == 1
    assert left


def test_files_that_old_states_alone_need_are_given_up_by_choice(vacuumed: MemoryStorage) -> None:
    """As after Delta's VACUUM without a retention."""
    storage, deleted = without(vacuumed, only_in_old_states)
    expected = ModTable.open(vacuumed).to_arrow().sort_by("k")
    (left,) = ModTable.repair_folder(storage).left
    assert any(path in left for path in deleted)
    assert 'repair(lost="accept") goes on without them' in left
    assert ModTable.repair_folder(storage, lost="accept").left == ()
    table = sound(storage)
    assert table.to_arrow().sort_by("k") == expected
    assert list(table.tags()) == []


def test_a_read_of_a_tagged_version_names_the_lost_file_and_the_remedy(vacuumed: MemoryStorage) -> None:
    storage, deleted = without(vacuumed, only_in_old_states)
    with pytest.raises(FileDamagedError, match="so version 2, which a tag or pin keeps, cannot be read") as caught:
        ModTable.open(storage).to_arrow(tag="a")
    assert caught.value.path in deleted
    assert "remove the tag" in caught.value.message


def test_deletes_of_a_take_in_are_named_and_records_stay() -> None:
    storage, table = created()
    apply(table, 1, 1, 2, 3)
    foreign_commit(storage, "DELETE", *removal(storage))
    committed = table.repair(foreign="take_in").committed
    apply(table, 3, 8, 9)
    (path,) = (path for path in named(storage, "_andes/tombstones/"))
    storage.delete([path])
    before = {name: storage.get(name) for name in named(storage, "_andes/merges/")}
    result = ModTable.open(storage).repair()
    assert (result.actions, len(result.left)) == ((), 1)
    assert f"{path} is lost with the deleted keys of version {committed}, which nothing else names" in result.left[0]
    assert {name: storage.get(name) for name in named(storage, "_andes/merges/")} == before


def test_a_manifest_before_a_change_of_columns_is_lost() -> None:
    storage, table = created()
    apply(table, 1, 1)
    apply(table, 2, 2)
    table.alter.add_column("z", "STRING")
    expected = table.to_arrow().sort_by("k")
    storage.delete([manifest_path(1)])
    (left,) = ModTable.repair_folder(storage).left
    assert "whose rows are in the base" in left
    assert ModTable.repair_folder(storage, lost="accept").left == ()
    assert sound(storage).to_arrow().sort_by("k") == expected


@pytest.mark.parametrize("accept", [None, "accept"])
def test_a_manifest_that_changed_columns_is_lost(accept: str | None) -> None:
    storage, table = created()
    apply(table, 1, 1)
    changed = table.alter.add_column("y", "STRING").version
    assert changed is not None
    table.alter.add_column("z", "STRING")
    storage.delete([manifest_path(changed)])
    before = {name: storage.get(name) for name in named(storage, "")}
    result = ModTable.repair_folder(storage, lost=accept)
    (left,) = result.left
    assert f"{manifest_path(changed)} is lost, and it may have changed the definition of the table; restore" in left
    assert {name: storage.get(name) for name in named(storage, "")} == before


@pytest.mark.slow
def test_any_entry_of_a_vacuumed_table(vacuumed: MemoryStorage) -> None:
    expected = ModTable.open(vacuumed).to_arrow().sort_by("k")
    for path in named(vacuumed, "_delta_log/.*json"):
        storage, _ = without(vacuumed, lambda storage, path=path: {path})  # type: ignore[misc]
        left = ModTable.repair_folder(storage).left
        if left:
            check_remedies(left)
            assert left[-1].startswith("a: the versions of these tags cannot be read, and lose them")
        assert ModTable.repair_folder(storage, lost="accept").left == ()
        assert sound(storage).to_arrow().sort_by("k") == expected


def test_an_entry_without_which_only_released_files_would_help() -> None:
    storage = without_checkpoint()
    storage.delete([entry_path(2)])
    (left,) = ModTable.repair_folder(storage).left
    assert "which it needs, was released or is gone; restore the file from a backup" in left
