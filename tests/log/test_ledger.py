"""Batch ids: found however old, forgotten only after the table's retention."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from andes_spark.errors import BatchConflictError
from andes_spark.log import ledger, mod_files
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


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 57, 99, 100, 101, 199, 200, 250, 299])
def test_a_batch_is_found_by_a_cold_handle(filled: MemoryStorage, number: int) -> None:
    table = ModTable.open(copy_of(filled))
    repeat = table.apply(rows((number % 7, number, "x")), batch_id=("s", number))
    assert (repeat.replayed, repeat.version) == (True, number)
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


@pytest.mark.slow
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
    assert [file.ids for file in files] == [
        {"s": [f"i:{max(1, file.from_version)}", f"i:{file.to_version}"]} for file in files
    ]
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


@pytest.mark.slow
def test_a_look_up_reads_the_row_groups_where_the_id_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_GROUP_ROWS", 16)
    storage = MemoryStorage()
    fill(create(storage), 1, 299)
    read: list[int] = []
    true = mod_files.read_columns

    def read_columns(*args: Any, row_groups: Any = None, **options: Any) -> Any:
        rows = true(*args, row_groups=row_groups, **options)
        read.append(rows.num_rows)
        return rows

    monkeypatch.setattr(ledger, "read_columns", read_columns)
    for number in (1, 57, 140, 288):
        opened = ModTable.open(storage)._open_table
        manifest = opened.ledger.find(BatchId("s", number))
        assert manifest is not None
        assert manifest.version == number
        assert sum(read) <= 2 * 16, "of 290 ids"
        read.clear()
        assert opened.ledger.find(BatchId("s", number)) is not None
        assert read == [], "what was read is not read again"
        assert opened.ledger.find(BatchId("s", 10**6)) is None
        read.clear()


@pytest.mark.slow
def test_few_row_groups_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_GROUP_ROWS", 16)
    storage = MemoryStorage()
    fill(create(storage), 1, 299)
    table = ModTable.open(storage)._open_table
    for number in range(1, 299):
        table.ledger.ask(BatchId("s", number))
        assert table.ledger.find(BatchId("s", number)) is not None
    table.ledger.ask(BatchId("s", 1))
    assert all(len(read.rows) <= ledger._KEPT_GROUPS for read in table.ledger._files_read.values())


def test_ids_of_many_groups_are_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """More row groups than stay in memory, as for files without statistics, and for many batches of one commit."""
    monkeypatch.setattr(ledger, "_GROUP_ROWS", 16)
    storage = MemoryStorage()
    fill(create(storage), 1, 299)
    table = ModTable.open(storage)._open_table
    batches = [BatchId("s", number) for number in range(1, 299, 9)]
    table.ledger.ask(*batches)
    for batch in batches:
        manifest = table.ledger.find(batch)
        assert manifest is not None
        assert manifest.version == batch.id
    true = ledger._group
    monkeypatch.setattr(ledger, "_group", lambda *args: replace(true(*args), sources=None, ids=None))
    table = ModTable.open(storage)._open_table
    for batch in batches:
        table.ledger.ask(batch)
        assert table.ledger.find(batch) is not None
    assert table.ledger.find(BatchId("s", 10**6)) is None


@pytest.mark.slow
@pytest.mark.parametrize("idle", [False, True])
def test_a_handle_holds_as_much_after_many_versions_as_after_few(idle: bool) -> None:
    storage = MemoryStorage()
    writer = create(storage)
    sleeper = ModTable.open(storage)
    fill(writer, 1, 320)
    log = (sleeper if idle else writer)._open_table.log
    assert log.refresh() == 320
    assert len(log._known) <= 102
    assert len(log._definitions) <= 12


def test_no_file_is_read_for_an_id_that_none_may_name(filled: MemoryStorage) -> None:
    table = ModTable.open(copy_of(filled))._open_table
    before = table.storage.counts.snapshot()
    for batch in (BatchId("s", 1_000), BatchId("s", 0), BatchId("t", 7), BatchId("s", "57")):
        table.ledger.ask(batch)
        assert table.ledger.find(batch) is None
    assert table.storage.counts.minus(before).requests == 0
    assert table.ledger.find(BatchId("s", 57)) is not None


def test_each_file_may_name_the_ids_that_it_holds() -> None:
    random = Random(5)
    storage = MemoryStorage()
    table = create(storage)
    ids = [
        random.choice(
            (
                random.randrange(-(10**30), 10**30),
                random.randrange(-9, 120),
                f"{random.randrange(99)}x",
                "",
                "ß",
                "\U0001f600",
            )
        )
        for _ in range(70)
    ]
    sent: dict[tuple[str, int | str], int] = {}
    for version, identity in enumerate(dict.fromkeys((random.choice("st"), identity) for identity in ids), start=1):
        table.apply(rows((1, version, "x")), batch_id=identity)
        sent[identity] = version
    ledger_of = ModTable.open(storage)._open_table.ledger
    assert ledger_of._files()
    for (source, number), version in sent.items():
        manifest = ledger_of.find(BatchId(source, number))
        assert manifest is not None
        assert manifest.version == version


def test_limits_of_ids_are_left_out_where_they_are_many_or_long() -> None:
    many_sources = [{"source": f"s{number}", "id": "i:1"} for number in range(33)]
    long = [{"source": "s", "id": "s:" + "x" * 300}]
    for batches in (many_sources, long):
        assert ledger._limits(pa.Table.from_pylist(batches)) is None
    few_batches = [{"source": "s", "id": tagged} for tagged in ("i:9", "i:10", "s:b", "s:a", "i:-3")]
    assert ledger._limits(pa.Table.from_pylist(few_batches)) == {"s": ["i:-3", "s:b"]}
