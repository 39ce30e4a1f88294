"""Credentials that expire and are renewed while a merge runs: no request has expired ones, and all rows are right."""

from __future__ import annotations

import pickle
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import boto3
import pyarrow as pa
import pytest
from botocore.credentials import RefreshableCredentials

from andes_spark import ModTable, Settings
from andes_spark.errors import AccessDeniedError
from andes_spark.storage import s3_options
from andes_spark.storage.s3 import S3Storage
from andes_spark.table.open_table import OpenTable
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server

pytestmark = pytest.mark.integration
A = TypeVar("A")
B = TypeVar("B")
DELAY = 0.3
LIFE = 3.0
"""Seconds for which the store takes a key."""
ASKED = timedelta(minutes=5, seconds=0.3)
"""Life of a key as told to the client, which asks for another one when less than five minutes are left."""
KEYS, BATCHES = 4_000, 5
SETTINGS = Settings(threads=1, compact_bytes=0, key_cache_bytes=0, target_file_bytes=10_000)


class Role:
    """Gives another key each time, valid for ``LIFE`` seconds."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self._lock = threading.Lock()

    def new_key(self) -> str:
        with self._lock:
            key = f"KEY{len(self.begun)}"
            self.begun[key] = time.monotonic()
            return key

    def is_valid(self, key: str) -> bool:
        return time.monotonic() - self.begun[key] < LIFE


class Expiring(FaultProxy):
    """A proxy that refuses the expired keys of a role; ``used`` are the keys of all requests."""

    def __init__(self, server: S3Server, role: Role) -> None:
        super().__init__(server, delay=DELAY)
        self.role = role
        self.used: list[str] = []
        self.expired: list[str] = []

    def fault_for(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        match = re.search(r"Credential=(\w+)/", headers["authorization"])
        assert match is not None
        self.used.append(match[1])
        if self.role.is_valid(match[1]):
            return super().fault_for(method, path, headers)
        self.expired.append(f"{method} {path}")
        return Fault(method, "400", forward=False, code="ExpiredToken")


class Tasks:
    """An executor of tasks that get function and part by pickle, as in Spark.

    Attributes:
        before: seconds that a job waits before it is sent.
        within: seconds that it then waits before it begins.
    """

    distributed = True
    slots = 4

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.before = self.within = 0.0

    def map(self, function: Callable[[A], B], parts: Iterable[A], *, step: str) -> list[B]:
        self.steps.append(step)
        time.sleep(self.before)
        payloads = [pickle.dumps((function, part)) for part in parts]
        time.sleep(self.within)
        with ThreadPoolExecutor(self.slots) as pool:
            return list(pool.map(_run, payloads))  # type: ignore[arg-type]


def _run(payload: bytes) -> object:
    function, part = pickle.loads(payload)
    return function(part)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Expiring]:
    with Expiring(s3_server, Role()) as proxy:
        yield proxy


@pytest.fixture
def url(s3_server: S3Server) -> str:
    """A table with pending versions, each of all keys."""
    url = f"s3://{s3_server.make_bucket()}/t"
    table = ModTable.create(
        url, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", merge="manual", settings=SETTINGS,
        data=mods(0), storage_options=s3_server.options,
    )  # fmt: skip
    for number in range(1, BATCHES + 1):
        table.apply(mods(number), batch_id=("s", number))
    return url


def mods(sequence: int) -> pa.Table:
    return pa.table({"id": range(KEYS), "seq": [sequence] * KEYS})


@pytest.fixture(params=["session", "chain"])
def storage(request: pytest.FixtureRequest, url: str, proxy: Expiring, monkeypatch: pytest.MonkeyPatch) -> S3Storage:
    """The folder behind the proxy, with keys as a Spark session gives them, or as boto3's chain does."""
    options = {name: value for name, value in proxy.options.items() if "key" not in name}
    if request.param == "session":
        monkeypatch.setattr(s3_options, "ASKED_AGAIN", ASKED)
        return S3Storage(url, lambda bucket: {**options, **_options_of(proxy.role.new_key())})
    monkeypatch.setattr(s3_options, "RENEWAL", ASKED)
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda session: _refreshable(proxy.role))
    return S3Storage(url, options)


def _options_of(key: str) -> dict[str, str]:
    return {"aws_access_key_id": key, "aws_secret_access_key": "s", "aws_session_token": "t"}


def _refreshable(role: Role) -> RefreshableCredentials:
    def renew() -> dict[str, str]:
        # Less than botocore wants left, so that it renews each time it is asked.
        expiry = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        return {"access_key": role.new_key(), "secret_key": "s", "token": "t", "expiry_time": expiry}

    return RefreshableCredentials.create_from_metadata(renew(), refresh_using=renew, method="test")


def check_rows(url: str, server: S3Server) -> None:
    table = ModTable.open(url, storage_options=server.options)
    assert table.status().pending_versions == 0
    assert table.to_arrow().sort_by("id").equals(mods(BATCHES).cast(table.to_arrow().schema))
    assert table.verify().ok


@pytest.mark.parametrize("place", ["process", "tasks"])
def test_a_merge_crosses_renewals_of_credentials(
    s3_server: S3Server, storage: S3Storage, proxy: Expiring, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks()
    if place == "tasks":
        tasks.before, proxy.delay = LIFE, 0.0
        monkeypatch.setattr(OpenTable, "executor", lambda self: tasks)
    table = ModTable.open(storage, settings=SETTINGS if place == "process" else Settings(byte_budget=0))
    proxy.used.clear()
    begin = time.monotonic()
    assert table.merge().updated == KEYS
    assert time.monotonic() - begin > LIFE, "no key is valid for all of the merge"
    assert len(set(proxy.used)) > 1
    assert proxy.expired == []
    assert bool(tasks.steps) == (place == "tasks")
    check_rows(storage.url, s3_server)


@pytest.mark.parametrize("storage", ["session"], indirect=True)
def test_tasks_that_outlive_their_credentials(
    s3_server: S3Server, storage: S3Storage, proxy: Expiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks()
    monkeypatch.setattr(OpenTable, "executor", lambda self: tasks)
    proxy.delay = 0.0
    table = ModTable.open(storage, settings=Settings(byte_budget=0))
    tasks.within = LIFE
    with pytest.raises(AccessDeniedError, match="the credentials have expired: renew them"):
        table.merge()
    assert proxy.expired
    tasks.within = 0.0
    assert table.merge().updated == KEYS
    check_rows(storage.url, s3_server)
