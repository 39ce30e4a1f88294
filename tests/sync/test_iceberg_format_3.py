"""Format 3 of the Iceberg face: Puffin files, row lineage, and the way from format 2."""

from __future__ import annotations

import itertools
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import ForeignWriteError, OptionError
from andes_spark.sync.iceberg.manifests import ManifestReader
from andes_spark.table.iceberg import IcebergSync
from tests.iceberg_readers import assert_shown

SETTINGS = Settings(threads=1, compact_bytes=0)
Json = dict[str, Any]


def made(path: Path, **options: Any) -> ModTable:
    return ModTable.create(
        str(path / "t"), "id BIGINT, name STRING", primary_key="id", settings=SETTINGS, merge="always", **options
    )


def send(table: ModTable, first: int, last: int, name: str) -> None:
    keys = list(range(first, last))
    table.apply(pa.table({"id": keys, "name": [name] * len(keys)}), at_least_once=True)


def document(result: IcebergSync) -> Json:
    content: Json = json.loads(Path(result.metadata).read_text("utf-8"))
    return content


def read_avro(path: str) -> list[Json]:
    with Path(path).open("rb") as file:
        return [dict(record) for record in fastavro.reader(file) if isinstance(record, dict)]


def current(result: IcebergSync) -> Json:
    snapshots = document(result)["snapshots"]
    return next(snapshot for snapshot in snapshots if snapshot["snapshot-id"] == result.snapshot_id)


def entries(result: IcebergSync, content: int) -> Iterator[tuple[Json, Json]]:
    """Manifests of a snapshot with their entries, one after the other."""
    for manifest in read_avro(current(result)["manifest-list"]):
        if manifest["content"] == content:
            for entry in read_avro(manifest["manifest_path"]):
                yield manifest, entry


def row_ids(result: IcebergSync, *, counts_deleted: bool) -> dict[str, tuple[int, int]]:
    """First row id and rows of each live data file, by the rule of the specification for readers."""
    next_ids: dict[str, int] = {}
    ids = {}
    for manifest, entry in entries(result, 0):
        data_file = entry["data_file"]
        first, rows = data_file["first_row_id"], data_file["record_count"]
        if first is None and (counts_deleted or entry["status"] != 2):
            first = next_ids.get(manifest["manifest_path"], manifest["first_row_id"])
            next_ids[manifest["manifest_path"]] = first + rows
        if entry["status"] != 2:
            ids[data_file["file_path"]] = (first, rows)
    return ids


def test_each_vector_has_a_puffin_file_with_the_bytes_of_the_base(tmp_path: Path) -> None:
    table = made(tmp_path)
    for number in range(3):
        send(table, number * 100, number * 100 + 100, "old")
    table.apply(pa.table({"id": [5, 7, 150, 299], "name": ["new"] * 4}), at_least_once=True)
    result = table.sync_iceberg(format=3)
    assert (result.format, result.vectors) == (3, 3)
    assert_shown(table, result.metadata)
    (base,) = Path(table.url).glob("deletion_vector_*.bin")
    vectors = [entry["data_file"] for _, entry in entries(result, 1)]
    assert len({vector["file_path"] for vector in vectors}) == 3
    for vector in vectors:
        data = Path(vector["file_path"]).read_bytes()
        assert vector["file_format"] == "PUFFIN"
        assert vector["file_size_in_bytes"] == len(data)
        assert (data[:4], data[-4:], data[-8:-4]) == (b"PFA1", b"PFA1", bytes(4))
        (size,) = struct.unpack("<i", data[-12:-8])
        footer = json.loads(data[-12 - size : -12])
        assert data[-16 - size : -12 - size] == b"PFA1"
        (blob,) = footer["blobs"]
        assert (blob["offset"], blob["length"]) == (vector["content_offset"], vector["content_size_in_bytes"])
        assert blob["properties"] == {
            "referenced-data-file": vector["referenced_data_file"],
            "cardinality": str(vector["record_count"]),
        }
        assert (blob["snapshot-id"], blob["sequence-number"], blob["fields"]) == (-1, -1, [])
        assert data[blob["offset"] : blob["offset"] + blob["length"]] in base.read_bytes()
    summary = current(result)["summary"]
    assert (summary["added-dvs"], summary["added-position-deletes"], summary["total-delete-files"]) == ("3", "4", "3")


