"""Several processes on one table: no batch is lost, none counts twice."""

from __future__ import annotations

import multiprocessing
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pytest

from andes_spark.model.results import MergeCounts
from andes_spark.settings import Settings
from andes_spark.table.mod_table import ModTable

pytestmark = pytest.mark.faults

WRITERS, BATCHES, MERGERS = 3, 10, 2
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("lsn", pa.int64(), nullable=False),
        pa.field("writer", pa.int64()),
        pa.field("shared", pa.bool_()),
    ]
)


def rows_of(writer: int, number: int) -> pa.Table:
    """Two keys of the writer's own, one new and one that it writes each time, and one that all writers write."""
    lsn = number * WRITERS + writer
    rows = [
        {"id": 1000 * (writer + 1) + number, "lsn": lsn, "writer": writer, "shared": False},
        {"id": 1000 * (writer + 1) + 999, "lsn": lsn, "writer": writer, "shared": False},
        {"id": 1, "lsn": lsn, "writer": writer, "shared": True},
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write(path: str, writer: int, start: object) -> None:
    table = ModTable.open(path, settings=Settings(threads=1))
    start.wait()  # type: ignore[attr-defined]
    for number in range(BATCHES):
        for attempt in (1, 2):
            result = table.apply(rows_of(writer, number), batch_id=(f"writer {writer}", number), merge=False)
            assert result.replayed == (attempt == 2)


def merge(path: str, start: object) -> None:
    table = ModTable.open(path, settings=Settings(threads=1))
    start.wait()  # type: ignore[attr-defined]
    for _ in range(15):
        assert table.merge().status in ("merged", "nothing", "skipped")


def apply_same(path: str, start: object, answers: object) -> None:
    table = ModTable.open(path, settings=Settings(threads=1))
    start.wait()  # type: ignore[attr-defined]
    outcomes = []
    for number in range(10):
        result = table.apply(rows_of(0, number), batch_id=("one", number), merge=False)
        outcomes.append((number, result.version, result.replayed))
    answers.put(outcomes)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_racing_writers_and_mergers_lose_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    ModTable.create(path, SCHEMA, primary_key=["id"], sequence_by=["lsn"], merge="manual")
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(WRITERS + MERGERS)
    workers = [spawn.Process(target=write, args=(path, writer, start)) for writer in range(WRITERS)]
    workers += [spawn.Process(target=merge, args=(path, start)) for _ in range(MERGERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
    table = ModTable.open(path)
    assert table.version == WRITERS * BATCHES
    batches = [(batch.source, batch.id) for entry in table.history() for batch in entry.batches]
    assert len(set(batches)) == len(batches) == WRITERS * BATCHES
    table.merge()
    last = BATCHES - 1
    expected = {1: last * WRITERS + WRITERS - 1}
    for writer in range(WRITERS):
        expected |= {1000 * (writer + 1) + n: n * WRITERS + writer for n in range(BATCHES)}
        expected[1000 * (writer + 1) + 999] = last * WRITERS + writer
    rows = table.to_arrow().to_pylist()
    assert len(rows) == len(expected)
    assert {row["id"]: row["lsn"] for row in rows} == expected
    names = [field.name for field in fields(MergeCounts) if not field.name.startswith("ties")]
    assert sum(getattr(merged, name) for merged in table.merges() for name in names) == WRITERS * BATCHES * 3
    checked = table.verify()
    assert checked.ok, checked.problems


def test_one_batch_from_two_processes_commits_once(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    ModTable.create(path, SCHEMA, primary_key=["id"], sequence_by=["lsn"], merge="manual")
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(2), spawn.Queue()
    workers = [spawn.Process(target=apply_same, args=(path, start, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    one, two = answers.get(timeout=120), answers.get(timeout=120)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    for (number, version, replayed), (_, other_version, other_replayed) in zip(one, two, strict=True):
        assert version == other_version, number
        assert replayed != other_replayed, number
    table = ModTable.open(path)
    assert table.version == 10
    assert table.verify().ok
