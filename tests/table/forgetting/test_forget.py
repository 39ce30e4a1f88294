"""Forget: nothing of a key is left, and all else is as before."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from andes_spark import ModTable
from andes_spark.base import forgotten
from andes_spark.delta.log import load_state
from andes_spark.delta.paths import entry_path
from andes_spark.errors import (
    BatchConflictError,
    FileDamagedError,
    OptionError,
    UnsupportedTableError,
    VersionExpiredError,
)
from andes_spark.model.events import Vacuum
from andes_spark.storage.memory import MemoryStorage
from tests.forgotten import KEY, LAST, SETTINGS, confirmed, forget, holding, made, mods, opened, rows, send, without
from tests.vacuumed import sound


def test_nothing_of_the_key_is_left(storage: MemoryStorage) -> None:
    expected = without(opened(storage))
    places = {path.rpartition("/")[0] for path in holding(storage)}
    assert places == {
        "", "_andes/manifests", "_andes/merges", "_andes/mods", "_andes/quarantine", "_andes/tombstones", "_delta_log",
    }, places  # fmt: skip
    result = forget(storage)
    assert holding(storage) == []
    assert (result.keys, result.rows, result.ok) == (1, 1, True)
    assert result.verify().objects == len(storage._objects)
    assert rows(opened(storage)) == expected
    sound(storage)
    # The files that the base has now are all that is there of it.
    state = load_state(storage)
    assert {path for path in storage._objects if path.startswith("part-")} == set(state.files)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"deletion_vectors": False}, "merged"),
        ({"sequence_by": ()}, "merged"),
        ({"partition_by": ("name",)}, "merged"),
        ({"merge": "manual"}, "pending"),
    ],
    ids=str,
)
def test_tables_of_all_kinds(arguments: Any, kind: str) -> None:
    storage = made(**arguments)
    table = opened(storage)
    assert (table.status().pending_mods > 0) == (kind == "pending")
    expected = without(table)
    assert forget(storage).ok
    # Folders of partitions name values of rows, and the Delta log names folders.
    assert [path for path in holding(storage) if not arguments.get("partition_by") or path[:6] != "_delta"] == []
    assert rows(opened(storage)) == rows(table) == expected
    sound(storage)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("id BIGINT", [(7_700_123_456_789,), (9_000_000_000_000,), (9_000_000_000_001,)]),
        ("id DECIMAL(20,3)", [(Decimal("770012345.678"),), (Decimal("-1.5"),), (Decimal("-9000000000.1"),)]),
        ("day DATE", [(datetime.date(1815, 12, 10),), (datetime.date(1, 1, 1),), (datetime.date(1000, 2, 28),)]),
        ("at TIMESTAMP_NTZ", [(datetime.datetime(1815, 12, 10, 3, 4, 5, 678),), (datetime.datetime(2000, 1, 1),)]),
        ("raw BINARY", [(b"\xada-love",), (b"",), (b"\x01",)]),
        ("region STRING, id INT", [("uk", 70_012_345), ("uk", 1), ("de", 70_012_345)]),
        ("email STRING", [("a very long address that no statistic of a file holds as a whole@example.org",), ("x",)]),
    ],
    ids=str,
)
def test_keys_of_all_kinds(columns: str, values: list[Any]) -> None:
    storage = MemoryStorage()
    names = [part.split()[0] for part in columns.split(", ")]
    table = ModTable.create(storage, f"{columns}, seq BIGINT", primary_key=names, sequence_by="seq", settings=SETTINGS)
    arrow = table.schema.to_arrow()
    for seq in range(1, 4):
        rows_ = [dict(zip(names, value, strict=True)) | {"seq": seq} for value in values]
        table.apply(pa.Table.from_pylist(rows_, schema=arrow), batch_id=("feed", seq))
    key = values[0][0] if len(names) == 1 else values[0]
    before = table.forget([key], dry_run=True)
    kinds = {(mention.path.split("/")[1 if "/" in mention.path else 0][:5], mention.what) for mention in before.before}
    assert {("manif", "range"), ("mods", "rows")} <= kinds or len(names) > 1
    result = forget(storage, [key])
    assert result.ok
    assert result.before == before.before
    kept = opened(storage).to_arrow()
    assert kept.num_rows == len(values) - 1
    assert opened(storage).get([key]).num_rows == 0
    # A mod that comes late loses, one that is newer does not.
    late = pa.Table.from_pylist([dict(zip(names, values[0], strict=True)) | {"seq": 3}], schema=arrow)
    opened(storage).apply(late, batch_id=("feed", 4))
    assert opened(storage).get([key]).num_rows == 0
    sound(storage)
    newer = pa.Table.from_pylist([dict(zip(names, values[0], strict=True)) | {"seq": 4}], schema=arrow)
    opened(storage).apply(newer, batch_id=("feed", 5))
    assert opened(storage).get([key]).num_rows == 1
    assert not result.verify().ok
    sound(storage)


@pytest.mark.slow
@pytest.mark.parametrize("merge", [True, False])
def test_late_mods_lose_and_newer_ones_do_not(storage: MemoryStorage, merge: bool) -> None:
    forget(storage)
    table = opened(storage)
    for seq, present in ((3, False), (LAST, False), (LAST + 1, True)):
        send(table, mods(seq), 100 + seq, merge=merge)
        for handle in (table, opened(storage)):
            assert handle.get([KEY]).num_rows == present
            assert (KEY in handle.to_arrow()["email"].to_pylist()) == present
    table.merge()
    assert opened(storage).get([KEY]).num_rows == 1
    sound(storage)
    # What is deleted at a newer sequence has a tombstone with its key again, until it is forgotten again.
    table.apply(pa.table({"email": [KEY], "seq": [LAST + 2]}), apply_as_deletes="seq > 0", batch_id=("feed", 999))
    result = forget(storage)
    assert (result.ok, holding(storage)) == (True, [])
    send(opened(storage), mods(LAST + 2), 1_000)
    assert opened(storage).get([KEY]).num_rows == 0
    sound(storage)


def test_a_deleted_key_is_forgotten_too(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.apply(pa.table({"email": [KEY], "seq": [50]}), apply_as_deletes="seq > 0", batch_id=("feed", 50))
    result = forget(storage)
    assert (result.rows, result.ok, holding(storage)) == (0, True, [])
    send(opened(storage), mods(50), 51)
    assert opened(storage).get([KEY]).num_rows == 0
    sound(storage)


def test_partial_mods_that_come_late_bring_nothing_back(storage: MemoryStorage) -> None:
    forget(storage)
    table = opened(storage)
    partial = pa.table({"email": [KEY], "name": ["again"], "seq": [LAST]})
    table.apply(partial, column_list=["email", "name", "seq"], batch_id=("feed", 60))
    assert table.get([KEY]).num_rows == 0
    sound(storage)


@pytest.mark.slow
def test_hashes_outlive_merges_vacuums_and_other_forgets(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgotten, "_MOST_FILES", 2)
    keys = [KEY, "z-2", "z-4", "a-1", "a-3"]
    for number, key in enumerate(keys):
        assert forget(storage, [key, KEY]).ok
        send(opened(storage), mods(20 + number).slice(1), 100 + number)
    record = opened(storage)._open_table.base.snapshot().record
    hashed = [file for file in record.tombstones if file.salt is not None]
    assert (len(hashed) <= 3, sum(file.rows for file in hashed), len({file.salt for file in hashed})) == (True, 5, 1)
    opened(storage).vacuum("0 seconds")
    table = opened(storage)
    table.apply(pa.table({"email": keys, "name": ["late"] * len(keys), "seq": [1] * len(keys)}), batch_id=("late", 1))
    assert table.get(keys).num_rows == 0
    sound(storage)


def test_earlier_versions_are_released(storage: MemoryStorage) -> None:
    result = forget(storage)
    table = opened(storage)
    assert (table.version, result.floor) == (result.version, result.version - 1)
    assert any(isinstance(event, Vacuum) for event in table.manifest(table.version).events)
    for version in range(result.floor):
        with pytest.raises(VersionExpiredError):
            table.to_arrow(version=version)
    assert rows(table, version=result.floor) == rows(table)
    # The history stays, without what names the key.
    assert [entry.version for entry in table.history()] == list(range(table.version, -1, -1))
    assert table.history()[-2].counts.received == 3
    send(table, mods(99), 99)
    table.restore(version=result.floor)
    assert table.get([KEY]).num_rows == 0
    sound(storage)


def test_refused_rows_of_other_keys_stay(storage: MemoryStorage) -> None:
    before = opened(storage).quarantined().to_pylist()
    forget(storage)
    table = opened(storage)
    (kept,) = table.quarantined().to_pylist()
    assert kept in before
    assert (len(before), "b-1" in kept["row"]) == (2, True)
    forget(storage, "b-1")
    assert opened(storage).quarantined().num_rows == 0
    assert not [path for path in storage._objects if path.startswith("_andes/quarantine")]
    sound(storage)


def test_handles_read_refused_rows_that_were_written_anew(storage: MemoryStorage) -> None:
    forgetting, behind, unused = opened(storage), opened(storage), opened(storage)
    before = [row for row in behind.quarantined().to_pylist() if KEY not in row["row"]]
    forgetting.forget(KEY, confirm=confirmed(storage))
    for table in (forgetting, behind, unused, opened(storage)):
        assert table.quarantined().to_pylist() == table.quarantined(version=table.version).to_pylist() == before
        assert table.verify().ok
    behind = opened(storage)
    (path,) = [path for path in storage._objects if path.startswith("_andes/quarantine")]
    storage.delete([path])
    for _ in range(2):
        with pytest.raises(FileDamagedError, match="is missing; restore it"):
            behind.quarantined()


def test_batches_stay_known(storage: MemoryStorage) -> None:
    forget(storage)
    for table in (opened(storage), opened(storage)):
        for number in (1, LAST - 1):
            assert send(table, mods(number), number).replayed
        with pytest.raises(BatchConflictError):
            send(table, mods(40), 3)
    assert opened(storage).manifest(3).batches[0].digest.startswith("andes1s:")
    digest = opened(storage).manifest(3).batches[0].digest
    forget(storage, "a-1")
    assert opened(storage).manifest(3).batches[0].digest == digest


def test_tags_and_pins_are_named_before_anything_changes(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.tag("books", 3)
    table.pin(5, days=2)
    before = dict(storage._objects)
    with pytest.raises(OptionError, match="tag books on version 3, pin of version 5 until") as caught:
        forget(storage)
    assert len(caught.value.problems or ()) == 2
    assert {path: data for path, (data, _) in storage._objects.items() if path != "_andes/hint"} == {
        path: data for path, (data, _) in before.items() if path != "_andes/hint"
    }
    assert table.forget(KEY, dry_run=True).in_the_way == caught.value.problems
    table.untag("books")
    table.unpin(5)
    assert forget(storage).ok
    sound(storage)


def test_a_sequence_that_is_part_of_the_key() -> None:
    storage = MemoryStorage()
    table = ModTable.create(
        storage, "email STRING, seq BIGINT", primary_key=("email", "seq"), sequence_by="seq", settings=SETTINGS
    )
    for seq in (4, 5):
        table.apply(pa.table({"email": [KEY, "x"], "seq": [seq, seq]}), batch_id=("feed", seq))
    assert forget(storage, [(KEY, 5), (KEY, 4)]).ok
    assert holding(storage) == []
    opened(storage).apply(pa.table({"email": [KEY, KEY], "seq": [5, 6]}), batch_id=("late", 1))
    assert opened(storage).to_arrow().sort_by("seq")["seq"].to_pylist() == [4, 5, 6]
    sound(storage)


def test_a_dry_run_writes_nothing(storage: MemoryStorage) -> None:
    table = opened(storage)
    before = dict(storage._objects)
    result = table.forget(KEY, dry_run=True)
    assert storage._objects == before
    assert (result.dry_run, result.ok, result.version) == (True, False, None)
    assert {mention.what for mention in result.before} == {"rows", "range", "refused rows"}
    assert "would be forgotten" in result.summary()


def test_a_key_that_nothing_names_changes_nothing(storage: MemoryStorage) -> None:
    before = dict(storage._objects)
    result = forget(storage, ["nobody@example.org"])
    assert (result.version, result.ok) == (None, True)
    assert storage._objects == before
    forget(storage)
    version = opened(storage).version
    assert forget(storage).version is None
    assert opened(storage).version == version


def test_keys_of_a_condition(storage: MemoryStorage) -> None:
    result = forget(storage, None, condition="name LIKE 'Countess%'")
    assert (result.keys, result.ok, holding(storage)) == (1, True, [])


@pytest.mark.parametrize(
    ("keys", "options", "message"),
    [
        (KEY, {}, "confirm"),
        (KEY, {"confirm": "other"}, "confirm"),
        (None, {"dry_run": True}, "say what to forget"),
        (KEY, {"condition": "name = 'x'", "dry_run": True}, "leave one of them out"),
    ],
)
def test_bad_calls(storage: MemoryStorage, keys: Any, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        opened(storage).forget(keys, **options)


def test_folders_named_by_keys_are_refused() -> None:
    storage = MemoryStorage()
    ModTable.create(storage, "a STRING, b STRING", primary_key="a", partition_by="a")
    with pytest.raises(UnsupportedTableError, match="partitioned"):
        opened(storage).forget("x", confirm=confirmed(storage))


@pytest.mark.slow
def test_a_clone_keeps_the_hashes(storage: MemoryStorage) -> None:
    forget(storage)
    target = MemoryStorage()
    target.url = "memory://clone"
    made_table = opened(storage).clone(target)
    made_table.apply(pa.table({"email": [KEY], "name": ["late"], "seq": [LAST]}), batch_id=("late", 1))
    assert (made_table.get([KEY]).num_rows, opened(target).get([KEY]).num_rows) == (0, 0)
    sound(target)


def test_handles_that_are_behind(storage: MemoryStorage) -> None:
    idle, writer = opened(storage), opened(storage)
    reader = opened(storage)
    assert reader.get([KEY]).num_rows == 1
    forget(storage)
    with pytest.raises(VersionExpiredError):
        idle.to_arrow(version=2)
    assert rows(idle) == rows(reader) == rows(opened(storage))
    for seq in range(30, 55):  # roll-ups of a handle that knows the ranges of keys of old versions
        batch = mods(seq).filter(pa.compute.field("email") != KEY)
        assert send(writer, batch, seq, merge=False).version == LAST + 3 + seq - 29
    assert holding(storage) == []
    writer.merge()
    sound(storage)


def test_other_readers_of_the_base(tmp_path: Path) -> None:
    """Also one that has read the Delta log before: what it reads since leads to the same state."""
    table = ModTable.create(
        str(tmp_path / "people"), "email STRING, name STRING, seq BIGINT", primary_key="email", sequence_by="seq",
        deletion_vectors=False, settings=SETTINGS,
    )  # fmt: skip
    for seq in range(1, 8):
        send(table, mods(seq), seq)
    before = DeltaTable(table.url)
    send(table, mods(8), 8)
    expected = without(table)
    assert table.forget(KEY, confirm="people").ok
    for reader in (before, DeltaTable(table.url)):
        reader.update_incremental()
        assert reader.to_pyarrow_table().sort_by("email").to_pylist() == expected
    for log in (tmp_path / "people" / "_delta_log").iterdir():
        assert KEY.encode() not in log.read_bytes()


def test_a_table_of_other_writers() -> None:
    """Its files have other names and no field ids, and its log other entries than this library's."""
    storage = MemoryStorage()
    other_table = ModTable.create(
        storage, "email STRING, name STRING, seq BIGINT", primary_key="email", sequence_by="seq"
    )
    for seq in range(1, 4):
        send(other_table, mods(seq), seq)
    plain = MemoryStorage()
    for info in storage.list():
        if not info.path.startswith("_andes/"):
            plain.put(info.path, storage.get(info.path))
    state = load_state(plain)
    deleted = {"predicate": f"[\"(email = '{KEY}')\"]"}
    delete = {"timestamp": 1, "operation": "DELETE", "operationParameters": deleted, "engineInfo": "another"}
    plain.put(entry_path(state.version + 1), json.dumps({"commitInfo": delete}).encode())
    ModTable.convert(plain, primary_key="email", sequence_by="seq")
    before = opened(plain).forget(KEY, dry_run=True)
    assert {"rows", "text"} <= {mention.what for mention in before.before}
    expected = without(opened(plain))
    assert forget(plain).ok
    assert holding(plain) == []
    assert rows(opened(plain)) == expected
    sound(plain)


