"""Faces that a table's definition asks for: they follow each merge, refuse what they lack, and never fail the data."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from andes_spark import ModTable, Settings
from andes_spark.cli.app import andes
from andes_spark.errors import (
    ForeignWriteError,
    MissingPackageError,
    NoSuchTableError,
    OptionError,
    StorageError,
    UnsupportedTableError,
)
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tapped import TappedStorage
from tests.iceberg_readers import assert_shown, by_duckdb, sorted_rows

SETTINGS = Settings(threads=1, compact_bytes=0)
FACE = "_andes/iceberg"
AMBIGUOUS = "id BIGINT, `l.element` INT, l ARRAY<INT>"


def made(path: Path, **options: Any) -> ModTable:
    arguments = {"primary_key": "id", "faces": "iceberg", "settings": SETTINGS, **options}
    return ModTable.create(str(path / "t"), "id BIGINT, name STRING", **arguments)


def send(table: ModTable, *keys: int, name: str = "name", **options: Any) -> Any:
    rows = pa.table({"id": list(keys), "name": [name] * len(keys)})
    return table.apply(rows, at_least_once=True, **options)


def newest(table: ModTable) -> str:
    (face,) = table.status().faces
    assert face.metadata is not None
    return face.metadata


def metadata_files(table: ModTable) -> list[str]:
    return sorted(path.name for path in (Path(table.url) / FACE / "metadata").glob("v*.json"))


def test_the_face_follows_each_merge(tmp_path: Path) -> None:
    table = made(tmp_path)
    assert_shown(table, newest(table))
    for number in range(3):
        send(table, number, number + 1, number + 5, name=f"n{number}")
        assert_shown(table, newest(table))
        rows = by_duckdb(f"{table.url}/{FACE}")
        assert sorted_rows(rows, table) == sorted_rows(table.to_arrow(), table)
    assert len(metadata_files(table)) == 4
    # Nothing is left to do for who asks.
    assert table.sync_iceberg().committed is False
    # Another handle, which knows nothing of the face, goes on.
    send(ModTable.open(table.url, settings=SETTINGS), 77)
    assert_shown(table, newest(table))


def test_the_face_follows_what_other_verbs_merge(tmp_path: Path) -> None:
    table = made(tmp_path, merge="manual")
    send(table, 1, 2)
    assert table.status().faces[0].applied == 0
    table.merge()
    assert_shown(table, newest(table))
    send(table, 3)
    table.restore(version=1)
    table.merge()
    table.alter.add_column("note", "STRING")
    table.merge()
    with table.appender(merge=True) as appender:
        appender.apply(pa.table({"id": [9], "name": ["x"], "note": ["y"]}), batch_id=("a", 1))
    assert_shown(table, newest(table))


def test_a_load_is_shown(tmp_path: Path) -> None:
    table = made(tmp_path, data=pa.table({"id": [1, 2], "name": ["a", "b"]}))
    assert_shown(table, newest(table))


def test_a_format_that_was_asked_for_stays(tmp_path: Path) -> None:
    table = made(tmp_path)
    table.sync_iceberg(format=3)
    send(table, 1, 2)
    send(table, 2)
    assert json.loads(Path(newest(table)).read_text("utf-8"))["format-version"] == 3
    assert_shown(table, newest(table))


def test_what_iceberg_cannot_represent_is_refused_at_create(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTableError) as refusal:
        ModTable.create(str(tmp_path / "t"), AMBIGUOUS, primary_key="id", faces=("iceberg",))
    assert (refusal.value.feature, refusal.value.column) == ("iceberg: ambiguous name", "l.element")
    with pytest.raises(NoSuchTableError):
        ModTable.open(str(tmp_path / "t"))
    with pytest.raises(UnsupportedTableError, match="'a-b'"):
        ModTable.create(
            str(tmp_path / "t"), "id BIGINT, `a-b` INT, a_x2Db INT", primary_key="id",
            partition_by=["a-b", "a_x2Db"], faces="iceberg",
        )  # fmt: skip
    assert not (tmp_path / "t").exists()


def test_what_iceberg_cannot_represent_is_refused_at_alter(tmp_path: Path) -> None:
    table = ModTable.create(
        str(tmp_path / "t"), "id BIGINT, l ARRAY<INT>", primary_key="id", faces="iceberg", settings=SETTINGS
    )
    with pytest.raises(UnsupportedTableError) as refusal:
        table.alter.add_column(["l.element"], "INT")
    assert refusal.value.feature == "iceberg: ambiguous name"
    batch = pa.table({"id": [1], "l": pa.array([[1]], pa.list_(pa.int32())), "l.element": pa.array([1], pa.int32())})
    with pytest.raises(UnsupportedTableError):
        table.apply(batch, evolve_schema="add", at_least_once=True)
    assert table.version == 0
    table.alter.set(faces=())
    table.alter.add_column(["l.element"], "INT")
    with pytest.raises(UnsupportedTableError):
        table.alter.set(faces="iceberg")


def test_a_face_is_asked_for_later_and_given_up(tmp_path: Path) -> None:
    table = made(tmp_path, faces=())
    send(table, 1)
    assert (table.status().faces, metadata_files(table)) == ((), [])
    assert table.alter.set(faces="iceberg").changed == ("faces",)
    assert_shown(table, newest(table))
    send(table, 2)
    assert_shown(table, newest(table))
    before = metadata_files(table)
    table.alter.set(faces=())
    send(table, 3)
    assert (table.status().faces, metadata_files(table)) == ((), before)


@pytest.mark.parametrize("faces", ["hudi", ["iceberg", "hudi"], 1])
def test_other_faces_are_refused(tmp_path: Path, faces: Any) -> None:
    with pytest.raises(OptionError) as refusal:
        made(tmp_path, faces=faces)
    assert refusal.value.option == "faces"


def test_a_missing_package_is_named_at_create(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(MissingPackageError, match=r"andes_spark\[iceberg\]"):
        made(tmp_path)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("partitions", [None, "region STRING"])
def test_a_converted_table(tmp_path: Path, partitions: str | None) -> None:
    folder = tmp_path / "t" / ("region=eu" if partitions else ".")
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1, 2], "name": ["a", "b"]}), folder / "a.parquet")
    table = ModTable.convert(
        str(tmp_path / "t"), primary_key="id", partitions=partitions, faces="iceberg", settings=SETTINGS
    )
    assert_shown(table, newest(table))


def test_a_failure_is_reported_and_the_next_merge_tries_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = made(tmp_path)
    tapped = TappedStorage(DiskStorage(str(tmp_path / "t")))
    other = ModTable.open(tapped, settings=SETTINGS)

    def tap(kind: str, path: str) -> None:
        if path.startswith(FACE) and path.endswith(".avro"):
            raise StorageError("the disk is full")

    tapped.tap = tap
    with caplog.at_level(logging.WARNING):
        result = send(other, 1, 2)
    assert (result.version, result.merge.status) == (1, "merged")
    assert [failure.step for failure in result.merge.advisory] in ([], ["synchronizing the Iceberg face"])
    assert "the disk is full" in caplog.text
    assert "the next merge tries again" in caplog.text
    (face,) = other.status().faces
    assert (face.applied, face.behind) == (0, 1)
    assert "the disk is full" in str(other.status())
    assert "shows version 0, 1 behind the base" in str(table.status())
    # Reads and later merges are not affected.
    assert other.to_arrow().num_rows == 2
    tapped.tap = None
    send(other, 3)
    (face,) = other.status().faces
    assert (face.applied, face.behind, face.failure) == (2, 0, None)
    assert_shown(table, newest(other))


def test_a_foreign_commit_is_shown_by_status(tmp_path: Path) -> None:
    table = made(tmp_path)
    path = Path(newest(table))
    content = json.loads(path.read_text("utf-8"))
    content["snapshots"][0]["summary"] = {"operation": "append"}
    (path.parent / "v2.metadata.json").write_text(json.dumps(content), "utf-8")
    result = send(table, 1)
    assert result.merge.status == "merged"
    (face,) = table.status().faces
    assert face.applied is None
    assert "another writer committed" in str(face.failure)
    with pytest.raises(ForeignWriteError):
        table.sync_iceberg()
    shutil.rmtree(Path(table.url) / FACE)
    send(table, 2)
    assert_shown(table, newest(table))


def test_an_older_state_is_not_shown_after_a_newer_one(tmp_path: Path) -> None:
    table = made(tmp_path, merge="manual")
    send(table, 1)
    first, other = (ModTable.open(table.url, settings=SETTINGS) for _ in range(2))
    late: list[Any] = []
    begin = first._open_table.face_after_merges.begin
    first._open_table.face_after_merges.begin = lambda shown: late.append(begin(shown)) or (lambda: None)  # type: ignore[method-assign, func-returns-value]
    first.merge()
    send(other, 2)
    other.merge()
    before = newest(other)
    late[0]()
    assert newest(other) == before
    assert_shown(table, before)


def test_many_merges_before_one_synchronization_are_one_snapshot(tmp_path: Path) -> None:
    table = made(tmp_path)
    after = table._open_table.face_after_merges
    late: list[Any] = []
    begin = after.begin
    after.begin = lambda shown: late.append(begin(shown)) or (lambda: None)  # type: ignore[method-assign, func-returns-value]
    for number in range(3):
        send(table, number)
    for function in late:
        function()
    assert metadata_files(table) == ["v1.metadata.json", "v2.metadata.json"]
    assert_shown(table, newest(table))


def test_a_vacuum_and_a_forget(tmp_path: Path) -> None:
    table = made(tmp_path)
    for number in range(4):
        send(table, 1, 2, 3, name=str(number))
    time.sleep(0.01)
    table.vacuum(retain="0 seconds")
    assert_shown(table, newest(table))
    send(table, 4)
    assert_shown(table, newest(table))
    forgotten = table.forget([2], confirm="t")
    assert_shown(table, newest(table))
    assert forgotten.verify().ok
    send(table, 5)
    assert_shown(table, newest(table))


def test_a_table_in_memory() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT", primary_key="id", faces="iceberg", settings=SETTINGS)
    table.apply(pa.table({"id": [1]}), at_least_once=True)
    assert table.status().faces[0].applied == 1


def test_on_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        outcome = CliRunner().invoke(andes, ["table", *arguments, "--output", "json"])
        assert outcome.exit_code == 0, outcome.output
        return json.loads(outcome.stdout)

    path = str(tmp_path / "t")
    run("create", path, "--schema", "id BIGINT", "--primary-key", "id", "--face", "iceberg")
    status = run("status", path)
    assert [(face["name"], face["applied"]) for face in status["faces"]] == [("iceberg", 0)]
    text = CliRunner().invoke(andes, ["table", "status", path]).stdout
    assert "shows version 0" in text
