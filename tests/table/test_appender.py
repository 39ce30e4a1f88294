"""Appends together: many batches of many threads as few versions, each with its own id, balance and error."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import (
    AppendError,
    BadModsError,
    BatchConflictError,
    CommitUnknownError,
    OptionError,
    SchemaMismatchError,
    SequenceTieError,
    StorageError,
)
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.appender import Appender
from andes_spark.testing.tapped import TappedStorage

DDL = "id BIGINT, v STRING, seq BIGINT"
LONG = 600.0


def create(storage: Any = None, **options: Any) -> ModTable:
    arguments = {"primary_key": "id", "sequence_by": "seq", "merge": "manual", **options}
    return ModTable.create(MemoryStorage() if storage is None else storage, DDL, **arguments)


def rows(*mods: tuple[int | None, str | None, int | None]) -> pa.Table:
    columns = zip(*mods, strict=True) if mods else ([], [], [])
    kinds = (pa.int64(), pa.string(), pa.int64())
    return pa.table(
        {
            name: pa.array(list(values), kind)
            for name, kind, values in zip(("id", "v", "seq"), kinds, columns, strict=True)
        }
    )


def shown(table: ModTable) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in table.to_arrow().to_pylist())


def tap_thread(tapped: TappedStorage, appender: Appender, tap: Any) -> None:
    """Tap the requests of the appender's own thread."""
    assert appender._thread is not None
    tapped._thread, tapped.tap = appender._thread.ident or 0, tap


def test_batches_of_one_group_are_one_version_with_a_balance_each() -> None:
    table = create()
    with table.appender(max_delay=LONG, job="night") as appender:
        first = appender.apply(rows((1, "a", 1), (1, "a", 1), (2, "b", 1)), batch_id=("s", 1))
        second = appender.apply(rows((1, "c", 2), (None, "x", 2)), batch_id=("s", 2), max_quarantined=1)
        third = appender.apply(rows((2, None, 3)), apply_as_deletes="v IS NULL", batch_id=("t", "x"))
        assert not any(future.done() for future in (first, second, third))
    results = [future.result() for future in (first, second, third)]
    assert {result.version for result in results} == {1}
    assert [(r.received, r.upserts, r.deletes, r.collapsed, r.quarantined) for r in results] == [
        (3, 2, 0, 1, 0),
        (2, 1, 0, 0, 1),
        (1, 0, 1, 0, 0),
    ]
    assert table.version == 1
    manifest = table.manifest(1)
    assert [(batch.source, batch.id, batch.number) for batch in manifest.batches] == [
        ("s", "i:1", 0),
        ("s", "i:2", 1),
        ("t", "s:x", 2),
    ]
    assert [batch.counts for batch in manifest.batches] == [result.counts for result in results]
    assert manifest.counts.received == 6
    entry = table.history(limit=1)[0]
    assert (entry.job, len(entry.batches)) == ("night", 3)
    assert "s 1\ns 2\nt x" in str(entry.details()).replace("\\n", "\n")
    assert shown(table) == [(1, "c", 2)]
    assert table.quarantined().num_rows == 1
    assert table.mods().num_rows == 4
    merged = table.merge()
    assert merged.counts.mods == 4
    assert shown(table) == [(1, "c", 2)]
    assert table.verify().ok


def test_the_order_of_arrival_decides_between_batches_at_one_sequence() -> None:
    table = create()
    with table.appender(max_delay=LONG) as appender:
        for number, value in enumerate("abc"):
            appender.apply(rows((1, value, 5)), batch_id=("s", number))
    assert shown(table) == [(1, "c", 5)]
    merged = table.merge()
    assert (merged.superseded, merged.ties) == (2, 2)
    assert shown(table) == [(1, "c", 5)]


def test_without_a_sequence_the_order_of_arrival_decides() -> None:
    table = create(sequence_by=())
    with table.appender(max_delay=LONG) as appender:
        appender.apply(rows((1, "a", 1), (2, "a", 1)), batch_id=("s", 1))
        appender.apply(rows((1, "b", 0)), batch_id=("s", 2))
        appender.apply(rows((None, "t", 0), (3, "c", 0)), apply_as_truncates="v = 't'", batch_id=("s", 3))
        appender.apply(rows((4, "d", 0)), batch_id=("s", 4))
    assert table.version == 1
    assert shown(table) == [(3, "c", 0), (4, "d", 0)]
    table.merge()
    assert shown(table) == [(3, "c", 0), (4, "d", 0)]
    assert table.verify().ok


