"""Taking in what another writer did to the base."""

from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta import actions
from andes_spark.delta.log import load_state
from andes_spark.errors import CommitConflictError, ForeignWriteError, OptionError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.repair import repair
from tests.foreign_tables import parquet_bytes
from tests.table.test_foreign_writes import foreign_commit, metadata_of, with_column, with_property


def opened(**options: Any) -> tuple[MemoryStorage, ModTable]:
    """A table with four rows in its base, and no pending mods."""
    storage = MemoryStorage()
    table = ModTable.create(
        storage,
        "id BIGINT, seq BIGINT, name STRING",
        primary_key=["id"],
        sequence_by=["seq"],
        settings=Settings(compact_bytes=0),
        **options,
    )
    table.apply(named((1, 10, "a"), (2, 10, "b"), (3, 10, "c"), (4, 10, "d")), merge=True)
    return storage, table


def named(*values: tuple[int, int, str | None]) -> pa.Table:
    columns = [list(column) for column in zip(*values, strict=True)] if values else [[], [], []]
    return pa.table(
        {
            "id": pa.array(columns[0], pa.int64()),
            "seq": pa.array(columns[1], pa.int64()),
            "name": pa.array(columns[2], pa.string()),
        }
    )


def content(table: ModTable, **options: Any) -> dict[int, tuple[int, str | None]]:
    return {row["id"]: (row["seq"], row["name"]) for row in table.to_arrow(**options).to_pylist()}


def overwrite(
    storage: MemoryStorage, *values: tuple[int, int, str | None], operation: str = "WRITE", stats: bool = True
) -> int:
    """Replace all rows of the base, as another writer does."""
    state = load_state(storage)
    removes = [actions.remove(file, timestamp_ms=1) for file in state.files.values()]
    data = parquet_bytes(named(*values), random.Random(1))
    path = f"theirs-{state.version + 1}.parquet"
    storage.put(path, data)
    add = actions.add(path, size=len(data), modified_ms=1, statistics={"numRecords": len(values)} if stats else {})
    if not stats:
        del add["add"]["stats"]
    return foreign_commit(storage, operation, *removes, add)


FOREIGN = ((1, 10, "a"), (2, 10, "theirs"), (5, 7, "new"))
"""Key 2 changed, keys 3 and 4 removed, key 5 added."""


def test_a_change_becomes_a_version() -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN)
    dry = table.repair(foreign="take_in", dry_run=True)
    assert "1 row added, 1 row changed, 2 rows removed" in dry.findings[0]
    assert table.version == 1
    repaired = table.repair(foreign="take_in")
    assert (repaired.version, repaired.findings) == (2, dry.findings)
    assert repaired.merge is not None
    assert repaired.merge.status == "merged"
    for handle in (table, ModTable.open(storage)):
        assert content(handle) == {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new")}
        assert content(handle, version=1) == {key: (10, name) for key, name in zip((1, 2, 3, 4), "abcd", strict=True)}
        assert content(handle, version=2) == content(handle)
        assert handle.verify().ok, handle.verify().problems
        assert handle.status().stopped is None
        (newest,) = handle.history(limit=1)
        assert (newest.operation, newest.notes) == ("take_in", ("Delta version 2 of the base taken in",))
    assert table.repair().findings == ()


def test_lost_tombstones_of_a_take_in_are_named_once() -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN)
    table.repair(foreign="take_in")
    deleted = [info.path for info in storage.list("_andes/tombstones")]
    storage.delete(deleted)
    result = ModTable.open(storage).repair()
    assert len(result.actions) == len({*result.actions})
    assert any(path in text for path in deleted for text in result.left)


@pytest.mark.parametrize("merged", [True, False])
def test_late_mods_of_removed_rows_lose(merged: bool) -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN)
    table.repair(foreign="take_in")
    table.apply(named((3, 10, "old"), (4, 11, "newer"), (5, 6, "older")), merge=merged)
    expected = {1: (10, "a"), 2: (10, "theirs"), 4: (11, "newer"), 5: (7, "new")}
    assert content(table) == expected
    table.merge()
    assert content(ModTable.open(storage)) == expected
    assert table.verify().ok, table.verify().problems


def test_a_row_over_a_tombstone_ends_it() -> None:
    storage, table = opened()
    table.apply(pa.table({"id": [9], "seq": [50], "name": ["x"], "op": ["D"]}), apply_as_deletes="op = 'D'", merge=True)
    overwrite(storage, *FOREIGN, (9, 20, "back"))
    table.repair(foreign="take_in")
    assert content(table)[9] == (20, "back")
    table.apply(named((9, 30, "later")), merge=True)
    assert content(table)[9] == (30, "later")
    assert table.verify().ok, table.verify().problems


