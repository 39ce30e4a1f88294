"""Expires beside other verbs: restore, clone, forget, repair, changes, appenders, partial mods."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from andes_spark.log import rolled
from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.model.events import Expire, PendingVersion
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, rows
from tests.expires import reasons, shown, stored, take
from tests.other_readers import READERS, Condition


def test_a_restore_below_an_expire_takes_its_cut_back() -> None:
    for merged in (False, True):
        table = create(MemoryStorage())
        for step in ["U5", "D7"]:
            take(table, step)
        take(table, "M")
        take(table, "X10")
        if merged:
            take(table, "M")
        table.restore(2, merge=merged)
        take(table, "U6")
        assert shown(table) == {}
        assert reasons(table) == []
        take(table, "U8")
        take(table, "M")
        assert shown(table) == {1: "U8"}
        assert stored(table)["cut"] is None
        assert table.verify().ok


def test_a_cold_handle_learns_of_expires_from_roll_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    def fresh() -> dict[int, str]:
        storage = MemoryStorage()
        table = create(storage)
        take(table, "D7")
        take(table, "X10")
        for number in range(ROLL_UP_INTERVAL):
            take(table, f"U{5 + number % 2}", number)
        take(table, "U30", 99)
        return shown(ModTable.open(storage))

    assert fresh() == {99: "U30"}

    def without_expires(versions: Any) -> list[PendingVersion]:
        kept = [[event for event in version.events if not isinstance(event, Expire)] for version in versions]
        return [msgspec.structs.replace(version, events=events) for version, events in zip(versions, kept, strict=True)]

    monkeypatch.setattr(rolled, "newest", without_expires)
    assert len(fresh()) > 1, "the mistake is not found"


def test_an_appender_commits_a_backfill_alone() -> None:
    table = create(MemoryStorage())
    take(table, "X10")
    with table.appender() as appender:
        futures = [
            appender.apply(rows((1, 3, "x"))),
            appender.apply(rows((2, 3, "x")), backfill=True),
            appender.apply(rows((3, 3, "x"))),
        ]
    versions = [future.result().version for future in futures]
    assert versions == sorted(versions)
    assert len(set(versions)) == 3
    assert shown(table) == {2: "x"}


def test_a_replayed_backfill_changes_nothing() -> None:
    table = create(MemoryStorage())
    take(table, "X10")
    first = table.apply(rows((1, 3, "x")), batch_id=("s", 1), backfill=True)
    for backfill in (True, False):
        again = table.apply(rows((1, 3, "x")), batch_id=("s", 1), backfill=backfill)
        assert (again.replayed, again.version) == (True, first.version)
    assert shown(table) == {1: "x"}


def test_a_clone_has_the_cut_and_the_tombstones_below_it() -> None:
    for merged in (False, True):
        table = create(MemoryStorage())
        for step, key in (("D7", 1), ("X10", 0), ("D6b", 2), ("U5b", 3), ("D12", 4), ("T4b", 0)):
            take(table, step, key)
        if merged:
            take(table, "M")
        copy = table.clone(MemoryStorage())  # type: ignore[arg-type]
        assert table.clone(copy._open_table.storage).version == copy.version  # type: ignore[arg-type]
        for each in (table, copy):
            for step, key in (("U9", 5), ("U7b", 1), ("U6b", 2), ("U11", 4), ("U4b", 6)):
                take(each, step, key)
            assert shown(each) == {1: "U7b", 3: "U5b"}
            take(each, "M")
            assert shown(each) == {1: "U7b", 3: "U5b"}
            assert each.verify().ok
        assert stored(copy)["cut"] == stored(table)["cut"] == [10]
        assert stored(copy)["tombstones"] == stored(table)["tombstones"] == [(2, 6), (4, 12)]


def test_rows_below_the_cut_can_be_forgotten() -> None:
    for late in (False, True):
        table = create(storage := MemoryStorage(), merge="always")
        take(table, "U5")
        take(table, "U6", 2)
        table.expire(10)
        if late:
            take(table, "D12", 3)
        name = storage.url.rpartition("/")[2]
        result = table.forget([1], confirm=name)
        assert result.ok
        assert shown(table) == {2: "U6"}
        # The hashed tombstone is in force, until the next expire.
        take(table, "U5b")
        assert shown(table) == {2: "U6"}
        table.expire(20)
        take(table, "U4b")
        assert shown(table) == {1: "U4b", 2: "U6"}
        assert table.verify().ok


def test_hashed_tombstones_expire() -> None:
    table = ModTable.create(
        storage := MemoryStorage(),
        "id bigint, lsn bigint, a string",
        primary_key="id",
        sequence_by="lsn",
        merge="manual",
    )
    for key, at in ((1, 5), (2, 15), (3, 7)):
        take(table, f"U{at}", key)
    name = storage.url.rpartition("/")[2]
    assert table.forget([1, 2], confirm=name).ok
    take(table, "X10")
    take(table, "M")
    files = table._open_table.base.snapshot().record.tombstones
    assert [(file.salt is not None, file.rows) for file in files] == [(True, 1)]
    take(table, "U4b", 1)
    take(table, "U14", 2)
    assert shown(table) == {1: "U4b", 3: "U7"}
    take(table, "M")
    assert shown(table) == {1: "U4b", 3: "U7"}
    assert table.verify().ok


def test_partial_mods_below_the_cut_are_expired() -> None:
    table = create(MemoryStorage())
    take(table, "U5")
    take(table, "X10")
    mods = pa.table({"id": [1, 2], "lsn": [9, 30], "a": ["p", "q"]})
    table.apply(mods, column_list=["a"])
    assert shown(table) == {1: "U5", 2: "q"}
    assert reasons(table) == ["expired"]
    table.apply(pa.table({"id": [1], "lsn": [9], "a": ["p"]}), column_list=["a"], backfill=True)
    assert shown(table) == {1: "p", 2: "q"}
    take(table, "M")
    assert shown(table) == {1: "p", 2: "q"}


def test_changes_show_rows_and_no_expire() -> None:
    table = create(MemoryStorage())
    for step in ["U5", "D7", "X10", "U3", "U4b"]:
        take(table, step)
    assert table.changes(from_version=2, to_version=4).read_all().num_rows == 0
    changed = table.changes(from_version=2, to_version=5).read_all().to_pylist()
    assert [(row["a"], row["_change_type"]) for row in changed] == [("U4b", "insert")]


def test_records_are_written_again_with_the_cut() -> None:
    storage = MemoryStorage()
    table = create(storage, merge="always")
    for step in ["U5", "D7", "X6", "D9", "X8", "U20"]:
        take(table, step)
    before = stored(table)
    path = table._open_table.base.snapshot().record_path
    assert path is not None
    storage.delete([path])
    mended = ModTable.repair_folder(storage)  # type: ignore[arg-type]
    assert not mended.left
    assert stored(ModTable.open(storage)) == before


def test_mods_in_files_of_a_few_groups_are_judged_one_by_one() -> None:
    table = create(MemoryStorage())
    table.apply(rows(*((number, number, "x") for number in range(100))))
    take(table, "X150")
    table.apply(rows(*((number, number + 100, "y") for number in range(100))))
    assert sorted(shown(table).values()).count("y") == 49
    merged = table.merge()
    assert (merged.quarantined, merged.counts.mods) == (51, 200)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_other_readers_find_the_rows_of_the_table(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    columns = "k BIGINT, seq BIGINT, name STRING, part STRING"
    table = ModTable.create(tmp_path, columns, primary_key="k", sequence_by="seq", merge="always")
    for turn in range(12):
        if turn % 4 == 3:
            table.expire(chance.randint(5, 8 + turn))
        else:
            kinds = {key: chance.choice("UUD") for key in chance.sample(range(8), 4)}
            mods = [{"k": key, "seq": chance.randint(1, 20), "name": "n", "op": kind} for key, kind in kinds.items()]
            backfill = chance.random() < 0.5
            table.apply(pa.Table.from_pylist(mods), apply_as_deletes="op = 'D'", missing="null", backfill=backfill)
        assert table.status().applied == table.version
        keys = set(table.to_arrow(columns="k")["k"].to_pylist())
        for name, reader in READERS.items():
            assert reader(table.url)(Condition("name", "=", ("n",))) == keys, (name, turn)