def test_partial_mods_of_several_batches_fold_in_the_order_of_arrival() -> None:
    table = create()
    with table.appender(max_delay=LONG) as appender:
        appender.apply(rows((1, "a", 5)), batch_id=("s", 1))
        appender.apply(pa.table({"id": [1], "seq": [7]}), column_list=["seq"], batch_id=("s", 2))
        # Below the sequence of the batch before: late, as if each batch had a version of its own.
        appender.apply(pa.table({"id": [1], "v": ["late"], "seq": [6]}), column_list=["v"], batch_id=("s", 3))
    assert shown(table) == [(1, "a", 7)]
    assert [row["reason"] for row in table.quarantined().to_pylist()] == ["late partial mod"]
    merged = table.merge()
    assert (merged.quarantined, merged.counts.mods) == (1, 3)
    assert [(row["version"], row["reason"]) for row in table.quarantined().to_pylist()] == [(1, "late partial mod")]
    assert shown(table) == [(1, "a", 7)]


def test_bad_input_is_raised_by_its_own_call_alone() -> None:
    table = create()
    with table.appender(max_delay=LONG) as appender:
        good = appender.apply(rows((1, "a", 1)), batch_id=("s", 1))
        with pytest.raises(BadModsError):
            appender.apply(rows((None, "a", 1)), batch_id=("s", 2))
        with pytest.raises(SequenceTieError) as tie:
            appender.apply(rows((1, "a", 1), (1, "b", 1)), batch_id=("s", 3))
        assert tie.value.table == table.url
        with pytest.raises(SchemaMismatchError):
            appender.apply(pa.table({"id": [1]}), batch_id=("s", 4))
        for wrong in ({"merge": True}, {"job": "x"}, {"no_such": 1}, {"batch_id": 7}):
            with pytest.raises(OptionError):
                appender.apply(rows((1, "a", 1)), **wrong)
        other = appender.apply(rows((2, "b", 1)), batch_id=("s", 5))
    assert good.result().version == other.result().version == 1
    assert shown(table) == [(1, "a", 1), (2, "b", 1)]
    with pytest.raises(OptionError, match="closed"):
        appender.apply(rows((1, "a", 1)))
    for wrong in ({"max_delay": -1}, {"max_delay": "1"}, {"max_bytes": -1}, {"max_delay": True}):
        with pytest.raises(OptionError):
            table.appender(**wrong)


def test_replays_are_recognised_one_by_one() -> None:
    table = create()
    table.apply(rows((1, "a", 1)), batch_id=("s", 1))
    for _ in range(12):
        table.apply(rows((9, "z", 1)))
    with table.appender(max_delay=LONG) as appender:
        old = appender.apply(rows((1, "a", 1)), batch_id=("s", 1))
        new = appender.apply(rows((2, "b", 1)), batch_id=("s", 2))
        same = appender.apply(rows((2, "b", 1)), batch_id=("s", 2))
        conflict = appender.apply(rows((3, "c", 1)), batch_id=("s", 2))
        last = appender.apply(rows((4, "d", 1)), batch_id=("s", 4))
        appender.flush()
        assert isinstance(conflict.exception(), BatchConflictError)
    assert (old.result().version, old.result().replayed) == (1, True)
    assert (new.result().version, new.result().replayed) == (14, False)
    assert (same.result().version, same.result().replayed, same.result().upserts) == (14, True, 1)
    assert last.result().version == 14
    assert table.version == 14
    assert [batch.id for batch in table.manifest(14).batches] == ["i:2", "i:4"]
    assert shown(table) == [(1, "a", 1), (2, "b", 1), (4, "d", 1), (9, "z", 1)]
    repeat = table.apply(rows((2, "b", 1)), batch_id=("s", 2))
    assert (repeat.version, repeat.replayed, repeat.upserts) == (14, True, 1)