def test_rows_below_a_truncate_end_it() -> None:
    storage, table = opened()
    mods = pa.table(
        {"id": [None], "seq": [20], "name": [None], "op": ["T"]},
        schema=pa.schema([("id", pa.int64()), ("seq", pa.int64()), ("name", pa.string()), ("op", pa.string())]),
    )
    table.apply(mods, apply_as_truncates="op = 'T'", merge=True)
    assert content(table) == {}
    overwrite(storage, *FOREIGN, operation="RESTORE")
    table.repair(foreign="take_in")
    assert set(content(table)) == {1, 2, 5}
    table.apply(named((1, 11, "next")), merge=True)
    assert content(table)[1] == (11, "next")
    assert table.verify().ok, table.verify().problems


@pytest.mark.parametrize("when", ["before", "after"])
def test_pending_mods_follow_the_foreign_rows(when: str) -> None:
    storage, table = opened()
    pending = named((2, 12, "mine"), (4, 12, "again"), (6, 12, "six"))
    if when == "before":
        table.apply(pending, merge=False)
    overwrite(storage, *FOREIGN)
    if when == "after":
        table.apply(pending, merge=False)
    before = content(table)
    version = table.version
    table.repair(foreign="take_in")
    expected = {1: (10, "a"), 2: (12, "mine"), 4: (12, "again"), 5: (7, "new"), 6: (12, "six")}
    for handle in (table, ModTable.open(storage)):
        assert content(handle) == expected
        assert content(handle, version=version) == before
        assert handle.verify().ok, handle.verify().problems


