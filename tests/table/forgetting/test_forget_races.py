"""Forget beside other writers, and a forget that is interrupted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from andes_spark.delta.paths import LOG_FOLDER
from andes_spark.errors import CommitConflictError, OptionError, StorageError
from andes_spark.model.events import Forget
from andes_spark.model.manifest import MANIFESTS, manifest_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of
from andes_spark.testing.tapped import TappedStorage
from tests.forgotten import (
    KEY,
    LAST,
    forget,
    holding,
    made,
    mods,
    opened,
    rows,
    send,
    without,
)
from tests.vacuumed import HalfDeleting, sound

pytestmark = pytest.mark.faults


class StopError(Exception):
    """What stops a forget in these tests."""


def writes_of(storage: MemoryStorage) -> list[tuple[str, str]]:
    """Requests that change something, in order."""
    writes: list[tuple[str, str]] = []
    tapped = TappedStorage(copy_of(storage))
    tapped.tap = lambda kind, path: writes.append((kind, path)) if kind not in ("get", "head", "list") else None
    assert forget(tapped).ok
    return writes


@pytest.mark.slow
def test_a_forget_that_stops_at_any_write_is_made_up_for() -> None:
    last = 4
    storage = made(last)
    expected = without(opened(storage))
    writes = writes_of(storage)
    kinds = [kind if kind == "delete" else f"{kind} {path.split('/')[0]}" for kind, path in writes]
    # Of equal writes one after the other, the first.
    stops = [at for at in range(len(kinds)) if not at or kinds[at - 1] != kinds[at]]
    assert len(stops) > 20
    for stop in stops:
        copy, left = copy_of(storage), [stop]

        def tap(kind: str, path: str, left: list[int] = left) -> None:
            left[0] -= kind not in ("get", "head", "list")
            if left[0] < 0:
                raise StopError(path)

        tapped = TappedStorage(copy)
        tapped.tap = tap
        with pytest.raises(StopError):
            forget(tapped)
        late = opened(copy)
        assert [row for row in rows(late) if row["email"] != KEY] == expected
        checked = late.verify()
        assert (checked.problems, checked.missing) == ((), ())
        assert send(late, mods(3), 3).replayed
        assert forget(copy).ok
        assert holding(copy) == []
        assert rows(opened(copy)) == expected
        send(opened(copy), mods(last), 100)
        assert opened(copy).get([KEY]).num_rows == 0
        sound(copy)


def meanwhile(storage: MemoryStorage, nth: int, act: Callable[[], Any]) -> TappedStorage:
    """A storage whose ``nth`` commit of a version comes after what ``act`` does."""
    tapped, left = TappedStorage(storage), [nth]

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith(MANIFESTS):
            left[0] -= 1
            if left[0] == 0:
                tapped.tap = None
                act()

    tapped.tap = tap
    return tapped


def others(seq: int) -> pa.Table:
    batch = mods(seq)
    return batch.filter(pc.not_equal(batch["email"], KEY))


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("brings", ["the key", "a late mod", "other keys", "refused rows of the key"])
def test_versions_of_others_meanwhile(storage: MemoryStorage, brings: str, nth: int, merge: bool) -> None:
    table = opened(storage)
    batches = {
        "the key": mods(40),
        "a late mod": mods(2),
        "other keys": others(40),
        "refused rows of the key": others(40).slice(0, 1),
    }
    batch = batches[brings]
    if brings == "refused rows of the key":
        batch = pa.concat_tables([batch, mods(40, (KEY, "Countess-of-later", "X")).slice(3)])
    tapped = meanwhile(storage, nth, lambda: send(table, batch, 40, merge=merge, max_quarantined=1))
    result = forget(tapped)
    opened(storage).merge()
    assert (result.ok, holding(storage)) == (True, [])
    assert KEY not in opened(storage).to_arrow()["email"].to_pylist()
    assert opened(storage).get([batch["email"][-1].as_py() if brings == "other keys" else "z-40"]).num_rows <= 1
    assert ("z-40" in opened(storage).to_arrow()["email"].to_pylist()) == (brings != "a late mod")
    sound(storage)


def test_a_writer_that_began_before(storage: MemoryStorage) -> None:
    """Its files are deleted with those of ended writers: nothing is committed, and the batch is sent again."""
    tapped = TappedStorage(storage)
    writer = opened(tapped)

    def act(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path == manifest_path(LAST + 1):
            tapped.tap = None
            assert forget(storage).ok

    tapped.tap = act
    with pytest.raises(CommitConflictError, match="send the same batch again"):
        send(writer, others(30), 30)
    assert holding(storage) == []
    send(writer, others(30), 30)
    sound(storage)


def test_a_merge_that_began_before(storage: MemoryStorage) -> None:
    table = opened(storage)
    send(table, mods(30), 30, merge=False)
    tapped = TappedStorage(storage)
    merger = opened(tapped)

    def act(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith(LOG_FOLDER):
            tapped.tap = None
            forget(storage)

    tapped.tap = act
    merger.merge()
    assert rows(merger) == rows(opened(storage))
    assert holding(storage) == []
    sound(storage)


def test_files_of_ended_writers_go(storage: MemoryStorage) -> None:
    tapped = TappedStorage(storage)

    def stop(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith((MANIFESTS, "_andes/merges")):
            raise StopError

    tapped.tap = stop
    with pytest.raises(StopError):
        send(opened(tapped), mods(30, (KEY, "Countess-of-nowhere", "X")), 30, max_quarantined=1)
    assert forget(storage).ok
    assert holding(storage) == []
    sound(storage)


def test_a_pin_that_comes_meanwhile_keeps_its_version(storage: MemoryStorage) -> None:
    table = opened(storage)
    before = rows(table)
    tapped = meanwhile(storage, 3, lambda: table.pin(LAST))
    with pytest.raises(OptionError, match=f"pin of version {LAST} came meanwhile"):
        forget(tapped)
    assert rows(opened(storage), version=LAST) == before
    table.unpin(LAST)
    assert forget(storage).ok
    assert holding(storage) == []
    sound(storage)


def test_a_tag_that_comes_meanwhile_is_named(storage: MemoryStorage) -> None:
    table = opened(storage)
    tapped = meanwhile(storage, 3, lambda: table.tag("books", LAST))
    with pytest.raises(OptionError, match="tag books"):
        forget(tapped)
    assert rows(opened(storage), tag="books") == rows(table, version=LAST)
    table.untag("books")
    assert forget(storage).ok
    sound(storage)


def test_a_vacuum_meanwhile(storage: MemoryStorage) -> None:
    table = opened(storage)
    for nth in (1, 2, 3):
        copy = copy_of(storage)
        other = opened(copy)
        assert forget(meanwhile(copy, nth, partial(other.vacuum, "0 seconds"))).ok
        assert holding(copy) == []
        assert rows(opened(copy)) == without(table)
        send(opened(copy), mods(LAST), 100)
        assert opened(copy).get([KEY]).num_rows == 0
        sound(copy)


def test_another_forget_meanwhile(storage: MemoryStorage) -> None:
    table = opened(storage)
    expected = [row for row in without(table) if row["email"] != "z-2"]
    for nth in (1, 2, 3):
        copy = copy_of(storage)
        result = forget(meanwhile(copy, nth, partial(forget, copy, "z-2")))
        assert result.ok
        assert holding(copy, ['"z-2"', "'z-2'"]) == holding(copy) == []
        assert rows(opened(copy)) == expected
        sound(copy)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_restore_meanwhile(storage: MemoryStorage, nth: int) -> None:
    table = opened(storage)
    expected = [row for row in rows(table, version=6) if row["email"] != KEY]
    assert len(expected) < len(rows(table, version=6))
    result = forget(meanwhile(storage, nth, lambda: table.restore(version=6)))
    assert (result.ok, holding(storage)) == (True, [])
    assert rows(opened(storage)) == expected
    sound(storage)


def test_a_store_that_fails_while_files_are_deleted(storage: MemoryStorage) -> None:
    expected = without(opened(storage))
    with pytest.raises(StorageError):
        forget(HalfDeleting(storage))
    assert rows(opened(storage)) == expected
    assert forget(storage).ok
    assert holding(storage) == []
    sound(storage)


def test_an_appender_goes_on(storage: MemoryStorage) -> None:
    table = opened(storage)
    with table.appender(max_delay=0.01) as appender:
        sent = [appender.apply(others(seq).drop(["op"]), batch_id=("more", seq)) for seq in range(40, 50)]
        assert forget(storage).ok
        sent += [appender.apply(others(seq).drop(["op"]), batch_id=("more", seq)) for seq in range(50, 60)]
    failed = [number for number, answer in zip(range(40, 60), sent, strict=True) if answer.exception() is not None]
    for number in failed:
        table.apply(others(number).drop(["op"]), batch_id=("more", number))
    assert holding(storage) == []
    assert {f"z-{seq}" for seq in range(40, 60, 2)} <= set(opened(storage).to_arrow()["email"].to_pylist())
    sound(storage)


def test_the_versions_of_a_forget(storage: MemoryStorage) -> None:
    forget(storage)
    table = opened(storage)
    assert [entry.operation for entry in table.history(limit=3)] == ["forget", "forget", "apply"]
    (event,) = table.manifest(LAST + 2).events
    assert isinstance(event, Forget)
    assert (len(event.tombstones), event.tombstones[0].keys) == (1, None)
    assert table.manifest(LAST + 3).reader_features == ["hashedTombstones"]
