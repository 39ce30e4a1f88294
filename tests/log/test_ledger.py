"""Batch ids: found however old, forgotten only after the table's retention."""

from __future__ import annotations

import pytest

from andes_spark.errors import BatchConflictError
from andes_spark.log.ledger import LEDGER_SCHEMA
from andes_spark.model.mod import BatchId
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of, create, fill, rows

DAY_MS = 24 * 60 * 60 * 1000


@pytest.fixture(scope="module")
def filled() -> MemoryStorage:
    storage = MemoryStorage()
    fill(create(storage), 1, 299)
    return storage


@pytest.mark.parametrize("number", [1, 57, 99, 100, 101, 199, 200, 250, 299])
def test_a_batch_is_found_by_a_cold_handle(filled: MemoryStorage, number: int) -> None:
    table = ModTable.open(copy_of(filled))
    again = table.apply(rows((number % 7, number, "x")), batch_id=("s", number))
    assert (again.replayed, again.version) == (True, number)
    assert table.version == 299
    with pytest.raises(BatchConflictError) as caught:
        table.apply(rows((number % 7, number + 1, "x")), batch_id=("s", number))
    assert caught.value.version == number
    assert caught.value.batch_id == BatchId("s", number), "an integer stays one"


def test_ids_of_other_types_and_sources_are_others(filled: MemoryStorage) -> None:
    table = ModTable.open(copy_of(filled))
    for identity in (("s", "57"), ("t", 57), ("s", 300)):
        assert not table.apply(rows((1, 1, "x")), batch_id=identity).replayed


def test_a_lower_number_that_comes_later_is_no_replay() -> None:
    table = create(MemoryStorage())
    assert not table.apply(rows((1, 43, "x")), batch_id=("s", 43)).replayed
    assert not table.apply(rows((1, 42, "x")), batch_id=("s", 42)).replayed
    assert table.version == 2


def test_a_handle_that_slept_finds_what_others_did(filled: MemoryStorage) -> None:
    storage = MemoryStorage()
    sleeper = create(storage)
    assert not sleeper.apply(rows((1, 1, "x")), batch_id=("s", 1)).replayed
    fill(ModTable.open(storage), 2, 205)
    for number in (1, 2, 99, 150, 204):
        assert sleeper.apply(rows((number % 7, number, "x")), batch_id=("s", number)).version == number


def test_files_are_folded_so_that_they_stay_few(filled: MemoryStorage) -> None:
    table = ModTable.open(copy_of(filled))
    files = table._open_table.ledger.roll_up(300, table.manifest(299).time)
    assert sum(file.rows for file in files) == 299
    assert len(files) <= 4
    ranges = [(file.from_version, file.to_version) for file in files]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 299
    assert all(file.sources == ["s"] for file in files)
    assert table._open_table.ledger._read(files[0]).schema.names == LEDGER_SCHEMA.names


def test_old_files_are_left_out_after_the_retention(filled: MemoryStorage) -> None:
    table = ModTable.open(copy_of(filled))
    log = table._open_table.log
    now = log.manifest(299).time
    log.clock = lambda: now + 365 * DAY_MS  # this machine's clock takes no part
    assert sum(file.rows for file in table._open_table.ledger.roll_up(300, now + 29 * DAY_MS)) == 299
    kept = table._open_table.ledger.roll_up(300, now + 31 * DAY_MS)
    assert sum(file.rows for file in kept) == 10  # those since the last roll-up
    assert table._open_table.ledger.find(BatchId("s", 57)) is not None  # until that roll-up is committed
