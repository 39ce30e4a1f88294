"""What nothing can bring back is named with its cost, and the table goes on without it by choice."""

from __future__ import annotations

import re

import pytest

from andes_spark import ModTable
from andes_spark.errors import VersionExpiredError
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of
from tests.table.maintenance.test_verify import KINDS, history, names


@pytest.fixture(scope="module")
def whole() -> MemoryStorage:
    return history()


def damage(storage: MemoryStorage, path: str, change: str) -> None:
    data = storage.get(path)
    storage.delete([path]) if change == "gone" else storage.put(path, data[: len(data) // 2])


def sound(storage: MemoryStorage) -> ModTable:
    table = ModTable.open(storage)
    assert table.verify().ok, table.verify().problems
    assert table.repair().findings == ()
    return table


@pytest.mark.slow
@pytest.mark.parametrize("change", ["gone", pytest.param("cut", marks=pytest.mark.faults)])
def test_mods_that_are_merged(whole: MemoryStorage, change: str) -> None:
    expected = ModTable.open(whole).to_arrow().sort_by("k")
    for version, path in enumerate([name for name in names(whole) if re.search(KINDS["mods"], name)], 1):
        storage = copy_of(whole)
        damage(storage, path, change)
        table = ModTable.open(storage)
        result = table.repair()
        assert result.actions == ()
        [left] = [text for text in result.left if "accept" in text]
        assert f"the mods of version {version} are lost, and their rows are in the base" in left
        assert 'repair(lost="accept") goes on without them' in left
        repaired = table.repair(lost="accept")
        assert repaired.left == ()
        assert sound(storage).to_arrow().sort_by("k") == expected
        with pytest.raises(VersionExpiredError):
            ModTable.open(storage).to_arrow(version=version - 1)
        table.apply([{"k": 1, "v": "next", "s": 60}], merge=True)
        assert sound(storage).get([1])["v"].to_pylist() == ["next"]


def test_mods_that_are_not_merged(whole: MemoryStorage) -> None:
    storage = copy_of(whole)
    table = ModTable.open(storage)
    for number in (1, 2, 3):
        table.apply([{"k": number, "v": f"batch {number}", "s": 60}], batch_id=("s", number), merge=False)
    lost_file = table.manifest(table.version - 1).events[0].files[0].path  # type: ignore[union-attr]
    storage.delete([lost_file])
    [left] = [text for text in ModTable.open(storage).repair().left if "accept" in text]
    assert "1 mod of version 8 are lost before they were merged" in left
    repaired = ModTable.open(storage).repair(lost="accept")
    assert repaired.left == ()
    table = sound(storage)
    assert table.get([1, 2, 3])["v"].to_pylist() == ["batch 1", "new", "batch 3"]
    table.apply([{"k": 2, "v": "batch 2", "s": 60}], batch_id=("s", "2 again"), merge=True)
    assert sound(storage).get([2])["v"].to_pylist() == ["batch 2"]


def with_roll_up() -> MemoryStorage:
    """Versions beyond a roll-up, the newest of which are pending, with a version set aside and a restore."""
    storage = history()
    table = ModTable.open(storage)
    for number in range(6):
        table.apply([{"k": number, "v": f"later {number}", "s": 60}], batch_id=("s", number), merge=False)
    table.set_aside(9)
    table.tag("named", 12)
    return storage


@pytest.fixture(scope="module")
def long() -> MemoryStorage:
    return with_roll_up()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["gone", pytest.param("cut", marks=pytest.mark.faults)])
def test_a_manifest_that_a_roll_up_repeats(long: MemoryStorage, change: str) -> None:
    expected = ModTable.open(long).to_arrow().sort_by("k")
    versions = [ModTable.open(long).to_arrow(version=version).sort_by("k") for version in range(5, 15)]
    for version in range(7, 10):
        storage = copy_of(long)
        damage(storage, manifest_path(version), change)
        [left] = [text for text in ModTable.repair_folder(storage).left if "accept" in text]
        assert manifest_path(version) in left
        assert "is made again from a later roll-up; the ids of its batches are lost" in left
        repaired = ModTable.repair_folder(storage, lost="accept")
        assert repaired.left == ()
        table = sound(storage)
        assert table.to_arrow().sort_by("k") == expected
        assert [table.to_arrow(version=number).sort_by("k") for number in range(5, 15)] == versions
        table.merge()
        assert sound(storage).to_arrow().sort_by("k") == expected


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 3, 5, 6, 8])
def test_a_manifest_whose_rows_are_in_the_base(long: MemoryStorage, version: int) -> None:
    storage = history() if version < 7 else copy_of(long)
    table = ModTable.open(storage)
    if version == 8:
        table.merge()
        rolled = manifest_path(10)
        storage.delete([rolled])
    expected = table.to_arrow().sort_by("k")
    storage.delete([manifest_path(version)])
    costs = " ".join(ModTable.repair_folder(storage).left)
    assert "whose rows are in the base" in costs
    repaired = ModTable.repair_folder(storage, lost="accept")
    assert repaired.left == (), repaired
    table = sound(storage)
    assert table.to_arrow().sort_by("k") == expected
    with pytest.raises(VersionExpiredError):
        table.to_arrow(version=version - 1)
    table.apply([{"k": 1, "v": "next", "s": 99}], merge=True)
    assert sound(storage).get([1])["v"].to_pylist() == ["next"]