def test_a_group_of_replays_alone_makes_no_version() -> None:
    storage = MemoryStorage()
    table = create(storage)
    with table.appender(max_delay=LONG) as appender:
        appender.apply(rows((1, "a", 1)), batch_id=("s", 1))
        appender.apply(rows((2, "b", 1)), batch_id=("s", 2))
    files = {info.path for info in storage.list("_andes/mods")}
    with ModTable.open(storage).appender(max_delay=LONG) as appender:
        futures = [
            appender.apply(rows((number, value, 1)), batch_id=("s", number)) for number, value in ((2, "b"), (1, "a"))
        ]
    assert [(future.result().version, future.result().replayed) for future in futures] == [(1, True)] * 2
    assert table.version == 1
    assert {info.path for info in storage.list("_andes/mods")} == files


def test_another_writer_commits_a_batch_of_the_group_first() -> None:
    storage = MemoryStorage()
    create(storage)
    tapped = TappedStorage(storage)
    table = ModTable.open(tapped)
    other = ModTable.open(storage)

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_andes/manifests"):
            tapped.tap = None
            other.apply(rows((2, "b", 1)), batch_id=("s", 2))

    appender = table.appender(max_delay=LONG)
    futures = [appender.apply(rows((number, value, 1)), batch_id=("s", number)) for number, value in enumerate("abcd")]
    tap_thread(tapped, appender, tap)
    appender.close()
    results = [future.result() for future in futures]
    assert [(result.version, result.replayed) for result in results] == [(2, False), (2, False), (1, True), (2, False)]
    assert [batch.id for batch in table.manifest(2).batches] == ["i:0", "i:1", "i:3"]
    assert shown(table) == [(0, "a", 1), (1, "b", 1), (2, "b", 1), (3, "d", 1)]
    assert ModTable.open(storage).verify().ok


def test_groups_end_by_bytes_and_large_batches_go_alone_in_order() -> None:
    table = create()
    small, large = rows((1, "a", 1)), rows(*((number, "x" * 100, 2) for number in range(50)))
    with table.appender(max_delay=LONG, max_bytes=2 * small.nbytes + 40) as appender:
        futures = [
            appender.apply(batch, batch_id=("s", number)) for number, batch in enumerate([small, large, small, small])
        ]
        reader = pa.RecordBatchReader.from_batches(small.schema, large.to_batches(max_chunksize=10))
        futures.append(appender.apply(reader, batch_id=("s", 9)))
    results = [future.result() for future in futures]
    versions = [result.version for result in results]
    assert versions == sorted(versions)
    assert len({versions[0], versions[1], versions[2]}) == 3
    assert (results[1].upserts, results[4].upserts, results[4].replayed) == (50, 50, False)
    assert table.verify().ok


def test_a_batch_waits_no_longer_than_the_delay() -> None:
    table = create()
    with table.appender(max_delay=0.05) as appender:
        begun = time.monotonic()
        assert appender.apply(rows((1, "a", 1))).result(timeout=20).version == 1
        assert time.monotonic() - begun < 10
        assert appender.apply(rows((1, "b", 2))).result(timeout=20).version == 2
    with table.appender(max_delay=0) as appender:
        assert appender.apply(rows((1, "c", 3))).result(timeout=20).version == 3


def test_the_end_of_a_block_merges_as_the_policy_says_and_the_table_can_be_used_meanwhile() -> None:
    table = create(merge="always")
    with table.appender(max_delay=LONG) as appender:
        future = appender.apply(rows((1, "a", 1)), batch_id=("s", 1))
        assert table.apply(rows((2, "b", 1)), batch_id=("s", 2)).version == 1
        assert shown(table) == [(2, "b", 1)]
    result = future.result()
    assert result.version == 2
    assert result.merge is not None
    assert result.merge.applied == 2
    assert ModTable.open(table._open_table.storage).status().pending_versions == 0


