"""Tombstones at or below an expire are dropped, and what they hid does not come back."""

from __future__ import annotations

import polars as pl
import pytest

from andes_spark.base.expiring import expire_files
from andes_spark.base.files import TableShape
from andes_spark.base.forgotten import new_salt, write_forgotten
from andes_spark.base.tombstones import read_tombstones, write_tombstones
from andes_spark.model.files import SideFile
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import create

Rows = dict[int, int]


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def shape(storage: MemoryStorage) -> TableShape:
    return create(storage)._open_table.shape()


def frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame({"id": list(rows), "lsn": list(rows.values())}, schema={"id": pl.Int64, "lsn": pl.Int64})


def keyed(storage: MemoryStorage, shape: TableShape, deleted: Rows, cleared: Rows | None = None) -> SideFile:
    """Write a file of tombstones, and of keys that have a row again."""
    file = write_tombstones(storage, frame(deleted), frame(cleared or {}), shape, version=1)  # type: ignore[arg-type]
    assert file is not None
    return file


def hashed(storage: MemoryStorage, shape: TableShape, deleted: Rows) -> SideFile:
    file = write_forgotten(storage, frame(deleted), shape, salt=new_salt(), head=1)  # type: ignore[arg-type]
    assert file is not None
    return file


def left(storage: MemoryStorage, shape: TableShape, files: list[SideFile], sequence: int) -> tuple[Rows, list[int]]:
    """Effective tombstones of keys 1 to 9 after an expire, and the rows of its files."""
    kept = expire_files(storage, files, shape, (sequence,), version=2)  # type: ignore[arg-type]
    keys = frame(dict.fromkeys(range(1, 10), 0)).select("id")
    tombstones = read_tombstones(storage, kept, shape, keys=keys)  # type: ignore[arg-type]
    return dict(sorted(tombstones.rows())), [file.rows for file in kept]


def test_files_are_dropped_kept_or_written_anew(storage: MemoryStorage, shape: TableShape) -> None:
    files = [
        keyed(storage, shape, {1: 5, 2: 10}),
        keyed(storage, shape, {3: 10, 4: 11}),
        keyed(storage, shape, {5: 12}, {1: 20}),
    ]
    kept = expire_files(storage, files, shape, (10,), version=2)  # type: ignore[arg-type]
    assert [file.rows for file in kept] == [1, 2]
    assert kept[1] == files[2]
    assert left(storage, shape, files, 10) == ({4: 11, 5: 12}, [1, 2])
    assert left(storage, shape, files, 4) == ({2: 10, 3: 10, 4: 11, 5: 12}, [2, 2, 2])
    assert left(storage, shape, files, 99) == ({}, [])
    assert expire_files(storage, files, shape, None, version=2) == files  # type: ignore[arg-type]


def test_what_a_lower_row_hid_goes_with_it(storage: MemoryStorage, shape: TableShape) -> None:
    """As after a take-in: the row that another writer added is below the delete that it follows."""
    before = keyed(storage, shape, {1: 12, 2: 13, 3: 14})
    files = [before, keyed(storage, shape, {2: 3}, {1: 3})]
    assert left(storage, shape, files, 0)[0] == {2: 3, 3: 14}
    assert left(storage, shape, files, 10) == ({3: 14}, [1])
    assert left(storage, shape, [*files, keyed(storage, shape, {1: 15})], 10) == ({1: 15, 3: 14}, [2, 1])


def test_hashed_tombstones_expire_alike(storage: MemoryStorage, shape: TableShape) -> None:
    files = [hashed(storage, shape, {1: 5, 2: 12, 3: 13}), keyed(storage, shape, {}, {3: 4})]
    assert left(storage, shape, files, 0)[0] == {1: 5, 2: 12}
    assert left(storage, shape, files, 10) == ({2: 12}, [1])
    assert left(storage, shape, files, 12) == ({}, [])
