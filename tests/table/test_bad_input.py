"""Damaged tables, full disks and interrupted work: a clear error with fields, and the table as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark import AndesError, ModTable, Settings
from andes_spark.errors import (
    DamagedError,
    FileDamagedError,
    LogDamagedError,
    NoSuchTableError,
    NotFoundError,
    OptionError,
    StorageFullError,
    TableExistsError,
    UnsupportedTableError,
)
from andes_spark.model.documents import seal
from tests.spark.batches import SIMPLE, create, shown, simple_rows, table_of

PLAIN = Settings(compact_bytes=0)


def deletes(ids: list[int], seq: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "seq": pa.array([seq] * len(ids), pa.int64())})


def prepared(path: Path) -> ModTable:
    """Loaded, merged once with deletes (so with a vector and tombstones), and with two versions pending."""
    table = create(path, data=table_of(simple_rows(0, 30, 0), SIMPLE), settings=PLAIN)
    table.apply(deletes([3, 4, 5], 100), apply_as_deletes="true")
    table.apply(table_of(simple_rows(10, 5, 100), SIMPLE), merge=True)
    table.apply(table_of(simple_rows(2, 3, 200), SIMPLE), batch_id=("s", 1))
    # Late, and told so only by a tombstone of version 1 and rows of the base.
    table.apply(table_of([{**row, "seq": 50} for row in simple_rows(4, 8)], SIMPLE))
    return table


def newest_file(path: Path, pattern: str) -> Path:
    """The newest file of a kind."""
    return max(path.glob(pattern), key=lambda file: file.stat().st_mtime_ns)


FILES = {
    "mods": "_andes/mods/**/*.parquet",
    "tombstones": "_andes/tombstones/**/*.parquet",
    "base": "*.parquet",
    "vector": "deletion_vector_*.bin",
}


def damage(path: Path, change: Callable[[bytes], bytes]) -> bytes:
    """Change a file in place; gives what it was."""
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(change(data))
    return data


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def outcome(table: ModTable) -> tuple[list[dict[str, Any]], FileDamagedError | None]:
    try:
        return shown(table), None
    except FileDamagedError as error:
        return [], error


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(FILES))
def test_a_damaged_file_is_named_and_never_believed(tmp_path, kind):
    expected = shown(prepared(tmp_path / "t"))
    file = newest_file(tmp_path / "t", FILES[kind])
    original = file.read_bytes()
    relative = file.relative_to(tmp_path / "t").as_posix()
    changes: list[Callable[[bytes], bytes]] = [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"\0" * len(data),
        lambda data: data + data,
        *(lambda data, at=at: flipped(data, at) for at in range(0, len(original), max(1, len(original) // 60))),
    ]
    noticed = 0
    for change in changes:
        file.write_bytes(change(original))
        table = ModTable.open(tmp_path / "t", settings=PLAIN)
        rows, error = outcome(table)
        if error is None:
            # What a read does not need, it may not notice; verify does, but for the base, which Delta describes.
            assert rows == expected
            assert kind in ("base", "vector") or not table.verify().ok
        else:
            noticed += 1
            assert relative in str(error.path), error
    assert noticed > 4, "most damage lies in what is read"
    file.write_bytes(original)
    table = ModTable.open(tmp_path / "t", settings=PLAIN)
    assert shown(table) == expected
    assert table.verify().ok


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(FILES))
def test_a_missing_or_damaged_file_stops_a_merge_and_nothing_else(tmp_path, caplog, kind):
    expected = shown(prepared(tmp_path / "t"))
    file = newest_file(tmp_path / "t", FILES[kind])
    original = file.read_bytes()
    for change in (None, lambda data: data[:40] + b"\0" * (len(data) - 40)):
        file.unlink() if change is None else damage(file, change)
        table = ModTable.open(tmp_path / "t", settings=PLAIN)
        for act in (table.merge, table.to_arrow):
            with pytest.raises(FileDamagedError) as caught:
                act()
            assert file.name in str(caught.value)
            assert file.name in str(caught.value.path)
            assert caught.value.table == table.url, "which table"
        problems = table.verify().problems
        assert any(file.name in problem for problem in problems), problems
        before = table.status().applied
        caplog.clear()
        result = table.apply(table_of(simple_rows(20, 1, 900), SIMPLE), batch_id=("s", 9), merge=True)
        assert "merging it failed" in caplog.text
        if not result.replayed:
            assert result.merge is not None
            assert result.merge.status == "failed"
        assert table.status().applied == before
        file.write_bytes(original)
        shutil.rmtree(tmp_path / "t")
        expected = shown(prepared(tmp_path / "t"))
        file = newest_file(tmp_path / "t", FILES[kind])
        original = file.read_bytes()
    table = ModTable.open(tmp_path / "t", settings=PLAIN)
    table.merge()
    assert shown(table) == expected
    assert table.verify().ok


def test_a_mod_file_swapped_for_another_valid_one_is_noticed(tmp_path):
    table = prepared(tmp_path / "t")
    file = newest_file(tmp_path / "t", FILES["mods"])
    original = file.read_bytes()
    rows = pq.read_table(file)
    pq.write_table(rows.slice(1), file)
    with pytest.raises(FileDamagedError) as caught:
        ModTable.open(table.url).to_arrow()
    assert caught.value.fields["path"].endswith(file.name)
    pq.write_table(rows.set_column(2, rows.schema.field(2), pa.array(["swapped"] * len(rows))), file)
    assert any("SHA-256" in problem for problem in ModTable.open(table.url).verify().problems)
    file.write_bytes(original)
    assert ModTable.open(table.url).verify().ok


def manifest(path: Path, version: int) -> Path:
    return path / "_andes" / "manifests" / f"{version:020}.json"


def edited(path: Path, **values: Any) -> bytes:
    def change(data: bytes) -> bytes:
        return json.dumps({**json.loads(data), **values}).encode()

    return damage(path, change)


EDITS: dict[str, dict[str, Any]] = {
    "counts": {"counts": {"received": 1, "upserts": 1}},
    "events": {"events": []},
    "version": {"version": 7},
    "table": {"table_id": "00000000-0000-0000-0000-000000000000"},
    "spaces only": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 3, 4])
@pytest.mark.parametrize("edit", list(EDITS))
def test_a_manifest_edited_by_hand(tmp_path, edit, version):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    original = edited(manifest(tmp_path / "t", version), **EDITS[edit])
    batch = table_of(simple_rows(20, 1, 900), SIMPLE)
    for act in (ModTable.to_arrow, ModTable.merge, ModTable.status, lambda table: table.apply(batch)):
        with pytest.raises(LogDamagedError) as caught:
            act(ModTable.open(table.url))
        assert (caught.value.table, caught.value.version) == (table.url, version)
        assert manifest(tmp_path / "t", version).name in str(caught.value)
    # What is in memory of an earlier reader is not spoiled by it.
    assert shown(table) == expected
    manifest(tmp_path / "t", version).write_bytes(original)
    reopened = ModTable.open(table.url)
    assert shown(reopened) == expected
    assert reopened.verify().ok


def record(root: Path, version: int) -> Path:
    """The file of the merge record of a version."""
    [path] = (root / "_andes" / "merges").glob(f"{version:020}-*.json")
    return path


@pytest.mark.parametrize("text", [b"", b"{", b"null", b"[]", b'{"format": 2}', b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none(tmp_path, text):
    table = prepared(tmp_path / "t")
    for version in (0, 2, 4):
        original = damage(manifest(tmp_path / "t", version), lambda _: text)
        with pytest.raises(LogDamagedError) as caught:
            ModTable.open(table.url)
        assert (caught.value.table, caught.value.version) == (table.url, version)
        manifest(tmp_path / "t", version).write_bytes(original)
    assert ModTable.open(table.url).verify().ok


@pytest.mark.parametrize(
    "path", ["../../secret", "/etc/passwd", "mods/../../x", "part-0.parquet", "_delta_log/x", "mods/a b"]
)
def test_entries_cannot_leave_the_log(tmp_path, path):
    table = prepared(tmp_path / "t")
    file = manifest(tmp_path / "t", 4)
    document = json.loads(file.read_bytes())
    document["events"][0]["files"][0]["path"] = path
    document.pop("checksum")
    original = damage(file, lambda _: seal(json.dumps(document).encode()))
    with pytest.raises(LogDamagedError, match="no path of this library") as caught:
        ModTable.open(table.url).to_arrow()
    assert caught.value.version == 4
    file.write_bytes(original)
    assert ModTable.open(table.url).verify().ok


def test_a_hole_and_a_lost_head(tmp_path):
    table = prepared(tmp_path / "t")
    expected = shown(table)
    for version, hinted in ((1, True), (3, True), (4, True), (1, False)):
        hint = (tmp_path / "t" / "_andes" / "hint").read_bytes()
        if not hinted:
            (tmp_path / "t" / "_andes" / "hint").unlink()
        original = manifest(tmp_path / "t", version).read_bytes()
        manifest(tmp_path / "t", version).unlink()
        with pytest.raises(LogDamagedError) as caught:
            ModTable.open(table.url).to_arrow()
        assert caught.value.table == table.url
        with pytest.raises(LogDamagedError):
            ModTable.open(table.url).apply(table_of(simple_rows(20, 1, 900), SIMPLE))
        manifest(tmp_path / "t", version).write_bytes(original)
        (tmp_path / "t" / "_andes" / "hint").write_bytes(hint)
        assert shown(ModTable.open(table.url)) == expected
    # A head below what the base contains, as a restored backup of the log alone has it.
    (tmp_path / "t" / "_andes" / "hint").unlink()
    lost_files = [manifest(tmp_path / "t", version) for version in (2, 3, 4)]
    kept = [path.read_bytes() for path in lost_files]
    for path in lost_files:
        path.unlink()
    reopened = ModTable.open(table.url)
    for act in (
        reopened.to_arrow,
        reopened.merge,
        lambda: reopened.apply(table_of(simple_rows(20, 1, 900), SIMPLE), merge=True),
    ):
        with pytest.raises(LogDamagedError):
            act()
    assert not reopened.verify().ok
    for path, data in zip(lost_files, kept, strict=True):
        path.write_bytes(data)
    assert shown(ModTable.open(table.url)) == expected
    assert ModTable.open(table.url).verify().ok


def test_newer_formats_are_refused_by_name(tmp_path):
    table = prepared(tmp_path / "t")
    for file in (manifest(tmp_path / "t", 4), record(tmp_path / "t", 2)):
        original = edited(file, format=3, news="from the future")
        with pytest.raises(UnsupportedTableError) as caught:
            ModTable.open(table.url).to_arrow()
        assert caught.value.table == table.url
        assert "format 3" in str(caught.value)
        file.write_bytes(original)
    assert ModTable.open(table.url).verify().ok


def test_a_damaged_merge_record(tmp_path):
    table = prepared(tmp_path / "t")
    file = record(tmp_path / "t", 2)
    original = file.read_bytes()
    for change in (b"", b"{}", b"null", original.replace(table.manifest(0).table_id.encode(), b"0" * 36), None):
        file.unlink() if change is None else file.write_bytes(change)
        with pytest.raises(DamagedError) as caught:
            ModTable.open(table.url).to_arrow()
        assert caught.value.table == table.url
        file.write_bytes(original)
    assert ModTable.open(table.url).verify().ok


def test_a_folder_that_is_no_table(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "stuff").mkdir()
    (tmp_path / "stuff" / "part-0.parquet").write_text("x")
    for name in ("nowhere", "empty", "stuff", "file"):
        with pytest.raises(NoSuchTableError) as caught:
            ModTable.open(tmp_path / name)
        assert caught.value.table
    assert not (tmp_path / "nowhere").exists()

    import deltalake

    deltalake.write_deltalake(str(tmp_path / "delta"), pa.table({"id": [1]}))
    before = sorted((tmp_path / "delta").rglob("*"))
    with pytest.raises(NoSuchTableError):
        ModTable.open(tmp_path / "delta")
    with pytest.raises(TableExistsError) as exists:
        create(tmp_path / "delta")
    assert exists.value.table
    assert sorted((tmp_path / "delta").rglob("*")) == before
    with pytest.raises(AndesError):
        create(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    "options",
    [
        {"merge": "sometimes"},
        {"lateness": "a while"},
        {"batch_retention": "-3 days"},
        {"primary_key": []},
        {"primary_key": ["id", "id"]},
        {"primary_key": ["nothing"]},
        {"primary_key": ["score"]},
        {"sequence_by": ["score"]},
        {"partition_by": ["nothing"]},
    ],
)
def test_options_that_cannot_be(tmp_path, options):
    with pytest.raises(OptionError):
        create(tmp_path / "t", **options)
    assert not list(tmp_path.rglob("*.json"))


def test_options_of_an_apply_that_cannot_be(tmp_path):
    table = create(tmp_path / "t")
    batch = table_of(simple_rows(), SIMPLE)
    for options in (
        {"batch_id": 7},
        {"batch_id": ("s", 1.5)},
        {"batch_id": ("s", True)},
        {"on_null_operation": "ignore"},
        {"max_quarantined": -1},
        {"column_list": ["nothing"]},
        {"column_list": ["name"], "except_column_list": ["ok"]},
        {"except_column_list": ["id"]},
        {"ignore_null_updates": ["seq"]},
    ):
        wrong: dict[str, Any] = dict(options)
        with pytest.raises(OptionError) as caught:
            table.apply(batch, **wrong)
        assert caught.value.option in options, options
    for rows in (None, 7, [1, 2], {"id": [1]}, object(), ["a", 1], [{1: 2}], b"rows"):
        with pytest.raises(OptionError) as caught:
            table.apply(rows)
        assert caught.value.option == "mods"
    with pytest.raises(NotFoundError) as missing:
        table.apply("rows")
    assert missing.value.path == "rows"
    assert table.version == 0


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of one MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def wide(first: int, count: int, seq: int) -> pa.Table:
    noise = np.random.default_rng(first).bytes(count * 300)
    rows = [
        {**row, "name": noise[i * 300 : i * 300 + 300].hex()} for i, row in enumerate(simple_rows(first, count, seq))
    ]
    return table_of(rows, SIMPLE)


def test_a_full_disk(small_disk):
    path = small_disk / "t"
    with pytest.raises(StorageFullError) as caught:
        create(path, data=wide(0, 5000, 0))
    assert caught.value.path
    with pytest.raises(NoSuchTableError):
        ModTable.open(path)
    shutil.rmtree(path, ignore_errors=True)
    table = create(path, data=wide(0, 100, 0), settings=PLAIN)
    expected = shown(table)
    with pytest.raises(StorageFullError):
        table.apply(wide(50, 5000, 500), batch_id=("s", 1))
    assert table.version == 0
    assert shown(ModTable.open(path)) == expected
    assert table.verify().ok

    # Room for the batch, none for its merge: the batch is safe, and the merge takes it later.
    batch = wide(50, 500, 500)
    room = os.statvfs(small_disk)
    ballast = small_disk / "ballast"
    first = table.apply(batch, batch_id=("s", 2), merge=False)
    assert first.version == 1
    expected = shown(table)
    room = os.statvfs(small_disk)
    ballast.write_bytes(b"x" * max(0, room.f_bavail * room.f_frsize - 20_000))
    with pytest.raises(StorageFullError):
        table.merge()
    assert shown(ModTable.open(path)) == expected
    assert ModTable.open(path).status().applied == 0
    ballast.unlink()
    assert table.merge().status == "merged"
    assert shown(table) == expected
    assert table.verify().ok
    assert table.apply(batch, batch_id=("s", 2)).replayed


class Interrupter:
    """Raises KeyboardInterrupt as the n-th step begins."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("data", [False, True], ids=["empty", "load"])
