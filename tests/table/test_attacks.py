"""Scenarios that broke earlier drafts of the protocol, each by the number it has in the list of attacks.

Those of other operations are not here: restore (12), vacuum (14), a change feed (10), streams (24), schema changes that
race (22), and expiry (6), which is in ``maintenance/test_expire.py``. Foreign writers of the base (13) are tested with
Delta itself, statistics (15) with the base, crashes and processes in files of their own.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from andes_spark.delta.paths import entry_path
from andes_spark.errors import (
    AndesError,
    ClockError,
    FileDamagedError,
    ForeignWriteError,
    LogDamagedError,
    TableExistsError,
)
from andes_spark.log.lease import LEASE_PATH
from andes_spark.model.documents import seal
from andes_spark.model.manifest import manifest_path
from andes_spark.model.merge_record import merge_record_path
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of
from andes_spark.testing.tapped import TappedStorage

PACKING = Settings(threads=1, compact_bytes=0)


def create(storage: Any, schema: Any = "id bigint, lsn bigint, a string, b string", **arguments: Any) -> ModTable:
    options: dict[str, Any] = {"primary_key": ["id"], "sequence_by": ["lsn"], "merge": "manual", **arguments}
    return ModTable.create(storage, schema, **options)


def send(table: ModTable, *rows: tuple[Any, ...], **options: Any) -> Any:
    """Rows of id, lsn, a; an ``a`` of "D" is a delete."""
    columns = list(zip(*rows, strict=True))
    mods = pa.table(
        [
            pa.array(columns[0]),
            pa.array(columns[1]),
            pa.array(columns[2], pa.string()),
            pa.array(columns[2], pa.string()),
        ],
        names=["id", "lsn", "a", "b"],
    )
    return table.apply(mods, apply_as_deletes="a = 'D'", **options)


def shown(table: ModTable, **options: Any) -> dict[Any, Any]:
    rows = table.to_arrow(**options).to_pylist()
    values = {row["id"]: row["a"] for row in rows}
    assert len(values) == len(rows), "a key twice"
    return values


def meanwhile(storage: MemoryStorage, where: Callable[[str, str], bool], action: Callable[[], Any]) -> TappedStorage:
    """A storage at whose first request of a kind something else happens."""
    tapped = TappedStorage(storage)

    def tap(kind: str, path: str) -> None:
        if where(kind, path):
            tapped.tap = None
            action()

    tapped.tap = tap
    return tapped


def delta_commit(kind: str, path: str) -> bool:
    return kind == "put_if_absent" and path.startswith("_delta_log/")


def test_attack_01_two_mergers_of_inserts_add_each_key_once() -> None:
    storage = MemoryStorage()
    table = create(storage)
    send(table, (1, 1, "x"), (2, 1, "x"))
    results = []
    tapped = meanwhile(storage, delta_commit, lambda: results.append(ModTable.open(storage).merge()))
    slow = ModTable.open(tapped).merge()
    assert results[0].inserted == 2
    assert (slow.status, slow.counts.mods, slow.applied) == ("nothing", 0, 1)
    assert shown(ModTable.open(storage)) == {1: "x", 2: "x"}
    assert ModTable.open(storage).verify().ok
    # What the loser wrote is gone; the record of the version is the winner's.
    assert len([info for info in storage.list() if info.path.startswith("part-")]) == 1


def test_attack_02_a_merger_that_slept_overwrites_nothing() -> None:
    storage = MemoryStorage()
    table = create(storage)
    send(table, (1, 1, "x"))

    def others() -> None:
        other = ModTable.open(storage, settings=PACKING)
        other.merge()
        send(other, (1, 2, "y"), (2, 2, "y"))
        other.merge()

    entries: dict[str, bytes] = {}

    def act() -> None:
        others()
        entries.update({info.path: storage.get(info.path) for info in storage.list("_delta_log")})

    ModTable.open(meanwhile(storage, delta_commit, act)).merge()
    assert len(entries) == 3
    assert {path: storage.get(path) for path in entries} == entries
    assert shown(ModTable.open(storage)) == {1: "y", 2: "y"}


def test_attack_02_a_merge_that_was_overwritten_is_noticed() -> None:
    storage = MemoryStorage()
    table = create(storage)
    send(table, (1, 1, "x"))
    table.merge()
    storage.put(entry_path(1), b'{"commitInfo":{"operation":"WRITE"}}\n')
    with pytest.raises(ForeignWriteError, match="was a merge of ours"):
        ModTable.open(storage).to_arrow()


def test_attack_03_a_read_is_pinned() -> None:
    storage = MemoryStorage()
    table = create(storage)
    send(table, (1, 1, "old"), (2, 1, "x"))
    table.merge()
    send(table, (7, 2, "K"))

    def others() -> None:
        other = ModTable.open(storage)
        send(other, (7, 3, "D"), (1, 3, "new"))
        other.merge()

    reads: list[str] = []
    # At each request of the read in turn: it shows the rows before or after, never a mixture.
    for number in range(1, 30):
        copy = MemoryStorage()
        for info in storage.list():
            copy.put(info.path, storage.get(info.path))
        left = [number]
        before, storage_, storage = shown(ModTable.open(copy)), storage, copy

        def due(kind: str, path: str, left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] == 0

        tapped = meanwhile(copy, lambda kind, path: False, others)
        reader = ModTable.open(tapped)
        waiting = meanwhile(copy, due, others)
        tapped.tap = waiting.tap
        rows = shown(reader)
        assert rows in (before, {1: "new", 2: "x"}), number
        reads.append("before" if rows == before else "after")
        storage = storage_
        if left[0] > 0:
            break
    assert left[0] > 0
    assert set(reads) == {"before", "after"}


@pytest.mark.parametrize("merge", [True, False])
def test_attack_04_a_delete_of_an_absent_key_leaves_a_tombstone(merge: bool) -> None:
    table = create(MemoryStorage())
    send(table, (1, 90, "D"), merge=merge)
    send(table, (1, 80, "late"), merge=False)
    assert shown(table) == {}
    assert table.merge().late + sum(entry.superseded for entry in table.merges()) == 1
    assert shown(table) == {}
    assert table.status().tombstones == 1


@pytest.mark.slow
def test_attack_05_each_base_has_its_own_tombstones() -> None:
    storage = MemoryStorage()
    table = create(storage)
    for version in range(1, 25):  # more than are folded into one file
        send(table, (version, 10, "D"), (100, version, "x"))
        table.merge()
    for version in range(1, 25):
        send(table, (version, 9, "late"))
    assert shown(table) == {100: "x"}
    for version in range(1, 49):
        assert shown(table, version=version) == {100: "x"}
    table.merge()
    assert table.verify().ok
    storage.delete([merge_record_path(48, table.manifest(48).commit_id)])
    with pytest.raises(LogDamagedError, match="is missing"):
        ModTable.open(storage).to_arrow()


def test_attack_05_a_merge_that_finds_the_record_of_another_uses_it() -> None:
    """Killed between the merge record and the Delta commit: the next one goes on with that record."""
    storage = MemoryStorage()
    table = create(storage)
    send(table, (1, 9, "D"), (2, 1, "x"))

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ModTable.open(meanwhile(storage, delta_commit, die)).merge()
    path = merge_record_path(1, table.manifest(1).commit_id)
    record = storage.get(path)
    files = {info.path for info in storage.list("_andes/tombstones")}
    assert ModTable.open(storage).merge().status == "merged"
    assert storage.get(path) == record
    assert {info.path for info in storage.list("_andes/tombstones")} == files
    send(table, (1, 8, "late"))
    assert shown(table) == {2: "x"}
    assert table.verify().ok


def test_attack_07_a_no_op_remembers_its_sequence() -> None:
    table = create(MemoryStorage())
    for lsn, value in ((5, "A"), (10, "A"), (7, "B")):
        send(table, (1, lsn, value), merge=True)
    assert shown(table) == {1: "A"}


@pytest.mark.parametrize("merged", [True, False])
def test_attack_08_bounds_include_the_equal_sequence(merged: bool) -> None:
    table = create(MemoryStorage())
    send(table, (1, 5, "x"), (2, 5, "x"), (3, 5, "D"), merge=merged)
    send(table, (1, 5, "y"), (2, 5, "D"), (3, 5, "y"), merge=merged)
    assert shown(table) == {1: "y"}


@pytest.mark.parametrize("merged", [True, False])
def test_attack_09_partials_are_folded_not_picked(merged: bool) -> None:
    table = create(MemoryStorage())
    send(table, (1, 1, "x"), merge=merged)
    table.apply(pa.table({"id": [1], "lsn": [7], "b": ["B"]}), column_list=["b"], merge=merged)
    table.apply(pa.table({"id": [1], "lsn": [5], "a": ["A"]}), column_list=["a"], merge=merged)
    table.apply(pa.table({"id": [1], "lsn": [8], "a": ["C"]}), column_list=["a"], merge=merged)
    table.merge()
    assert table.to_arrow().to_pylist() == [{"id": 1, "lsn": 8, "a": "C", "b": "B"}]
    assert table.quarantined()["reason"].to_pylist() == ["late partial mod"]


def test_attack_11_batches_may_commit_out_of_order() -> None:
    table = create(MemoryStorage())
    assert not send(table, (1, 2, "y"), batch_id=("s", 43)).replayed
    assert not send(table, (1, 1, "x"), batch_id=("s", 42)).replayed
    assert shown(table) == {1: "y"}


@pytest.mark.parametrize("merged", [True, False])
def test_attack_16_one_transaction_needs_an_ordinal(merged: bool) -> None:
    schema = "id bigint, lsn bigint, ordinal int, a string"
    table = create(MemoryStorage(), schema, sequence_by=["lsn", "ordinal"])
    mods = {
        "id": [1, 1, 2, 2],
        "lsn": [5] * 4,
        "ordinal": pa.array([1, 2, 1, 2], pa.int32()),
        "a": [None, "was 2", None, "was 1"],
    }
    table.apply(pa.table(mods), apply_as_deletes="ordinal = 1", merge=merged)
    assert shown(table) == {1: "was 2", 2: "was 1"}


def test_attack_18_a_shrunken_log_takes_no_new_version() -> None:
    storage = MemoryStorage()
    table = create(storage)
    for lsn in (1, 2, 3):
        send(table, (1, lsn, "x"), merge=True)
    storage.delete([manifest_path(3), "_andes/hint"])
    with pytest.raises(LogDamagedError, match="manifests were lost"):
        send(ModTable.open(storage), (2, 1, "y"))
    assert storage.find(manifest_path(3)) is None


@pytest.mark.parametrize("path", ["_andes/manifests/", "_delta_log/"])
def test_attack_18_what_others_commit_while_verify_runs_is_no_lost_version(path: str) -> None:
    """Verify reads the base before the log: a merge in between must not make the log look too short."""
    storage = MemoryStorage()
    other = create(storage)
    send(other, (1, 1, "x"), (2, 1, "x"), merge=True)
    send(other, (1, 2, "y"))

    def write() -> None:
        send(other, (3, 1, "z"), merge=True)

    for nth in range(1, 4):
        left = [nth]

        def where(kind: str, at: str, left: list[int] = left) -> bool:
            left[0] -= at.startswith(path)
            return left[0] == 0

        checked = ModTable.open(meanwhile(storage, where, write)).verify()
        assert checked.ok, checked.problems
    assert other.version == 5


def test_attack_19_null_and_empty_partition_values() -> None:
    table = create(MemoryStorage(), partition_by=["b"])
    mods = pa.table({"id": [1, 2], "lsn": [1, 1], "a": ["x", "y"], "b": ["", None]})
    result = table.apply(mods, max_quarantined=1)
    assert (result.upserts, result.quarantined) == (1, 1)
    table.merge()
    assert shown(table) == {2: "y"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mods", "tombstones", "base", "vector"])
@pytest.mark.parametrize("how", ["flipped", "torn", "gone", "other"])
def test_attack_20_damaged_files_are_named_and_nothing_is_guessed(kind: str, how: str) -> None:
    storage = MemoryStorage()
    create(storage)
    table = ModTable.open(storage, settings=PACKING)
    send(table, *((n, 1, "x") for n in range(5000)), (9000, 5, "D"))
    table.merge()
    send(table, *((n, 2, "y") for n in range(0, 5000, 3)))
    table.merge()
    send(table, (9000, 4, "late"), *((n * n, 3, "z") for n in range(1000)))
    prefix = {"mods": "_andes/mods/", "tombstones": "_andes/tombstones/", "base": "part-", "vector": "deletion_vector"}
    mods = sorted(storage.list("_andes/mods"), key=lambda info: info.path)
    # Of mods the pending file, of the base the largest one.
    paths = [mods[-1]] if kind == "mods" else [info for info in storage.list() if info.path.startswith(prefix[kind])]
    if not paths:
        assert kind == "vector"  # small ones stand in the Delta log itself
        return
    path = max(paths, key=lambda info: info.size).path
    data = storage.get(path)
    middle = len(data) // 8
    damaged = {
        "flipped": data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :],
        "torn": data[: len(data) // 2],
        "gone": None,
        "other": storage.get(mods[1].path),
    }[how]
    storage.delete([path])
    if damaged is not None:
        storage.put(path, damaged)
    with pytest.raises(FileDamagedError):
        ModTable.open(storage).to_arrow()
    assert not ModTable.open(storage).verify().ok
    assert ModTable.open(storage).version == 3


@pytest.mark.slow
@pytest.mark.parametrize("settings", [PACKING, Settings(byte_budget=0)], ids=["whole", "ranges"])
@pytest.mark.parametrize("kind", ["part-", "_andes/mods/", "_andes/tombstones/"])
def test_attack_20_any_byte_of_a_file(kind: str, settings: Settings) -> None:
    """A flipped byte is named or does not matter, in the footers too that decide what is read and what it means."""
    storage = MemoryStorage()
    table = create(storage)
    send(table, *((n, 1, "x") for n in range(50)), (90, 5, "D"), merge=True)
    send(table, *((n, 2, "y") for n in range(0, 50, 7)), (90, 4, "late"), (3, 3, "D"))
    good = shown(table)
    path = max(info.path for info in storage.list() if info.path.startswith(kind))
    data = storage.get(path)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    named = 0
    places = [*range(0, footer, 7), *range(footer, len(data), 5)]
    for at in places:
        storage.put(path, data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            assert shown(ModTable.open(storage, settings=settings)) == good
            assert at < footer, "a footer that differs is never believed"
        except FileDamagedError:
            named += 1
        if at % 20 == 0:
            copy = copy_of(storage)
            try:
                ModTable.open(copy, settings=settings).merge()
                assert shown(ModTable.open(copy)) == good
            except FileDamagedError:
                named += 1
    assert named > len(places) // 2, "most of a file is data that is read"


def test_attack_23_a_clock_that_is_far_off_is_refused() -> None:
    for hours in (-1, 1, 24 * 365):
        storage = MemoryStorage()
        table = create(storage)
        log = table._open_table.log
        true = log.clock
        log.clock = lambda true=true, hours=hours: true() + hours * 3_600_000  # type: ignore[misc]
        with pytest.raises(ClockError, match="clock is"):
            send(table, (1, 1, "x"))
        assert ModTable.open(storage).version == 0
        assert list(storage.list("_andes/mods")) == []


def test_attack_25_an_unfinished_create_is_completed_or_refused() -> None:
    def interrupted(**options: Any) -> MemoryStorage:
        storage = MemoryStorage()

        def die() -> None:
            raise KeyboardInterrupt

        def manifest(kind: str, path: str) -> bool:
            return path == manifest_path(0) and kind == "put_if_absent"

        with pytest.raises(KeyboardInterrupt):
            create(meanwhile(storage, manifest, die), **options)
        assert storage.find(entry_path(0)) is not None
        return storage

    storage = interrupted()
    with pytest.raises(AndesError):
        ModTable.open(storage)
    send(create(storage), (1, 1, "x"))
    assert shown(ModTable.open(storage)) == {1: "x"}
    assert ModTable.open(storage).verify().ok
    with pytest.raises(TableExistsError, match="another definition"):
        create(interrupted(), comment="another")
    rows = pa.table({"id": [1], "lsn": [1], "a": ["x"], "b": ["x"]})
    with pytest.raises(TableExistsError):
        create(interrupted(data=rows), data=rows)
    foreign = MemoryStorage()
    foreign.put(entry_path(0), b'{"commitInfo":{"operation":"WRITE"}}\n')
    with pytest.raises(TableExistsError, match="no log of mods"):
        create(foreign)


def test_attack_26_rows_dead_in_the_old_vector_decide_nothing() -> None:
    storage = MemoryStorage()
    create(storage)
    table = ModTable.open(storage, settings=PACKING)
    send(table, *((n, 9, "x") for n in range(20)))
    table.merge()
    send(table, (3, 10, "D"), (4, 10, "y"))
    table.merge()
    send(table, (3, 11, "back"), (4, 11, "z"))
    result = table.merge()
    assert (result.inserted, result.updated) == (1, 1)
    assert shown(table)[3] == "back"
    state = table._open_table.base.snapshot().state
    assert sum(file.num_records or 0 for file in state.files.values()) > len(shown(table))  # counts stay physical
    assert table.verify().ok


def test_a_lease_saves_work_and_blocks_nobody_for_long() -> None:
    storage = MemoryStorage()
    table = create(storage)
    send(table, (1, 1, "x"))
    now = table._open_table.log.clock()
    alive = {"owner": "another-host:1:x", "until": now + 60_000}
    storage.put(LEASE_PATH, seal(msgspec.json.encode(alive)))
    assert ModTable.open(storage).merge().status == "skipped"
    storage.put(LEASE_PATH, seal(msgspec.json.encode({**alive, "until": now - 1})))
    assert ModTable.open(storage).merge().status == "merged"
    for nonsense in (b"", b"{}", b"[1]", b'{"owner": 5}'):
        send(table, (1, datetime.datetime.now(datetime.UTC).microsecond + 2, "x"))
        storage.put(LEASE_PATH, nonsense)
        assert ModTable.open(storage).merge().status in ("merged", "nothing")