def test_a_manifest_whose_mods_were_not_merged(long: MemoryStorage) -> None:
    storage = copy_of(long)
    storage.delete([manifest_path(11)])
    [left] = [text for text in ModTable.repair_folder(storage).left if "accept" in text]
    assert "which were not merged: its batches have to be sent again" in left
    repaired = ModTable.repair_folder(storage, lost="accept")
    assert repaired.left == ()
    table = sound(storage)
    assert table.get([4])["v"].to_pylist() == ["new"]
    table.apply([{"k": 4, "v": "later 4", "s": 60}], batch_id=("s", 4), merge=True)
    assert sound(storage).get([3, 4, 5])["v"].to_pylist() == ["later 3", "later 4", "later 5"]


def test_the_newest_manifest(long: MemoryStorage) -> None:
    storage = copy_of(long)
    head = ModTable.open(storage).version
    storage.delete([manifest_path(head)])
    (left,) = ModTable.repair_folder(storage).left
    assert f"has seen version {head}, and there is no manifest above version {head - 1}" in left
    assert ModTable.repair_folder(storage, lost="accept").left == ()
    assert sound(storage).version == head - 1
    assert "named" not in [tag.name for tag in ModTable.open(storage).tags()]


def test_the_first_manifest(long: MemoryStorage) -> None:
    storage = copy_of(long)
    expected = ModTable.open(storage).to_arrow().sort_by("k")
    storage.delete([manifest_path(0)])
    assert ModTable.repair_folder(storage, lost="accept").left == ()
    assert sound(storage).to_arrow().sort_by("k") == expected
    short = history()
    short.delete([manifest_path(0)])
    (left,) = ModTable.repair_folder(short, lost="accept").left
    assert "nothing else tells the definition of the table; restore it" in left


def test_a_roll_up(long: MemoryStorage) -> None:
    storage = copy_of(long)
    expected = ModTable.open(storage).to_arrow().sort_by("k")
    table = ModTable.open(storage)
    table.merge()
    table.tag("merged", table.version)
    storage.delete([manifest_path(10)])
    assert ModTable.repair_folder(storage, lost="accept").left == ()
    table = sound(storage)
    assert table.to_arrow().sort_by("k") == expected
    assert table.manifest(10).roll_up is not None
    # The other tag was on version 12, which needs the mods of version 10.
    assert [tag.name for tag in table.tags()] == ["merged"]
    assert table.to_arrow(tag="merged").sort_by("k") == expected
    for number in range(12):
        table.apply([{"k": number, "v": "more", "s": 70 + number}], batch_id=("t", number))
    assert table.apply([{"k": 0, "v": "later 0", "s": 60}], batch_id=("s", 0)).replayed
    assert sound(storage).version == table.version


