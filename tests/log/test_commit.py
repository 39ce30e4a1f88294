"""Committing a version: lost races, lost answers, and stores that do not say."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest

from andes_spark.errors import (
    BatchConflictError,
    CommitConflictError,
    CommitUnknownError,
    StorageError,
)
from andes_spark.log import commit
from andes_spark.settings import Settings
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, files, fill, rows
from andes_spark.testing.tapped import TappedStorage

Answer = Callable[[Callable[[], PutOutcome]], PutOutcome]


class Answering(TappedStorage):
    """A store that answers the puts of manifests as told, one after the other, then as it should."""

    def __init__(self, inner: Any, *answers: Answer) -> None:
        super().__init__(inner)
        self.answers = list(answers)

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        if path.startswith("_andes/manifests/") and self.answers:
            return self.answers.pop(0)(lambda: self.inner.put_if_absent(path, data))
        return super().put_if_absent(path, data)


def written_but_unknown(put: Callable[[], PutOutcome]) -> PutOutcome:
    put()
    return PutOutcome.UNKNOWN


def not_written_and_unknown(put: Callable[[], PutOutcome]) -> PutOutcome:
    return PutOutcome.UNKNOWN


def written_but_taken_for_lost(put: Callable[[], PutOutcome]) -> PutOutcome:
    """The answer was lost, somebody below us asked again and got 412."""
    put()
    return PutOutcome.EXISTS


def refused(put: Callable[[], PutOutcome]) -> PutOutcome:
    raise StorageError("no", path="?")


def opened(*answers: Answer, settings: Settings | None = None) -> tuple[MemoryStorage, Answering, ModTable]:
    storage = MemoryStorage()
    create(storage)
    answering = Answering(storage, *answers)
    return storage, answering, ModTable.open(answering, settings=settings)


def racing(storage: MemoryStorage, **options: Any) -> Answer:
    """Another writer commits first."""

    def answer(put: Callable[[], PutOutcome]) -> PutOutcome:
        ModTable.open(storage).apply(**{"mods": rows((1, 5, "other")), **options})
        return put()

    return answer


@pytest.mark.parametrize("answer", [written_but_unknown, written_but_taken_for_lost, not_written_and_unknown])
def test_an_answer_that_was_lost_commits_once(answer: Answer) -> None:
    storage, _, table = opened(answer)
    result = table.apply(rows((1, 1, "x")), batch_id=("s", 1))
    assert (result.version, result.replayed) == (1, False)
    assert table.version == ModTable.open(storage).version == 1
    assert table.apply(rows((1, 1, "x")), batch_id=("s", 1)).version == 1
    assert table.to_arrow().to_pylist() == [{"id": 1, "lsn": 1, "a": "x"}]
    assert table.verify().ok


def test_a_store_that_never_says() -> None:
    storage, _, table = opened(not_written_and_unknown, settings=Settings(commit_seconds=0))
    with pytest.raises(CommitUnknownError, match="send the same batch again") as caught:
        table.apply(rows((1, 1, "x")), batch_id=("s", 1))
    assert caught.value.version == 1
    assert len(files(storage)) == 1  # what may yet be committed is never cleaned up
    repeat = table.apply(rows((1, 1, "x")), batch_id=("s", 1))
    assert (repeat.version, repeat.replayed) == (1, False)
    assert ModTable.open(storage).to_arrow().num_rows == 1


def test_unknown_and_then_another_writer_has_the_number() -> None:
    storage = MemoryStorage()
    create(storage)

    def other_writer_meanwhile(put: Callable[[], PutOutcome]) -> PutOutcome:
        ModTable.open(storage).apply(rows((2, 5, "other")))
        return PutOutcome.UNKNOWN

    table = ModTable.open(Answering(storage, other_writer_meanwhile))
    assert table.apply(rows((1, 1, "x"))).version == 2
    assert table.to_arrow().num_rows == 2


def test_a_refused_put_leaves_nothing_visible() -> None:
    storage, _, table = opened(refused)
    with pytest.raises(StorageError):
        table.apply(rows((1, 1, "x")), batch_id=("s", 1))
    assert ModTable.open(storage).version == 0
    assert table.apply(rows((1, 1, "x")), batch_id=("s", 1)).version == 1


def test_a_lost_race_takes_the_next_version() -> None:
    storage, answering, table = opened()
    answering.answers = [racing(storage), racing(storage)]
    result = table.apply(rows((2, 1, "x")))
    assert result.version == 3
    assert [entry.commit_id for entry in table.history()] == [
        entry.commit_id for entry in ModTable.open(storage).history()
    ]
    assert table.to_arrow().num_rows == 2


def test_a_lost_race_against_the_same_batch_is_a_replay() -> None:
    storage, answering, table = opened()
    mods = rows((1, 1, "x"))
    answering.answers = [racing(storage, mods=mods, batch_id=("s", 1))]
    result = table.apply(mods, batch_id=("s", 1))
    assert (result.version, result.replayed) == (1, True)
    assert table.version == 1
    assert len(files(storage)) == 1  # the second copy is gone


def test_a_lost_race_against_the_same_id_with_other_content() -> None:
    storage, answering, table = opened()
    answering.answers = [racing(storage), racing(storage, batch_id=("s", 1))]
    with pytest.raises(BatchConflictError, match="other content") as caught:
        table.apply(rows((1, 1, "x")), batch_id=("s", 1))
    assert caught.value.version == 2
    assert table.version == 2
    assert len(files(storage)) == 2


def test_always_losing_ends() -> None:
    storage, answering, table = opened(settings=Settings(commit_attempts=3))
    answering.answers = [racing(storage)] * 9
    with pytest.raises(CommitConflictError, match="3 times") as caught:
        table.apply(rows((2, 1, "x")))
    assert caught.value.retryable
    assert len(files(storage)) == 3
    answering.answers = []
    assert table.apply(rows((2, 1, "x"))).version == 4


def test_races_around_a_roll_up() -> None:
    storage, answering, table = opened()
    fill(table, 1, 98)
    answering.answers = [racing(storage, batch_id=("r", 1)), racing(storage, batch_id=("r", 2))]
    assert table.apply(rows((2, 1, "x")), batch_id=("s", 99)).version == 101
    fresh = ModTable.open(storage)
    assert fresh.manifest(100).roll_up is not None
    assert fresh.manifest(101).roll_up is None
    for identity, version in ((("r", 1), 99), (("r", 2), 100), (("s", 99), 101), (("s", 7), 7)):
        content = {99: rows((1, 5, "")), 100: rows((1, 5, "")), 101: rows((2, 1, "")), 7: rows((0, 7, ""))}[version]
        assert fresh.apply(content, batch_id=identity).version == version


def test_an_archive_of_sources_commits_without_metadata_of_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    commit._library.cache_clear()
    monkeypatch.setattr(metadata, "version", missing)
    try:
        assert create(MemoryStorage()).manifest(0).writer["library"] == "andes_spark"
    finally:
        commit._library.cache_clear()
