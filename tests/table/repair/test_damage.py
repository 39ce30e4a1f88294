"""Damage of the base is mended from the log: whatever file is lost or changed, the table is sound after a repair."""

from __future__ import annotations

import json
import random
import re

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.delta import actions
from andes_spark.delta.log import load_state
from andes_spark.delta.paths import entry_path
from andes_spark.errors import DamagedError, ForeignWriteError, OptionError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of
from tests.foreign_tables import parquet_bytes
from tests.table.maintenance.test_verify import KINDS, history, names
from tests.table.test_foreign_writes import foreign_commit, removal

MENDED = ("data", "vector", "delta entry", "merge record", "tombstones")


@pytest.fixture(scope="module")
def whole() -> MemoryStorage:
    return history()


def check(storage: MemoryStorage, expected: object, path: str) -> None:
    for _ in range(2):
        table = ModTable.open(storage)
        result = table.repair()
        assert result.left == (), (path, result)
        assert table.verify().ok, (path, table.verify().problems)
        assert table.to_arrow().sort_by("k") == expected, path
    assert result.findings == ()
    table.apply([{"k": 1, "v": "next", "s": 60}, {"k": 5, "v": "late", "s": 2}], merge=True)
    assert ModTable.open(storage).get([1])["v"].to_pylist() == ["next"]
    assert ModTable.open(storage).verify().ok, path


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", ["gone", *(pytest.param(change, marks=pytest.mark.faults) for change in ("cut", "flipped"))]
)
@pytest.mark.parametrize("kind", MENDED)
def test_any_damaged_file_of_the_base_is_made_again(whole: MemoryStorage, kind: str, change: str) -> None:
    expected = ModTable.open(whole).to_arrow().sort_by("k")
    paths = [name for name in names(whole) if re.search(KINDS[kind], name)]
    for path in paths if kind != "vector" else paths[::3]:
        storage = copy_of(whole)
        data = storage.get(path)
        middle = len(data) // 2
        if change == "gone":
            storage.delete([path])
        else:
            flipped = data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]
            storage.put(path, data[:middle] if change == "cut" else flipped)
        check(storage, expected, path)


def delta_log(storage: MemoryStorage) -> list[str]:
    return [info.path for info in storage.list("_delta_log")]


def base_files(storage: MemoryStorage) -> list[str]:
    return [name for name in names(storage) if re.search(f"{KINDS['data']}|{KINDS['vector']}", name)]


@pytest.mark.slow
@pytest.mark.parametrize("lost_part", ["log", "files", "both", "records", "log and records"])
def test_a_lost_base_is_made_again(whole: MemoryStorage, lost_part: str) -> None:
    storage = copy_of(whole)
    expected = ModTable.open(storage).to_arrow().sort_by("k")
    if "log" in lost_part or lost_part == "both":
        storage.delete(delta_log(storage))
    if lost_part in ("files", "both"):
        storage.delete(base_files(storage))
    if "records" in lost_part:
        side = f"{KINDS['merge record']}|{KINDS['tombstones']}"
        storage.delete([name for name in names(storage) if re.search(side, name)])
    dry = ModTable.open(storage).repair(dry_run=True)
    assert (len(dry.actions), dry.dry_run) == (1, True)
    assert dry.findings
    check(storage, expected, lost_part)


def test_rows_that_another_table_had_are_replaced(whole: MemoryStorage) -> None:
    """The base of an older copy, with a checkpoint that hides it."""
    storage = copy_of(whole)
    expected = ModTable.open(storage).to_arrow().sort_by("k")
    state = load_state(storage)
    (path,) = state.files
    table = ModTable.open(storage)
    wrong = table.to_arrow().set_column(1, "v", pa.array(["wrong"] * 200))
    data = parquet_bytes(wrong, random.Random(1))
    storage.put("part-wrong.parquet", data)
    entry = entry_path(state.version)
    lines = [json.loads(line) for line in storage.get(entry).splitlines()]
    add = actions.add("part-wrong.parquet", size=len(data), modified_ms=1, statistics={"numRecords": 200})
    changed = [add if line.get("add", {}).get("path") == path else line for line in lines]
    for line in changed:
        line.get("commitInfo", {}).pop("tags", None)
        line.get("commitInfo", {})["engineInfo"] = "Apache-Spark"
    storage.put(entry, actions.encode(changed))
    storage.delete(["_andes/merging.json"])
    findings = ModTable.open(storage).repair(dry_run=True).findings
    assert any("the base has 200 rows, the log gives 200" in finding for finding in findings)
    check(storage, expected, "rows")


