"""The ledger file of a roll-up is written beside its batch: no file that is named is lost, and none stays unused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import AndesError, BatchConflictError, CommitUnknownError, StorageError
from andes_spark.log.ledger import Ledger
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of, create, fill, rows
from andes_spark.testing.tapped import TappedStorage

pytestmark = pytest.mark.faults

SETTINGS = Settings(threads=1, compact_bytes=0, commit_seconds=0.0)
Verb = Callable[[ModTable], Any]


class Killed(KeyboardInterrupt):
    """The end of a process: nothing after it runs."""


def apply(table: ModTable) -> None:
    table.apply(rows((3, 10, "x")), batch_id=("s", 10))


def append(table: ModTable) -> None:
    with table.appender(max_delay=600) as appender:
        future = appender.apply(rows((3, 10, "x")), batch_id=("s", 10))
        appender.flush()
        assert future.result().version >= 10


def filled(merge: str) -> MemoryStorage:
    storage = MemoryStorage()
    fill(create(storage, merge=merge), 1, 9)
    return storage


def tapped_table(storage: MemoryStorage) -> tuple[TappedStorage, ModTable]:
    tapped = TappedStorage(storage)
    return tapped, ModTable.open(tapped, settings=SETTINGS)


def unused(storage: MemoryStorage) -> set[str]:
    """Ledger files that no version names; all that are named exist."""
    table = ModTable.open(storage)
    roll_ups = [table.manifest(version).roll_up for version in range(table.version + 1)]
    named = {file.path for roll_up in roll_ups if roll_up is not None for file in roll_up.ledger}
    stored = {info.path for info in storage.list("_andes/ledger")}
    assert named <= stored
    return stored - named


def check(storage: MemoryStorage, batches: int = 10) -> None:
    """All batches are found, in this log and after the next roll-up."""
    copy = copy_of(storage)
    writer = ModTable.open(copy)
    for number in range(writer.version, 21):
        writer.apply(rows((5, number, "later")), batch_id=("later", number))
    for at in (storage, copy):
        table = ModTable.open(at)
        assert table.verify().ok
        for number in range(1, batches + 1):
            assert table.apply(rows((number % 7, number, "x")), batch_id=("s", number)).replayed


@pytest.mark.parametrize("merge", ["manual", "always"])
def test_the_file_comes_before_the_manifest_that_names_it(merge: str) -> None:
    storage = filled(merge)
    tapped, table = tapped_table(storage)
    calls: list[tuple[str, str]] = []
    tapped.tap = lambda kind, path: calls.append((kind, path))
    apply(table)
    ledger = next(at for at, (kind, path) in enumerate(calls) if kind == "open_output" and "/ledger/" in path)
    manifest = next(
        at for at, (kind, path) in enumerate(calls) if path == manifest_path(10) and kind == "put_if_absent"
    )
    assert ledger < manifest
    assert unused(storage) == set()
    check(storage)


@pytest.mark.parametrize("merge", ["manual", "always"])
def test_a_batch_that_is_refused_or_repeated_leaves_no_file(merge: str) -> None:
    storage = filled(merge)
    table = ModTable.open(storage)
    with pytest.raises(BatchConflictError):
        table.apply(rows((3, 99, "other")), batch_id=("s", 4))
    with pytest.raises(AndesError, match="two different mods"):
        table.apply(rows((3, 99, "x"), (3, 99, "y")), batch_id=("s", 10))
    assert table.apply(rows((4, 4, "x")), batch_id=("s", 4)).replayed
    assert not list(storage.list("_andes/ledger"))
    apply(table)
    assert unused(storage) == set()
    check(storage)


@pytest.mark.parametrize("merge", ["manual", "always"])
@pytest.mark.parametrize("others", [1, 2, 11])
def test_another_writer_at_any_request(merge: str, others: int) -> None:
    number = 0
    while True:
        storage = filled(merge)
        tapped, table = tapped_table(storage)
        left = [number]

        def tap(kind: str, path: str, left: list[int] = left, storage: MemoryStorage = storage) -> None:
            left[0] -= 1
            if left[0] == -1:
                other = ModTable.open(storage, settings=SETTINGS)
                for at in range(others):
                    other.apply(rows((6, 100 + at, "other")), batch_id=("other", at))

        tapped.tap = tap
        apply(table)
        tapped.tap = None
        if left[0] >= 0:
            break
        assert unused(storage) == set(), number
        if number % 5 == 0:
            check(storage)
        number += 1
    assert number > 8


@pytest.mark.parametrize("merge", ["manual", "always"])
def test_killed_at_any_request(merge: str) -> None:
    number = 0
    while True:
        storage = filled(merge)
        tapped, table = tapped_table(storage)
        left = [number]

        def tap(kind: str, path: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        tapped.tap = tap
        try:
            apply(table)
        except Killed:
            assert len(unused(storage)) <= 1
            apply(ModTable.open(storage))
            if number % 3 == 0:
                check(storage)
            number += 1
            continue
        break
    assert number > 8


class Lost(MemoryStorage):
    """A store that stops to answer at the put of version 10; ``happens``: whether the manifest is written."""

    fails, happens, sent = False, False, False

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        if path != manifest_path(10) or not self.fails:
            return super().put_if_absent(path, data)
        self.sent = True
        if self.happens:
            super().put_if_absent(path, data)
        return PutOutcome.UNKNOWN

    def find(self, path: str) -> bytes | None:
        if path == manifest_path(10) and self.fails and self.sent:
            raise StorageError("the store does not answer", path=path)
        return super().find(path)


@pytest.mark.parametrize("merge", ["manual", "always"])
@pytest.mark.parametrize("verb", [apply, append])
@pytest.mark.parametrize("happens", [True, False])
def test_a_version_whose_outcome_is_unknown_keeps_its_file(merge: str, verb: Verb, happens: bool) -> None:
    storage = Lost()
    fill(create(storage, merge=merge, settings=SETTINGS), 1, 9)
    table = ModTable.open(storage, settings=SETTINGS)
    storage.fails, storage.happens = True, happens
    with pytest.raises((CommitUnknownError, StorageError)):
        verb(table)
    assert storage.sent
    storage.fails = False
    assert (storage.size(manifest_path(10)) is not None) == happens
    for attempt in range(3):
        table.apply(rows((3, 50 + attempt, "x")), batch_id=("next", attempt))
        assert len(unused(storage)) <= (0 if happens else 1)
    apply(ModTable.open(storage))
    check(storage)


def test_a_file_that_cannot_be_written_refuses_the_batch() -> None:
    storage = filled("manual")
    tapped, table = tapped_table(storage)

    def tap(kind: str, path: str) -> None:
        if kind == "open_output" and "/ledger/" in path:
            raise StorageError("no", path=path)

    tapped.tap = tap
    with pytest.raises(AndesError):
        apply(table)
    tapped.tap = None
    assert ModTable.open(storage).version == 9
    apply(table)
    assert unused(storage) == set()
    check(storage)


@pytest.mark.parametrize("verb", [apply, append])
def test_a_batch_whose_roll_up_cannot_be_begun_leaves_no_file(verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = filled("manual")
    before = {info.path for info in storage.list()}
    table = ModTable.open(storage, settings=SETTINGS)

    def begin_roll_up(*args: object) -> None:
        raise StorageError("no", path="x")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "begin_roll_up", begin_roll_up)
        with pytest.raises(StorageError):
            verb(table)
    assert {info.path for info in storage.list()} == before
    apply(table)
    check(storage)
