"""What nothing can bring back is named with its cost, and the table goes on without it by choice."""

from __future__ import annotations

import re

import pytest

from andes_spark import ModTable
from andes_spark.errors import VersionExpiredError
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


@pytest.mark.parametrize("change", ["gone", "cut"])
def test_mods_that_are_merged(whole: MemoryStorage, change: str) -> None:
    expected = ModTable.open(whole).to_arrow().sort_by("k")
    for version, path in enumerate([name for name in names(whole) if re.search(KINDS["mods"], name)], 1):
        storage = copy_of(whole)
        damage(storage, path, change)
        table = ModTable.open(storage)
        found = table.repair()
        assert found.actions == ()
        [left] = [text for text in found.left if "accept" in text]
        assert f"the mods of versions {version} are lost, and their rows are in the base" in left
        assert 'repair(lost="accept") goes on without them' in left
        done = table.repair(lost="accept")
        assert done.left == ()
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
    lost = table.manifest(table.version - 1).events[0].files[0].path  # type: ignore[union-attr]
    storage.delete([lost])
    [left] = [text for text in ModTable.open(storage).repair().left if "accept" in text]
    assert "1 mod of versions 8 are lost before they were merged" in left
    done = ModTable.open(storage).repair(lost="accept")
    assert done.left == ()
    table = sound(storage)
    assert table.get([1, 2, 3])["v"].to_pylist() == ["batch 1", "new", "batch 3"]
    table.apply([{"k": 2, "v": "batch 2", "s": 60}], batch_id=("s", "2 again"), merge=True)
    assert sound(storage).get([2])["v"].to_pylist() == ["batch 2"]
