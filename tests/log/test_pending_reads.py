"""Files of pending mods are opened beside each other, within a limit, and once for a whole evaluation."""

from __future__ import annotations

import pickle
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import FileDamagedError
from andes_spark.law.columns import FILE, ROW
from andes_spark.log import mod_files
from andes_spark.log.pending import Pending, kept_mods, pending_of, read_narrow
from andes_spark.log.pending_rows import read_mods, read_rows
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.scheduler import ThreadScheduler
from andes_spark.testing.tables import create, rows

FILES = 12


class SlowOpens(MemoryStorage):
    """A store whose files open slowly, beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.beside = self.most_beside = 0
        self._count = threading.Lock()

    def open_input(self, path: str) -> pa.NativeFile:
        with self._count:
            self.opened.append(path)
            self.beside += 1
            self.most_beside = max(self.beside, self.most_beside)
        time.sleep(0.02)
        with self._count:
            self.beside -= 1
        return super().open_input(path)


def filled(storage: Any) -> tuple[Any, Pending]:
    table = create(storage)
    for version in range(1, FILES + 1):
        table.apply(rows(*((key, version, f"{version}-{key}") for key in range(version, version + 4))))
    opened = ModTable.open(storage)._open_table
    shape = opened.shape()
    return shape, pending_of(opened.log.pending(0, FILES), shape.versions, shape.columns)


@pytest.fixture
def slow() -> SlowOpens:
    storage = SlowOpens()
    storage.scheduler = ThreadScheduler("slow")  # type: ignore[assignment]
    return storage


def test_files_are_opened_beside_each_other(slow: SlowOpens) -> None:
    shape, pending = filled(slow)
    narrow = read_narrow(slow, pending, shape.columns, table="t")
    assert narrow.height == 4 * FILES
    assert narrow[FILE].to_list() == [number for number in range(FILES) for _ in range(4)]
    assert sorted(slow.opened) == sorted(file.entry.path for file in pending.files)
    assert slow.most_beside > FILES // 2


def test_no_more_than_memory_allows(slow: SlowOpens, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, pending = filled(slow)
    monkeypatch.setattr(mod_files, "_BYTES_AHEAD", 3 * max(file.entry.bytes for file in pending.files))
    assert read_narrow(slow, pending, shape.columns, table="t").height == 4 * FILES
    assert 1 < slow.most_beside <= 4
    monkeypatch.setattr(mod_files, "_BYTES_AHEAD", 0)
    slow.most_beside = 0
    assert read_narrow(slow, pending, shape.columns, table="t").height == 4 * FILES
    assert slow.most_beside == 1


@pytest.mark.parametrize("limit", [0, 1, 3_000, 1 << 30])
def test_kept_files_are_opened_once(slow: SlowOpens, limit: int) -> None:
    shape, pending = filled(slow)
    picks = pl.DataFrame(
        {FILE: pl.Series([11, 0, 5, 5, 11], dtype=pl.Int32), ROW: pl.Series([0, 3, 2, 1, 3], dtype=pl.Int64)}
    )
    kept = kept_mods(slow, pending, limit)
    for storage in (slow, kept):
        slow.opened.clear()
        for _ in range(2):
            assert read_narrow(storage, pending, shape.columns, table="t").height == 4 * FILES
            for read in (read_rows, read_mods):
                picked = read(storage, pending, picks, table="t", columns=["a"])
                assert picked["a"].to_pylist() == ["12-12", "1-4", "6-8", "6-7", "12-15"]
    sizes = {file.entry.path: file.entry.bytes for file in pending.files}
    once = [path for path in sizes if slow.opened.count(path) == 1]
    assert sum(sizes[path] for path in once) <= limit
    assert len(once) == {0: 0, 1: 0, 1 << 30: FILES}.get(limit, 3)


def test_a_missing_file_is_named(slow: SlowOpens) -> None:
    shape, pending = filled(slow)
    path = pending.files[7].entry.path
    slow.delete([path])
    for storage in (slow, kept_mods(slow, pending, 1 << 30)):
        with pytest.raises(FileDamagedError, match="is missing") as caught:
            read_narrow(storage, pending, shape.columns, table="t")
        assert caught.value.path == path


def test_tasks_open_files_themselves(tmp_path: Path) -> None:
    storage = DiskStorage(str(tmp_path))
    _, pending = filled(storage)
    kept = kept_mods(storage, pending, 1 << 30)
    kept.open_input(pending.files[0].entry.path)
    assert isinstance(pickle.loads(pickle.dumps(kept)), DiskStorage)


@pytest.mark.slow
@pytest.mark.parametrize("byte_budget", [0, 4_000, 512 << 20])
def test_merges_and_reads_of_many_pending_files(slow: SlowOpens, byte_budget: int) -> None:
    filled(slow)
    opened = ModTable.open(slow, settings=Settings(byte_budget=byte_budget))
    expected = {key: f"{min(key, FILES)}-{key}" for key in range(1, FILES + 4)}
    for _ in range(2):
        values = {row["id"]: row["a"] for row in opened.to_arrow().to_pylist()}
        assert values == expected
        assert opened.get([5, 8])["a"].to_pylist() == ["5-5", "8-8"]
        opened.merge()
    assert opened.verify().ok
