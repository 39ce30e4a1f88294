"""The scheduler: answers, order, errors that nobody can lose, and the barrier before a commit."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from andes_spark.errors import StorageError
from andes_spark.storage.scheduler import BYTES_UNDER_WAY, InlineScheduler, Scheduler, ThreadScheduler

SECONDS = 10


@pytest.fixture(params=["inline", "threads"])
def scheduler(request: pytest.FixtureRequest) -> Scheduler:
    return InlineScheduler() if request.param == "inline" else deferring()


def deferring() -> ThreadScheduler:
    created = ThreadScheduler("test")
    created.defer()
    return created


def fail() -> None:
    raise StorageError("planted")


def test_an_answer_can_be_had_again(scheduler: Scheduler) -> None:
    calls: list[int] = []

    def count(number: int) -> int:
        calls.append(number)
        return number + 1

    answer = scheduler.ask(count, 41)
    assert (answer.result(), answer.result(), calls) == (42, 42, [41])


def test_an_error_is_raised_where_the_answer_is_needed_and_again(scheduler: Scheduler) -> None:
    answer = scheduler.ask(fail)
    for _ in range(2):
        with pytest.raises(StorageError, match="planted"):
            answer.result()


def test_near_stores_run_requests_when_answers_are_needed() -> None:
    order: list[str] = []
    scheduler = InlineScheduler()
    first, second = scheduler.ask(order.append, "first"), scheduler.ask(order.append, "second")
    assert order == []
    second.result()
    first.result()
    assert order == ["second", "first"]


def test_far_stores_run_requests_beside_each_other() -> None:
    scheduler = ThreadScheduler("test")
    barrier = threading.Barrier(8, timeout=SECONDS)
    answers = [scheduler.ask(barrier.wait) for _ in range(8)]
    assert sorted(answer.result() for answer in answers) == list(range(8))


def test_work_for_later_runs_in_order_and_its_failure_is_a_warning(
    scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[int] = []
    for number in range(5):
        scheduler.later(f"work {number}", partial(order.append, number))
    scheduler.later("the hint", fail)
    scheduler.later("work 5", lambda: order.append(5))
    scheduler.settle()
    assert order == list(range(6))
    assert [record.getMessage() for record in caplog.records] == ["the hint failed: planted"]


def test_the_barrier_waits_for_everything_that_was_begun() -> None:
    scheduler, gate, written = deferring(), threading.Event(), []

    def write(path: str) -> None:
        assert gate.wait(SECONDS)
        written.append(path)

    for path in ("a", "b"):
        scheduler.begin(path, 1, partial(write, path))
    assert written == []
    threading.Timer(0.05, gate.set).start()
    scheduler.barrier()
    assert sorted(written) == ["a", "b"]


def test_a_failed_object_fails_every_barrier_until_it_is_given_up() -> None:
    scheduler = deferring()
    scheduler.begin("a", 1, fail)
    scheduler.begin("b", 1, lambda: None)
    for _ in range(3):
        with pytest.raises(StorageError, match="planted"):
            scheduler.barrier()
    with pytest.raises(StorageError, match="planted"):
        scheduler.wait("a")
    scheduler.forget(["a"])
    scheduler.barrier()


def test_a_barrier_in_another_thread_does_not_take_the_error_away() -> None:
    scheduler, calls = deferring(), []
    scheduler.begin("a", 1, fail)

    def commit() -> None:
        try:
            scheduler.barrier()
        except StorageError:
            calls.append("raised")

    threads = [threading.Thread(target=commit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    commit()
    assert calls == ["raised"] * 5


def test_what_is_under_way_is_bounded() -> None:
    scheduler, gate, order = deferring(), threading.Event(), []
    scheduler.begin("large", BYTES_UNDER_WAY, lambda: gate.wait(SECONDS))
    scheduler.begin("small", 1, lambda: order.append("written by the caller"))
    assert order == ["written by the caller"]
    gate.set()
    scheduler.barrier()
    scheduler.begin("large", BYTES_UNDER_WAY, lambda: time.sleep(0))
    scheduler.barrier()


def test_without_defer_an_object_exists_when_begin_returns() -> None:
    written: list[str] = []
    ThreadScheduler("test").begin("a", 1, lambda: written.append("a"))
    assert written == ["a"]


def test_the_process_ends_only_when_everything_is_done() -> None:
    code = """
import time
from functools import partial
from andes_spark.storage.scheduler import ThreadScheduler
scheduler = ThreadScheduler("test")
scheduler.defer()
scheduler.begin("a", 1, lambda: (time.sleep(0.3), print("put", flush=True)))
scheduler.later("the hint", lambda: (time.sleep(0.5), print("hint", flush=True)))
scheduler.later("the note", lambda: print("note", flush=True))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.stdout.split() == ["put", "hint", "note"], process.stderr
