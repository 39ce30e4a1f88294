"""Compaction and maintenance: what is due is done, within bytes and seconds, and a table at rest is left alone."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta import actions
from andes_spark.delta.log import create_entry, load_state
from andes_spark.errors import ForeignWriteError, OptionError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.verbs.due import due_now
from andes_spark.testing.tapped import TappedStorage
from tests.vacuumed import NOW, aged, rows, sound, write_at

SETTINGS = Settings(compact_bytes=0, threads=1)


def made(**arguments: Any) -> MemoryStorage:
    """A table of many small files that no merge compacted."""
    rnd = random.Random(1)
    storage = MemoryStorage()
    options: dict[str, Any] = {"merge": "always", **arguments}
    table = ModTable.create(
        storage, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", settings=SETTINGS, **options
    )
    for seq in range(1, 25):
        ids = rnd.sample(range(200), 20)
        table.apply(pa.table({"id": ids, "seq": [seq] * 20}), batch_id=("feed", seq))
    return aged(storage)


@pytest.fixture(scope="module")
def built() -> MemoryStorage:
    return made()


def opened(storage: Any) -> ModTable:
    return ModTable.open(storage, settings=SETTINGS)


def test_compaction_leaves_few_files_and_the_same_rows(storage: MemoryStorage) -> None:
    table = opened(storage)
    expected, before = rows(table), len(load_state(storage).files)
    dry = table.compact(dry_run=True)
    assert (dry.rounds, dry.worn > 0) == (0, True)
    result = table.compact()
    assert result.rounds >= 1
    assert result.worn == 0
    assert before - result.files_removed + result.files_added == len(load_state(storage).files) < before / 3
    assert rows(table) == rows(opened(storage)) == expected
    assert table.version == 24
    assert table.compact().rounds == 0
    sound(storage)


def test_compaction_within_bytes(storage: MemoryStorage) -> None:
    table = opened(storage)
    expected = rows(table)
    assert table.compact(0).rounds == 0
    part = table.compact(max_bytes=5_000)
    assert part.rounds >= 1
    assert rows(opened(storage)) == expected
    with pytest.raises(OptionError, match="max_bytes"):
        table.compact(-1)


def test_a_compaction_that_a_merge_overtakes_goes_on(storage: MemoryStorage) -> None:
    tapped = TappedStorage(storage)
    table, other = opened(tapped), opened(storage)

    def meanwhile(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_delta_log"):
            tapped.tap = None
            other.apply(pa.table({"id": [1], "seq": [99]}), batch_id=("feed", 99))

    tapped.tap = meanwhile
    assert table.compact().worn == 0
    assert opened(storage).get(1)["seq"].to_pylist() == [99]
    sound(storage)


def test_a_foreign_change_stops_it(storage: MemoryStorage) -> None:
    state = load_state(storage)
    deleted = next(iter(state.files.values()))
    create_entry(storage, state.version + 1, [actions.remove(deleted, timestamp_ms=1)])
    for verb in ("compact", "maintain"):
        with pytest.raises(ForeignWriteError):
            getattr(opened(storage), verb)()


def test_all_that_is_due_is_done(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.apply(pa.table({"id": [1], "seq": [99]}), batch_id=("feed", 99), merge=False)
    aged(storage)
    expected = rows(table)
    dry = table.maintain(retain=NOW, dry_run=True)
    assert (dry.decision.due, dry.merge, dry.dry_run) == (True, None, True)
    assert dry.compaction is not None
    assert dry.compaction.worn
    assert table.status().pending_versions == 1
    result = table.maintain(retain=NOW)
    assert result.merge is not None
    assert result.compaction is not None
    assert result.vacuum is not None
    assert (result.merge.status, result.compaction.worn, result.left) == ("merged", 0, ())
    assert result.vacuum.files > 20
    assert "vacuum" in result.summary()
    assert rows(opened(storage)) == expected
    sound(storage)


def test_a_table_at_rest_is_left_alone(storage: MemoryStorage) -> None:
    """Also if tags and a vacuum are all that the base lacks."""
    table = opened(storage)
    table.tag("now")
    table.maintain(retain=NOW)
    aged(storage)
    table.maintain(retain=NOW)
    aged(storage)
    before = set(storage._objects)
    for handle in (table, opened(storage)):
        result = handle.maintain(retain=NOW)
        assert (result.decision.reason, result.merge) == ("nothing pending", None)
        assert result.compaction is not None
        assert result.vacuum is not None
        assert (result.compaction.rounds, result.vacuum.files) == (0, 0)
    assert set(storage._objects) == before


def test_the_time_is_over(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.apply(pa.table({"id": [1], "seq": [99]}), batch_id=("feed", 99), merge=False)
    before = set(storage._objects)
    result = table.maintain(retain=NOW, max_seconds=0)
    assert result.left == ("merge", "compaction", "vacuum")
    assert (result.merge, result.compaction, result.vacuum) == (None, None, None)
    assert set(storage._objects) == before
    part = table.maintain(retain=NOW, max_bytes=5_000)
    assert part.left == ("compaction",)


def test_a_manual_table_is_not_merged() -> None:
    storage = made(merge="manual")
    result = opened(storage).maintain(retain=NOW)
    assert (result.decision.reason, result.merge) == ("manual", None)
    assert result.vacuum is not None
    assert result.vacuum.floor == 0
    sound(storage)


def test_the_status_tells_what_a_vacuum_would_delete(storage: MemoryStorage) -> None:
    table = opened(storage)
    plain = table.status()
    assert (plain.floor, plain.orphan_bytes, plain.vacuum) == (0, None, None)
    before = set(storage._objects)
    # Versions and files of a week ago.
    write_at(table, table._open_table.log.clock() + 8 * 86_400_000)
    storage.put("_andes/mods/00000000000000000003-00000000-0000-4000-8000-000000000000.parquet", b"stray")
    table.tag("two", 2)
    full = table.status(files=True)
    assert full.vacuum is not None
    assert (full.vacuum.files > 20, full.vacuum.dry_run, full.orphan_bytes) == (True, True, len(b"stray"))
    assert full.vacuum.kept == ("version 2: tag two",)
    assert "orphans" in full.details()
    assert len(storage._objects) == len(before) + 2
    table.maintain(retain="7 days")
    assert table.status().floor == 24
    assert "versions from 24 on" in table.status().details()["readable"]


@pytest.mark.parametrize("policy", ["always", "auto", "1 second"])
def test_a_tag_alone_is_nothing_to_merge(policy: str) -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", merge=policy)
    table.apply(pa.table({"id": [1], "seq": [1]}))
    table.merge()
    table.tag("now")
    before = load_state(storage).version
    for handle in (table, opened(storage)):
        write_at(handle, handle._open_table.log.clock() + 60_000)
        assert due_now(handle._open_table).reason == "nothing pending"
    table.apply(pa.table({"id": [2], "seq": [1]}), merge=False)
    write_at(table, table._open_table.log.clock() + 60_000)
    assert due_now(table._open_table).due
    assert load_state(storage).version == before
