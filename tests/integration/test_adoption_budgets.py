"""Requests of the verbs that take in, copy and remove a table on S3, and the longest chain of them.

The proxy adds a delay, so that requests that begin together are seen together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.schema.schema import Schema
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import Cost, FaultProxy, Meter, S3Server
from tests.foreign_tables import ForeignTable

pytestmark = pytest.mark.integration
FILES, TABLES = 12, 3
SETTINGS = Settings(compact_bytes=0)
BUDGETS = {
    # The Delta log and its end; all files beside each other; the clock; Delta entry and manifest. Two of each file: its
    # entry and its footer with the keys.
    "convert": (15, 14 + 2 * FILES),
    "open and read": (6, 9 + FILES),
    # Of each file the copy, and the size of the copy.
    "clone": (14, 17 + 2 * FILES),
    # The files have names of another writer, which entries of the Delta log tell.
    # Manifest 0 tells whether the folder still has this table.
    "drop": (18, 20 + FILES),
}
"""Rounds and requests."""


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server, delay=0.1) as proxy:
        yield proxy


def test_requests_of_each_verb(s3_server: S3Server, proxy: FaultProxy) -> None:
    bucket, meter = s3_server.make_bucket(), Meter(proxy)
    costs: dict[str, list[Cost]] = defaultdict(list)
    for number in range(TABLES):
        url, options = f"s3://{bucket}/t{number}", proxy.options
        stored = S3Storage(url, s3_server.options)
        foreign = ForeignTable(stored, Schema.from_ddl("id BIGINT, seq BIGINT"), vectors=False)
        foreign.create()
        for key in range(FILES):
            foreign.append(pa.table({"id": [key], "seq": [key]}))
        with meter.verb():
            table = ModTable.convert(
                url, primary_key="id", sequence_by="seq", storage_options=options, settings=SETTINGS
            )
        costs["convert"].append(meter.cost)
        with meter.verb():
            assert ModTable.open(url, storage_options=options).to_arrow().num_rows == FILES
        costs["open and read"].append(meter.cost)
        with meter.verb():
            table.clone(f"s3://{bucket}/c{number}")
        costs["clone"].append(meter.cost)
        with meter.verb():
            table.drop(confirm=f"t{number}")
        costs["drop"].append(meter.cost)
    for verb, (rounds, requests) in BUDGETS.items():
        # On a busy machine a request may begin so late that it seems to follow another, or come once more.
        cost = min(costs[verb], key=lambda cost: cost.rounds)
        assert cost.rounds <= rounds, (verb, cost.paths)
        cost = min(costs[verb], key=lambda cost: cost.requests)
        assert cost.requests <= requests, (verb, cost.paths)