def test_a_take_in_that_is_not_merged() -> None:
    """As after a kill behind its manifest: reads, applies and the next merge go on."""
    storage, table = opened()
    table.apply(named((7, 12, "seven")), merge=False)
    overwrite(storage, *FOREIGN)
    crash_before_merge(table)
    expected = {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new"), 7: (12, "seven")}
    reopened = ModTable.open(storage)
    assert content(reopened) == expected
    assert reopened.get([3, 5]).to_pylist() == [{"id": 5, "seq": 7, "name": "new"}]
    assert reopened.status().stopped is None
    assert reopened.verify().ok, reopened.verify().problems
    with pytest.raises(ForeignWriteError, match=r"is not merged yet: merge\(\) first"):
        reopened.vacuum("0 seconds")
    assert reopened.repair().findings == ()
    reopened.apply(named((8, 12, "eight")), merge=True)
    for handle in (table, reopened):
        assert content(handle) == {**expected, 8: (12, "eight")}
        assert content(handle, version=3) == expected
        assert content(handle, version=2) == {
            **dict.fromkeys((), ()),
            1: (10, "a"),
            2: (10, "b"),
            3: (10, "c"),
            4: (10, "d"),
            7: (12, "seven"),
        }
        assert handle.verify().ok, handle.verify().problems


def crash_before_merge(table: ModTable) -> None:
    """Take in, without the merge that follows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair, "merge_after_apply", lambda *args, **options: None)
        table.repair(foreign="take_in")


@pytest.mark.parametrize("choice", ["take_in", "undo"])
def test_a_second_change_on_a_take_in_that_is_not_merged(choice: str) -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN)
    crash_before_merge(table)
    overwrite(storage, (1, 10, "a"), (6, 1, "six"), operation="MERGE")
    for handle in (table, ModTable.open(storage)):
        assert content(handle) == {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new")}
        with pytest.raises(ForeignWriteError, match=r"Delta version 3 \(MERGE\)"):
            handle.merge()
        assert not handle.verify().ok
    finding = table.repair(dry_run=True).findings[0]
    assert "Delta version 3 (MERGE) is another writer's and changed rows: 1 row added, 2 rows removed" in finding
    table.repair(foreign=choice)
    expected = (
        {1: (10, "a"), 6: (1, "six")} if choice == "take_in" else {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new")}
    )
    for handle in (table, ModTable.open(storage)):
        assert content(handle) == expected
        assert handle.verify().ok, handle.verify().problems
        handle.apply(named((3, 10, "late")), merge=True)
        assert content(handle) == expected
        assert handle.verify().ok, handle.verify().problems


def test_restores_across_a_take_in() -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN)
    table.repair(foreign="take_in")
    after, before = content(table), content(table, version=1)
    table.apply(named((1, 30, "later")), merge=True)
    table.restore(1, merge=False)
    assert content(table) == before
    table.merge()
    assert content(ModTable.open(storage)) == before
    assert table.verify().ok, table.verify().problems
    table.restore(2, merge=False)
    assert content(ModTable.open(storage)) == after
    table.merge()
    for handle in (table, ModTable.open(storage)):
        assert content(handle) == after
        assert handle.verify().ok, handle.verify().problems
        assert [content(handle, version=version) for version in (1, 2, 4, 5)] == [before, after, before, after]


def test_changes_across_a_take_in() -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN)
    table.repair(foreign="take_in")
    changes = table.changes(from_version=1).read_all().sort_by("id").select(["id", "name", "_change_type"]).to_pylist()
    assert [tuple(row.values()) for row in changes] == [
        (2, "theirs", "update_postimage"),
        (3, "c", "delete"),
        (4, "d", "delete"),
        (5, "new", "insert"),
    ]


def test_a_vacuum_keeps_what_a_take_in_needs() -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN)
    table.repair(foreign="take_in")
    table.tag("taken", 2)
    before = content(table, version=1)
    table.apply(named((1, 40, "x"), (2, 40, "y"), (5, 40, "z")), merge=True)
    table.tag("first", 1)
    assert table.vacuum("0 seconds").floor > 2
    for handle in (table, ModTable.open(storage)):
        assert content(handle, tag="taken") == {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new")}
        assert content(handle, tag="first") == before
        assert handle.verify().ok, handle.verify().problems
    table.untag("taken")
    table.untag("first")
    table.vacuum("0 seconds")
    assert not any("theirs" in info.path for info in storage.list())
    assert table.verify().ok, table.verify().problems


def test_files_without_a_number_of_rows_get_one() -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN, stats=False)
    table.repair(foreign="take_in")
    assert content(table) == {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new")}
    table.apply(named((1, 40, "x")), merge=True)
    assert content(table)[1] == (40, "x")
    assert table.verify().ok, table.verify().problems


def test_a_change_whose_state_before_is_gone_is_taken_in() -> None:
    storage, table = opened()
    old = set(load_state(storage).files)
    overwrite(storage, *FOREIGN, operation="DELETE")
    storage.delete(old)
    table.repair(foreign="take_in")
    for handle in (table, ModTable.open(storage)):
        assert content(handle) == {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new")}
        assert handle.verify().ok, handle.verify().problems


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (((1, 10, "a"), (1, 11, "b")), "rows share the keys"),
        (((None, 10, "a"),), "1 rows with NULL in 'id'"),
        (((1, None, "a"),), "1 rows with NULL in 'seq'"),
    ],
)
def test_rows_that_cannot_be_rows_of_the_table_are_refused(values: Any, words: str) -> None:
    storage, table = opened()
    expected = content(table)
    overwrite(storage, *values)
    count = len(list(storage.list()))
    for choice in ("take_in", None):
        with pytest.raises(OptionError, match=words):
            table.repair(choice)
    assert len(list(storage.list())) == count
    table.repair(foreign="undo")
    assert content(table) == expected
    assert table.verify().ok


def test_other_changes_of_columns_are_refused() -> None:
    storage, table = opened()
    schema = json.loads(load_state(storage).metadata.schema_json)
    schema["fields"][2]["type"] = "binary"
    foreign_commit(storage, "CHANGE COLUMN", metadata_of(storage, schemaString=json.dumps(schema)))
    with pytest.raises(OptionError, match=r"the columns were changed, and not only new ones added that may be NULL"):
        table.repair(foreign="take_in")


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_added_columns_are_taken_in(merged: bool, written: bool) -> None:
    storage, table = opened()
    table.apply(named((6, 12, "six")), merge=False)
    foreign_commit(storage, "ADD COLUMNS", with_column(storage))
    if written:
        state = load_state(storage)
        data = parquet_bytes(named((7, 1, "seven")).append_column("more", pa.array(["x"])), random.Random(1))
        storage.put("theirs-more.parquet", data)
        statistics = {"numRecords": 1}
        add = actions.add("theirs-more.parquet", size=len(data), modified_ms=1, statistics=statistics)
        assert foreign_commit(storage, "WRITE", add) == state.version + 1
    if merged:
        table.repair("take_in")
    else:
        crash_before_merge(table)
    expected = {(1, None), (2, None), (3, None), (4, None), (6, None), *([(7, "x")] if written else [])}
    for handle in (table, ModTable.open(storage)):
        rows = handle.to_arrow()
        assert rows.column_names == ["id", "seq", "name", "more"]
        assert set(zip(rows["id"].to_pylist(), rows["more"].to_pylist(), strict=True)) == expected
        assert handle.to_arrow(version=2).column_names == ["id", "seq", "name"]
        assert handle.verify().ok, handle.verify().problems
    table.apply([{"id": 2, "seq": 20, "name": "b", "more": "y"}, {"id": 7, "seq": 20, "name": "z"}], merge=True)
    reopened = ModTable.open(storage)
    assert (
        reopened.get([2, 7])["more"].to_pylist() == ["y", None]
        if written
        else reopened.get([2])["more"][0].as_py() == "y"
    )
    assert reopened.verify().ok, reopened.verify().problems
    assert load_state(storage).metadata.schema_json.count('"more"') == 1


def test_features_in_use_end_with_the_merge() -> None:
    storage, table = opened()
    overwrite(storage, *FOREIGN)
    foreign_commit(storage, "SET TBLPROPERTIES", with_property(storage, "delta.enableChangeDataFeed", "true"))
    table.repair(foreign="take_in")
    assert "delta.enableChangeDataFeed" not in load_state(storage).metadata.configuration
    assert content(table) == {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new")}
    assert table.verify().ok


def test_a_pending_restore_is_not_passed_over() -> None:
    storage, table = opened()
    table.apply(named((1, 20, "x")), merge=True)
    table.restore(1, merge=False)
    expected = content(table)
    overwrite(storage, *FOREIGN)
    with pytest.raises(OptionError, match="restores or sets aside what the changed state contains"):
        table.repair(foreign="take_in")
    table.repair(foreign="undo")
    assert content(table) == expected
    table.merge()
    assert content(ModTable.open(storage)) == expected
    assert table.verify().ok


def test_a_state_that_was_overwritten_is_noticed() -> None:
    storage, table = opened()
    version = overwrite(storage, *FOREIGN)
    crash_before_merge(table)
    path = f"_delta_log/{version:020}.json"
    entry = [json.loads(line) for line in storage.get(path).splitlines()]
    storage.put(path, actions.encode([action for action in entry if "remove" not in action]))
    with pytest.raises(Exception, match="has other files than when it was taken in"):
        ModTable.open(storage).to_arrow()


def test_without_a_sequence() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, seq BIGINT, name STRING", primary_key=["id"], merge="manual")
    table.apply(named((1, 1, "a"), (2, 1, "b")), batch_id=("s", 1), merge=True)
    table.apply(named((2, 1, "mine")), batch_id=("s", 2))
    overwrite(storage, (1, 1, "theirs"), (2, 1, "theirs"), (3, 1, "theirs"))
    table.repair(foreign="take_in")
    assert content(table) == {1: (1, "theirs"), 2: (1, "mine"), 3: (1, "theirs")}
    assert table.verify().ok, table.verify().problems


def test_a_restore_during_the_repair_ends_it() -> None:
    storage, table = opened()
    table.apply(named((1, 20, "x")), merge=True)
    overwrite(storage, *FOREIGN)
    open_table = table._open_table
    check = open_table.clock.check

    def meanwhile(**options: Any) -> Any:
        open_table.clock.check = check  # type: ignore[method-assign]
        ModTable.open(storage).restore(1, merge=False)
        return check(**options)

    open_table.clock.check = meanwhile  # type: ignore[method-assign]
    with pytest.raises(CommitConflictError, match="nothing was taken in"):
        table.repair(foreign="take_in")


def test_another_repair_that_undoes_the_change_meanwhile() -> None:
    storage, table = opened()
    before = content(table)
    overwrite(storage, *FOREIGN)
    open_table = table._open_table
    check = open_table.clock.check

    def meanwhile(**options: Any) -> Any:
        open_table.clock.check = check  # type: ignore[method-assign]
        ModTable.open(storage).repair("undo")
        return check(**options)

    open_table.clock.check = meanwhile  # type: ignore[method-assign]
    version = table.repair("take_in").committed
    assert version is not None
    for handle in (table, ModTable.open(storage)):
        assert content(handle) == {1: (10, "a"), 2: (10, "theirs"), 5: (7, "new")}
        assert content(handle, version=version - 1) == before
    table.apply(named((1, 30, "later")), merge=True)
    for handle in (table, ModTable.open(storage)):
        assert content(handle)[1] == (30, "later")
        assert handle.verify().ok, handle.verify().problems
