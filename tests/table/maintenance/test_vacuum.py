"""Vacuum: what is deleted, what stays, what readers, writers and merges that it overtakes meet."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.delta import actions
from andes_spark.delta.log import create_entry, load_state
from andes_spark.errors import (
    FileDamagedError,
    ForeignWriteError,
    OptionError,
    VersionExpiredError,
)
from andes_spark.model.events import Vacuum
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tapped import TappedStorage
from tests.vacuumed import LAST, NOW, SETTINGS, aged, base_files, made, mods, opened, paths, rows, sound, write_at


def test_old_versions_are_released_and_their_files_deleted(storage: MemoryStorage) -> None:
    table = opened(storage)
    newest = rows(table)
    kept = paths(storage, "_andes/manifests", "_delta_log")
    result = table.vacuum(NOW)
    assert (result.version, result.floor) == (LAST + 1, LAST)
    assert result.files == sum(result.kinds.values()) > 12
    assert not paths(storage, "_andes/mods")
    state = load_state(storage)
    assert base_files(storage) == {*state.files, *(f.vector.file_path for f in state.files.values() if f.vector)}
    assert kept <= paths(storage, "_andes/manifests", "_delta_log")
    for handle in (table, opened(storage)):
        assert rows(handle) == rows(handle, version=LAST) == newest
        for version in range(LAST):
            with pytest.raises(VersionExpiredError, match="tag") as caught:
                handle.to_arrow(version=version)
            assert (caught.value.version, caught.value.floor) == (version, LAST)
    sound(storage)


def test_what_is_deleted_is_announced_by_a_manifest(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.vacuum(NOW)
    manifest = table.manifest(LAST + 1)
    assert manifest.events == [Vacuum(floor=LAST, fence=LAST)]
    assert (manifest.operation, manifest.floor) == ("vacuum", LAST)
    assert table.history()[0].notes == (f"versions below {LAST} are no longer kept",)
    table.apply(mods(20), apply_as_deletes="op = 'D'")
    assert table.manifest(LAST + 2).floor == LAST


def test_a_retention_keeps_versions_and_young_files() -> None:
    """Versions are an hour apart; each is the newest for an hour."""
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", settings=SETTINGS)
    hour, start = 3_600_000, table.manifest(0).time
    for seq in range(1, LAST + 1):
        at = start + seq * hour
        table = opened(storage)
        write_at(table, at)
        table.apply(mods(seq), apply_as_deletes="op = 'D'")
        storage._objects = {path: (data, min(time, at)) for path, (data, time) in storage._objects.items()}
    expected = {version: rows(table, version=version) for version in range(LAST + 1)}
    table = opened(storage)
    write_at(table, start + LAST * hour + hour // 2)
    young = "part-00000000-0000-4000-8000-000000000000.zstd.parquet"
    storage._objects[young] = (b"of a merge under way", start + LAST * hour)
    assert table.vacuum("9 hours").files == 0
    # Two and a half hours before the end, version 5 was not there yet.
    result = table.vacuum("3 hours")
    assert (result.floor, young in storage._objects) == (4, True)
    for version in range(4, LAST + 1):
        assert rows(opened(storage), version=version) == expected[version]
    with pytest.raises(VersionExpiredError):
        opened(storage).to_arrow(version=3)
    # A longer retention brings nothing back.
    assert table.vacuum("9 hours").floor == 4


def test_nothing_to_delete_commits_nothing(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.vacuum(NOW)
    aged(storage)
    for handle in (table, opened(storage)):
        result = handle.vacuum(NOW)
        assert (result.version, result.files, result.bytes) == (None, 0, 0)
        assert "nothing" in result.summary()
    assert table.version == LAST + 1


def test_a_dry_run_writes_nothing_and_tells_the_same(storage: MemoryStorage) -> None:
    before = dict(storage._objects)
    dry = opened(storage).vacuum(NOW, dry_run=True)
    assert (dry.version, dry.dry_run) == (None, True)
    assert {path: data for path, data in storage._objects.items() if path != "_andes/hint"} == {
        path: data for path, data in before.items() if path != "_andes/hint"
    }
    result = opened(storage).vacuum(NOW)
    assert (dry.files, dry.bytes, dry.kinds, dry.floor) == (result.files, result.bytes, result.kinds, result.floor)
    assert "would be deleted" in dry.summary()


def test_tagged_versions_stay_readable(storage: MemoryStorage) -> None:
    table = opened(storage)
    expected = {version: rows(table, version=version) for version in range(LAST + 1)}
    refused = table.quarantined(version=3).num_rows
    table.tag("three", 3)
    table.tag("zero", 0)
    table.merge()
    result = table.vacuum(NOW)
    assert [text for text in result.kept if "tag" in text] == ["version 0: tag zero", "version 3: tag three"]
    for handle in (table, opened(storage)):
        assert rows(handle, tag="three") == rows(handle, version=3) == expected[3]
        assert rows(handle, version=0) == []
        assert handle.get(1, tag="three").num_rows == 1
        assert handle.quarantined(version=3).num_rows == refused
        with pytest.raises(VersionExpiredError):
            handle.to_arrow(version=2)
    sound(storage)
    # A kept version can be restored, and is needed for that even without its tag.
    table.restore(tag="three", merge=False)
    table.untag("three")
    aged(storage)
    assert "restored by version" in str(table.vacuum(NOW).kept)
    assert rows(opened(storage)) == expected[3]
    sound(storage)
    table.merge()
    assert rows(opened(storage)) == expected[3]
    aged(storage)
    table.vacuum(NOW)
    assert rows(opened(storage)) == expected[3]
    sound(storage)


def test_an_untagged_version_is_released_by_the_next_vacuum(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.tag("three", 3)
    table.vacuum(NOW)
    table.untag("three")
    with pytest.raises(VersionExpiredError):
        table.to_arrow(version=3)
    with pytest.raises(VersionExpiredError):
        table.tag("again", 3)
    aged(storage)
    assert table.vacuum(NOW).files > 0
    sound(storage)


def test_an_expired_tag_is_removed_with_its_version(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.tag("soon", 3, "1 hour")
    table.tag("newest", LAST, "1 hour")
    table.tag("late", 4, "9 weeks")
    now = table._open_table.log.clock()
    write_at(table, now + 3_000_000)
    assert "version 3: tag soon" in table.vacuum(NOW, dry_run=True).kept
    write_at(table, now + 3_700_000)
    assert table.vacuum(NOW, dry_run=True).kept == ("version 4: tag late",)
    assert rows(table, tag="soon")
    table.vacuum(NOW)
    assert [tag.name for tag in opened(storage).tags()] == ["late"]
    assert rows(opened(storage), tag="late")
    with pytest.raises(VersionExpiredError):
        opened(storage).to_arrow(version=3)
    sound(storage)


def test_pending_mods_and_what_they_follow_stay(storage: MemoryStorage) -> None:
    table = opened(storage)
    for seq in (8, 9):
        table.apply(mods(seq), apply_as_deletes="op = 'D'", merge=False, batch_id=("feed", seq))
    expected = {version: rows(table, version=version) for version in (7, 8, 9)}
    result = table.vacuum(NOW)
    assert result.floor == 7
    assert "version 8 is pending: merge() allows to release later ones" in result.kept
    for version, content in expected.items():
        assert rows(opened(storage), version=version) == content
    sound(storage)
    # A pending version can still be set aside, even after a merge that was under way took it.
    stale = opened(storage)
    table.set_aside(9)
    assert rows(opened(storage)) == expected[8]
    stale.merge()
    assert rows(opened(storage)) == expected[8]
    sound(storage)


def test_a_version_below_the_floor_is_not_set_aside(storage: MemoryStorage) -> None:
    """Setting it aside would start from a state of the base that is deleted."""
    table, other = opened(storage), opened(storage)
    table.apply(mods(8), apply_as_deletes="op = 'D'", merge=False)
    expected = rows(table)
    tapped = TappedStorage(storage)
    third = opened(tapped)

    def meanwhile(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_andes/manifests"):
            tapped.tap = None
            other.merge()
            other.vacuum(NOW)

    tapped.tap = meanwhile
    with pytest.raises(OptionError, match="is merged"):
        third.set_aside(8)
    assert rows(opened(storage)) == expected
    with pytest.raises(OptionError, match="is merged"):
        opened(storage).set_aside(3)
    sound(storage)


def test_late_mods_lose_against_tombstones_however_old(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.vacuum(NOW)
    for handle in (table, opened(storage)):
        late = handle.apply(pa.table({"id": [51, 52], "seq": [0, 0]}))
        assert late.merge is not None
        assert late.merge.counts.late == 2
        assert handle.get([51, 52]).num_rows == 0


def test_batches_stay_known(storage: MemoryStorage) -> None:
    table = opened(storage)
    for seq in range(8, 14):
        table.apply(mods(seq), apply_as_deletes="op = 'D'", batch_id=("feed", seq))
    aged(storage)
    table.vacuum(NOW)
    for handle in (table, opened(storage)):
        for seq in (1, 9, 13):
            repeat = handle.apply(mods(seq), apply_as_deletes="op = 'D'", batch_id=("feed", seq))
            assert (repeat.replayed, repeat.version, repeat.counts.received) == (True, seq, 5)


def test_refused_rows_stay_and_mods_set_aside_by_the_law_lose_their_text() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, v STRING, seq BIGINT", primary_key="id", sequence_by="seq")
    table.apply(pa.table({"id": [1, None], "v": ["a", "b"], "seq": [1, 1]}), max_quarantined=1)
    table.apply(pa.table({"id": [1, 1], "v": ["a", "c"], "seq": [3, 2]}), column_list=["id", "v", "seq"])
    table.apply(pa.table({"id": [1], "v": ["z"], "seq": [1]}), column_list=["id", "v", "seq"])
    before = table.quarantined().to_pylist()
    assert len(before) >= 2
    table.vacuum(NOW)
    after = ModTable.open(aged(storage)).quarantined().to_pylist()
    assert [{**row, "row": None} for row in after] == [{**row, "row": None} for row in before]
    assert [row["row"] for row in after if row["version"] == 1] == [row["row"] for row in before if row["version"] == 1]
    sound(storage)


STRAYS = (
    "_andes/mods/00000000000000000003-00000000-0000-4000-8000-000000000000.parquet",
    "_andes/ledger/00000000000000000003-00000000-0000-4000-8000-000000000000.parquet",
    "_andes/tombstones/00000000000000000003-00000000-0000-4000-8000-000000000000.parquet",
    "_andes/merges/00000000000000000003-00000000-0000-4000-8000-000000000000.json",
    "part-00000000-0000-4000-8000-000000000000.zstd.parquet",
    "deletion_vector_00000000-0000-4000-8000-000000000000.bin",
)
OTHERS = (
    "part-00000-0000.snappy.parquet",
    "data.parquet",
    "k=1/part-00000000-0000-4000-8000-000000000000.zstd.parquet",
    "_change_data/cdc-0.parquet",
    "_other/part-00000000-0000-4000-8000-000000000000.zstd.parquet",
    "README.md",
    "_andes/mods/00000000000000000008-00000000-0000-4000-8000-000000000001.parquet",
    "_andes/mods/notes.txt",
    "_andes/merges/00000000000000000099-00000000-0000-4000-8000-000000000000.json",
    "_andes/tombstones/00000000000000000099-00000000-0000-4000-8000-000000000000.parquet",
)


def test_orphans_are_deleted_and_files_of_others_stay(storage: MemoryStorage) -> None:
    """Files that no version names, by the names of this library; those begun above the fence may be in use."""
    table = opened(storage)
    table.vacuum(NOW)
    for path in (*STRAYS, *OTHERS):
        storage.put(path, b"x")
    aged(storage)
    result = table.vacuum(NOW)
    assert result.files == len(STRAYS)
    assert not any(path in storage._objects for path in STRAYS)
    assert all(path in storage._objects for path in OTHERS)


def test_files_of_others_go_once_the_delta_log_named_them(storage: MemoryStorage) -> None:
    """As those that OPTIMIZE by Delta wrote."""
    state = load_state(storage)
    file = next(iter(state.files.values()))
    path = "k=1/part-00000-abc-c000.snappy.parquet"
    storage.put(path, storage.get(file.location))
    moved = {"add": {**file.add, "path": path, "dataChange": False}}
    create_entry(storage, state.version + 1, [actions.remove(file, timestamp_ms=1, data_change=False), moved])
    table = opened(storage)
    aged(storage)
    assert file.location in base_files(storage)
    table.vacuum(NOW)
    assert file.location not in base_files(storage)
    assert path in storage._objects
    everything = {row["id"] for row in rows(table)}
    table.apply(pa.table({"id": sorted(everything), "seq": [90] * len(everything)}))
    aged(storage)
    table.vacuum(NOW)
    assert path not in storage._objects
    sound(storage)


def test_a_listing_without_live_files_deletes_nothing(storage: MemoryStorage) -> None:
    """A store that lists other names than it was given must not cost a file."""

    class Renaming(TappedStorage):
        def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[Any]:
            for info in super().list(prefix, after=after):
                yield type(info)(info.path.replace("part-", "Part-"), info.size, info.modified_ms)

    before = set(storage._objects)
    with pytest.raises(FileDamagedError, match="nothing was deleted"):
        opened(Renaming(storage)).vacuum(NOW)
    assert set(storage._objects) >= before
    assert opened(storage).version == LAST


def test_a_foreign_change_of_the_base_deletes_nothing(storage: MemoryStorage) -> None:
    state = load_state(storage)
    deleted = next(iter(state.files.values()))
    create_entry(storage, state.version + 1, [actions.remove(deleted, timestamp_ms=1)])
    before = set(storage._objects)
    with pytest.raises(ForeignWriteError):
        opened(storage).vacuum(NOW)
    assert before <= set(storage._objects)


def test_a_bad_retention_is_refused(storage: MemoryStorage) -> None:
    for retain in ("soon", 7, None, datetime.timedelta(days=-1)):
        with pytest.raises(OptionError, match="retain"):
            opened(storage).vacuum(retain)  # type: ignore[arg-type]


def test_a_table_loaded_with_rows(built: MemoryStorage) -> None:
    storage = made(data=pa.table({"id": [1, 99], "seq": [0, 0]}))
    table = opened(storage)
    newest = rows(table)
    table.vacuum(NOW)
    assert rows(opened(storage)) == newest
    sound(storage)
    for seq in (8, 9):
        table.apply(mods(seq), apply_as_deletes="op = 'D'")
    sound(storage)


@pytest.mark.parametrize("sequence_by", ["seq", ()])
def test_truncates_before_the_floor_hold(sequence_by: Any) -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, seq BIGINT", primary_key="id", sequence_by=sequence_by)
    for seq in (1, 2, 3, 4):
        batch = pa.table({"id": [seq, None if seq == 3 else 50], "seq": [seq, seq]})
        table.apply(batch, apply_as_truncates="id IS NULL", batch_id=("feed", seq))
    newest = rows(table)
    table.vacuum(NOW)
    for handle in (table, opened(aged(storage))):
        assert rows(handle) == newest
    sound(storage)
    late = opened(storage).apply(pa.table({"id": [77], "seq": [2]}), batch_id=("feed", 9))
    assert late.merge is not None
    assert (opened(storage).get(77).num_rows == 0) == (sequence_by == "seq")
    sound(storage)


def test_mods_up_to_the_floor_are_no_longer_shown(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.apply(mods(8), apply_as_deletes="op = 'D'")
    stale = opened(storage)
    table.vacuum(NOW)
    table.apply(mods(9), apply_as_deletes="op = 'D'")
    assert table.mods(from_version=9).num_rows == table.mods().num_rows == 5
    for handle in (table, stale):
        with pytest.raises(VersionExpiredError, match="mods of version 8"):
            handle.mods(from_version=8)
        with pytest.raises(VersionExpiredError, match="the mods of version 8 are no longer kept"):
            handle.mods(to_version=8)


@pytest.mark.parametrize("call", ["vacuum", "dry run", "status"])
def test_a_young_table_of_many_versions_is_only_listed(call: str) -> None:
    """Nothing is old enough to be deleted, and all versions stay: what they need is not asked for."""
    requests: list[int] = []
    for versions in (5, 40):
        storage = MemoryStorage()
        table = ModTable.create(storage, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq")
        for seq in range(1, versions + 1):
            table.apply([{"id": seq, "seq": seq}], merge=seq % 5 == 0)
        table.merge()
        before = storage.counts.snapshot()
        result = table.status(files=True).vacuum if call == "status" else table.vacuum(dry_run=call == "dry run")
        requests.append(storage.counts.minus(before).requests)
        assert result is not None
        assert (result.files, result.floor, result.kept) == (0, 0, ())
    assert requests[1] <= requests[0] + 1
    # Old files of interrupted writers are judged by all versions.
    old = opened(aged(storage))
    unnamed = "part-00000000-0000-4000-8000-000000000000.zstd.parquet"
    storage.put(unnamed, b"")
    aged(storage)
    assert old.vacuum("30 minutes").files >= 1
    assert storage.size(unnamed) is None
