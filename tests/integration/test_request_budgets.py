"""Requests of each verb on S3, and the longest chain of them: they repeat exactly, and a change that adds one fails.

The proxy adds a delay, so that requests that begin together are seen together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta.log import load_state
from andes_spark.model.results import ApplyResult
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server
from tests.table.test_foreign_writes import foreign_commit, removal

pytestmark = pytest.mark.integration
DELAY = 0.1
ROWS = 2_000
MOST_CALLS = 6
SETTINGS = Settings(compact_bytes=0, checkpoint_interval=1_000)


@dataclass
class Bench:
    """A table on S3 behind the proxy; ``sequence`` of the newest batch."""

    url: str
    options: dict[str, str]
    meter: Meter
    server_options: dict[str, str]
    sequence: int = 0

    def open(self) -> ModTable:
        return ModTable.open(self.url, storage_options=self.options, settings=SETTINGS)

    def apply(self, table: ModTable, **options: Any) -> ApplyResult:
        self.sequence += 1
        keys = [(7 * self.sequence + 13 * number) % ROWS for number in range(20)]
        mods = pa.table({"id": sorted(set(keys)), "lsn": [self.sequence] * len(set(keys))})
        return table.apply(mods, batch_id=("s", self.sequence), **options)

    def append_elsewhere(self, count: int) -> None:
        table = ModTable.open(self.url, storage_options=self.server_options, settings=SETTINGS)
        for _ in range(count):
            self.apply(table, merge=False)

    def cost(
        self,
        verb: Callable[[], object],
        rounds: int,
        *,
        times: int = 3,
        before: Callable[[], object] = lambda: None,
    ) -> Cost:
        """The cost of a verb that costs the same each time, and may take so many rounds.

        On a busy machine a request may begin so late that it seems to follow another: the fewest rounds count, of more
        calls while they are too many. A chain of requests that the verb needs is there in every call.
        """
        costs: list[Cost] = []
        while len(costs) < times or (len(costs) < MOST_CALLS and all(cost.rounds > rounds for cost in costs)):
            before()
            with self.meter.verb():
                verb()
            costs.append(self.meter.cost)
        return min(costs, key=lambda cost: cost.rounds)


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server, delay=DELAY) as proxy:
        yield proxy


@pytest.fixture
def bench(s3_server: S3Server, proxy: FaultProxy) -> Bench:
    """A table of two merged versions, the second of which has a deletion vector."""
    url = f"s3://{s3_server.make_bucket()}/t"
    data = pa.table({"id": range(ROWS), "lsn": [0] * ROWS})
    ModTable.create(
        url, "id bigint, lsn bigint", primary_key=["id"], sequence_by=["lsn"], data=data,
        storage_options=s3_server.options, settings=SETTINGS,
    )  # fmt: skip
    created = Bench(url, s3_server.options, Meter(proxy), s3_server.options)
    table = created.open()
    created.apply(table)
    created.apply(table)
    created.options = proxy.options
    return created


def test_warm_append(bench: Bench) -> None:
    table = bench.open()
    bench.apply(table, merge=False)
    cost = bench.cost(lambda: bench.apply(table, merge=False), 2)
    # The head and the version after it beside the mods, then the manifest; the hint follows the answer.
    assert (cost.kinds, cost.rounds, cost.later) == ({"GET": 2, "PUT": 2}, 2, 1), cost.paths


def test_warm_append_with_a_roll_up(bench: Bench) -> None:
    table = bench.open()

    def append_before() -> None:
        while table.version % 10 != 9:
            bench.apply(table, merge=False)

    # Beside the mods: the file of the ledger, into which the last one of this handle is folded, and the note.
    cost = bench.cost(lambda: bench.apply(table, merge=False), 2, times=2, before=append_before)
    assert (cost.kinds, cost.rounds, cost.later) == ({"GET": 3, "PUT": 3}, 2, 1), cost.paths
    assert table.manifest(table.version).roll_up is not None


def test_warm_apply_with_its_merge_and_a_roll_up(bench: Bench) -> None:
    table = bench.open()

    def apply_before() -> None:
        while table.version % 10 != 9:
            bench.apply(table)

    cost = bench.cost(lambda: bench.apply(table), 3, times=2, before=apply_before)
    assert (cost.kinds, cost.rounds, cost.later) == ({"GET": 4, "PUT": 7}, 3, 3), cost.paths


def test_warm_apply_with_its_merge_and_a_compaction(bench: Bench) -> None:
    settings = replace(SETTINGS, compact_bytes=Settings().compact_bytes)
    table = ModTable.open(bench.url, storage_options=bench.options, settings=settings)

    def compacted(result: ApplyResult) -> bool:
        assert result.merge is not None
        return result.merge.compaction.files_removed > 0

    def apply_before() -> None:
        # Small files are packed together with every third one that is added.
        while not compacted(bench.apply(table)):
            pass
        bench.apply(table)
        bench.apply(table)

    def apply_compacting() -> None:
        assert compacted(bench.apply(table))

    cost = bench.cost(apply_compacting, 6, times=2, before=apply_before)
    # After the merge: four small files beside each other, the file that replaces them, its Delta entry. The vector of
    # the one that was packed before is read as well, once it has deleted rows.
    vectors = sum(path.startswith("GET") and "deletion_vector" in path for path in cost.paths)
    assert vectors <= 1
    assert (cost.kinds, cost.rounds, cost.later) == ({"GET": 8 + vectors, "PUT": 8}, 6, 3), cost.paths


def test_many_batches_of_an_appender(bench: Bench) -> None:
    table = bench.open()
    mods = [pa.table({"id": [number], "lsn": [1_000 + number]}) for number in range(100)]
    with table.appender(max_delay=600, merge=False) as appender:
        for number, batch in enumerate(mods[:3]):
            appender.apply(batch, batch_id=("first", number))
            appender.flush()
        with bench.meter.verb():
            for number, batch in enumerate(mods):
                appender.apply(batch, batch_id=("many", number))
            appender.flush()
    # As an append of one batch, see above.
    cost = bench.meter.cost
    assert (cost.kinds, cost.rounds, cost.later) == ({"GET": 2, "PUT": 2}, 2, 1), cost.paths


def test_warm_apply_with_its_merge(bench: Bench) -> None:
    table = bench.open()
    bench.apply(table)
    bench.apply(table)
    cost = bench.cost(lambda: bench.apply(table), 3)
    # Mods, rows, vector and all questions; manifest and record; Delta entry.
    assert (cost.kinds, cost.rounds) == ({"GET": 4, "PUT": 6}, 3), cost.paths
    assert cost.later == 3


def test_cold_open(bench: Bench) -> None:
    cost = bench.cost(bench.open, 2)
    # The hints of log and base, then all manifests since the roll-up and two beyond.
    assert (cost.kinds, cost.rounds, cost.later) == ({"GET": 7}, 2, 0), cost.paths


def test_cold_open_and_append(bench: Bench) -> None:
    with bench.meter.verb():
        bench.apply(bench.open(), merge=False)
    cost = bench.meter.cost
    # Beside the mods: head, next version, list of merge records; then the time that the mods got, and the manifest.
    assert (cost.kinds, cost.later) == ({"GET": 10, "PUT": 2, "HEAD": 1}, 1), cost.paths
    assert bench.cost(lambda: bench.apply(bench.open(), merge=False), 5).rounds == 5


def test_cold_open_and_apply_with_its_merge(bench: Bench) -> None:
    with bench.meter.verb():
        bench.apply(bench.open())
    cost = bench.meter.cost
    # Hints; manifests since the roll-up and two beyond; the head again, the state of the base, and the mods; files of
    # the base and vectors with the keys; the time that the mods got, rows and vector; manifest and record; Delta entry.
    assert (cost.kinds, cost.later) == ({"GET": 17, "PUT": 6, "HEAD": 1}, 3), cost.paths
    assert bench.cost(lambda: bench.apply(bench.open()), 8).rounds == 8


@pytest.mark.parametrize(("verb", "rounds", "requests"), [("to_arrow", 4, 17), ("status", 3, 14)])
def test_cold_reads(bench: Bench, verb: str, rounds: int, requests: int) -> None:
    cost = bench.cost(lambda: getattr(bench.open(), verb)(), rounds)
    assert cost.rounds <= rounds, cost.paths
    assert cost.kinds == {"GET": requests}, cost.paths


@pytest.mark.parametrize("count", [1, 20])
def test_cold_open_and_merge_of_pending_appends(bench: Bench, count: int) -> None:
    def merge() -> None:
        assert bench.open().merge().status == "merged"

    def append() -> None:
        bench.append_elsewhere(count)

    cost = bench.cost(merge, 9, times=1, before=append)
    # Open; the state of the base; all files of mods, once each; files of the base and vectors with the keys; rows and
    # vector; record; Delta entry.
    assert cost.rounds <= 9, cost.paths
    assert cost.requests <= 25 + count, cost.paths
    reads = [path for path in cost.paths if "/_andes/mods/" in path]
    assert len(reads) == len(set(reads)) == count


@pytest.mark.parametrize("count", [1, 3])
def test_an_append_that_other_writers_are_ahead_of(bench: Bench, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer comes first between the look at the log and the put of the manifest."""
    warm = bench.open()
    bench.apply(warm, merge=False)
    true = warm._open_table.log.ask_newer
    monkeypatch.setattr(warm._open_table.log, "ask_newer", lambda **options: true(**{**options, "look_ahead": False}))
    cost = bench.cost(lambda: bench.apply(warm, merge=False), 4, before=lambda: bench.append_elsewhere(count))
    # Mods beside the head; manifest; the version that came first beside three later ones; manifest.
    assert cost.rounds <= 4, cost.paths
    assert cost.requests <= 8, cost.paths