def test_a_vector_that_changes_is_replaced(tmp_path: Path) -> None:
    table = made(tmp_path)
    send(table, 0, 50, "old")
    send(table, 3, 5, "new")
    table.sync_iceberg(format=3)
    send(table, 8, 9, "new")
    second = table.sync_iceberg()
    assert [entry["status"] for _, entry in entries(second, 1)] == [1, 2]
    summary = current(second)["summary"]
    assert (summary["added-dvs"], summary["removed-dvs"], summary["total-position-deletes"]) == ("1", "1", "3")
    assert_shown(table, second.metadata)
    before = set(Path(table.url).rglob("*.puffin"))
    send(table, 100, 110, "more")
    third = table.sync_iceberg()
    assert third.vectors == 0
    assert set(Path(table.url).rglob("*.puffin")) == before
    assert_shown(table, third.metadata)


def test_rows_have_ids_that_stay_and_are_never_used_again(tmp_path: Path) -> None:
    table = made(tmp_path)
    results: list[IcebergSync] = []
    seen: dict[str, tuple[int, int]] = {}
    for first in (1000, 1010, 1020):
        send(table, first, first + 10, "one manifest")
    for step in range(8):
        send(table, step * 40, step * 40 + 50, f"step {step}")
        if step in (2, 3):
            # A manifest is written anew twice, with the file that stays.
            send(table, 990 + step * 10, 1000 + step * 10, "another file")
        if step == 4:
            table.compact()
        # A handle that knows the manifests, and one that reads them.
        handle = table if step % 3 else ModTable.open(table.url, settings=SETTINGS)
        result = handle.sync_iceberg(format=3)
        content, snapshot = document(result), current(result)
        before = 0 if not results else document(results[-1])["next-row-id"]
        assert snapshot["first-row-id"] == before
        assert content["next-row-id"] == before + snapshot["added-rows"]
        ids = row_ids(result, counts_deleted=False)
        # Whether a reader counts deleted files without an id or not.
        assert ids == row_ids(result, counts_deleted=True)
        for path, (first, rows) in ids.items():
            assert seen.setdefault(path, (first, rows)) == (first, rows)
            assert first + rows <= content["next-row-id"]
        results.append(result)
    ranges = sorted(seen.values())
    assert all(first + rows <= following for (first, rows), (following, _) in itertools.pairwise(ranges))
    statuses = {entry["status"] for result in results for _, entry in entries(result, 0)}
    assert statuses == {0, 1, 2}
    for result in results:
        for manifest, entry in entries(result, 0):
            assert manifest["first_row_id"] is not None
            # New files inherit theirs; those that stay, and those that left, have it.
            assert (entry["data_file"]["first_row_id"] is None) == (entry["status"] == 1)
        for manifest, entry in entries(result, 1):
            assert (manifest["first_row_id"], entry["data_file"]["first_row_id"]) == (None, None)


def test_cached_manifests_are_those_that_a_new_handle_reads(tmp_path: Path) -> None:
    table = made(tmp_path)
    for step in range(4):
        send(table, step * 10, step * 10 + 15, f"step {step}")
        result = table.sync_iceberg(format=2 if step < 2 else 3)
    face = table._open_table.face
    cached, stored = face._reader, ManifestReader(table._open_table.storage)
    snapshot = current(result)

    def listed(reader: ManifestReader) -> list[tuple[Json, list[Json]]]:
        plain = []
        for manifest in reader.manifests(snapshot):
            row = {name: value for name, value in manifest.row.items() if value is not None}
            files = [
                {name: value for name, value in entry["data_file"].items() if value is not None}
                for entry in manifest.entries
            ]
            plain.append((row, files))
        return plain

    assert listed(cached) == listed(stored)


