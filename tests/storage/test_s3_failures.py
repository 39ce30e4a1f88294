"""A store that throttles, fails, is cut off or refuses the credentials for longer than requests are repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.credentials import RefreshableCredentials

from andes_spark.errors import AccessDeniedError, StorageError, StoreUnavailableError, ThrottledError
from andes_spark.storage.put_once import put_once
from andes_spark.storage.s3 import S3Storage
from andes_spark.storage.s3_options import S3Options
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server

pytestmark = [pytest.mark.integration, pytest.mark.faults]
SECONDS = 1.0
LATEST = 5.0
"""Seconds after which an error has come; the deadline, the attempt that exceeds it, and a busy machine."""

FAULTS = {
    "429": ("SlowDown", ThrottledError),
    "503": ("SlowDown", ThrottledError),
    "500": ("InternalError", StoreUnavailableError),
    "drop": ("", StoreUnavailableError),
    "cut": ("", StoreUnavailableError),
    "hang": ("", StoreUnavailableError),
}


def write(storage: S3Storage) -> None:
    with storage.open_output("object") as output:
        output.write(b"x")


CALLS: dict[str, Callable[[S3Storage], object]] = {
    "get": lambda storage: storage.get("object"),
    "find": lambda storage: storage.find("object"),
    "info": lambda storage: storage.info("object"),
    "put": lambda storage: storage.put("object", b"x"),
    "delete": lambda storage: storage.delete(["object"]),
    "list": lambda storage: list(storage.list("object")),
    "open_input": lambda storage: storage.open_input("object"),
    "open_output": write,
}


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server, hang_seconds=1.0) as proxy:
        yield proxy


@pytest.fixture
def storage(proxy: FaultProxy, bucket: str) -> Iterator[S3Storage]:
    storage = S3Storage(f"s3://{bucket}/{uuid4().hex}", proxy.options, seconds=SECONDS, timeout=0.3)
    storage.put("object", b"x")
    yield storage
    proxy.faults = []


def fail(proxy: FaultProxy, answer: str, code: str, times: int = 10_000) -> None:
    methods = ("GET", "PUT", "HEAD", "POST", "DELETE")
    proxy.faults = [Fault(method, answer, forward=False, code=code, times=times) for method in methods]


@pytest.mark.parametrize("answer", list(FAULTS))
@pytest.mark.parametrize("call", list(CALLS))
def test_an_error_within_the_deadline(storage: S3Storage, proxy: FaultProxy, call: str, answer: str) -> None:
    code, kind = FAULTS[answer]
    fail(proxy, answer, code)
    proxy.seen.clear()
    begin = time.monotonic()
    with pytest.raises(StorageError) as caught:
        CALLS[call](storage)
    assert time.monotonic() - begin < LATEST
    if type(caught.value) is not kind:
        # Without its body the answer to HEAD does not tell throttling from other failures.
        assert (call, type(caught.value)) == ("info", StoreUnavailableError)
    assert caught.value.retryable
    assert storage.url in str(caught.value)
    assert "object" in str(caught.value)
    # A delete whose answer does not come is not repeated: it is no read.
    assert len(proxy.seen) > 1 or (call, answer) == ("delete", "hang")
    proxy.faults = []
    CALLS[call](storage)


def test_an_answer_to_a_connection_that_was_too_slow_is_retryable(storage: S3Storage, proxy: FaultProxy) -> None:
    fail(proxy, "400", "RequestTimeout")
    with pytest.raises(StoreUnavailableError, match="RequestTimeout"):
        storage.get("object")


@pytest.mark.parametrize("answer", ["503", "drop", "cut"])
@pytest.mark.parametrize("call", list(CALLS))
def test_a_failure_that_ends_within_the_deadline_costs_time_only(
    storage: S3Storage, proxy: FaultProxy, call: str, answer: str
) -> None:
    fail(proxy, answer, "SlowDown", times=2)
    CALLS[call](storage)


@pytest.mark.parametrize("call", list(CALLS))
def test_expired_credentials_are_told_at_once(storage: S3Storage, proxy: FaultProxy, call: str) -> None:
    fail(proxy, "400", "ExpiredToken")
    proxy.seen.clear()
    with pytest.raises(StorageError) as caught:
        CALLS[call](storage)
    assert not caught.value.retryable
    assert storage.url in str(caught.value)
    assert isinstance(caught.value, AccessDeniedError)
    assert "the credentials have expired: renew them" in str(caught.value)
    # The answer to HEAD has no body: that to GET tells the reason.
    assert [method for method, _ in proxy.seen] == ["HEAD", "GET"] if call == "info" else len(proxy.seen) == 1


@pytest.mark.parametrize("answer", ["503", "drop", "cut", "hang"])
def test_an_object_that_is_created_once_ends_within_its_deadline(
    storage: S3Storage, proxy: FaultProxy, answer: str
) -> None:
    fail(proxy, answer, "SlowDown")
    begin = time.monotonic()
    assert put_once(storage, "log/1", b"1", seconds=SECONDS) is None
    assert time.monotonic() - begin < LATEST + SECONDS
    proxy.faults = []
    assert put_once(storage, "log/1", b"1", seconds=SECONDS) == b"1"


def test_credentials_are_renewed_before_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """What boto3 hands out lives ten minutes at least, and is asked for again within that time."""
    renewed: list[str] = []

    def renew() -> dict[str, str]:
        renewed.append(f"key-{len(renewed)}")
        expiry = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        return {"access_key": renewed[-1], "secret_key": "s", "token": "t", "expiry_time": expiry}

    def credentials(self: Any) -> RefreshableCredentials:
        return RefreshableCredentials.create_from_metadata(renew(), refresh_using=renew, method="test")

    monkeypatch.setattr(boto3.Session, "get_credentials", credentials)
    provider: Any = S3Options.parse({}).credentials()
    first, second = provider(), provider()
    assert [first["access_key_id"], second["access_key_id"]] == ["key-1", "key-2"]
    expires_at = second["expires_at"]
    assert expires_at is not None
    assert expires_at <= datetime.now(UTC) + timedelta(minutes=10)