@pytest.mark.parametrize("count", [1, 20])
def test_cold_open_and_read_of_pending_appends(bench: Bench, count: int) -> None:
    bench.append_elsewhere(count)
    cost = bench.cost(lambda: bench.open().to_arrow(), 7)
    assert cost.rounds <= 7, cost.paths
    assert cost.requests <= 24 + count, cost.paths
    reads = [path for path in cost.paths if "/_andes/mods/" in path]
    assert len(reads) == len(set(reads)) == count


def test_a_handle_that_was_idle_goes_on_from_the_hint(bench: Bench) -> None:
    busy = bench.open()
    idle = [bench.open() for _ in range(MOST_CALLS)]
    for _ in range(60):
        bench.apply(busy, merge=False)
    versions = []
    cost = bench.cost(lambda: versions.append(idle.pop().version), 3, times=1)
    assert set(versions) == {busy.version}
    assert cost.rounds <= 3, cost.paths
    assert cost.requests <= 7, cost.paths


@pytest.fixture
def hundred(s3_server: S3Server, proxy: FaultProxy) -> Bench:
    """A table of a hundred files, ten of which may hold each key, with deletion vectors."""
    url = f"s3://{s3_server.make_bucket()}/t"
    data = pa.table({"id": range(0, 20 * ROWS, 2), "lsn": [0] * 10 * ROWS, "text": ["x"] * 10 * ROWS})
    ModTable.create(
        url, "id bigint, lsn bigint, text string", primary_key=["id"], sequence_by=["lsn"], data=data,
        storage_options=s3_server.options, settings=replace(SETTINGS, target_file_bytes=data.nbytes // 2 // 90),
    )  # fmt: skip
    created = Bench(url, s3_server.options, Meter(proxy), s3_server.options)
    table = created.open()
    for number in range(10):
        mods = pa.table({"id": [4 * number, 20 * ROWS - 2], "lsn": [number + 1] * 2, "text": ["y"] * 2})
        table.apply(mods, batch_id=("s", number))
    assert table.status().files >= 100
    created.options = proxy.options
    return created


def test_cold_open_and_get_of_one_key(hundred: Bench) -> None:
    def get() -> None:
        # In the first file, and within the range of the ten files of the merges.
        assert hundred.open().get(1002)["text"].to_pylist() == ["x"]

    cost = hundred.cost(get, 4)
    # Open, two rounds; Delta entries; the files of the base whole, which are small.
    assert cost.rounds <= 4, cost.paths
    assert cost.requests <= 30, cost.paths


def test_warm_get_of_one_key(hundred: Bench) -> None:
    table = hundred.open()
    table.get(1002)
    cost = hundred.cost(lambda: table.get(1002), 2)
    # The next manifest and the next Delta entry; files of the base and vectors.
    assert cost.rounds <= 2, cost.paths
    assert cost.requests <= 16, cost.paths


def test_restore(bench: Bench) -> None:
    table = bench.open()
    table.restore(1, merge=False)
    # The head, the base, the files of its older state, which is in memory and whose files must exist; the manifest.
    cost = bench.cost(lambda: table.restore(1, merge=False), 4)
    assert cost.rounds <= 4, cost.paths
    assert cost.requests <= 5, cost.paths
    # The merge; record and Delta entry follow it.
    cost = bench.cost(lambda: table.restore(1), 8)
    assert cost.rounds <= 8, cost.paths
    assert cost.requests <= 13, cost.paths
    cost = bench.cost(lambda: bench.open().restore(1), 17)
    assert cost.rounds <= 17, cost.paths
    assert cost.requests <= 48, cost.paths


def test_reads_one_merge_back(bench: Bench) -> None:
    opened = [bench.open() for _ in range(MOST_CALLS)]
    for table in opened:
        table.to_arrow()
    handles = iter(opened)
    # The next Delta entry, the entries before the newest, state and record, vectors, which must exist, and the data.
    cost = bench.cost(lambda: next(handles).to_arrow(version=1), 5)
    assert cost.rounds <= 5, cost.paths
    assert cost.requests <= 8, cost.paths
    # The older state is kept.
    cost = bench.cost(lambda: opened[0].to_arrow(version=1), 3)
    assert (cost.kinds, cost.rounds) == ({"GET": 4, "HEAD": 1}, 3), cost.paths
    # As that before a merge of the same handle is.
    bench.apply(opened[0])
    cost = bench.cost(lambda: opened[0].to_arrow(version=2), 3)
    assert cost.rounds <= 3, cost.paths
    cost = bench.cost(lambda: bench.open().to_arrow(version=1), 7)
    assert cost.rounds <= 7, cost.paths
    assert cost.requests <= 24, cost.paths


def test_alter(bench: Bench) -> None:
    names = iter(f"c{number}" for number in range(100))
    table = bench.open()
    table.alter.add_column(next(names), "STRING")
    # The head and the version after it, then the manifest; the merge asks for the base, then record and Delta entry.
    cost = bench.cost(lambda: table.alter.add_column(next(names), "STRING"), 5)
    assert cost.rounds <= 5, cost.paths
    assert cost.requests <= 9, cost.paths
    table.alter.set(merge="manual")
    cost = bench.cost(lambda: table.alter.add_column(next(names), "STRING"), 2)
    assert (cost.kinds, cost.rounds) == ({"GET": 2, "PUT": 1}, 2), cost.paths


def test_tag_and_read_by_it(bench: Bench) -> None:
    names = iter(f"t{number}" for number in range(100))
    table = bench.open()
    table.tag(next(names), 1)
    cost = bench.cost(lambda: table.tag(next(names), 1), 2)
    # The head and the version after it, then the manifest; the hint follows the answer.
    assert (cost.kinds, cost.rounds, cost.later) == ({"GET": 2, "PUT": 1}, 2, 1), cost.paths
    # Open; head, next version and list of merge records; the time of the store; the manifest.
    assert bench.cost(lambda: bench.open().tag(next(names), 1), 6).rounds <= 6
    # A tag that is known costs the look for a newer version, a time of the newest versions nothing.
    table.to_arrow()
    by_version = bench.cost(lambda: table.to_arrow(version=1), 3)
    assert (by_version.requests, by_version.rounds) == (5, 3), by_version.paths
    by_tag = bench.cost(lambda: table.to_arrow(tag="t0"), by_version.rounds + 1)
    assert by_tag.rounds <= by_version.rounds + 1, by_tag.paths
    assert by_tag.requests <= by_version.requests + 1, by_tag.paths
    time = table.history(limit=2)[1].time
    assert bench.cost(lambda: table.to_arrow(timestamp=time), 2).rounds <= 2
    assert bench.cost(lambda: bench.open().tags(), 3).rounds <= 3


def test_repair_of_a_foreign_write(bench: Bench) -> None:
    stored: Any = S3Storage(bench.url, bench.server_options)
    table = bench.open()

    def changed() -> None:
        state = load_state(stored)
        foreign_commit(stored, "DELETE", *removal(stored))
        assert load_state(stored).version == state.version + 1

    # The entry and the end of the Delta log, the record, the log; files of both states, and their keys and rows where
    # they differ; the Delta entry, which is read back. One more round and the clock, manifest and merge for a take-in.
    cost = bench.cost(lambda: table.repair("undo"), 18, before=changed)
    assert cost.rounds <= 18, cost.paths
    assert cost.requests <= 34, cost.paths
    changed()
    with bench.meter.verb():
        table.repair("take_in")
    cost = bench.meter.cost
    assert cost.rounds <= 30, cost.paths
    assert cost.requests <= 58, cost.paths