@pytest.mark.parametrize("partition_by", [(), ("name",)], ids=["plain", "partitioned"])
def test_a_face_of_format_2_goes_on_in_format_3(tmp_path: Path, partition_by: tuple[str, ...]) -> None:
    table = made(tmp_path, partition_by=partition_by)
    for number in range(3):
        send(table, number * 20, number * 20 + 25, "name")
        old = table.sync_iceberg()
    assert old.format == 2
    # Nothing changed but the format.
    result = table.sync_iceberg(format=3)
    assert (result.committed, result.format, result.applied) == (True, 3, old.applied)
    assert document(result)["table-uuid"] == document(old)["table-uuid"]
    assert_shown(table, result.metadata)
    assert_shown(table, result.metadata, snapshot_id=old.snapshot_id)
    assert {entry["data_file"]["file_format"] for _, entry in entries(result, 1) if entry["status"] != 2} == {"PUFFIN"}
    snapshots = document(result)["snapshots"]
    assert ["first-row-id" in snapshot for snapshot in snapshots] == [False, False, False, True]
    assert snapshots[-1]["added-rows"] == document(result)["next-row-id"] == 75
    assert row_ids(result, counts_deleted=False) == row_ids(result, counts_deleted=True)
    assert not table.sync_iceberg().committed
    assert not table.sync_iceberg(format=3).committed
    send(table, 10, 70, "later")
    assert_shown(table, table.sync_iceberg().metadata)
    assert_shown(table, table.sync_iceberg().metadata, snapshot_id=old.snapshot_id, version=old.applied)


def test_a_face_of_format_3_does_not_go_back(tmp_path: Path) -> None:
    table = made(tmp_path)
    send(table, 0, 5, "name")
    table.sync_iceberg(format=3)
    before = sorted(Path(table.url).rglob("*"))
    for handle in (table, ModTable.open(table.url, settings=SETTINGS)):
        with pytest.raises(OptionError, match="format 3, and none of format 2 can follow") as refusal:
            handle.sync_iceberg(format=2)
        assert (refusal.value.option, refusal.value.value) == ("format", 2)
    assert sorted(Path(table.url).rglob("*")) == before


def test_a_format_of_others_is_reported(tmp_path: Path) -> None:
    table = made(tmp_path)
    result = table.sync_iceberg()
    content = {**document(result), "format-version": 4}
    (Path(result.metadata).parent / "v2.metadata.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(ForeignWriteError, match=r"v2\.metadata\.json"):
        table.sync_iceberg()


def test_a_vacuum_after_the_change_of_format(tmp_path: Path) -> None:
    table = made(tmp_path)
    for number in range(3):
        send(table, number * 10, number * 10 + 15, "name")
        table.sync_iceberg()
    table.sync_iceberg(format=3)
    send(table, 5, 25, "later")
    old = {path for path in (Path(table.url) / "_andes" / "iceberg").rglob("*") if path.is_file()}
    table.vacuum(retain="0 seconds")
    for path in old:
        os.utime(path, (1_000_000_000, 1_000_000_000))
    result = table.sync_iceberg()
    assert result.expired == 4
    assert not [path for path in old if path.exists() and path.suffix == ".parquet"]
    assert_shown(table, result.metadata)


def test_a_forget_drops_vectors_too(tmp_path: Path) -> None:
    table = made(tmp_path)
    send(table, 0, 30, "name")
    send(table, 5, 9, "new")
    assert table.sync_iceberg(format=3).vectors
    assert table.forget([6], confirm="t").ok
    assert not list(Path(table.url).rglob("*.puffin"))
    assert_shown(table, table.sync_iceberg(format=3).metadata)
