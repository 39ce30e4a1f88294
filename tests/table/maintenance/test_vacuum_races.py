"""Vacuum beside readers, writers and merges that it overtakes, and a vacuum that is interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from andes_spark import ModTable, Schema
from andes_spark.errors import (
    CommitConflictError,
    CommitUnknownError,
    FileDamagedError,
    StorageError,
    VersionExpiredError,
)
from andes_spark.model.documents import encode
from andes_spark.model.events import mods_of
from andes_spark.model.manifest import manifest_path
from andes_spark.model.merge_record import merge_record_path
from andes_spark.settings import Settings
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of
from andes_spark.testing.tapped import TappedStorage
from tests.vacuumed import LAST, NOW, SETTINGS, HalfDeleting, aged, mods, opened, paths, rows, sound

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("read", ["to_arrow", "get", "stream"])
def test_a_handle_behind_the_floor_gets_the_reason(storage: MemoryStorage, read: str) -> None:
    stale = opened(storage)
    reads: dict[str, Callable[[], Any]] = {
        "to_arrow": lambda: stale.to_arrow(version=3),
        "get": lambda: stale.get([1], version=3),
        "stream": lambda: reader.read_all(),
    }
    reader = stale.to_batches(version=3)
    table = opened(storage)
    table.apply(pa.table({"id": list(range(1, 40)), "seq": [99] * 39}))
    table.vacuum(NOW)
    with pytest.raises(VersionExpiredError, match="a vacuum, forget or repair released the versions below 8"):
        reads[read]()
    assert rows(stale) == rows(opened(storage))


@pytest.mark.parametrize("read", ["to_batches", "changes"])
def test_a_read_on_files_before_a_compaction_is_to_be_repeated(read: str) -> None:
    """With mods pending, the floor does not go up: the files of the base go all the same."""
    storage = MemoryStorage()
    small = Settings(compact_bytes=0)
    table = ModTable.create(
        storage, "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"], merge="manual", settings=small
    )
    for number in range(4):
        table.apply(pa.table({"id": [number], "seq": [1]}))
        table.merge()
    table.apply(pa.table({"id": [1, 9], "seq": [2, 2]}))
    opened(storage).vacuum(NOW)
    stale = opened(storage)
    batches = stale.to_batches(version=5) if read == "to_batches" else stale.changes(4, 5)
    floor = opened(storage).status().floor
    opened(storage).compact(max_bytes=10**9)
    vacuumed = opened(storage).vacuum(NOW)
    assert (vacuumed.floor, vacuumed.files) == (floor, 4)
    with pytest.raises(VersionExpiredError, match="the version can still be read: read it again"):
        batches.read_all()
    assert stale.to_arrow(version=5).num_rows == 5
    for path in paths(storage, "part-"):
        storage.delete([path])
    with pytest.raises(FileDamagedError):
        stale.to_arrow(version=5)


def late_writer(storage: MemoryStorage) -> tuple[TappedStorage, ModTable]:
    tapped = TappedStorage(storage)
    return tapped, opened(tapped)


@pytest.mark.parametrize("evolves", [False, True], ids=["same columns", "more columns"])
def test_a_writer_that_began_below_the_fence_writes_its_files_again(storage: MemoryStorage, evolves: bool) -> None:
    tapped, writer = late_writer(storage)
    opened(storage).apply(mods(8), apply_as_deletes="op = 'D'")
    other = opened(storage)
    # A batch with more columns looks at the newest definition first.
    begun, newest = (LAST + 1, LAST + 2) if evolves else (LAST, LAST + 1)

    def meanwhile(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path == manifest_path(LAST + 2):
            tapped.tap = None
            if evolves:
                other.apply(mods(10), apply_as_deletes="op = 'D'")
            # The files of the writer are younger than the retention, so that they are still there.
            future = other._open_table.log.clock() + 10_000
            storage._objects |= {
                name: (data, future)
                for name, (data, _) in storage._objects.items()
                if name.startswith(f"_andes/mods/{begun:020d}")
            }
            assert other.vacuum(NOW).version == newest + 1

    tapped.tap = meanwhile
    batch = mods(9)
    options: dict[str, Any] = {"apply_as_deletes": "op = 'D'", "batch_id": ("feed", 9), "merge": False}
    if evolves:
        batch = batch.append_column("n", pa.array(["new"] * batch.num_rows))
        options["evolve_schema"] = "add"
    result = writer.apply(batch, **options)
    assert result.version == newest + 2
    table = opened(storage)
    (entry,) = mods_of(table.manifest(result.version).events)
    assert re.match(rf"_andes/mods/{newest + 1:020d}-", entry.path)
    # Those of the newest version before the vacuum, and of this one.
    assert len(paths(storage, "_andes/mods")) == 2
    assert table.get([19, 39, 17]).num_rows == 3
    table.merge()
    # The base has the columns of the version as well.
    assert ("n" in Schema.from_json(table._open_table.base.snapshot().state.metadata.schema_json)) == evolves
    sound(storage)


def test_a_writer_whose_files_are_gone_commits_nothing(storage: MemoryStorage) -> None:
    tapped, writer = late_writer(storage)
    opened(storage).apply(mods(8), apply_as_deletes="op = 'D'")
    other = opened(storage)

    def meanwhile(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path == manifest_path(LAST + 2):
            tapped.tap = None
            aged(storage)
            other.vacuum(NOW)

    tapped.tap = meanwhile
    with pytest.raises(CommitConflictError, match="send the same batch again"):
        writer.apply(mods(9), apply_as_deletes="op = 'D'", batch_id=("feed", 9))
    assert opened(storage).version == LAST + 2
    assert writer.apply(mods(9), apply_as_deletes="op = 'D'", batch_id=("feed", 9)).version == LAST + 3
    sound(storage)


def test_a_merge_that_is_overtaken_is_planned_again(storage: MemoryStorage) -> None:
    """Its files are deleted before they are committed, and the mods that it read as well."""
    table = opened(storage)
    table.apply(mods(8), apply_as_deletes="op = 'D'", merge=False)
    expected = rows(table)
    tapped, merger = late_writer(storage)

    def meanwhile(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_delta_log"):
            tapped.tap = None
            aged(storage)
            assert table.vacuum(NOW).kinds["data files"] > 0

    tapped.tap = meanwhile
    assert merger.merge().status == "merged"
    assert rows(opened(storage)) == expected
    sound(storage)


def test_a_deletion_that_fails_is_made_up_for(storage: MemoryStorage) -> None:
    newest = rows(opened(storage))
    with pytest.raises(StorageError):
        opened(HalfDeleting(storage)).vacuum(NOW)
    assert rows(opened(storage)) == newest
    sound(storage)
    assert opened(storage).vacuum(NOW).files > 0
    assert not paths(storage, "_andes/mods")
    sound(storage)


class StopError(Exception):
    """What stops a vacuum in these tests."""


def steps_of(storage: MemoryStorage) -> list[str]:
    steps: list[str] = []
    ModTable.open(storage, settings=SETTINGS, progress=steps.append).vacuum(NOW)
    return steps


def test_a_vacuum_that_stops_at_any_step_is_made_up_for(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.tag("three", 3)
    expected, tagged = rows(table), rows(table, tag="three")
    names = steps_of(copy_of(storage))
    assert {"commit", "fence the base", "read the pins", "delete files"} <= set(names)
    vacuumed = copy_of(storage)
    opened(vacuumed).vacuum(NOW)
    for number in range(len(names)):
        copy, left = copy_of(storage), [number]

        def stop(name: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise StopError(name)

        with pytest.raises(StopError):
            ModTable.open(copy, settings=SETTINGS, progress=stop).vacuum(NOW)
        before = set(copy._objects)
        if "delete files" not in names[:number]:
            assert set(storage._objects) <= before
        late = opened(copy)
        assert rows(late) == expected
        assert rows(late, tag="three") == tagged
        checked = late.verify()
        assert (checked.problems, checked.missing) == ((), ())
        late.apply(mods(20), apply_as_deletes="op = 'D'", batch_id=("feed", 20))
        aged(copy)
        late.vacuum(NOW)
        assert paths(copy, "_andes/mods") == set()
        assert rows(opened(copy), tag="three") == tagged
        sound(copy)


def test_a_record_of_an_older_state_is_not_adopted(storage: MemoryStorage) -> None:
    """A merge that ended before its commit named tombstones of its own state, which a vacuum deleted since."""
    table = opened(storage)
    table.apply(mods(8), apply_as_deletes="op = 'D'", merge=False)
    expected = rows(table)
    base = table._open_table.base.snapshot()
    manifest = table.manifest(8)
    (first, *others) = base.record.tombstones
    deleted = msgspec.structs.replace(first, path=first.path.replace(first.path[-20:-8], "0" * 12))
    record = msgspec.structs.replace(
        base.record, version=8, commit_id=manifest.commit_id, tombstones=[deleted, *others], checksum=""
    )
    storage.put(merge_record_path(8, manifest.commit_id), encode(record))
    assert storage.size(deleted.path) is None
    merged = opened(storage).merge()
    # The version that follows has a record of its own.
    assert (merged.status, merged.applied) == ("merged", 9)
    assert opened(storage).history()[0].operation == "merge"
    late = opened(storage).apply(pa.table({"id": [51, 58], "seq": [0, 0]}))
    assert late.merge is not None
    assert late.merge.counts.late == 2
    assert rows(opened(storage)) == expected
    assert opened(storage).verify().ok


def test_a_record_of_the_same_state_is_adopted(storage: MemoryStorage) -> None:
    """A merge that ended between its record and its Delta entry."""
    table = opened(storage)
    table.apply(mods(8), apply_as_deletes="op = 'D'", merge=False)

    class Ending(TappedStorage):
        def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
            if path.startswith("_delta_log"):
                raise StorageError("the store is gone", path=path)
            return super().put_if_absent(path, data)

    with pytest.raises(StorageError):
        opened(Ending(storage)).merge()
    merged = opened(storage).merge()
    assert (merged.status, merged.applied) == ("merged", 8)
    assert opened(storage).verify().ok


class Gone(TappedStorage):
    """A store that is gone at the n-th write: before it happens, in its middle, or after it."""

    def __init__(self, inner: Any, left: int, share: float) -> None:
        super().__init__(inner)
        self.left, self.share = left, share

    def _write(self, write: Callable[[], Any], *, whole: bool = True) -> Any:
        self.left -= 1
        if self.left > 0:
            return write()
        if self.left == 0 and self.share == 1.0 and whole:
            write()
        raise StorageError("the store is gone", path="?")

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        self._write(lambda: super(Gone, self).put(path, data, sync=sync))

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        outcome: PutOutcome = self._write(lambda: super(Gone, self).put_if_absent(path, data))
        return outcome

    def delete(self, paths: Iterable[str]) -> None:
        all_paths = list(paths)
        if self.left == 1:
            super().delete(all_paths[: int(self.share * len(all_paths))])
        self._write(lambda: super(Gone, self).delete(all_paths), whole=False)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["before", "in the middle", "after"])
def test_the_store_gone_at_any_write(storage: MemoryStorage, share: float) -> None:
    table = opened(storage)
    table.tag("three", 3)
    table.pin(2)
    table.apply(mods(8), apply_as_deletes="op = 'D'", merge=False)
    aged(storage)
    kept: list[dict[str, Any]] = [{}, {"tag": "three"}, {"version": 2}]
    expected = [rows(table, **which) for which in kept]
    for left in range(1, 30):
        copy = copy_of(storage)
        deleted = Gone(copy, left, share)
        try:
            opened(deleted).vacuum(NOW)
        except (StorageError, CommitUnknownError):
            assert deleted.left <= 0
        late = opened(copy)
        assert [rows(late, **which) for which in kept] == expected
        checked = late.verify()
        assert (checked.problems, checked.missing) == ((), ())
        late.merge()
        aged(copy)
        late.vacuum(NOW)
        assert [rows(opened(copy), **which) for which in kept] == expected
        checked = ModTable.open(copy).verify()
        assert (checked.problems, checked.missing) == ((), ())
        # A ledger file of the attempt may wait for the next version.
        assert all(path.startswith("_andes/ledger/") for path in checked.unused)
        if deleted.left > 0:
            break
    assert deleted.left > 0, "the vacuum never ended"
    assert left >= 5
