"""Creating an object while the store throttles, or does not say what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from andes_spark.errors import AccessDeniedError, StorageError, ThrottledError
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.put_once import put_once

Answer = Callable[[Callable[[], PutOutcome]], PutOutcome]


class Answering(MemoryStorage):
    """A store whose first puts are answered by ``puts``, and whose first reads raise ``reads``."""

    def __init__(self, *puts: Answer, reads: list[StorageError] | None = None) -> None:
        super().__init__()
        self.puts = list(puts)
        self.reads = list(reads or [])
        self.tries = 0

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        self.tries += 1
        if self.puts:
            return self.puts.pop(0)(lambda: super(Answering, self).put_if_absent(path, data))
        return super().put_if_absent(path, data)

    def find(self, path: str) -> bytes | None:
        if self.reads:
            raise self.reads.pop(0)
        return super().find(path)


def happened(put: Callable[[], PutOutcome]) -> PutOutcome:
    put()
    return PutOutcome.UNKNOWN


def did_not_happen(put: Callable[[], PutOutcome]) -> PutOutcome:
    return PutOutcome.UNKNOWN


def throttled(put: Callable[[], PutOutcome]) -> PutOutcome:
    raise ThrottledError("slow down", path="a")


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """Pauses asked for; each lasts a millisecond."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        true(0.001)

    true = time.sleep
    monkeypatch.setattr(time, "sleep", sleep)
    return waits


def test_a_put_that_is_answered_is_not_read_back():
    storage = MemoryStorage()
    data = b"ours"
    assert put_once(storage, "a", data, seconds=1) is data
    assert storage.counts.snapshot().requests == 1
    assert put_once(storage, "a", b"theirs", seconds=1) == b"ours"


def test_an_unknown_put_that_happened_is_read_and_not_put_again(pauses):
    storage = Answering(happened)
    assert put_once(storage, "a", b"ours", seconds=1) == b"ours"
    assert (storage.tries, pauses) == (1, [])


@pytest.mark.parametrize("answer", [did_not_happen, throttled])
def test_a_put_that_did_not_happen_is_repeated_with_growing_pauses(answer, pauses):
    storage = Answering(*[answer] * 5)
    assert put_once(storage, "a", b"ours", seconds=60) == b"ours"
    assert storage.tries == 6
    for number, pause in enumerate(pauses):
        assert 0.5 * 0.05 * 2**number <= pause <= 0.05 * 2**number
    assert len(pauses) == 5


def test_a_store_that_never_says_is_asked_until_the_deadline():
    storage = Answering(*[did_not_happen] * 100_000)
    begun = time.monotonic()
    assert put_once(storage, "a", b"ours", seconds=0.1) is None
    assert 0.1 <= time.monotonic() - begun < 5
    assert storage.tries > 3


def test_a_store_that_throttles_until_the_deadline_did_nothing():
    with pytest.raises(ThrottledError):
        put_once(Answering(*[throttled] * 100_000), "a", b"ours", seconds=0.05)


def test_throttled_after_an_unknown_put_is_unknown():
    assert put_once(Answering(did_not_happen, *[throttled] * 100_000), "a", b"ours", seconds=0.05) is None


def test_a_read_that_fails_does_not_hide_that_the_put_may_have_happened():
    failing = ThrottledError("slow down", path="a")
    assert put_once(Answering(happened, reads=[failing]), "a", b"ours", seconds=1) == b"ours"
    assert put_once(Answering(happened, reads=[failing] * 100_000), "a", b"ours", seconds=0.05) is None


def test_a_refusal_is_raised_at_once(pauses):
    def refused(put: Callable[[], PutOutcome]) -> PutOutcome:
        raise AccessDeniedError("no", path="a")

    with pytest.raises(AccessDeniedError):
        put_once(Answering(refused), "a", b"ours", seconds=60)
    assert pauses == []


def test_a_throttled_object_that_this_one_refers_to_is_not_waited_for(pauses):
    def of_another(put: Callable[[], PutOutcome]) -> PutOutcome:
        raise ThrottledError("slow down", path="data.parquet")

    with pytest.raises(ThrottledError):
        put_once(Answering(of_another), "a", b"ours", seconds=60)
    assert pauses == []
