"""Faces of a table on S3: no apply waits for them, and what many applies leave is shown at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server

pytestmark = pytest.mark.integration
SETTINGS = Settings(compact_bytes=0, checkpoint_interval=1_000)
MOST_CALLS = 6


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server, delay=0.1) as proxy:
        yield proxy


def made(server: S3Server, proxy: FaultProxy, *faces: str) -> ModTable:
    url = f"s3://{server.make_bucket()}/t"
    table = ModTable.create(
        url, "id BIGINT, lsn BIGINT", primary_key="id", sequence_by="lsn", faces=faces,
        storage_options=proxy.options, settings=SETTINGS,
    )  # fmt: skip
    for lsn in (1, 2):
        send(table, lsn)
    return table


def send(table: ModTable, lsn: int) -> None:
    result = table.apply(pa.table({"id": range(lsn, lsn + 20), "lsn": [lsn] * 20}), batch_id=("s", lsn))
    assert result.merge is not None
    assert result.merge.status == "merged"


def fewest(meter: Meter, table: ModTable, first: int) -> Cost:
    """A busy machine makes requests seem to follow others: the fewest rounds count."""
    costs = []
    for lsn in range(first, first + MOST_CALLS):
        with meter.verb():
            send(table, lsn)
        costs.append(meter.cost)
    return min(costs, key=lambda cost: (cost.rounds, cost.requests))


def test_an_apply_does_not_wait_for_its_face(s3_server: S3Server, proxy: FaultProxy) -> None:
    meter = Meter(proxy)
    plain, faced = made(s3_server, proxy), made(s3_server, proxy, "iceberg")
    before, after = (fewest(meter, table, 3) for table in (plain, faced))
    assert after.rounds == before.rounds, (before.paths, after.paths)
    assert not [path for path in (*before.paths, *after.paths[: before.requests]) if "_andes/iceberg" in path]
    assert after.later > before.later
    assert plain.status().faces == ()


def test_what_many_applies_leave_is_shown(s3_server: S3Server, proxy: FaultProxy) -> None:
    table = made(s3_server, proxy, "iceberg")
    for lsn in range(3, 12):
        send(table, lsn)
    table._open_table.storage.scheduler.settle()
    (face,) = table.status().faces
    assert (face.applied, face.behind, face.failure) == (11, 0, None)
    # A direct call and one after a merge do not disturb each other.
    send(table, 20)
    result = table.sync_iceberg()
    assert result.applied == 12
    assert table.status().faces[0].applied == 12
