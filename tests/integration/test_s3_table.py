"""The basic path of a table on S3, by Arrow, by Spark and by several processes at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from urllib.parse import quote

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from andes_spark import ModTable, Settings
from andes_spark.errors import NoSuchTableError, TableExistsError
from andes_spark.spark.arrow_frames import arrow_table
from andes_spark.testing.s3 import FaultProxy, S3Server
from tests.integration import processes
from tests.s3 import bucket_of_spark, s3_client
from tests.spark.batches import SIMPLE, create, in_partitions, rows_of, shown, simple_rows, spark_rows, table_of

pytestmark = pytest.mark.integration
TASKS = Settings(byte_budget=0, checkpoint_interval=2)


@pytest.fixture
def watch(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server) as proxy:
        yield proxy


def delta_rs(url: str, options: dict[str, str]) -> pa.Table:
    table = DeltaTable(f"s3://{quote(url.partition('://')[2])}", storage_options=options)
    return pa.table(QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all())


@pytest.fixture
def lake(spark, s3_server, watch) -> Iterator[str]:
    """A bucket that the session reaches through the proxy."""
    with bucket_of_spark(spark, s3_server, watch.endpoint) as bucket:
        yield bucket


def test_the_life_of_a_table(spark, lake, s3_server, watch):
    url = f"s3a://{lake}/lake/a b é'/orders"
    options = watch.options
    data = table_of(simple_rows(0, 60, 0), SIMPLE)
    with pytest.raises(NoSuchTableError):
        ModTable.open(url, storage_options=options)
    table = create(url, data=in_partitions(spark, data), storage_options=options, settings=TASKS)
    with pytest.raises(TableExistsError):
        create(url, storage_options=options)
    before = table.read()
    table.apply(table_of(simple_rows(50, 20, 100), SIMPLE), batch_id=("arrow", 1))
    deletes = pa.table({"id": [0, 1, 51], "seq": [900, 900, 900]})
    table.apply(in_partitions(spark, deletes), apply_as_deletes="true", batch_id=("spark", 1))
    expected = shown(table)
    assert len(expected) == 67
    fresh = table.read()
    assert spark_rows(fresh, table) == expected
    assert table.merge().status == "merged"
    # Access as the session has it, without storage options; by either scheme.
    for name in (url, url.replace("s3a://", "s3://")):
        reopened = ModTable.open(name)
        assert shown(reopened) == expected
        assert reopened.apply(deletes, apply_as_deletes="true", batch_id=("spark", 1)).replayed
    for number in range(2):
        table.apply(in_partitions(spark, table_of(simple_rows(30, 5, 1000 + number), SIMPLE)), merge=True)
        assert spark_rows(table.read(), table) == shown(table)
    expected = [*expected[:28], *simple_rows(30, 5, 1001), *expected[33:]]
    assert shown(table) == expected
    assert rows_of(arrow_table(spark.read.format("delta").load(url)), table) == expected
    # delta-rs on S3 finds no deletion vectors in a folder whose name has to be encoded.
    assert rows_of(delta_rs(copied(s3_server, url, "lake/orders"), s3_server.options), table) == expected
    keys = list_keys(s3_server, url)
    assert any(key.endswith("_delta_log/_last_checkpoint") for key in keys)
    assert spark_rows(before, table) == simple_rows(0, 60, 0)
    assert spark_rows(table.read(version=1), table) == [*simple_rows(0, 50, 0), *simple_rows(50, 20, 100)]
    assert ModTable.open(url).verify().ok
    assert watch.copies == []
    assert watch.requests("PUT") > 0


def test_a_percent_sign_in_the_path_is_no_escape(s3_server):
    """Keys are taken as they are; checkpoints are written there too."""
    url = f"s3://{s3_server.make_bucket()}/a%20b/t"
    settings = Settings(checkpoint_interval=1)
    table = create(url, storage_options=s3_server.options, data=table_of(simple_rows(), SIMPLE), settings=settings)
    table.apply(table_of(simple_rows(6, 12, 500), SIMPLE), merge=True)
    expected = [*simple_rows(0, 6), *simple_rows(6, 12, 500)]
    assert shown(ModTable.open(url, storage_options=s3_server.options)) == shown(table) == expected
    assert table.verify().ok
    keys = list_keys(s3_server, url)
    assert keys
    assert all(key.startswith("a%20b/t/") for key in keys)
    assert any("checkpoint" in key for key in keys)


def copied(server: S3Server, url: str, folder: str) -> str:
    """Copy a table within its bucket, past the proxy; its new URL."""
    bucket, _, prefix = url.partition("://")[2].partition("/")
    client = s3_client(server)
    try:
        for key in list_keys(server, url):
            target = folder + key.removeprefix(prefix)
            client.copy_object(Bucket=bucket, Key=target, CopySource={"Bucket": bucket, "Key": key})
    finally:
        client.close()
    return f"s3://{bucket}/{folder}"


def list_keys(server: S3Server, url: str) -> list[str]:
    bucket = url.split("/")[2]
    client = s3_client(server)
    try:
        return [listed["Key"] for listed in client.list_objects_v2(Bucket=bucket)["Contents"]]
    finally:
        client.close()


def test_two_processes_append_and_two_merge_at_once(s3_server):
    url = f"s3://{s3_server.make_bucket()}/t"
    options = s3_server.options
    create(url, storage_options=options)
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(4)
    workers = [spawn.Process(target=processes.append, args=(url, options, n, start)) for n in (1, 2)]
    workers += [spawn.Process(target=processes.merge, args=(url, options, start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(150)
    assert [worker.exitcode for worker in workers] == [0] * 4
    table = ModTable.open(url, storage_options=options)
    assert table.version == 2 * processes.BATCHES
    batches = {(batch.source, batch.id) for entry in table.history() for batch in entry.batches}
    assert len(batches) == 2 * processes.BATCHES
    # Each batch begins with the last two keys of the one before.
    expected = {
        100 * writer + 10 * number + n: 1000 * (number + 1) + writer + 100 * writer + 10 * number + n
        for writer in (1, 2)
        for number in range(processes.BATCHES)
        for n in range(12)
    }
    assert {row["id"]: row["seq"] for row in shown(table)} == expected
    table.merge()
    assert {row["id"]: row["seq"] for row in shown(table)} == expected
    assert rows_of(delta_rs(url, options), table) == shown(table)
    assert table.verify().ok


def test_a_killed_writer_leaves_nothing_that_a_reader_could_see(s3_server):
    spawn = multiprocessing.get_context("spawn")
    steps = {"write mods": 0, "commit": 0, "merge rows": 0, "write merge record": 1, "commit to Delta": 1}
    tables = {}
    for step in steps:
        url = f"s3://{s3_server.make_bucket()}/t"
        create(url, storage_options=s3_server.options, data=table_of(simple_rows(5, 12, 0), SIMPLE))
        worker = spawn.Process(target=processes.apply_until, args=(url, s3_server.options, step))
        worker.start()
        tables[step] = (url, worker)
    batch = table_of(simple_rows(0, 12, 500), SIMPLE)
    for step, version in steps.items():
        url, worker = tables[step]
        worker.join(150)
        assert worker.exitcode == -9, step
        table = ModTable.open(url, storage_options=s3_server.options)
        assert table.version == version, step
        loaded = simple_rows(5, 12, 0)
        applied = [*simple_rows(0, 12, 500), *loaded[7:]]
        assert shown(table) == (applied if version else loaded), step
        assert rows_of(delta_rs(url, s3_server.options), table) == loaded, step
        assert table.verify().ok, step
        assert table.apply(batch, batch_id=("killed", 1), merge=False).replayed == bool(version)
        # The process that held the merge is gone, so nobody waits for it.
        assert table.merge().status == "merged", step
        assert rows_of(delta_rs(url, s3_server.options), table) == shown(table) == applied
        assert table.verify().ok, step
