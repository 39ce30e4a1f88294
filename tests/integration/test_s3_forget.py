"""A forget on S3: objects are written anew and deleted beside each other, with faults of the store."""

from __future__ import annotations

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import Fault, FaultProxy, Meter, S3Server
from tests.forgotten import KEY, LAST, SETTINGS, holding, mods, rows, send, without

pytestmark = pytest.mark.integration


@pytest.fixture
def url(s3_server: S3Server) -> str:
    url = f"s3://{s3_server.make_bucket()}/a b/t"
    table = ModTable.create(
        url, "email STRING, name STRING, seq BIGINT", primary_key="email", sequence_by="seq",
        storage_options=s3_server.options, settings=SETTINGS,
    )  # fmt: skip
    for seq in range(1, LAST + 1):
        send(table, mods(seq), seq)
    return url


def opened(url: str, server: S3Server) -> ModTable:
    return ModTable.open(url, storage_options=server.options, settings=SETTINGS)


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Fault("PUT", "503", forward=False, code="SlowDown", path="manifests/00000000000000000003", times=2)],
        [Fault("PUT", "drop", forward=True, path="_delta_log/00000000000000000002", times=1)],
        [Fault("POST", "500", forward=True, code="InternalError", times=1)],
        [Fault("PUT", "500", forward=True, code="InternalError", path=f"manifests/{LAST + 2:020d}", times=1)],
    ],
    ids=["none", "throttled", "answer lost", "deletion", "commit"],
)
def test_nothing_is_left(url: str, s3_server: S3Server, faults: list[Fault]) -> None:
    expected = without(opened(url, s3_server))
    with FaultProxy(s3_server) as proxy:
        table = ModTable.open(url, storage_options=proxy.options, settings=SETTINGS)
        proxy.faults = faults
        assert table.forget(KEY, confirm="t").ok
    assert holding(S3Storage(url, s3_server.options)) == []
    table = opened(url, s3_server)
    assert rows(table) == expected
    table.apply(pa.table({"email": [KEY], "name": ["late"], "seq": [LAST]}))
    assert table.get([KEY]).num_rows == 0
    checked = table.verify()
    assert (checked.problems, checked.missing, checked.unused) == ((), (), ())


def test_requests_run_beside_each_other(url: str, s3_server: S3Server) -> None:
    """Three requests in a round; and a second forget finds most documents as it would write them."""
    costs = []
    for key in (KEY, "z-2"):
        with FaultProxy(s3_server, delay=0.05) as proxy:
            meter = Meter(proxy)
            table = ModTable.open(url, storage_options=proxy.options, settings=SETTINGS)
            with meter.verb():
                table.forget(key, confirm="t")
            costs.append(meter.cost)
    assert costs[0].requests <= 400, costs[0].kinds
    assert costs[0].rounds <= 135, costs[0].paths
    assert costs[1].kinds["PUT"] <= costs[0].kinds["PUT"] * 2 // 3, costs[1].paths
