"""Streams into a table: exactly once by checkpoint and batch ids, whatever ends a run."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from andes_spark import ModTable
from andes_spark.errors import BadModsError, OptionError, SchemaMismatchError

DDL = "id BIGINT, lsn BIGINT, v STRING"
FEED = DDL + ", op STRING"


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    folder = tmp_path / "feed"
    folder.mkdir()
    return folder


def write(feed: Path, name: str, *rows: tuple[Any, ...]) -> None:
    """Add a file to a feed, whole at once."""
    lines = [json.dumps(dict(zip(("id", "lsn", "v", "op"), row, strict=True))) for row in rows]
    (feed.parent / name).write_text("\n".join(lines) + "\n")
    # Spark takes files by the time of their last change.
    seconds = 1_700_000_000 + len(list(feed.iterdir()))
    os.utime(feed.parent / name, (seconds, seconds))
    (feed.parent / name).rename(feed / f"{name}.json")


def stream_of(spark, feed: Path):
    return spark.readStream.schema(FEED).option("maxFilesPerTrigger", 1).json(str(feed))


def run(spark, table: ModTable, feed: Path, **options: Any):
    arguments = {"source": "feed", "checkpoint": feed.parent / "checkpoint", "trigger": "available now", **options}
    stream = table.apply_stream(stream_of(spark, feed), apply_as_deletes="op = 'D'", **arguments)
    stream.await_termination()
    return stream


def rows_of(table: ModTable) -> dict[int, str]:
    return {row["id"]: row["v"] for row in table.to_arrow().to_pylist()}


def test_restart_replay_and_a_lost_checkpoint_give_the_same_table(spark, tmp_path: Path, feed: Path) -> None:
    table = ModTable.create(tmp_path / "t", DDL, primary_key="id", sequence_by="lsn")
    write(feed, "a", (1, 1, "one", "U"), (2, 1, "two", "U"))
    write(feed, "b", (2, 2, None, "D"), (3, 2, "three", "U"))
    results: list[Any] = []
    stream = run(spark, table, feed, on_batch=results.append)
    expected = {1: "one", 3: "three"}
    assert rows_of(table) == expected
    assert [result.version for result in results] == [1, 2]
    progress = stream.progress()
    assert (progress.batches, progress.received, progress.replayed, progress.version) == (2, 4, 0, 2)
    assert progress.mods_per_second > 0
    assert "2 batches, 4 rows, version 2" in repr(progress)
    assert "ended" in repr(stream)
    # A run that ended after the commit of the version and before that of the checkpoint.
    newest = max((feed.parent / "checkpoint" / "commits").glob("[0-9]*"), key=lambda path: int(path.name))
    for path in (newest, newest.with_name(f".{newest.name}.crc")):
        path.unlink()
    stream = run(spark, table, feed)
    assert (stream.progress().replayed, stream.progress().received, table.version) == (1, 0, 2)
    write(feed, "c", (1, 3, "uno", "U"))
    run(spark, table, feed)
    assert (rows_of(table), table.version) == ({1: "uno", 3: "three"}, 3)
    shutil.rmtree(feed.parent / "checkpoint")
    stream = run(spark, table, feed)
    assert (stream.progress().batches, stream.progress().replayed) == (3, 0)
    assert rows_of(table) == {1: "uno", 3: "three"}
    assert table.verify().ok
    sources = {batch.source for version in range(1, 4) for batch in table.manifest(version).batches}
    assert len(sources) == 1
    assert next(iter(sources)).startswith("feed/")


def test_a_batch_that_is_refused_ends_the_stream_with_its_error(spark, tmp_path: Path, feed: Path) -> None:
    table = ModTable.create(tmp_path / "t", DDL, primary_key="id", sequence_by="lsn")
    write(feed, "a", (1, 1, "one", "U"))
    write(feed, "b", (None, 1, "bad", "U"))
    with pytest.raises(BadModsError, match="null key: id"):
        run(spark, table, feed)
    assert rows_of(table) == {1: "one"}
    # The same files go on once the cause is gone.
    stream = run(spark, table, feed, max_quarantined=1)
    assert (stream.error, table.version) == (None, 2)
    assert table.quarantined().num_rows == 1


def test_a_continuous_stream_with_merges_beside_it(spark, tmp_path: Path, feed: Path) -> None:
    table = ModTable.create(tmp_path / "t", DDL, primary_key="id", sequence_by="lsn", merge="manual")
    write(feed, "a", (1, 1, "one", "U"))
    stream = table.apply_stream(
        stream_of(spark, feed),
        source="feed",
        checkpoint=tmp_path / "checkpoint",
        trigger="100 milliseconds",
        query_name="orders",
        apply_as_deletes="op = 'D'",
    )
    assert stream.query.name == "orders"
    assert "running" in repr(stream)
    for number in range(2, 5):
        write(feed, str(number), (number, number, str(number), "U"))
        stream.query.processAllAvailable()
        assert table.merge().status == "merged"
    stream.stop()
    assert stream.await_termination(10)
    assert rows_of(table) == {1: "one", 2: "2", 3: "3", 4: "4"}
    assert table.status().pending_versions == 0


def test_what_is_no_stream_is_refused(spark, tmp_path: Path, feed: Path) -> None:
    table = ModTable.create(tmp_path / "t", DDL, primary_key="id", sequence_by="lsn")
    batch, stream = spark.createDataFrame([(1, 1, "x")], DDL), stream_of(spark, feed)
    options: dict[str, Any] = {"source": "s", "checkpoint": str(tmp_path / "checkpoint")}
    with pytest.raises(OptionError, match="is a streaming DataFrame"):
        table.apply_stream(batch, **options)
    with pytest.raises(OptionError, match="makes the batch_id"):
        table.apply_stream(stream, **options, batch_id=("s", 1))
    with pytest.raises(OptionError, match="unknown options 'apply_as_delete'; did you mean"):
        table.apply_stream(stream, **options, apply_as_delete="x")
    with pytest.raises(OptionError, match="trigger is"):
        table.apply_stream(stream, **options, trigger="sometimes")
    with pytest.raises(OptionError, match="source is a name"):
        table.apply_stream(stream, source="", checkpoint="x")
    write(feed, "a", (1, 1, "one", "U"))
    with pytest.raises(SchemaMismatchError, match="op"):
        table.apply_stream(stream, **options, trigger="available now").await_termination()
    assert table.version == 0


def test_stop_lets_the_batch_under_way_end(spark, tmp_path: Path, feed: Path) -> None:
    table = ModTable.create(tmp_path / "t", DDL, primary_key="id", sequence_by="lsn")
    write(feed, "a", (1, 1, "one", "U"))
    applied, ended = threading.Event(), threading.Event()

    def slow(_: Any) -> None:
        applied.set()
        time.sleep(1)
        ended.set()

    stream = table.apply_stream(
        stream_of(spark, feed), source="feed", checkpoint=tmp_path / "checkpoint", apply_as_deletes="op = 'D'",
        on_batch=slow,
    )  # fmt: skip
    assert applied.wait(60)
    stream.stop()
    assert ended.is_set()
    assert stream.query.exception() is None
    assert stream.await_termination(10)