def test_an_entry_that_was_overwritten_is_taken_back(whole: MemoryStorage) -> None:
    """A merge of ours was overwritten in a race, after it was noted."""
    storage = copy_of(whole)
    expected = ModTable.open(storage).to_arrow().sort_by("k")
    entry = entry_path(load_state(storage).version)
    info = {"operation": "WRITE", "txnId": "theirs", "engineInfo": "Apache-Spark"}
    storage.put(entry, actions.encode([{"commitInfo": info}]))
    with pytest.raises(ForeignWriteError, match="was a merge of ours"):
        ModTable.open(storage).to_arrow()
    check(storage, expected, "note")


@pytest.mark.parametrize("choice", ["undo", "take_in"])
def test_a_change_of_rows_that_overwrote_an_entry_is_as_the_caller_chose(whole: MemoryStorage, choice: str) -> None:
    storage = copy_of(whole)
    table = ModTable.open(storage)
    table.merge()
    expected = table.to_arrow().sort_by("k")
    newest = load_state(storage).version
    before = load_state(storage, version=newest - 1)
    one = next(iter(before.files.values()))
    removed = {"path": one.path, "dataChange": True, "deletionTimestamp": 1}
    if one.vector is not None:
        removed["deletionVector"] = one.add["deletionVector"]
    info = {"operation": "DELETE", "txnId": "theirs", "engineInfo": "Apache-Spark"}
    storage.put(entry_path(newest), actions.encode([{"commitInfo": info}, {"remove": removed}]))
    with pytest.raises(ForeignWriteError, match="was a merge of ours"):
        ModTable.open(storage).to_arrow()
    result = ModTable.open(storage).repair(foreign=choice)
    assert result.left == ()
    assert any("DELETE" in finding for finding in result.findings)
    mended = ModTable.open(storage)
    assert mended.verify().ok
    assert mended.manifest(mended.version).operation == ("take_in" if choice == "take_in" else "apply")
    if choice == "undo":
        check(storage, expected, "overwritten")


def test_an_entry_of_another_writer_that_goes_with_a_cut_is_asked_for(whole: MemoryStorage) -> None:
    storage = copy_of(whole)
    expected = ModTable.open(storage).to_arrow().sort_by("k")
    foreign_commit(storage, "DELETE", *removal(storage))
    storage.delete([entry_path(3)])
    with pytest.raises(OptionError, match=r"Delta version \d+ is another writer's") as caught:
        ModTable.open(storage).repair()
    assert caught.value.option == "foreign"
    ModTable.open(storage).repair(foreign="undo")
    check(storage, expected, "cut")


def test_rows_of_a_load_that_are_gone_are_named() -> None:
    storage = MemoryStorage()
    data = pa.table({"k": [1, 2], "v": ["a", "b"], "s": [1, 1]})
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"], data=data)
    table.apply([{"k": 3, "v": "c", "s": 1}], merge=True)
    broken = copy_of(storage)
    broken.delete(delta_log(broken))
    [left, *_] = ModTable.open(broken).repair().left
    assert "the 2 rows that the table began with are in the base alone; restore" in left
    broken = copy_of(storage)
    broken.delete(load_state(broken, version=0).files)
    [left, *_] = ModTable.open(broken).repair().left
    assert "files of all its states are gone or damaged" in left


def test_a_base_with_a_state_that_was_taken_in(whole: MemoryStorage) -> None:
    storage = copy_of(whole)
    foreign_commit(storage, "DELETE", *removal(storage))
    table = ModTable.open(storage)
    version = table.repair(foreign="take_in").version
    table.apply([{"k": key, "v": "after", "s": 50} for key in range(20)], merge=True)
    expected = table.to_arrow().sort_by("k")
    assert expected.num_rows == 20
    for path in load_state(storage).files:
        broken = copy_of(storage)
        broken.delete([path])
        check(broken, expected, path)
    broken = copy_of(storage)
    broken.delete([entry_path(4)])
    assert f"the state that version {version} takes in is gone with it" in ModTable.open(broken).repair().left[0]


@pytest.mark.parametrize("kind", ["merge record", "tombstones"])
def test_tombstones_that_cannot_be_made_again_are_not_taken_for_none(kind: str) -> None:
    """A handle whose repair failed goes on without what it assumed to find older states."""
    storage = MemoryStorage()
    table = ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])
    table.apply([{"k": key, "v": "x", "s": 5} for key in range(4)], merge=True)
    table.apply([{"k": 3, "v": None, "s": 5}], apply_as_deletes="k = 3", merge=True)
    table.vacuum("0 seconds")
    storage.delete([name for name in names(storage) if re.search(KINDS[kind], name)])
    for _ in range(2):
        assert any("is missing" in problem for problem in table.repair().left)
        assert not table.verify().ok
    table.apply([{"k": 3, "v": "late", "s": 1}], merge=False)
    for handle in (table, ModTable.open(storage)):
        with pytest.raises(DamagedError, match="is missing"):
            handle.merge()