@pytest.mark.slow
def test_requests_do_not_grow_with_what_is_clean() -> None:
    written = []
    for last in (10, 30):
        storage = made(last)
        first = opened(storage)
        begun = storage.counts.snapshot()
        first.forget(KEY, confirm=confirmed(storage))
        tally = storage.counts.minus(begun)
        assert tally.get + tally.head <= 30 * last + 200
        begun = storage.counts.snapshot()
        opened(storage).forget("a-1", confirm=confirmed(storage))
        tally = storage.counts.minus(begun)
        written.append(tally.put + tally.put_if_absent)
    assert written[1] <= written[0] + 4
    assert written[0] <= 40


@pytest.mark.parametrize(
    ("before", "after", "key", "others"),
    [
        ("INT", "BIGINT", 7, [7 + 2**32, 8]),
        ("DECIMAL(4,2)", "DECIMAL(12,2)", Decimal("1.23"), [Decimal("1.24"), Decimal("101.23")]),
    ],
)
def test_keys_whose_type_was_widened(before: str, after: str, key: Any, others: list[Any]) -> None:
    """The hash is of a value of the type that the column had: no other value of the wider type is it."""
    storage = MemoryStorage()
    table = ModTable.create(storage, f"id {before}, seq BIGINT", primary_key="id", sequence_by="seq", settings=SETTINGS)
    table.apply(pa.table({"id": pa.array([key], table.schema.to_arrow().field("id").type), "seq": [9]}))
    assert forget(storage, [key]).ok
    opened(storage).alter.widen("id", after)
    table = opened(storage)
    kind = table.schema.to_arrow().field("id").type
    values = pa.array([key, *others]).cast(kind)
    table.apply(pa.table({"id": values, "seq": [5] * len(values)}))
    assert table.to_arrow().num_rows == len(others)
    sound(storage)