def test_a_manifest_of_another_table(whole: MemoryStorage) -> None:
    storage = copy_of(whole)
    expected = ModTable.open(storage).to_arrow().sort_by("k")
    storage.put(manifest_path(3), history().get(manifest_path(3)))
    repaired = ModTable.repair_folder(storage, lost="accept")
    assert repaired.left == ()
    assert any(manifest_path(3) in text for text in repaired.actions)
    assert sound(storage).to_arrow().sort_by("k") == expected


@pytest.mark.parametrize("hint", [True, False])
def test_the_newest_manifests_of_a_base_that_contains_them(whole: MemoryStorage, hint: bool) -> None:
    storage = copy_of(whole)
    expected = ModTable.open(storage).to_arrow().sort_by("k")
    storage.delete([manifest_path(5), manifest_path(6), *([] if hint else ["_andes/hint"])])
    assert len(ModTable.repair_folder(storage).left) == 2
    assert ModTable.repair_folder(storage, lost="accept").left == ()
    table = sound(storage)
    assert table.to_arrow().sort_by("k") == expected
    table.apply([{"k": 1, "v": "next", "s": 99}], merge=True)
    assert sound(storage).get([1])["v"].to_pylist() == ["next"]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["gone", "cut"])
def test_files_of_batch_ids_are_made_again(whole: MemoryStorage, change: str) -> None:
    storage = copy_of(whole)
    table = ModTable.open(storage)
    for number in range(30):
        table.apply([{"k": number, "v": "more", "s": 70}], batch_id=("t", number), merge=number % 7 == 0)
    ledgers = [name for name in names(storage) if name.startswith("_andes/ledger/")]
    assert len(ledgers) > 1
    before = [storage.get(path) for path in ledgers]
    for path in ledgers:
        damage(storage, path, change)
    repaired = ModTable.open(storage).repair()
    assert repaired.left == ()
    assert [storage.get(path) for path in ledgers] == before
    assert sound(storage).apply([{"k": 0, "v": "more", "s": 70}], batch_id=("t", 0)).replayed


def three() -> tuple[MemoryStorage, ModTable]:
    """A table with three batches, the second of which is only merged with the third."""
    storage = MemoryStorage()
    table = ModTable.create(
        storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"], merge="manual"
    )
    for number in (1, 2, 3):
        table.apply([{"k": number, "v": "x", "s": number}])
        if number != 2:
            table.merge()
    return storage, table


@pytest.mark.slow
@pytest.mark.parametrize("lost_versions", [[4], [5], [6], [4, 6], [5, 6]], ids=str)
def test_tags_of_a_lost_manifest_are_known_by_a_roll_up(lost_versions: list[int]) -> None:
    storage, table = three()
    table.tag("a", version=1)
    table.tag("b", version=3)
    table.untag("b")
    for number in range(7, 13):
        table.apply([{"k": number, "v": "x", "s": number}], merge=True)
    expected = table.to_arrow().sort_by("k")
    storage.delete([manifest_path(version) for version in lost_versions])
    assert ModTable.repair_folder(storage, lost="accept").left == ()
    table = sound(storage)
    assert [tag.name for tag in table.tags()] == ["a"]
    assert table.to_arrow(tag="a").num_rows == 1
    assert table.to_arrow().sort_by("k") == expected


@pytest.mark.slow
@pytest.mark.parametrize("more", [0, 9])
@pytest.mark.parametrize("kind", ["manifest", "mods"])
def test_tags_of_versions_that_cannot_be_read_are_removed(kind: str, more: int) -> None:
    storage, table = three()
    for version, name in enumerate("abc", 1):
        table.tag(name, version=version)
    for number in range(more):
        table.apply([{"k": number, "v": "x", "s": 9}], merge=True)
    (path,) = [file.path for event in table.manifest(2).events for file in event.files]  # type: ignore[union-attr]
    storage.delete([manifest_path(2) if kind == "manifest" else path])
    assert any("lose their tags" in text for text in ModTable.repair_folder(storage).left)
    assert ModTable.repair_folder(storage, lost="accept").left == ()
    table = sound(storage)
    assert [tag.name for tag in table.tags()] == ["a", "c"]
    assert [table.to_arrow(tag=name).num_rows for name in "ac"] == [1, 3]
    with pytest.raises(VersionExpiredError):
        table.to_arrow(version=2)
