"""What is wrong with a bucket or with access to it: one error that names the table and the remedy, within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.cli.app import FAILURE, exit_code
from andes_spark.doctor import store_checks
from andes_spark.errors import AccessDeniedError, AndesError, NotFoundError, StorageError, UnsupportedTableError
from andes_spark.storage.s3 import S3Storage
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server

pytestmark = pytest.mark.integration
SECONDS = 5.0
METHODS = ("GET", "HEAD", "PUT", "POST")
ROWS = pa.table({"id": [1], "seq": [2]})
REFUSALS = {
    "no rights": ("403", "AccessDenied", AccessDeniedError, "check the credentials and their permissions"),
    "expired": ("400", "ExpiredToken", AccessDeniedError, "the credentials have expired: renew them"),
    "unknown key": ("403", "InvalidAccessKeyId", AccessDeniedError, "check the credentials"),
    "another region": ("400", "AuthorizationHeaderMalformed", StorageError, "set the storage option aws_region"),
    "redirect": ("301", "PermanentRedirect", StorageError, "set the storage option aws_region"),
    "no bucket": ("404", "NoSuchBucket", StorageError, "create the bucket, or correct its name"),
}
VERBS: dict[str, Callable[[ModTable], object]] = {
    "apply": lambda table: table.apply(ROWS, batch_id=("s", 2)),
    "read": lambda table: table.to_arrow(),
    "merge": lambda table: table.merge(),
    "status": lambda table: table.status(),
}


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def url(s3_server: S3Server, proxy: FaultProxy) -> Iterator[str]:
    """A table with a version that is not merged."""
    url = f"s3://{s3_server.make_bucket()}/t"
    table = ModTable.create(
        url, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", storage_options=s3_server.options
    )
    table.apply(pa.table({"id": [1], "seq": [1]}), batch_id=("s", 1), merge=False)
    yield url
    proxy.faults = []


def refused(call: Callable[[], object]) -> AndesError:
    begin = time.monotonic()
    with pytest.raises(AndesError) as caught:
        call()
    assert time.monotonic() - begin < SECONDS
    return caught.value


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal(s3_server: S3Server, proxy: FaultProxy, url: str, why: str) -> None:
    status, code, kind, remedy = REFUSALS[why]
    opened = {verb: ModTable.open(url, storage_options=proxy.options) for verb in VERBS}
    before = [info.path for info in S3Storage(url, s3_server.options).list()]
    proxy.faults = [Fault(method, status, forward=False, code=code, times=10_000) for method in METHODS]
    calls: list[Callable[[], Any]] = [partial(VERBS[verb], opened[verb]) for verb in VERBS]
    calls += [
        lambda: ModTable.open(url, storage_options=proxy.options),
        lambda: ModTable.create(f"{url}2", "id BIGINT", primary_key="id", storage_options=proxy.options),
    ]
    for call in calls:
        error = refused(call)
        assert type(error) is kind
        assert url in str(error)
        assert remedy in str(error)
        assert (error.retryable, exit_code(error)) == (False, FAILURE)
    proxy.faults = []
    assert [info.path for info in S3Storage(url, s3_server.options).list()] == before
    for table in opened.values():
        assert table.apply(ROWS, batch_id=("s", 2)).version == 2
        assert table.to_arrow().to_pylist() == [{"id": 1, "seq": 2}]


def test_a_bucket_that_does_not_exist(s3_server: S3Server) -> None:
    url = "s3://no-such-bucket-of-ours/t"
    for call in (
        lambda: ModTable.open(url, storage_options=s3_server.options),
        lambda: ModTable.create(url, "id BIGINT", primary_key="id", storage_options=s3_server.options),
    ):
        error = refused(call)
        assert not isinstance(error, NotFoundError)
        assert "create the bucket, or correct its name" in str(error)


def test_a_bucket_without_conditional_puts(s3_server: S3Server, proxy: FaultProxy) -> None:
    url = f"s3://{s3_server.make_bucket()}/t"
    proxy.ignored = {"if-none-match"}
    try:
        error = refused(
            lambda: ModTable.create(url, "id BIGINT", primary_key="id", storage_options=proxy.options, data=[{"id": 1}])
        )
        examined = store_checks.conditional_put(S3Storage(f"{url}2", proxy.options))
    finally:
        proxy.ignored = set()
    assert isinstance(error, UnsupportedTableError)
    assert "Use Amazon S3" in str(error)
    assert (examined.status, "does not honour If-None-Match" in examined.detail) == ("failed", True)
    assert url in str(error)
    assert list(S3Storage(url, s3_server.options).list()) == []
