"""verify(since=) looks at what was added after a version, and at nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pyroaring import BitMap64

from andes_spark import ModTable, Settings
from andes_spark.delta import actions
from andes_spark.delta.log import load_state
from andes_spark.delta.vectors import write_vectors
from andes_spark.errors import DamagedError, NoSuchVersionError, VersionExpiredError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import create, fill, rows
from andes_spark.testing.tapped import TappedStorage
from tests.interleave import World
from tests.table.maintenance.test_all_findings import paths
from tests.table.maintenance.test_verify import KINDS, VERSIONS, history, names


def test_a_sound_table_is_sound_since_any_version() -> None:
    storage = history()
    table = ModTable.open(storage)
    for version in range(VERSIONS + 1):
        result = table.verify(since=version)
        assert result.ok, (version, result.problems)
    assert table.verify(since=VERSIONS).rows == 0
    assert table.verify(since=0).rows == 200
    assert table.verify(since=1).files < table.verify().files


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damage_since_then_is_found_and_older_is_not(kind: str) -> None:
    storage = history()
    before = [info.path for info in storage.list()]
    table = ModTable.open(storage)
    version = table.version
    for seq in (50, 51):
        table.apply([{"k": key, "v": "later", "s": seq} for key in range(0, 200, seq - 47)], merge=True)
    assert table.verify(since=version).ok
    for path in [name for name in names(storage) if re.search(KINDS[kind], name)]:
        data = storage.get(path)
        storage.put(path, data[: len(data) // 2])
        try:
            problems = ModTable.open(storage).verify(since=version).problems
        except DamagedError as error:
            problems = (error.message,)
        if path not in before:
            assert problems, path
        elif kind == "mods":
            assert not problems, path
        storage.put(path, data)


def test_it_reads_no_old_file() -> None:
    storage = history()
    table = ModTable.open(storage)
    version, old = table.version, set(paths(storage, "_andes/mods/"))
    table.apply([{"k": 1, "v": "later", "s": 50}], merge=True)
    tapped = TappedStorage(storage)
    read: list[str] = []
    tapped.tap = lambda kind, path: read.append(path)
    assert ModTable.open(tapped).verify(since=version).ok  # type: ignore[arg-type]
    assert not old & set(read)


def test_rows_that_a_wrong_vector_marks_are_found() -> None:
    storage = history()
    table = ModTable.open(storage)
    version = table.version
    table.apply([{"k": 1, "v": "later", "s": 50}], merge=True)
    state = load_state(storage)
    (marked,) = [file for file in state.files.values() if file.vector is not None]
    wrong = write_vectors(storage, {marked.path: BitMap64([5])})[marked.path]
    info = {"commitInfo": {"operation": "DELETE", "engineInfo": "Apache-Spark", "txnId": "x"}}
    entry = [info, actions.txn(table._open_table.table_id, state.txns[table._open_table.table_id])]
    entry += [actions.remove(marked, timestamp_ms=1), {"add": {**marked.add, "deletionVector": wrong.to_json()}}]
    storage.put(f"_delta_log/{state.version + 1:020}.json", actions.encode(entry))
    [problem] = [text for text in ModTable.open(storage).verify(since=version).problems if "keys" in text]
    assert "keys of the base have other rows than the log gives" in problem


def test_rows_that_the_log_does_not_give_are_found() -> None:
    storage = history()
    table = ModTable.open(storage)
    version = table.version
    table.apply([{"k": 1, "v": "later", "s": 50}, {"k": 500, "v": "new", "s": 50}], merge=True)
    other = MemoryStorage()
    for info in storage.list():
        other.put(info.path, storage.get(info.path))
    # The same merge of other rows.
    state = load_state(other)
    entry = f"_delta_log/{state.version:020}.json"
    assert entry in [info.path for info in other.list()]
    reopened = ModTable.open(other, settings=Settings(compact_bytes=0))
    evaluate = reopened._open_table.evaluable

    def wrong(base: Any, version: int) -> Any:
        start, versions = evaluate(base, version)
        return start, versions[:-1]

    reopened._open_table.evaluable = wrong  # type: ignore[method-assign]
    [problem] = reopened.verify(since=version).problems
    assert "2 keys of the base have other rows than the log gives" in problem


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_random_histories_are_sound_since_any_version(seed: int) -> None:
    world = World(700_000 + seed, nested=0.0)
    for _ in range(8):
        world.step()
    table = ModTable.open(world.storage)
    for version in range(table.version + 1):
        try:
            result = table.verify(since=version)
        except VersionExpiredError:
            assert version < table.manifest(table.version).floor
            continue
        assert result.ok, (version, result.problems)
    assert table.verify().ok


def test_tags_from_before_are_known_to_later_roll_ups() -> None:
    table = create(MemoryStorage(), merge="manual")
    fill(table, 1, 2)
    table.tag("kept", 1)
    table.tag("gone", 1)
    fill(table, 5, 8)
    table.untag("gone")
    fill(table, 10, 21)
    for version in range(table.version + 1):
        result = table.verify(since=version)
        assert result.ok, (version, result.problems)


def test_files_that_a_rebuild_replaced_are_no_damage() -> None:
    storage = MemoryStorage()
    table = create(storage, merge="always")
    fill(table, 1, 3)
    storage.delete([path for path in paths(storage, "part-") if path.endswith(".parquet")])
    assert table.repair().left == ()
    for version in range(table.version + 1):
        result = table.verify(since=version)
        assert result.ok, (version, result.problems)
    table.apply(rows((1, 99, "later")))
    assert table.verify(since=1).ok
    # Damage of the base is found all the same.
    path = next(iter(load_state(storage).files))
    storage.delete([path])
    assert any(path in problem for problem in ModTable.open(storage).verify(since=1).problems)


def test_a_tag_below_the_floor_keeps_no_later_mods() -> None:
    table = create(MemoryStorage(), merge="always")
    fill(table, 1, 2)
    table.tag("kept", 1)
    fill(table, 4, 6)
    table.vacuum(retain="0 seconds")
    floor = table.manifest(table.version).floor
    assert table.to_arrow(tag="kept").num_rows
    with pytest.raises(VersionExpiredError, match=f"below {floor}; verify from there on"):
        table.verify(since=1)
    assert table.verify(since=floor).ok


def test_versions_that_are_not_there() -> None:
    storage = history()
    with pytest.raises(NoSuchVersionError):
        ModTable.open(storage).verify(since=99)