def test_threads() -> None:
    """Batches of many threads: each applied once, whatever the groups; every thread's order holds."""
    table = create()
    threads, batches = 8, 30

    def send(thread: int) -> list[Any]:
        futures = []
        for number in range(batches):
            mods = rows((thread, f"{number}", number), (100, f"{thread}", number * threads + thread))
            futures.append(appender.apply(mods, batch_id=(f"s{thread}", number)))
            if number % 10 == 9:
                wait(futures)
        return futures

    with table.appender(max_delay=0.02) as appender, ThreadPoolExecutor(threads) as pool:
        sent = list(pool.map(send, range(threads)))
    results = [future.result() for futures in sent for future in futures]
    assert not any(result.replayed for result in results)
    assert table.version < len(results) / 2
    ids = [(batch.source, batch.id) for entry in table.history() for batch in entry.batches]
    assert len(ids) == len(set(ids)) == threads * batches
    for futures in sent:
        versions = [future.result().version for future in futures]
        assert versions == sorted(versions)
    last = [(thread, f"{batches - 1}", batches - 1) for thread in range(threads)]
    assert shown(table) == [*last, (100, f"{threads - 1}", batches * threads - 1)]
    table.merge()
    assert shown(table) == [*last, (100, f"{threads - 1}", batches * threads - 1)]
    assert table.verify().ok


class Odd(MemoryStorage):
    """A store whose next puts of manifests are answered otherwise."""

    answer: Any = None

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        if self.answer is None or not path.startswith("_andes/manifests"):
            return super().put_if_absent(path, data)
        outcome: PutOutcome = self.answer(lambda: MemoryStorage.put_if_absent(self, path, data))
        return outcome


@pytest.mark.parametrize("happens", [True, False])
def test_an_unknown_outcome_reaches_every_batch_and_all_can_be_sent_again(happens: bool) -> None:
    storage = Odd()
    create(storage)
    table = ModTable.open(storage, settings=Settings(commit_seconds=0.1))
    hidden = {"find": storage.find}

    def unknown(put: Any) -> PutOutcome:
        if happens:
            put()
        storage.find = lambda path: None if path.startswith("_andes/manifests") else hidden["find"](path)  # type: ignore[method-assign]
        return PutOutcome.UNKNOWN

    appender = table.appender(max_delay=LONG)
    batches = [rows((number, "a", 1)) for number in range(3)]
    futures = [appender.apply(batch, batch_id=("s", number)) for number, batch in enumerate(batches)]
    storage.answer = unknown
    with pytest.raises(AppendError) as caught:
        appender.close()
    assert [batch_id.id for batch_id, _ in caught.value.failures or ()] == [0, 1, 2]
    assert "3 of 3 batches failed" in str(caught.value)
    errors = [future.exception() for future in futures]
    assert all(isinstance(error, CommitUnknownError) for error in errors)
    assert len(set(map(id, errors))) == 3
    storage.answer = None
    storage.find = hidden["find"]  # type: ignore[method-assign]
    with ModTable.open(storage).appender(max_delay=LONG) as reopened:
        futures = [reopened.apply(batch, batch_id=("s", number)) for number, batch in enumerate(batches)]
    assert [(future.result().version, future.result().replayed) for future in futures] == [(1, happens)] * 3
    assert shown(ModTable.open(storage)) == [(0, "a", 1), (1, "a", 1), (2, "a", 1)]
    assert ModTable.open(storage).verify().ok


def test_errors_that_were_read_are_not_raised_again_and_do_not_hide_the_blocks_own() -> None:
    storage = Odd()
    create(storage)
    table = ModTable.open(storage)

    def fails(put: Any) -> PutOutcome:
        raise StorageError("the store is gone", path="?")

    storage.answer = fails
    with table.appender(max_delay=LONG) as appender:
        future = appender.apply(rows((1, "a", 1)), batch_id=("s", 1))
        appender.flush()
        with pytest.raises(StorageError):
            future.result()
    with pytest.raises(AttributeError) as caught, table.appender(max_delay=LONG) as appender:
        appender.apply(rows((1, "a", 1)), batch_id=("s", 1)).no_such_method()  # type: ignore[attr-defined]
    assert "1 of 1 batches failed" in caught.value.__notes__[0]
    storage.answer = None
    with table.appender(max_delay=LONG) as appender:
        assert not appender.apply(rows((1, "a", 1)), batch_id=("s", 1)).done()
    assert shown(table) == [(1, "a", 1)]


