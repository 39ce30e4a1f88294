"""The merge lease: taken, renewed, given back by its owner alone."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.log.lease import LEASE_PATH, MergeLease, MergeNote, read_note
from andes_spark.log.log import system_clock
from andes_spark.model.documents import seal
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.verbs import overtaken as merging
from andes_spark.testing.tables import create, fill

OTHER = MergeNote(owner="other-host:1:x", until=system_clock() + 100_000, delta_version=3, commit_id="c", applied=9)


def put(storage: MemoryStorage, note: MergeNote) -> None:
    storage.put(LEASE_PATH, seal(msgspec.json.encode(note)))


def test_a_lease_is_taken_and_given_back_with_where_the_merge_ended():
    storage = MemoryStorage()
    lease = MergeLease(storage, system_clock)
    lease.acquire()
    assert read_note(storage).owner == lease.owner
    lease.release(MergeNote(delta_version=4, commit_id="d", applied=10))
    assert read_note(storage) == MergeNote(delta_version=4, commit_id="d", applied=10)


def test_a_merge_that_committed_nothing_leaves_the_note_of_the_one_before():
    storage = MemoryStorage()
    put(storage, MergeNote(delta_version=3, commit_id="c", applied=9))
    lease = MergeLease(storage, system_clock)
    lease.acquire()
    lease.release(None)
    assert read_note(storage) == MergeNote(delta_version=3, commit_id="c", applied=9)


@pytest.mark.parametrize("merged", [None, MergeNote(delta_version=4, commit_id="d", applied=10)])
def test_the_lease_of_another_owner_stays(merged):
    storage = MemoryStorage()
    lease = MergeLease(storage, system_clock)
    lease.acquire()
    put(storage, OTHER)
    assert not lease.renew()
    lease.release(merged)
    note = read_note(storage)
    assert (note.owner, note.until) == (OTHER.owner, OTHER.until)
    last = merged or OTHER
    assert (note.delta_version, note.commit_id, note.applied) == (last.delta_version, last.commit_id, last.applied)


def test_the_note_of_a_later_merge_stays():
    storage = MemoryStorage()
    lease = MergeLease(storage, system_clock)
    lease.acquire()
    put(storage, MergeNote(delta_version=7, commit_id="late", applied=12))
    lease.release(MergeNote(delta_version=4, commit_id="d", applied=10))
    assert read_note(storage) == MergeNote(delta_version=7, commit_id="late", applied=12)


def test_a_lease_is_renewed_until_it_is_released():
    storage = MemoryStorage()
    lease = MergeLease(storage, system_clock, lease_ms=200)
    lease.acquire()
    first = read_note(storage).until
    assert first is not None
    time.sleep(0.5)
    until = read_note(storage).until
    assert until is not None
    assert until > system_clock() > first
    lease.release(None)
    assert read_note(storage).owner is None
    time.sleep(0.3)
    assert read_note(storage).owner is None


def test_the_renewal_ends_when_another_merge_takes_the_lease():
    storage = MemoryStorage()
    lease = MergeLease(storage, system_clock, lease_ms=100)
    lease.acquire()
    put(storage, OTHER)
    time.sleep(0.3)
    assert read_note(storage) == OTHER
    lease.release(None)


@pytest.mark.parametrize(("ahead_ms", "status"), [(3_600_000, "merged"), (240_000, "skipped")])
def test_a_lease_that_a_clock_an_hour_ahead_dated_is_not_waited_for(ahead_ms: int, status: str) -> None:
    storage = MemoryStorage()
    table = create(storage)
    fill(table, 1, 1)
    MergeLease(storage, lambda: system_clock() + ahead_ms).acquire()
    note = read_note(storage)
    put(storage, msgspec.structs.replace(note, owner="other-host:1:x"))
    assert table.merge().status == status


def test_a_slow_merge_leaves_the_lease_that_another_host_took_meanwhile(monkeypatch):
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"], merge="manual")
    table.apply(pa.table({"id": [1], "seq": [1]}))
    true: Any = vars(merging)["merge_pending"]

    def slow(*args, **options):
        put(storage, OTHER)
        return true(*args, **options)

    monkeypatch.setattr(merging, "merge_pending", slow)
    result = table.merge()
    note = read_note(storage)
    assert (note.owner, note.until) == (OTHER.owner, OTHER.until)
    assert result.status == "merged"
