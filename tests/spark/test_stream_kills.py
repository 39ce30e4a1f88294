"""A stream whose processes are killed at any moment: every row of the feed is applied, and none twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from andes_spark.table.mod_table import ModTable

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
FILES, ROWS, KEYS, KILLS = 24, 5, 7, 4
PROGRAM = """
import sys
from andes_spark import ModTable, spark_session

folder, jars = sys.argv[1:]
spark = spark_session("feed", master="local[1]", cache_dir=jars, config={"spark.sql.shuffle.partitions": "1"})
rows = spark.readStream.schema("id BIGINT, lsn BIGINT, op STRING").option("maxFilesPerTrigger", 1)
stream = ModTable.open(folder + "/table").apply_stream(
    rows.json(folder + "/feed"),
    source="feed",
    checkpoint=folder + "/checkpoint",
    trigger="available now",
    apply_as_deletes="op = 'D'",
)
stream.await_termination()
"""


def write_feed(feed: Path) -> dict[int, int]:
    """Write the files of the feed; return the sequence of each key that is alive at the end."""
    feed.mkdir()
    alive: dict[int, int] = {}
    for number in range(FILES):
        numbers = range(number * ROWS, (number + 1) * ROWS)
        rows = [{"id": lsn % KEYS, "lsn": lsn, "op": "U" if lsn % 4 else "D"} for lsn in numbers]
        for lsn in numbers:
            alive.pop(lsn % KEYS, None)
            if lsn % 4:
                alive[lsn % KEYS] = lsn
        path = feed / f"{number:03d}.json"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        os.utime(path, (1_700_000_000 + number,) * 2)
    return alive


def start(folder: Path, jars_dir: Path) -> subprocess.Popen[bytes]:
    with (folder / "errors").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), str(jars_dir)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )


def kill_at(process: subprocess.Popen[bytes], table: ModTable, version: int, wait: float) -> None:
    """Kill a driver and its JVM some time after a version."""
    deadline = time.monotonic() + 180
    while ModTable.open(table.url).version < version:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL


def test_processes_killed_in_a_stream(jars_dir: Path, tmp_path: Path) -> None:
    alive = write_feed(tmp_path / "feed")
    table = ModTable.create(tmp_path / "table", "id BIGINT, lsn BIGINT", primary_key="id", sequence_by="lsn")
    random_wait = random.Random(11)
    for kill in range(KILLS):
        kill_at(start(tmp_path, jars_dir), table, 1 + kill * FILES // (KILLS + 1), random_wait.random() / 2)
    assert 1 + (KILLS - 1) * FILES // (KILLS + 1) <= ModTable.open(table.url).version < FILES
    last = start(tmp_path, jars_dir)
    assert last.wait(240) == 0, (tmp_path / "errors").read_text()[-3000:]

    table = ModTable.open(table.url)
    batches = [batch for entry in table.history() for batch in entry.batches]
    # A source killed between its own log and that of the query gives two files to the next batch.
    assert FILES - KILLS <= len(batches) <= FILES
    assert {batch.id for batch in batches} == {f"i:{number}" for number in range(len(batches))}
    assert len({batch.source for batch in batches}) == 1
    assert sum(entry.counts.received for entry in table.history()) == FILES * ROWS
    assert {row["id"]: row["lsn"] for row in table.to_arrow().to_pylist()} == alive
    assert table.verify().ok
