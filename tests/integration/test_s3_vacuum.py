"""A vacuum on S3: deletions by the thousand, faults of the store, and an interrupted one."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import AndesError, StoreUnavailableError
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server

pytestmark = pytest.mark.integration
SETTINGS = Settings(compact_bytes=0, store_seconds=2.0)
LAST = 6


@pytest.fixture
def url(s3_server: S3Server) -> str:
    url = f"s3://{s3_server.make_bucket()}/a b/t"
    table = ModTable.create(
        url, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq",
        storage_options=s3_server.options, settings=SETTINGS,
    )  # fmt: skip
    for seq in range(1, LAST + 1):
        table.apply(pa.table({"id": [1, 10 + seq, 8 + seq], "seq": [seq] * 3}), batch_id=("feed", seq))
    table.tag("three", 3)
    time.sleep(1.1)  # S3 dates objects to the second
    return url


def check(url: str, server: S3Server) -> None:
    table = ModTable.open(url, storage_options=server.options)
    assert sorted(table.to_arrow(filter="id = 1")["seq"].to_pylist()) == [LAST]
    assert table.to_arrow(tag="three").num_rows == 6
    checked = table.verify()
    assert (checked.problems, checked.missing, checked.unused) == ((), (), ())


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "503", forward=False, code="SlowDown", times=2),
        Fault("POST", "500", forward=True, code="InternalError", times=1),
        Fault("POST", "drop", forward=True, times=1),
        Fault("GET", "503", forward=False, code="SlowDown", path="list-type=2", times=2),
    ],
    ids=["throttled", "answer lost", "connection lost", "listing throttled"],
)
def test_faults_of_the_store_are_retried(url: str, s3_server: S3Server, fault: Fault) -> None:
    with FaultProxy(s3_server) as proxy:
        table = ModTable.open(url, storage_options=proxy.options, settings=SETTINGS)
        proxy.faults = [fault]
        result = table.vacuum("0 seconds")
        assert fault.times == 0 or fault not in proxy.faults
    assert result.kinds["mod files"] == LAST
    names = {info.path for info in S3Storage(url, s3_server.options).list("_andes/mods")}
    assert names == set()
    check(url, s3_server)


def test_a_store_that_refuses_deletions_costs_nothing(url: str, s3_server: S3Server) -> None:
    with FaultProxy(s3_server) as proxy:
        table = ModTable.open(url, storage_options=proxy.options, settings=SETTINGS)
        proxy.faults = [Fault("POST", "503", forward=False, code="SlowDown", times=10_000)]
        with pytest.raises(AndesError) as caught:
            table.vacuum("0 seconds")
        assert isinstance(caught.value, StoreUnavailableError)
        assert caught.value.retryable
    check(url, s3_server)
    assert ModTable.open(url, storage_options=s3_server.options).vacuum("0 seconds").kinds["mod files"] == LAST
    check(url, s3_server)


def test_pins_on_s3(url: str, s3_server: S3Server) -> None:
    table = ModTable.open(url, storage_options=s3_server.options, settings=SETTINGS)
    table.pin(2, days=1)
    table.vacuum("0 seconds")
    assert table.to_arrow(version=2).num_rows == 5
    assert table.unpin(2).removed == 1
    check(url, s3_server)
