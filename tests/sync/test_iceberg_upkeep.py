"""The Iceberg face and vacuums: through another path of the folder, in a copy, and what is listed afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa

from andes_spark import ModTable, Settings
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
