"""Whether a merge is long is decided by the files that it may read, not by all files of the base."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.verbs.due import is_long
from andes_spark.testing.far_files import add_far_files

FAR = 1_000


def table_with_far_files() -> ModTable:
    """A table of a small file, and of large ones with other keys that nothing reads."""
    storage = MemoryStorage()
    ids = np.arange(1_000)
    ModTable.create(
        storage, "id BIGINT, lsn BIGINT", primary_key=["id"], sequence_by=["lsn"], merge="manual",
        data=pa.table({"id": ids, "lsn": ids}), settings=Settings(compact_bytes=0),
    )  # fmt: skip
    add_far_files(storage, FAR)
    return ModTable.open(storage, settings=Settings(compact_bytes=0))


def judged(table: ModTable) -> bool:
    opened = table._open_table
    base = opened.base.snapshot()
    assert len(base.state.files) == FAR + 1
    return is_long(opened, base, opened.log.pending(base.applied, opened.log.head))


@pytest.mark.parametrize(("keys", "long"), [([1, 5, 999], False), ([1, 10**9 + 990_000], True)])
def test_files_of_other_keys_do_not_make_a_merge_long(keys: list[int], long: bool) -> None:
    table = table_with_far_files()
    table.apply(pa.table({"id": keys, "lsn": [10**6] * len(keys)}))
    assert judged(table) is long


def test_a_truncate_reads_all_files() -> None:
    table = table_with_far_files()
    mods = pa.table({"id": pa.array([None], pa.int64()), "lsn": [5], "op": ["T"]})
    table.apply(mods, apply_as_truncates="op = 'T'")
    assert judged(table)


@pytest.mark.slow
def test_merges_end_while_eight_writers_append() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, lsn BIGINT", primary_key="id", sequence_by="lsn", merge="manual")
    writers = [ModTable.open(storage) for _ in range(8)]
    stop, sent = threading.Event(), itertools.count(1)
    failures: list[BaseException] = []

    def write() -> None:
        # In turn: threads of one process would wait for each other, not for the table.
        try:
            for number in itertools.cycle(range(8)):
                if stop.is_set():
                    return
                writers[number].apply(pa.table({"id": [number], "lsn": [next(sent)]}))
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    applied = 0
    try:
        for _ in range(6):
            # The next merge begins once something is pending again.
            while (before := table.version) <= applied and not failures:
                time.sleep(0.01)
            merged = table.merge()
            assert merged.status == "merged"
            # All that was there when it began is merged, whatever came since.
            assert merged.applied >= before
            applied = merged.applied
    finally:
        stop.set()
        thread.join(60)
    assert not failures
    table.merge()
    assert table.status().pending_versions == 0
    assert table.to_arrow().num_rows == min(8, next(sent) - 1)
    assert table.verify().ok
