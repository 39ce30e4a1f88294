"""Commits of the Iceberg face: what they write, races, kills, foreign commits, vacuum, forget, moves."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

from andes_spark import ModTable, Settings
from andes_spark.cli.app import andes
from andes_spark.errors import ForeignWriteError, LogDamagedError, StorageError, UnsupportedTableError
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.interface import Storage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.sync.iceberg.metadata import newest_metadata
from andes_spark.table.iceberg import IcebergSync
from andes_spark.testing.tapped import TappedStorage
from tests.iceberg_readers import assert_shown, by_duckdb, by_pyiceberg, sorted_rows
from tests.table.test_crashes import FailingStorage

SETTINGS = Settings(threads=1, compact_bytes=0)
FACE = "_andes/iceberg"


def mods(first: int, last: int, seq: int) -> pa.Table:
    keys = list(range(first, last))
    return pa.table({"id": keys, "seq": [seq] * len(keys), "name": [f"n{key}" for key in keys]})


def made(storage: Any, *, versions: int = 1, **options: Any) -> ModTable:
    arguments = {"primary_key": "id", "sequence_by": "seq", "settings": SETTINGS, **options}
    table = ModTable.create(storage, "id BIGINT, seq BIGINT, name STRING", **arguments)
    for seq in range(1, versions + 1):
        send(table, seq)
    return table


def send(table: ModTable, seq: int) -> None:
    """Bring ten new rows, and replace two of each batch before."""
    table.apply(mods(seq * 10, seq * 10 + 10, seq), at_least_once=True, merge=False)
    older = [key for batch in range(1, seq) for key in (batch * 10, batch * 10 + seq % 10)]
    if older:
        rows = {"id": sorted(set(older)), "seq": [seq] * len(set(older)), "name": ["new"] * len(set(older))}
        table.apply(pa.table(rows), at_least_once=True, merge=False)
    table.merge()


def face_files(storage: Storage) -> set[str]:
    return {info.path for info in storage.list(FACE)}


def disk(path: Path) -> DiskStorage:
    return DiskStorage(str(path / "t"))


def document(metadata: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(metadata).read_text("utf-8"))
    return content


def test_a_second_synchronization_writes_nothing(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=3)
    first = table.sync_iceberg()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "t").rglob("*")}
    for handle in (table, ModTable.open(disk(tmp_path))):
        again = handle.sync_iceberg()
        assert (again.committed, again.metadata, again.snapshot_id) == (False, first.metadata, first.snapshot_id)
    # A tag is a version that changes no rows.
    table.tag("x", 1)
    assert table.sync_iceberg().committed is False
    changed = {path for path in (tmp_path / "t").rglob("*") if before.get(path) != path.stat().st_mtime_ns}
    assert not [path for path in changed if FACE in str(path)]


def test_manifests_of_files_that_stay_are_reused(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=2)
    first = table.sync_iceberg()
    old = face_files(disk(tmp_path))
    table.apply(mods(100, 110, 9), at_least_once=True)
    second = table.sync_iceberg()
    assert (second.manifests_written, second.manifests_reused) == (1, first.manifests_written)
    new = face_files(disk(tmp_path)) - old
    assert sorted(re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{3,}", "*", path) for path in new) == [
        f"{FACE}/metadata/*-m0.avro",
        f"{FACE}/metadata/snap-*-1-*.avro",
        f"{FACE}/metadata/v2.metadata.json",
    ]
    assert_shown(table, second.metadata)


def test_many_small_manifests_are_packed(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=0)
    results: list[IcebergSync] = []
    for seq in range(1, 36):
        table.apply(mods(seq * 10, seq * 10 + 1, seq), at_least_once=True)
        results.append(table.sync_iceberg())
    assert max(result.manifests_written + result.manifests_reused for result in results) == 33
    assert results[-1].manifests_written + results[-1].manifests_reused < 5
    rows = by_pyiceberg(results[-1].metadata)
    assert sorted_rows(rows, table) == sorted_rows(table.to_arrow(), table)


def test_what_the_metadata_says(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=2, comment="all orders")
    first = table.sync_iceberg()
    send(table, 3)
    second = table.sync_iceberg()
    content = document(second.metadata)
    assert (content["format-version"], content["location"]) == (2, f"{table.url}/{FACE}")
    assert [field["id"] for field in content["schemas"][0]["fields"]] == [1, 2, 3]
    assert content["schemas"][0]["identifier-field-ids"] == [1]
    properties = content["properties"]
    assert (properties["gc.enabled"], properties["comment"]) == ("false", "all orders")
    assert json.loads(properties["schema.name-mapping.default"])[2] == {"field-id": 3, "names": ["name"]}
    assert [snapshot["snapshot-id"] for snapshot in content["snapshots"]] == [first.snapshot_id, second.snapshot_id]
    summary = content["snapshots"][-1]["summary"]
    assert summary["andes.applied"] == str(second.applied)
    live = table.to_arrow().num_rows
    assert int(summary["total-records"]) - int(summary["total-position-deletes"]) == live
    assert content["metadata-log"][0]["metadata-file"] == first.metadata
    assert content["last-sequence-number"] == content["snapshots"][-1]["sequence-number"] == 2
    manifests = read_avro(content["snapshots"][-1]["manifest-list"])
    for manifest in manifests:
        entries = read_avro(manifest["manifest_path"])
        assert manifest["manifest_length"] == os.path.getsize(manifest["manifest_path"])
        for status, name in ((0, "existing"), (1, "added"), (2, "deleted")):
            records = [entry["data_file"]["record_count"] for entry in entries if entry["status"] == status]
            assert (manifest[f"{name}_files_count"], manifest[f"{name}_rows_count"]) == (len(records), sum(records))


def read_avro(path: str) -> list[dict[str, Any]]:
    with Path(path).open("rb") as file:
        return [dict(record) for record in fastavro.reader(file) if isinstance(record, dict)]


@pytest.mark.faults
@pytest.mark.parametrize("happens", [True, False], ids=["answer lost", "not written"])
def test_a_killed_synchronization_leaves_the_last_one(tmp_path: Path, happens: bool) -> None:
    table = made(disk(tmp_path), versions=2)
    table.sync_iceberg()
    for left in range(1, 20):
        send(table, left + 2)
        failing = FailingStorage(disk(tmp_path), left=left, happens=happens)
        try:
            ModTable.open(failing, settings=SETTINGS).sync_iceberg()
        except StorageError:
            assert left < 19, "it never succeeds"
        newest = newest_metadata(disk(tmp_path), table.status().table_id)
        assert newest is not None
        applied = int(newest.current["summary"]["andes.applied"])
        rows = by_pyiceberg(f"{table.url}/{newest.path}")
        assert sorted_rows(rows, table) == sorted_rows(table.to_arrow(version=applied), table)
        if failing.left > 0:
            return
        again = table.sync_iceberg()
        assert sorted_rows(by_pyiceberg(again.metadata), table) == sorted_rows(table.to_arrow(), table)


def test_racing_synchronizations_commit_once_each(tmp_path: Path) -> None:
    table = made(disk(tmp_path))
    tapped = TappedStorage(disk(tmp_path))
    first, other = ModTable.open(tapped, settings=SETTINGS), ModTable.open(disk(tmp_path), settings=SETTINGS)
    results: list[IcebergSync] = []

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.endswith("v1.metadata.json"):
            tapped.tap = None
            results.append(other.sync_iceberg())
            send(other, 2)

    tapped.tap = tap
    results.append(first.sync_iceberg())
    assert [(result.committed, result.applied) for result in results] == [(True, 1), (True, table.version)]
    snapshots = document(results[-1].metadata)["snapshots"]
    assert [snapshot["snapshot-id"] for snapshot in snapshots] == [result.snapshot_id for result in results]
    assert_shown(table, results[-1].metadata)
    # What was written for the lost commit is gone: each of both has a list and its manifests.
    named = {entry["manifest_path"] for snapshot in snapshots for entry in read_avro(snapshot["manifest-list"])}
    lists = {snapshot["manifest-list"] for snapshot in snapshots}
    stored = {f"{table.url}/{path}" for path in face_files(disk(tmp_path)) if path.endswith(".avro")}
    assert stored == named | lists


def test_a_race_for_the_same_state_has_one_commit(tmp_path: Path) -> None:
    made(disk(tmp_path), versions=2)
    tapped = TappedStorage(disk(tmp_path))
    first, other = ModTable.open(tapped, settings=SETTINGS), ModTable.open(disk(tmp_path), settings=SETTINGS)

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent":
            tapped.tap = None
            other.sync_iceberg()

    tapped.tap = tap
    assert first.sync_iceberg().committed is False
    assert len([path for path in face_files(disk(tmp_path)) if path.endswith(".json")]) == 1


def test_a_state_that_was_read_before_another_commit_is_not_shown_after_it(tmp_path: Path) -> None:
    made(disk(tmp_path)).sync_iceberg()
    tapped = TappedStorage(disk(tmp_path))
    first, other = ModTable.open(tapped, settings=SETTINGS), ModTable.open(disk(tmp_path), settings=SETTINGS)
    results: list[IcebergSync] = []

    def tap(kind: str, path: str) -> None:
        if path.startswith(FACE):
            tapped.tap = None
            send(other, 2)
            results.append(other.sync_iceberg())

    tapped.tap = tap
    late = first.sync_iceberg()
    assert (late.committed, late.applied) == (False, results[0].applied)


def test_entries_that_stay_keep_their_sequence_numbers(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=0)
    for seq in (1, 2, 3):
        table.apply(mods(seq * 10, seq * 10 + 10, seq), at_least_once=True)
    first = table.sync_iceberg()
    table.apply(mods(10, 20, 4), at_least_once=True)
    second = table.sync_iceberg()
    assert (second.files_added, second.files_removed) == (1, 1)
    entries = {
        (entry["data_file"]["file_path"], entry["status"]): (entry["snapshot_id"], entry["sequence_number"])
        for manifest in read_avro(document(second.metadata)["snapshots"][-1]["manifest-list"])
        for entry in read_avro(manifest["manifest_path"])
    }
    numbers = {status: {place for (_, other), place in entries.items() if other == status} for status in (0, 1, 2)}
    assert numbers == {0: {(first.snapshot_id, 1)}, 1: {(second.snapshot_id, 2)}, 2: {(second.snapshot_id, 1)}}


def test_a_lost_hint(tmp_path: Path) -> None:
    table = made(disk(tmp_path))
    for seq in (2, 3):
        table.sync_iceberg()
        send(table, seq)
    storage = disk(tmp_path)
    for hint in (b"1", b"99", b"no number", b""):
        storage.put(f"{FACE}/metadata/version-hint.text", hint)
        newest = newest_metadata(storage, table.status().table_id)
        assert newest is not None
        assert newest.number == 2
    storage.delete([f"{FACE}/metadata/version-hint.text"])
    result = table.sync_iceberg()
    assert result.metadata.endswith("/v3.metadata.json")
    assert sorted_rows(by_duckdb(f"{table.url}/{FACE}"), table) == sorted_rows(table.to_arrow(), table)


def test_a_foreign_commit_is_reported(tmp_path: Path) -> None:
    table = made(disk(tmp_path))
    content = document(table.sync_iceberg().metadata)
    content["snapshots"] += [{**content["snapshots"][0], "snapshot-id": 1, "summary": {"operation": "append"}}]
    content["current-snapshot-id"] = 1
    disk(tmp_path).put(f"{FACE}/metadata/v2.metadata.json", json.dumps(content).encode())
    before = face_files(disk(tmp_path))
    with pytest.raises(ForeignWriteError, match=r"v2\.metadata\.json"):
        table.sync_iceberg()
    assert face_files(disk(tmp_path)) == before


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff"])
def test_damaged_metadata_is_reported(tmp_path: Path, data: bytes) -> None:
    table = made(disk(tmp_path))
    table.sync_iceberg()
    disk(tmp_path).put(f"{FACE}/metadata/v1.metadata.json", data)
    with pytest.raises(LogDamagedError) as caught:
        table.sync_iceberg()
    assert caught.value.path == f"{FACE}/metadata/v1.metadata.json"


def test_a_moved_table_is_shown_anew(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=2)
    old = table.sync_iceberg()
    shutil.move(tmp_path / "t", tmp_path / "moved")
    moved = ModTable.open(str(tmp_path / "moved"), settings=SETTINGS)
    result = moved.sync_iceberg()
    assert result.committed
    assert (result.files_added, result.metadata) == (old.files_added, f"{moved.url}/{FACE}/metadata/v2.metadata.json")
    assert_shown(moved, result.metadata)


def test_a_vacuum_keeps_what_the_newest_snapshot_names(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=3)
    old = table.sync_iceberg()
    for seq in (4, 5):
        table.apply(mods(10, 40, seq), at_least_once=True)
    shown = sorted_rows(table.to_arrow(version=old.applied), table)
    later = ModTable.open(disk(tmp_path), settings=SETTINGS)
    assert later.vacuum(retain="0 seconds").files
    assert sorted_rows(by_pyiceberg(old.metadata), table) == shown
    new = later.sync_iceberg()
    assert new.expired == 1
    assert [snapshot["snapshot-id"] for snapshot in document(new.metadata)["snapshots"]] == [new.snapshot_id]
    assert_shown(later, new.metadata)
    # Now nothing keeps the files of the snapshot that expired.
    assert later.vacuum(retain="0 seconds").kinds["data files"]
    assert_shown(later, new.metadata)
    assert later.verify().ok


def test_snapshots_of_readable_versions_survive_a_vacuum(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=3)
    first = table.sync_iceberg()
    table.compact()
    time.sleep(0.01)
    send(table, 4)
    table.vacuum(retain="1 hour")
    second = table.sync_iceberg()
    assert second.expired == 0
    assert_shown(table, second.metadata, snapshot_id=first.snapshot_id, version=first.applied)


def test_expired_files_are_deleted_a_day_later(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=2)
    table.sync_iceberg()
    table.apply(mods(10, 30, 5), at_least_once=True)
    old = face_files(disk(tmp_path))
    table.vacuum(retain="0 seconds")
    for path in old:
        os.utime(tmp_path / "t" / path, (1_000_000_000, 1_000_000_000))
    new = table.sync_iceberg()
    assert new.expired == 1
    assert not face_files(disk(tmp_path)) & (old - {f"{FACE}/metadata/version-hint.text"})
    assert_shown(table, new.metadata)


def test_a_forget_drops_the_face(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=3)
    table.sync_iceberg()
    table.apply(mods(10, 12, 6), at_least_once=True)
    result = table.forget([10], confirm="t")
    assert result.ok
    assert not face_files(disk(tmp_path))
    assert any(removed.path.startswith(FACE) for removed in result.removed)
    assert_shown(table, table.sync_iceberg().metadata)
    assert 10 not in table.to_arrow()["id"].to_pylist()
    assert result.verify().ok


def test_a_key_that_is_nowhere_is_not_found_in_the_face(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=3)
    table.sync_iceberg()
    assert table.forget([12345], confirm="t").version is None
    assert face_files(disk(tmp_path))


def test_a_drop_deletes_the_face(tmp_path: Path) -> None:
    table = made(disk(tmp_path))
    table.sync_iceberg()
    table.drop(confirm="t")
    assert not face_files(disk(tmp_path))


def test_in_memory() -> None:
    storage = MemoryStorage()
    result = made(storage).sync_iceberg()
    assert result.metadata == f"{storage.url}/{FACE}/metadata/v1.metadata.json"


@pytest.mark.parametrize("partitioned", [True, False])
def test_a_converted_table(tmp_path: Path, partitioned: bool) -> None:
    for number, folder in enumerate(("region=eu", "region=us")):
        rows = mods(number * 10, number * 10 + 10, 1)
        target = tmp_path / "t" / (folder if partitioned else ".")
        target.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, target / f"{number}.parquet")
    columns = "region STRING" if partitioned else None
    options: dict[str, Any] = {"primary_key": "id", "sequence_by": "seq", "settings": SETTINGS}
    table = ModTable.convert(str(tmp_path / "t"), partitions=columns, **options)
    first = table.sync_iceberg()
    assert first.files_added == 2
    assert_shown(table, first.metadata)
    region = {"region": ["eu"]} if partitioned else {}
    table.apply(pa.table({"id": [3], "seq": [2], "name": ["new"], **region}), at_least_once=True)
    assert_shown(table, table.sync_iceberg().metadata)


def test_field_ids_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    rows = mods(0, 10, 1)
    ids = {"id": "7", "seq": "8", "name": "1"}
    schema = pa.schema([field.with_metadata({"PARQUET:field_id": ids[field.name]}) for field in rows.schema])
    pq.write_table(rows.cast(schema), tmp_path / "t" / "a.parquet")
    table = ModTable.convert(str(tmp_path / "t"), primary_key="id", sequence_by="seq", settings=SETTINGS)
    with pytest.raises(UnsupportedTableError) as refusal:
        table.sync_iceberg()
    assert refusal.value.feature == "iceberg: field ids of another writer"
    assert not face_files(disk(tmp_path))


@pytest.mark.parametrize(
    ("columns", "path"),
    [
        ("`l.element` INT, l ARRAY<INT>", "l.element"),
        ("m MAP<INT, STRUCT<b: INT>>, `m.value.b` INT", "m.value.b"),
    ],
)
def test_an_ambiguous_name_is_refused(columns: str, path: str) -> None:
    table = ModTable.create(MemoryStorage(), f"id BIGINT, {columns}", primary_key="id", settings=SETTINGS)
    with pytest.raises(UnsupportedTableError) as refusal:
        table.sync_iceberg()
    assert (refusal.value.feature, refusal.value.column) == ("iceberg: ambiguous name", path)


def test_partition_columns_with_one_name_in_avro_are_refused() -> None:
    table = ModTable.create(
        MemoryStorage(), "id BIGINT, `a-b` INT, a_x2Db INT", primary_key="id", partition_by=["a-b", "a_x2Db"],
        settings=SETTINGS,
    )  # fmt: skip
    with pytest.raises(UnsupportedTableError, match="'a-b'") as refusal:
        table.sync_iceberg()
    assert (refusal.value.feature, refusal.value.column) == ("iceberg: ambiguous name", "a_x2Db")


def test_on_the_command_line(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=2)

    def run(*arguments: str) -> dict[str, Any]:
        outcome = CliRunner().invoke(andes, ["table", "sync-iceberg", table.url, "--output", "json", *arguments])
        assert outcome.exit_code == 0, outcome.output
        content: dict[str, Any] = json.loads(outcome.stdout)
        return content

    assert run("--dry-run")["committed"] is True
    assert not face_files(disk(tmp_path))
    assert run("--format", "2")["committed"] is True
    result = run()
    assert (result["committed"], result["dry_run"]) == (False, False)
    assert_shown(table, result["metadata"])
    text = CliRunner().invoke(andes, ["table", "sync-iceberg", table.url]).stdout
    assert "already" in text
    assert run("--format", "3")["format"] == 3
    outcome = CliRunner().invoke(andes, ["table", "sync-iceberg", table.url, "--format", "2"])
    assert "the Iceberg face is of format 3" in outcome.stderr
    outcome = CliRunner().invoke(andes, ["table", "sync-iceberg", table.url, "--format", "4"])
    assert outcome.exit_code == 2


def test_a_vacuum_of_delta_leaves_the_face(tmp_path: Path) -> None:
    table = made(disk(tmp_path), versions=3)
    table.sync_iceberg()
    for folder in ("metadata", "_andes"):
        stray = tmp_path / "t" / folder / "stray.avro"
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"stray")
        os.utime(stray, (1_000_000_000, 1_000_000_000))
    # Not done: a full vacuum of delta-rs takes deletion vectors too.
    listed = DeltaTable(table.url).vacuum(retention_hours=0, enforce_retention_duration=False, full=True)
    assert "metadata/stray.avro" in listed
    assert not [path for path in listed if path.startswith("_andes")]
