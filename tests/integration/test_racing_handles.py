"""Handles that race on S3: each version is merged at most once, and little is written for nothing."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta.log import load_state
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import FaultProxy, S3Server

pytestmark = [pytest.mark.integration, pytest.mark.faults]
HANDLES, EACH, ROWS = 4, 12, 20_000
SETTINGS = Settings(compact_bytes=0, checkpoint_interval=1_000)


def mods(lsn: int) -> pa.Table:
    keys = sorted({(7 * lsn + 13 * number) % ROWS for number in range(100)})
    return pa.table({"id": keys, "lsn": [lsn] * len(keys)})


def test_four_handles_with_48_applies(s3_server: S3Server) -> None:
    url = f"s3://{s3_server.make_bucket()}/t"
    ModTable.create(
        url, "id bigint, lsn bigint", primary_key=["id"], sequence_by=["lsn"], merge="always",
        data=pa.table({"id": range(ROWS), "lsn": [0] * ROWS}), storage_options=s3_server.options, settings=SETTINGS,
    )  # fmt: skip
    statuses: Counter[str] = Counter()
    with FaultProxy(s3_server, delay=0.025) as proxy:
        tables = [ModTable.open(url, storage_options=proxy.options, settings=SETTINGS) for _ in range(HANDLES)]

        def work(number: int) -> None:
            for lsn in range(1 + number, 1 + HANDLES * EACH, HANDLES):
                merge = tables[number].apply(mods(lsn), batch_id=("s", lsn)).merge
                assert merge is not None
                assert merge.error is None
                statuses[merge.status] += 1

        with ThreadPoolExecutor(HANDLES) as pool:
            list(pool.map(work, range(HANDLES)))
        proxy.settle()
        written = {request.path.rpartition("/")[2]: request.size for request in proxy.trace if request.method == "PUT"}
    table = ModTable.open(url, storage_options=s3_server.options)
    table.merge()
    assert table.version == HANDLES * EACH
    assert statuses["merged"] <= table.version
    expected = dict.fromkeys(range(ROWS), 0)
    for lsn in range(1, HANDLES * EACH + 1):
        expected.update(dict.fromkeys(mods(lsn)["id"].to_pylist(), lsn))
    assert {row["id"]: row["lsn"] for row in table.to_arrow().to_pylist()} == expected
    checked = table.verify()
    assert checked.ok, checked.problems
    # What nothing refers to is deleted, so all that is left was worth its bytes.
    storage = S3Storage(url, s3_server.options)
    left = {info.path.rpartition("/")[2] for info in storage.list()}
    wasted = sum(size for name, size in written.items() if name not in left)
    assert wasted <= sum(written.values()) / 4, (wasted, sum(written.values()), statuses)
    assert load_state(storage).version <= table.version
