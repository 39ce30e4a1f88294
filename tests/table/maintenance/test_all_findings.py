"""verify() reports all that is wrong, each file once, and nothing hides behind the first."""

from __future__ import annotations

import pytest

from andes_spark import ModTable
from andes_spark.delta.log import load_state
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.memory import MemoryStorage
from tests.table.maintenance.test_verify import history


def flip(storage: MemoryStorage, path: str) -> None:
    data = storage.get(path)
    middle = len(data) // 2
    storage.put(path, data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :])


def paths(storage: MemoryStorage, folder: str) -> list[str]:
    return [info.path for info in storage.list() if info.path.startswith(folder)]


def named(problems: tuple[str, ...], path: str) -> int:
    return sum(path in problem for problem in problems)


@pytest.mark.parametrize("change", ["flip", "delete"])
def test_damaged_manifests_are_findings_and_hide_no_other(change: str) -> None:
    storage = history()
    table = ModTable.open(storage)
    wrong = [manifest_path(2), manifest_path(4)]
    mods = paths(storage, "_andes/mods/")[0]
    for path in wrong:
        flip(storage, path) if change == "flip" else storage.delete([path])
    storage.delete([mods])
    result = table.verify()
    for path in wrong:
        assert named(result.problems, path) == 1, result.problems
    assert named(result.problems, mods) == 1, result.problems
    assert len(result.problems) == 3, result.problems


def test_every_damaged_file_of_the_newest_state_is_named_once() -> None:
    storage = history()
    table = ModTable.open(storage)
    live = sorted(load_state(storage).files)
    mods = paths(storage, "_andes/mods/")
    tombstones = paths(storage, "_andes/tombstones/")
    wrong = [*live, mods[0], mods[2], tombstones[-1]]
    assert len(live) > 0
    storage.delete(wrong)
    result = table.verify()
    for path in wrong:
        assert named(result.problems, path) == 1, (path, result.problems)
    assert not set(result.missing) & set(wrong)


def test_a_base_that_cannot_be_read_hides_no_damage_of_the_log() -> None:
    storage = history()
    table = ModTable.open(storage)
    mods = paths(storage, "_andes/mods/")[1]
    entry = f"_delta_log/{3:020}.json"
    storage.delete([mods])
    flip(storage, entry)
    result = ModTable.open(storage).verify()
    assert named(result.problems, mods) == 1, result.problems
    assert named(result.problems, entry) == 1, result.problems
    assert not result.ok
    assert table.version == result.version


def test_an_edited_manifest_that_can_be_read_is_found_by_its_successor() -> None:
    storage = history()
    table = ModTable.open(storage)
    path = manifest_path(3)
    other = history()
    storage.put(path, other.get(path))
    result = table.verify()
    assert named(result.problems, path) >= 1, result.problems