def test_a_create_that_is_interrupted(tmp_path, data):
    """Whatever step it is: no table, or the table; and the next create, of an empty one at least, completes it."""
    rows = table_of(simple_rows(), SIMPLE) if data else None
    for number in range(1, 20):
        path = tmp_path / str(number)
        interrupter = Interrupter(number)
        try:
            create(path, data=rows, progress=interrupter)
        except KeyboardInterrupt:
            with pytest.raises(NoSuchTableError):
                ModTable.open(path)
            assert shown(create(path, data=rows)) == (simple_rows() if data else [])
        else:
            break


@pytest.mark.slow
def test_an_apply_with_its_merge_interrupted_at_every_step(tmp_path):
    batch = table_of(simple_rows(5, 10, 500), SIMPLE)
    reached: list[str] = []
    expected = shown(prepared(tmp_path / "first"))
    for number in range(1, 30):
        path = shutil.copytree(tmp_path / "first", tmp_path / str(number))
        interrupter = Interrupter(number)
        table = ModTable.open(path, settings=PLAIN, progress=interrupter)
        try:
            table.apply(batch, batch_id=("s", 2), merge=True)
        except KeyboardInterrupt:
            reached.append(interrupter.steps[-1])
        else:
            break
        fresh = ModTable.open(path, settings=PLAIN)
        applied = fresh.version == 5
        if not applied:
            assert shown(fresh) == expected
        assert fresh.verify().ok, reached
        result = fresh.apply(batch, batch_id=("s", 2), merge=False)
        assert result.replayed == applied
        assert fresh.merge().status in ("merged", "nothing")
        assert fresh.version == fresh.status().applied == 5
        assert fresh.verify().ok, reached
        ids = {row["id"]: row["seq"] for row in shown(fresh)}
        assert {id: seq for id, seq in ids.items() if 5 <= id < 15} == {n: 500 + n for n in range(5, 15)}
        # The one that was interrupted goes on as if nothing had been.
        interrupter.left = 0
        assert table.apply(batch, batch_id=("s", 2)).replayed
    assert {"write mods", "commit", "merge rows", "write merge record", "commit to Delta"} <= set(reached)
