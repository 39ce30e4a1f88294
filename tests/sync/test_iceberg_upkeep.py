"""The Iceberg face after vacuums, through another path of the folder and in a copy too, and with damaged files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import LogDamagedError
from andes_spark.sync.iceberg.avro import decode
from tests.iceberg_readers import assert_shown, by_duckdb, by_pyiceberg, sorted_rows

SETTINGS = Settings(threads=1, compact_bytes=0)


def made(path: Path) -> ModTable:
    return ModTable.create(
        str(path), "id BIGINT, name STRING", primary_key="id", deletion_vectors=False, settings=SETTINGS
    )


def send(table: ModTable, name: str) -> None:
    """Write all rows anew."""
    table.apply(pa.table({"id": [1, 2], "name": [name, name]}), at_least_once=True)


def snapshots(metadata: str) -> list[int]:
    content = json.loads(Path(metadata).read_text("utf-8"))
    return [int(snapshot["summary"]["andes.applied"]) for snapshot in content["snapshots"]]


def test_a_vacuum_through_a_link_keeps_what_the_newest_snapshot_names(tmp_path: Path) -> None:
    table = made(tmp_path / "t")
    send(table, "first")
    send(table, "shown")
    old = table.sync_iceberg()
    shown = sorted_rows(table.to_arrow(), table)
    send(table, "later")
    (tmp_path / "link").symlink_to(tmp_path / "t")
    linked = ModTable.open(str(tmp_path / "link"), settings=SETTINGS)
    # The file of the first version goes, that of the snapshot stays.
    assert linked.vacuum(retain="0 seconds").kinds["data files"] == 1
    for reader in (by_pyiceberg, by_duckdb):
        assert sorted_rows(reader(old.metadata), table) == shown
    assert_shown(table, table.sync_iceberg().metadata)


def test_a_vacuum_of_a_copy(tmp_path: Path) -> None:
    table = made(tmp_path / "t")
    for name in ("first", "shown"):
        send(table, name)
    table.sync_iceberg()
    send(table, "later")
    shutil.copytree(tmp_path / "t", tmp_path / "copy")
    shutil.rmtree(tmp_path / "t")
    copy = ModTable.open(str(tmp_path / "copy"), settings=SETTINGS)
    assert copy.vacuum(retain="0 seconds").files
    result = copy.sync_iceberg()
    assert_shown(copy, result.metadata)
    # Now nothing names the file of the face that began elsewhere.
    assert copy.vacuum(retain="0 seconds").kinds["data files"]
    assert_shown(copy, result.metadata)


def test_snapshots_without_files_are_not_listed_though_nothing_changed(tmp_path: Path) -> None:
    table = made(tmp_path / "t")
    for name in ("first", "second", "third"):
        send(table, name)
        table.sync_iceberg()
    table.vacuum(retain="0 seconds")
    result = table.sync_iceberg()
    assert (result.committed, result.expired) == (True, 2)
    assert set(snapshots(result.metadata)) == {3}
    assert_shown(table, result.metadata)
    assert not table.sync_iceberg().committed


def removed(*names: str | int) -> Callable[[Any], None]:
    def damage(content: Any) -> None:
        for name in names[:-1]:
            content = content[name]
        del content[names[-1]]

    return damage


def changed(value: Any, *names: str | int) -> Callable[[Any], None]:
    def damage(content: Any) -> None:
        for name in names[:-1]:
            content = content[name]
        content[names[-1]] = value

    return damage


MAPPING = ("properties", "schema.name-mapping.default")
DAMAGES = {
    "location": removed("location"),
    "specs": removed("partition-specs"),
    "no spec": changed([], "partition-specs"),
    "spec": changed([1], "partition-specs"),
    "number": changed("1", "last-sequence-number"),
    "flag": changed(True, "last-updated-ms"),
    "snapshots": changed(5, "snapshots"),
    "snapshot": changed([None], "snapshots"),
    "list": removed("snapshots", 0, "manifest-list"),
    "applied": changed("x", "snapshots", 0, "summary", "andes.applied"),
    "schema": changed(7, "current-schema-id"),
    "log": changed([{}], "metadata-log"),
    "no mapping": removed(*MAPPING),
    "mapping": changed("{", *MAPPING),
    "entry": changed("[1]", *MAPPING),
    "names": changed('[{"names": ["id"]}]', *MAPPING),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_members_of_metadata_are_named(tmp_path: Path, damage: str) -> None:
    table = made(tmp_path / "t")
    send(table, "first")
    path = Path(table.sync_iceberg().metadata)
    content = json.loads(path.read_text("utf-8"))
    DAMAGES[damage](content)
    path.write_text(json.dumps(content), "utf-8")
    assert_damage_is_named(table, path)


def assert_damage_is_named(table: ModTable, path: Path) -> None:
    fresh = ModTable.open(table.url, settings=SETTINGS)
    for call in (fresh.sync_iceberg, lambda: fresh.vacuum(retain="0 seconds")):
        with pytest.raises(LogDamagedError, match="delete the folder _andes/iceberg") as caught:
            call()
        assert caught.value.path == str(path.relative_to(table.url))
    shutil.rmtree(Path(table.url) / "_andes" / "iceberg")
    assert_shown(fresh, fresh.sync_iceberg().metadata)


@pytest.mark.parametrize("name", ["snap-*.avro", "*-m0.avro"])
def test_a_file_in_the_place_of_another_is_named(tmp_path: Path, name: str) -> None:
    table = made(tmp_path / "t")
    send(table, "first")
    folder = Path(table.sync_iceberg().metadata).parent
    (path,) = folder.glob(name)
    (other,) = set(folder.glob("*.avro")) - {path}
    shutil.copy(other, path)
    assert_damage_is_named(table, path)


def test_every_damaged_byte_of_a_manifest_is_reported_as_damage(tmp_path: Path) -> None:
    table = made(tmp_path / "t")
    send(table, "first")
    (path,) = Path(table.sync_iceberg().metadata).parent.glob("*-m0.avro")
    data = path.read_bytes()
    assert decode(data, "m")
    reported = 0
    for position in range(len(data)):
        for bits in (0x01, 0x80):
            flipped = bytes([*data[:position], data[position] ^ bits, *data[position + 1 :]])
            reported += is_reported(flipped)
    # Others are not found: Avro has no checksum.
    assert reported > len(data) // 2


def is_reported(data: bytes) -> bool:
    try:
        decode(data, "m")
    except LogDamagedError:
        return True
    return False
