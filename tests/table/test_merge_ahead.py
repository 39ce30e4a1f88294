"""Merges planned before their batch is committed: a plan that does not hold is never seen, and no file of it stays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta.log import load_state
from andes_spark.errors import (
    AndesError,
    BatchConflictError,
    ForeignWriteError,
    LogDamagedError,
    OptionError,
    StorageError,
)
from andes_spark.log.lease import LEASE_PATH, MergeNote
from andes_spark.log.probing import HINT
from andes_spark.model.documents import seal
from andes_spark.model.events import SetAside
from andes_spark.model.manifest import manifest_path
from andes_spark.model.merge_record import MERGES, decode_merge_record
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.verbs import ahead as planning
from andes_spark.testing.tables import copy_of, create, fill, rows
from andes_spark.testing.tapped import TappedStorage
from tests.table.test_overwritten_entries import overwrite

SETTINGS = Settings(threads=1, compact_bytes=0)
FIRST = rows((1, 1, "a"), (2, 1, "a"), (3, 1, "a"))
BATCH = [{"id": 1, "lsn": 5, "a": "b", "op": "U"}, {"id": 2, "lsn": 5, "a": None, "op": "D"}]
BATCH += [{"id": 4, "lsn": 5, "a": "b", "op": "U"}]
AFTER = {1: "b", 3: "a", 4: "b"}


@cache
def one_batch(**options: Any) -> MemoryStorage:
    """A table with one merged batch."""
    storage = MemoryStorage()
    create(storage, merge="always", **options).apply(FIRST, batch_id=("s", 1))
    return storage


def opened(**options: Any) -> tuple[MemoryStorage, TappedStorage, ModTable]:
    """A table with one merged batch; the handle has read its base."""
    storage = copy_of(one_batch(**options))
    tapped = TappedStorage(storage)
    table = ModTable.open(tapped, settings=SETTINGS)
    table.status()
    return storage, tapped, table


def send(table: ModTable, **options: Any) -> Any:
    mods = pa.Table.from_pylist(BATCH)
    return table.apply(mods, apply_as_deletes="op = 'D'", batch_id=("s", 2), **options)


def values(table: ModTable) -> dict[int, str]:
    return {row["id"]: row["a"] for row in table.to_arrow().to_pylist()}


def unused(storage: MemoryStorage) -> set[str]:
    """Files that nothing refers to: neither the Delta log, nor a manifest, nor its merge record."""
    table = ModTable.open(storage)
    used: set[str] = set()
    newest = load_state(storage)
    for version in range(newest.version + 1):
        for file in load_state(storage, version=version).files.values():
            used.add(file.location)
            if file.vector is not None and file.vector.file_path is not None:
                used.add(file.vector.file_path)
    for version in range(table.version + 1):
        manifest = table.manifest(version)
        for event in manifest.events:
            used.update(file.path for file in getattr(event, "files", ()))
        data = storage.find(f"{MERGES}/{version:020d}-{manifest.commit_id}.json")
        if data is not None:
            record = decode_merge_record(data, table="t", version=version, commit_id=manifest.commit_id)
            used.update(file.path for file in (*record.tombstones, *record.quarantined))
            used.add(f"{MERGES}/{version:020d}-{manifest.commit_id}.json")
    paths = {info.path for info in storage.list() if info.path.endswith((".parquet", ".bin"))}
    paths |= {info.path for info in storage.list(MERGES)}
    return {path for path in paths - used if not path.startswith(("_andes/ledger", "_delta_log/"))}


def check(storage: MemoryStorage, *, rows_after: dict[int, str] = AFTER) -> None:
    """All files are in use, and sending the batch again changes nothing."""
    assert unused(storage) == set()
    reopened = ModTable.open(storage)
    result = send(reopened, merge=True)
    assert result.merge is None or result.merge.error is None
    fresh = ModTable.open(storage)
    assert values(fresh) == rows_after
    assert fresh.status().pending_versions == 0
    assert fresh.verify().ok


def requests_of(tapped: TappedStorage, verb: Callable[[], object]) -> list[tuple[str, str]]:
    calls: list[tuple[str, str]] = []
    tapped.tap = lambda kind, path: calls.append((kind, path))
    verb()
    tapped.tap = None
    return calls


def kinds(requests: list[tuple[str, str]]) -> list[str]:
    """Writes, by folder or kind of file."""
    names = []
    for kind, path in requests:
        if kind in ("put", "put_if_absent", "open_output"):
            folder = path.rpartition("/")[0]
            names.append(folder or path.split("-")[0].split("_")[0])
    return names


@pytest.mark.parametrize("vectors", [True, False])
def test_the_files_of_the_merge_come_before_the_manifest_and_its_entry_after_it(vectors: bool) -> None:
    storage, tapped, table = opened(deletion_vectors=vectors)
    names = kinds(requests_of(tapped, lambda: send(table)))
    manifest, record = names.index("_andes/manifests"), names.index("_andes/merges")
    assert names.index("_andes/tombstones") < manifest
    assert all(at < manifest for at, name in enumerate(names) if name in ("part", "deletion"))
    assert names.index("part") < min(manifest, record)
    assert names.index("_delta_log") > max(manifest, record)
    check(storage)


@pytest.mark.parametrize("error", [StorageError("no", path="x"), KeyError("x"), BaseException("a panic")])
@pytest.mark.parametrize("happens", [True, False])
def test_a_plan_that_fails_never_fails_the_batch(happens: bool, error: BaseException, monkeypatch: Any) -> None:
    storage, _, table = opened()
    true: Any = vars(planning)["plan_merge"]

    def plan_merge(*args: Any, **options: Any) -> Any:
        if happens:
            true(*args, **options)
        raise error

    monkeypatch.setattr(planning, "plan_merge", plan_merge)
    result = send(table)
    assert (result.version, result.replayed, result.advisory) == (2, False, ())
    assert result.merge.status == "merged"
    if not happens:
        check(storage)


@pytest.mark.parametrize("folder", ["part-", "deletion_vector", "_andes/tombstones"])
def test_a_file_of_the_plan_that_cannot_be_written_never_fails_the_batch(folder: str) -> None:
    storage, tapped, table = opened()
    left = [1]

    def tap(kind: str, path: str) -> None:
        if kind == "open_output" and path.startswith(folder) and left[0]:
            left[0] -= 1
            raise StorageError("no room", path=path)

    tapped.tap = tap
    result = send(table)
    tapped.tap = None
    assert (result.version, result.advisory, left) == (2, (), [0])
    assert result.merge.status == "merged"
    check(storage)


class Killed(KeyboardInterrupt):
    """The end of a process: nothing after it runs."""


def test_killed_at_any_request() -> None:
    storage, tapped, table = opened()
    count = len(requests_of(tapped, lambda: send(table)))
    assert count > 10
    for number in range(count):
        storage, tapped, table = opened()
        left = [number]

        def tap(kind: str, path: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        tapped.tap = tap
        with pytest.raises(Killed):
            send(table)
        reopened = ModTable.open(storage)
        assert values(reopened) == (AFTER if reopened.version == 2 else {1: "a", 2: "a", 3: "a"})
        assert reopened.verify().ok
        result = send(reopened)
        assert (result.version, result.merge is None or result.merge.error is None) == (2, True)
        assert values(ModTable.open(storage)) == AFTER
        assert ModTable.open(storage).verify().ok
        late = reopened.apply(rows((2, 4, "late")), batch_id=("s", 3))
        assert late.merge is not None
        assert late.merge.error is None
        assert values(ModTable.open(storage)) == AFTER


def append(other: ModTable) -> None:
    other.apply(rows((3, 6, "other")), batch_id=("other", 1), merge=False)


def append_and_merge(other: ModTable) -> None:
    other.apply(rows((3, 6, "other")), batch_id=("other", 1), merge=True)


def delete_and_merge(other: ModTable) -> None:
    mods = pa.table({"id": [3], "lsn": [6], "a": ["x"], "gone": [True]})
    other.apply(mods, apply_as_deletes="gone", batch_id=("other", 1), merge=True)


def same_batch(other: ModTable) -> None:
    send(other, merge=True)


def merge(other: ModTable) -> None:
    other.merge()


def set_aside(other: ModTable) -> None:
    """Take the pending version out, unless it is merged."""
    with contextlib.suppress(OptionError):
        other.set_aside(version=2)


OTHERS: dict[Callable[[ModTable], None], dict[int, str]] = {
    append: {**AFTER, 3: "other"},
    append_and_merge: {**AFTER, 3: "other"},
    delete_and_merge: {1: "b", 4: "b"},
    same_batch: AFTER,
    merge: AFTER,
    set_aside: AFTER,
}


CASES = [(other, pending) for other in OTHERS for pending in (False, True) if pending or other is not set_aside]


@pytest.mark.slow
@pytest.mark.parametrize(("other", "pending"), CASES)
def test_another_writer_at_any_request(other: Callable[[ModTable], None], pending: bool) -> None:
    def arranged() -> tuple[MemoryStorage, TappedStorage, ModTable]:
        storage, tapped, table = opened()
        if pending:
            ModTable.open(storage).apply(rows((1, 4, "p"), (3, 4, "p")), batch_id=("p", 1), merge=False)
            table.status()
        return storage, tapped, table

    expected = {key: "p" if pending and value == "a" else value for key, value in OTHERS[other].items()}
    refused = {**AFTER, 3: "p"}
    _, tapped, table = arranged()
    count = len(requests_of(tapped, lambda: send(table)))
    for number in range(count):
        storage, tapped, table = arranged()
        left = [number]

        def tap(kind: str, path: str, left: list[int] = left, storage: MemoryStorage = storage) -> None:
            left[0] -= 1
            if left[0] == -1:
                other(ModTable.open(storage, settings=SETTINGS))

        tapped.tap = tap
        result = send(table)
        tapped.tap = None
        assert result.merge is None or result.merge.error is None
        merged = ModTable.open(storage)
        merged.merge()
        if other is set_aside and pending:
            events = [event for at in range(merged.version + 1) for event in merged.manifest(at).events]
            expected = AFTER if any(isinstance(event, SetAside) for event in events) else refused
        check(storage, rows_after=expected)


def test_the_content_of_a_repeated_batch_is_compared() -> None:
    for number in range(40):
        storage, tapped, table = opened()
        left = [number]

        def tap(kind: str, path: str, left: list[int] = left, storage: MemoryStorage = storage) -> None:
            left[0] -= 1
            if left[0] == -1:
                ModTable.open(storage).apply(rows((1, 9, "z")), batch_id=("s", 2))

        tapped.tap = tap
        try:
            send(table)
        except BatchConflictError:
            tapped.tap = None
            assert unused(storage) == set()
            assert values(ModTable.open(storage)) == {1: "z", 2: "a", 3: "a"}
        else:
            break
    assert number > 3


def test_a_repeated_batch_is_not_planned() -> None:
    storage, tapped, table = opened()
    send(table)
    names = kinds(requests_of(tapped, lambda: send(table)))
    assert set(names) <= {"_andes/mods"}
    check(storage)


def test_after_a_lost_race_a_handle_plans_no_merge_until_it_is_alone_again() -> None:
    storage, tapped, table = opened()
    other = ModTable.open(storage, settings=SETTINGS)

    def planned(number: int, *, raced: bool) -> bool:
        def tap(kind: str, path: str) -> None:
            if raced and path.startswith("_andes/mods"):
                tapped.tap = None
                other.apply(rows((9, number, "o")), batch_id=("o", number))

        tapped.tap = tap
        order: list[str] = []
        true: Any = vars(planning)["plan_merge"]
        patch = pytest.MonkeyPatch()

        def plan_merge(*args: Any, **options: Any) -> Any:
            order.append("planned")
            return true(*args, **options)

        patch.setattr(planning, "plan_merge", plan_merge)
        with patch.context():
            table.apply(rows((8, number, "t")), batch_id=("t", number))
        patch.undo()
        return bool(order)

    assert planned(10, raced=True)
    assert not any(planned(number, raced=False) for number in range(11, 19))
    assert planned(19, raced=False)
    assert unused(storage) == set()


def test_a_merge_of_another_process_is_left_to_it() -> None:
    storage, _, table = opened()
    note = MergeNote(owner="elsewhere:1:x", until=time.time_ns() // 1_000_000 + 60_000)
    storage.put(LEASE_PATH, seal(msgspec.json.encode(note)))
    result = send(table)
    assert (result.version, result.merge.status) == (2, "skipped")
    assert unused(storage) == set()
    storage.delete([LEASE_PATH])
    check(storage)


def test_an_entry_of_ours_that_is_overwritten_is_not_built_on() -> None:
    storage, _, table = opened()
    table.apply(rows((7, 7, "x")), batch_id=("s", 7))
    overwrite(storage, 2)
    result = send(table)
    assert result.version == 3
    assert result.merge.status == "failed"
    assert isinstance(result.merge.error, ForeignWriteError)
    assert storage.size("_delta_log/00000000000000000003.json") is None


def test_a_table_with_a_policy_of_time_plans_nothing() -> None:
    storage, tapped, _ = opened()
    create(storage := MemoryStorage(), merge="15 minutes")
    tapped = TappedStorage(storage)
    table = ModTable.open(tapped)
    names = kinds(requests_of(tapped, lambda: fill(table, 1, 1)))
    assert "part" not in names


def test_errors_of_the_base_are_reported_once() -> None:
    storage, _, table = opened()
    cold = ModTable.open(storage)
    overwrite(storage, 1)
    result = send(cold)
    assert result.version == 2
    assert isinstance(result.merge.error, AndesError)
    assert len(result.advisory) == 1
    assert table.version == 2


def killed_at(folder: str, *, after: bool) -> MemoryStorage:
    """The store after a process that ended at its put into a folder, or just after it."""
    storage, tapped, table = opened()
    reached: list[str] = []

    def tap(kind: str, path: str) -> None:
        if reached and after:
            raise Killed
        if kind == "put_if_absent" and path.startswith(folder):
            reached.append(path)
            if not after:
                raise Killed

    tapped.tap = tap
    with pytest.raises(Killed):
        send(table)
    assert reached
    return storage


@pytest.mark.parametrize("merge", [True, False])
def test_a_record_whose_manifest_was_never_written_stops_nobody(merge: bool) -> None:
    storage = killed_at(MERGES, after=True)
    assert ModTable.open(storage).version == 1
    assert len([info for info in storage.list(MERGES) if f"{2:020d}" in info.path]) == 1
    result = ModTable.open(storage).apply(rows((3, 6, "other")), batch_id=("other", 1), merge=merge)
    assert result.version == 2
    assert result.merge is None or result.merge.error is None
    fresh = ModTable.open(storage)
    assert values(fresh) == {1: "a", 2: "a", 3: "other"}
    assert fresh.verify().ok
    reopened = send(ModTable.open(storage), merge=True)
    assert (reopened.version, reopened.replayed, reopened.merge.status) == (3, False, "merged")
    assert values(ModTable.open(storage)) == {**AFTER, 3: "other"}
    assert ModTable.open(storage).verify().ok


def test_a_record_in_doubt_is_asked_of_the_base_only_once_more() -> None:
    """The base is read only where a record stands for the version after the head."""
    storage = killed_at(MERGES, after=True)
    tapped = TappedStorage(storage)
    table = ModTable.open(tapped)
    requests = requests_of(tapped, lambda: table.apply(rows((3, 6, "o")), batch_id=("o", 1), merge=False))
    assert any(path.startswith("_delta_log/") for _, path in requests)
    storage, tapped, _ = opened()
    table = ModTable.open(tapped)
    requests = requests_of(tapped, lambda: table.apply(rows((3, 6, "o")), batch_id=("o", 1), merge=False))
    assert not any(path.startswith("_delta_log/") for _, path in requests)


@pytest.mark.parametrize("manifests", [1, 2])
def test_a_log_that_lost_its_newest_versions_takes_none(manifests: int) -> None:
    storage, _, table = opened()
    send(table)
    table.apply(rows((5, 7, "x")), batch_id=("s", 3))
    storage.delete([HINT, *(manifest_path(version) for version in (3, 2)[:manifests])])
    cold = ModTable.open(storage)
    assert cold.version == 3 - manifests
    with pytest.raises(LogDamagedError, match="manifests were lost"):
        cold.apply(rows((5, 8, "y")), batch_id=("s", 4))
    assert ModTable.open(storage).version == 3 - manifests


def test_both_writers_of_a_version_left_a_record() -> None:
    """Records of both stand while they race; the one of the manifest that stands counts."""
    storage, tapped, table = opened()
    heads: list[int] = []

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path == manifest_path(2) and not heads:
            heads.append(len([info for info in storage.list(MERGES) if f"{2:020d}" in info.path]))
            delete_and_merge(ModTable.open(storage))
            heads.append(len([info for info in storage.list(MERGES) if f"{2:020d}" in info.path]))

    tapped.tap = tap
    result = send(table)
    tapped.tap = None
    assert heads == [1, 2]
    assert (result.version, result.merge.status) == (3, "merged")
    check(storage, rows_after={1: "b", 4: "b"})
