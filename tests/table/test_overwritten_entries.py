"""Delta's own writers may overwrite an entry of ours in a race: nothing is built on an entry that was not read back."""

from __future__ import annotations

import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta import actions
from andes_spark.delta.entries import read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.errors import ForeignWriteError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import create, rows

SETTINGS = Settings(compact_bytes=0, checkpoint_interval=1_000)


def overwrite(storage: MemoryStorage, version: int) -> None:
    """What a writer without put-if-absent does: its own entry in the place of ours."""
    info = actions.commit_info("WRITE", timestamp_ms=1, commit_id="theirs")
    added = actions.add("theirs.parquet", size=1, modified_ms=1, statistics={"numRecords": 1})
    storage.put(entry_path(version), actions.encode([info, added]).replace(b"andes_spark", b"theirs"))


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def merged_twice(storage: MemoryStorage) -> ModTable:
    create(storage, merge="always")
    table = ModTable.open(storage, settings=SETTINGS)
    for number in (1, 2):
        result = table.apply(rows((number, number, "x")), batch_id=("s", number))
        assert result.merge is not None
        assert result.merge.status == "merged"
    return table


def test_the_handle_that_merged_does_not_build_on_it(storage: MemoryStorage) -> None:
    table = merged_twice(storage)
    overwrite(storage, 2)
    result = table.apply(rows((3, 3, "x")), batch_id=("s", 3))
    assert result.version == 3
    assert result.merge is not None
    assert result.merge.status == "failed"
    assert isinstance(result.merge.error, ForeignWriteError)
    assert read_commit(storage, 3) is None


def test_it_is_noticed_before_a_read(storage: MemoryStorage) -> None:
    table = merged_twice(storage)
    overwrite(storage, 2)
    with pytest.raises(ForeignWriteError):
        table.to_arrow()


def test_another_handle_notices_it_by_the_note(storage: MemoryStorage) -> None:
    merged_twice(storage)
    overwrite(storage, 2)
    with pytest.raises(ForeignWriteError):
        ModTable.open(storage).merge()
    assert ModTable.open(storage).apply(rows((4, 4, "x")), batch_id=("s", 4), merge=False).version == 3


def test_once_the_entry_is_restored_everything_goes_on(storage: MemoryStorage) -> None:
    table = merged_twice(storage)
    own_entry = storage.get(entry_path(2))
    overwrite(storage, 2)
    with pytest.raises(ForeignWriteError):
        table.merge()
    storage.put(entry_path(2), own_entry)
    result = table.apply(rows((3, 3, "x")), batch_id=("s", 3))
    assert result.merge is not None
    assert result.merge.status == "merged"
    assert ModTable.open(storage).verify().ok
    assert table.to_arrow().num_rows == 3


def test_an_entry_that_is_as_it_was_written_is_read_once(storage: MemoryStorage) -> None:
    table = merged_twice(storage)
    before = storage.counts.snapshot()
    table.status()
    first = storage.counts.minus(before).get
    before = storage.counts.snapshot()
    table.status()
    assert storage.counts.minus(before).get == first - 1