class KilledError(BaseException):
    """The end of the process, as the store sees it."""


@pytest.mark.slow
@pytest.mark.parametrize("happens", [True, False])
def test_a_process_killed_at_any_request_and_its_batches_sent_again(happens: bool) -> None:
    """Whatever was committed: sent again in other groups, each batch counts once."""
    batches = [rows((number % 3, f"{number}", number)) for number in range(5)]
    for stop in itertools.count(1):
        storage = MemoryStorage()
        create(storage, merge="always")
        left = stop
        tapped = TappedStorage(storage)
        table = ModTable.open(tapped)
        alive = True

        def tap(kind: str, path: str) -> None:
            nonlocal left, alive
            left -= kind != "get"
            if left <= 0 and (not happens or left < 0):
                alive = False
                raise KilledError

        appender = table.appender(max_delay=LONG)
        for number, batch in enumerate(batches):
            appender.apply(batch, batch_id=("s", number))
        tap_thread(tapped, appender, tap)
        try:
            appender.close()
        except AppendError:
            assert not alive
        resend = random.Random(stop)
        with ModTable.open(storage).appender(max_delay=LONG, max_bytes=resend.choice((0, 100, 10_000))) as reopened:
            futures = [reopened.apply(batch, batch_id=("s", number)) for number, batch in enumerate(batches)]
        results = [future.result() for future in futures]
        fresh = ModTable.open(storage)
        ids = [(batch.source, batch.id) for entry in fresh.history() for batch in entry.batches]
        assert sorted(ids) == [("s", f"i:{number}") for number in range(5)]
        assert all(result.upserts == 1 for result in results)
        assert shown(fresh) == [(0, "3", 3), (1, "4", 4), (2, "2", 2)]
        assert fresh.verify().ok
        if alive:
            assert stop > 5
            break


def test_a_group_costs_the_requests_of_one_append() -> None:
    def requests(count: int) -> int:
        table = create()
        with table.appender(max_delay=LONG) as appender:
            appender.apply(rows((1, "a", 1)), batch_id=("s", 0))
            appender.flush()
            before = table._open_table.storage.counts.snapshot()
            for number in range(count):
                appender.apply(rows((number, "b", 2)), batch_id=("s", number + 1))
            appender.flush()
            return table._open_table.storage.counts.minus(before).requests

    assert requests(100) == requests(1)


def send_batches(folder: str, ready: Any) -> None:
    """Send batches by four threads until the process ends."""
    table = ModTable.open(folder)

    def send(source: int) -> None:
        for number in range(500):
            appender.apply(rows((source * 1000 + number, f"{number}", number)), batch_id=(f"s{source}", number))
            time.sleep(0.001)

    with table.appender(max_delay=0.01) as appender, ThreadPoolExecutor(4) as pool:
        ready.set()
        list(pool.map(send, range(4)))


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.05, 0.2, 0.5])
def test_a_killed_process(delay: float, tmp_path: Path) -> None:
    """Another process sends all batches again: what was committed is replayed, the rest is applied."""
    folder = str(tmp_path / "t")
    create(folder, merge="always")
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=send_batches, args=(folder, ready))
    process.start()
    assert ready.wait(60)
    time.sleep(delay)
    process.kill()
    process.join()
    table = ModTable.open(folder)
    committed = {(batch.source, batch.id) for entry in table.history() for batch in entry.batches}
    with table.appender(max_delay=LONG) as appender:
        futures = {
            (source, number): appender.apply(
                rows((source * 1000 + number, f"{number}", number)), batch_id=(f"s{source}", number)
            )
            for source in range(4)
            for number in range(500)
        }
    for (source, number), future in futures.items():
        assert future.result().replayed == ((f"s{source}", f"i:{number}") in committed)
    ids = [(batch.source, batch.id) for entry in table.history() for batch in entry.batches]
    assert len(ids) == len(set(ids)) == 2000
    assert len(table.to_arrow()) == 2000
    assert table.verify().ok
