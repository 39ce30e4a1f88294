"""The store fails in tasks: the caller has the store's error, can tell whether to try again, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from andes_spark import ModTable
from andes_spark.cli.app import FAILURE, RETRYABLE, exit_code
from andes_spark.errors import AccessDeniedError, AndesError, StoreUnavailableError, ThrottledError
from andes_spark.spark.tasks import SparkExecutor
from andes_spark.storage.s3 import S3Storage
from andes_spark.storage.s3_output import PART_BYTES
from andes_spark.testing.s3 import Fault, FaultProxy
from tests.spark.batches import SIMPLE, TASKS, create, in_partitions, shown, side_by_side, simple_rows, table_of

pytestmark = pytest.mark.integration
SHORT = replace(TASKS, store_seconds=1.0)
LATEST = 60.0
"""Seconds after which an error has come, however busy the machine; a store that has answered is waited for 120."""
ANSWERS: dict[str, tuple[Fault, type[AndesError], int]] = {
    "throttled": (Fault("PUT", "503", forward=False, code="SlowDown"), ThrottledError, RETRYABLE),
    "fails": (Fault("PUT", "500", forward=False, code="InternalError"), StoreUnavailableError, RETRYABLE),
    "refused": (Fault("PUT", "403", forward=False, code="AccessDenied"), AccessDeniedError, FAILURE),
}

VERBS = ("apply", "create", "merge", "merge after apply")


@pytest.fixture
def proxy(s3_server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server) as proxy:
        yield proxy
        proxy.faults = []
        proxy.settle()


@pytest.mark.parametrize(
    ("verb", "answer"),
    [*((verb, "throttled") for verb in VERBS), *(("apply", answer) for answer in ANSWERS if answer != "throttled")],
)
def test_the_error_is_that_of_the_store(spark, proxy, verb, answer):
    fault, kind, code = ANSWERS[answer]
    url = f"s3://{proxy.server.make_bucket()}/t"
    rows = simple_rows(0, 30)
    frame = in_partitions(spark, table_of(rows, SIMPLE))
    options: dict[str, Any] = {"storage_options": proxy.options, "settings": SHORT}
    if verb != "create":
        table = create(url, **options)
    if verb == "merge":
        table.apply(frame, batch_id=("s", 1))

    # Files of mods, of rows and of deletion vectors; the driver's manifests go through.
    path = r"/_andes/mods/" if verb == "apply" else r"/t/[^_][^/]*(/[^_][^/]*)?\.(parquet|bin)"
    proxy.faults = [replace(fault, path=path, times=10_000)]
    error: Any
    if verb == "merge after apply":
        merge = table.apply(frame, batch_id=("s", 1), merge=True).merge
        assert merge is not None
        error = merge.error
    else:
        with pytest.raises(AndesError) as caught:
            call(verb, url, frame, options)
        error = caught.value
    assert type(error) is kind
    assert (error.retryable, exit_code(error)) == (code == RETRYABLE, code)
    assert error.fields["status"] == int(fault.answer)
    assert "in a Spark task" in str(error)
    assert url in str(error)

    proxy.faults = []
    call(verb, url, frame, options)
    table = ModTable.open(url, **options)
    assert shown(table) == rows
    assert table.verify().ok


def call(verb: str, url: str, frame: Any, options: dict[str, Any]) -> None:
    if verb == "create":
        create(url, data=frame, **options)
    elif verb == "apply":
        ModTable.open(url, **options).apply(frame, batch_id=("s", 1))
    else:
        ModTable.open(url, **options).merge()


def test_keys_that_tasks_cannot_read(spark, proxy):
    url = f"s3://{proxy.server.make_bucket()}/t"
    options: dict[str, Any] = {"storage_options": proxy.options, "settings": SHORT}
    rows = simple_rows(0, 30)
    frame = side_by_side(spark, table_of(rows[::2], SIMPLE), table_of(rows[1::2], SIMPLE))
    proxy.faults = [Fault("GET", "503", forward=False, code="SlowDown", path=r"\.parquet", times=10_000)]
    with pytest.raises(ThrottledError, match="check that keys are unique failed in a Spark task") as caught:
        create(url, data=frame, **options)
    assert (caught.value.retryable, caught.value.fields["status"]) == (True, 503)
    proxy.faults = []
    assert shown(create(url, data=frame, **options)) == rows


@pytest.mark.parametrize("size", [1, 2 * PART_BYTES], ids=["whole", "in parts"])
def test_an_endpoint_on_which_nobody_listens_is_told_within_seconds(spark, size):
    """A task that has read nothing before: the driver reaches the store, and executors do not."""
    access = {"aws_endpoint": "http://127.0.0.1:1", "aws_region": "us-east-1", "aws_allow_http": "true"}
    storage = S3Storage("s3://lake/t", access | {"aws_access_key_id": "test", "aws_secret_access_key": "test"})

    def upload(part: int) -> None:
        with storage.open_output(f"mods/{part}") as output:
            output.write(bytes(size))

    begin = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="check the storage options aws_endpoint and aws_region") as caught:
        SparkExecutor(spark, storage.url).map(upload, range(2), step="write mods")
    assert time.monotonic() - begin < LATEST
    assert (caught.value.url, exit_code(caught.value)) == (storage.url, RETRYABLE)
