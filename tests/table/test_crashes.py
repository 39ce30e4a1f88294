"""A table outlives whatever stops an apply or a merge in its middle."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark.errors import StorageError
from andes_spark.settings import Settings
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of

pytestmark = pytest.mark.faults

SETTINGS = Settings(threads=1, compact_files=2, checkpoint_interval=2)
FIRST = [(1, 1, "a", "U"), (2, 1, "b", "U"), (3, 1, "c", "U")]
SECOND = [(1, 2, "A", "U"), (2, 2, None, "D"), (4, 2, "d", "U"), (9, 2, None, "D")]
BEFORE = {1: (1, "a"), 2: (1, "b"), 3: (1, "c")}
AFTER = {1: (2, "A"), 3: (1, "c"), 4: (2, "d")}


class StopError(Exception):
    """What stops an operation in these tests."""


class FailingStorage:
    """A storage whose n-th write fails, and every later one: before it happens, or after, its answer lost."""

    def __init__(self, inner: Any, *, left: int, happens: bool) -> None:
        self._inner, self.left, self._happens = inner, left, happens
        self.url, self.counts, self.scheduler = inner.url, inner.counts, inner.scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _write(self, write: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left > 0:
            return write()
        if self._happens and self.left == 0:
            write()
        raise StorageError("the store is gone", path="?")

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        self._write(lambda: self._inner.put(path, data, sync=sync))

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        outcome: PutOutcome = self._write(lambda: self._inner.put_if_absent(path, data))
        return outcome

    def open_output(self, path: str) -> Any:
        return self._write(lambda: self._inner.open_output(path))

    def delete(self, paths: Any) -> None:
        self._write(lambda: self._inner.delete(paths))


def batch(rows: list[Any]) -> pa.Table:
    names = ("id", "lsn", "a", "op")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def begin(path: Any, *, vectors: bool = True) -> None:
    """A table with one merged batch."""
    table = ModTable.create(
        path, "id bigint, lsn bigint, a string", primary_key=["id"], sequence_by=["lsn"], deletion_vectors=vectors
    )
    send(table, FIRST, 1)


@cache
def _begun(vectors: bool) -> MemoryStorage:
    storage = MemoryStorage()
    begin(storage, vectors=vectors)
    return storage


def begun(vectors: bool) -> MemoryStorage:
    """The same in memory."""
    return copy_of(_begun(vectors))


def send(table: ModTable, rows: list[Any], number: int, *, merge: bool | None = None) -> Any:
    return table.apply(batch(rows), apply_as_deletes="op = 'D'", batch_id=("feed", number), merge=merge)


def rows_of(table: ModTable, **options: Any) -> dict[int, Any]:
    records = table.to_arrow(**options).to_pylist()
    rows = {row["id"]: (row["lsn"], row["a"]) for row in records}
    assert len(rows) == len(records)
    return rows


def recover(path: Any) -> None:
    """The batch is there wholly or not at all; sending it again and merging ends in what it would have been."""
    table = ModTable.open(path, settings=SETTINGS)
    version = table.version
    assert rows_of(table) == (AFTER if version == 2 else BEFORE)
    assert table.verify().ok
    repeat = send(table, SECOND, 2, merge=False)
    assert (repeat.version, repeat.replayed) == (2, version == 2)
    assert rows_of(table) == AFTER
    assert table.merge().status in ("merged", "nothing")
    late = send(table, [(2, 1, "late", "U"), (9, 1, "late", "U")], 3)
    assert late.merge.error is None
    fresh = ModTable.open(path)
    assert rows_of(fresh) == AFTER
    assert rows_of(fresh, version=1) == BEFORE
    assert fresh.status().pending_versions == 0
    checked = fresh.verify()
    assert checked.ok, checked.problems


def steps_of_both(vectors: bool) -> list[str]:
    steps: list[str] = []
    storage = begun(vectors)
    work(ModTable.open(storage, settings=SETTINGS, progress=steps.append))
    return steps


def work(table: ModTable) -> None:
    send(table, SECOND, 2, merge=False)
    table.merge()


@pytest.mark.parametrize("vectors", [True, False])
def test_an_error_at_any_step(vectors: bool) -> None:
    names = steps_of_both(vectors)
    assert {"write mods", "commit", "merge rows", "write merge record", "commit to Delta", "checkpoint"} <= set(names)
    for number in range(len(names)):
        left = [number]

        def stop(name: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise StopError(name)

        storage = begun(vectors)
        table = ModTable.open(storage, settings=SETTINGS, progress=stop)
        if "commit to Delta" in names[:number]:
            # Whatever follows is advisory.
            work(table)
            assert table.status().pending_versions == 0
        else:
            with pytest.raises(StopError):
                work(table)
        recover(storage)


@pytest.mark.parametrize("happens", [False, True])
@pytest.mark.parametrize("vectors", [True, False])
def test_the_store_gone_at_any_write(happens: bool, vectors: bool, caplog: pytest.LogCaptureFixture) -> None:
    failed = 0
    for left in range(1, 100):
        storage = begun(vectors)
        failing = FailingStorage(storage, left=left, happens=happens)
        table = ModTable.open(failing, settings=SETTINGS)
        caplog.clear()
        try:
            work(table)
        except StorageError:
            failed += 1
        assert all("the store is gone" in record.getMessage() for record in caplog.records if record.levelno >= 30)
        recover(storage)
        if failing.left > 0:
            break
    assert failing.left > 0, "the work never ended"
    assert failed >= 8


def die_at(path: str, number: int) -> None:
    left = [number]

    def stop(name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)

    work(ModTable.open(path, settings=SETTINGS, progress=stop))


@pytest.mark.slow
def test_a_process_killed_at_any_step(tmp_path: Path) -> None:
    # Forks of a process that has imported all: imports take most of the time of a process of its own.
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([__name__])
    for number in range(len(steps_of_both(True))):
        path = str(tmp_path / str(number))
        begin(path)
        worker = forks.Process(target=die_at, args=(path, number))
        worker.start()
        worker.join(60)
        assert worker.exitcode == 9
        recover(path)
