from __future__ import annotations

import os
import pickle
import re
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark.errors import (
    AccessDeniedError,
    AndesError,
    MissingPackageError,
    NotFoundError,
    StorageError,
    StorageFullError,
    ThrottledError,
    UnsupportedTableError,
)
from andes_spark.storage import s3_options
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.s3 import S3Storage
from andes_spark.storage.s3_errors import Failure
from andes_spark.storage.s3_options import S3Options
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server
from tests.s3 import s3_client

pytestmark = pytest.mark.integration


@pytest.fixture
def url(bucket: str) -> str:
    return f"s3://{bucket}/{uuid4().hex}"


@pytest.fixture
def s3(s3_server: S3Server, url: str) -> S3Storage:
    """Straight to the server, to look behind the proxy."""
    return S3Storage(url, s3_server.options)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    """A store that has answered this process: no other request comes before the first one that writes."""
    with FaultProxy(s3_server) as proxy:
        S3Storage(f"s3://{s3_server.make_bucket()}/t", proxy.options).find("x")
        for requests in (proxy.seen, proxy.received, proxy.trace):
            requests.clear()
        yield proxy


@pytest.fixture
def behind(proxy: FaultProxy, url: str) -> S3Storage:
    return S3Storage(url, proxy.options, timeout=1.0, retries=2)


@pytest.mark.parametrize("answer", ["drop", "cut", "hang", "500", "502", "503", "504", "408"])
@pytest.mark.parametrize("forward", [True, False], ids=["written", "not written"])
def test_an_unknown_outcome(s3: S3Storage, behind: S3Storage, proxy: FaultProxy, answer: str, forward: bool) -> None:
    proxy.faults = [Fault("PUT", answer, forward=forward)]
    assert behind.put_if_absent("log/7", b"data") is PutOutcome.UNKNOWN
    assert proxy.requests("PUT") == 1, "the client repeated a request whose answer was lost"
    assert s3.find("log/7") == (b"data" if forward else None)
    outcome = behind.put_if_absent("log/7", b"data")
    assert outcome is (PutOutcome.EXISTS if forward else PutOutcome.CREATED)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("403", "AccessDenied", AccessDeniedError),
        ("401", "Unauthorized", AccessDeniedError),
        ("400", "InvalidRequest", StorageError),
        ("404", "NoSuchBucket", StorageError),
        ("429", "TooManyRequests", ThrottledError),
        ("301", "PermanentRedirect", StorageError),
        ("403", "QuotaExceeded", AccessDeniedError),
        ("400", "QuotaExceeded", StorageFullError),
    ],
)
def test_a_refusal_raises(
    s3: S3Storage, behind: S3Storage, proxy: FaultProxy, status: str, code: str, kind: type[AndesError]
) -> None:
    proxy.faults = [Fault("PUT", status, forward=False, code=code)]
    with pytest.raises(kind) as caught:
        behind.put_if_absent("log/7", b"data")
    assert type(caught.value) is kind
    assert caught.value.fields["path"] == "log/7"
    if status != "301":  # the client hides the answer
        assert code in str(caught.value)
        assert caught.value.fields["status"] == int(status)
    assert proxy.requests("PUT") == 1
    assert s3.find("log/7") is None


@pytest.mark.parametrize(("status", "outcome"), [("412", PutOutcome.EXISTS), ("304", PutOutcome.EXISTS)])
def test_a_lost_race(behind: S3Storage, proxy: FaultProxy, status: str, outcome: PutOutcome) -> None:
    proxy.faults = [Fault("PUT", status, forward=False)]
    assert behind.put_if_absent("log/7", b"data") is outcome
    assert proxy.requests("PUT") == 1


def test_a_conflict_is_neither_won_nor_lost(behind: S3Storage, proxy: FaultProxy) -> None:
    """409: another conditional write is under way, ours was not done; so it may be asked again."""
    proxy.faults = [Fault("PUT", "409", forward=False, code="ConditionalRequestConflict", times=2)]
    assert behind.put_if_absent("log/7", b"data") is PutOutcome.CREATED
    assert proxy.requests("PUT") == 3
    proxy.faults = [Fault("PUT", "409", forward=False, code="ConditionalRequestConflict", times=99)]
    with pytest.raises(ThrottledError) as caught:
        behind.put_if_absent("log/8", b"data")
    assert caught.value.retryable


def test_a_service_that_cannot_be_reached_is_no_unknown(url: str, s3_server: S3Server) -> None:
    storage = S3Storage(url, {**s3_server.options, "aws_endpoint": "http://127.0.0.1:1"}, retries=0)
    with pytest.raises(StorageError, match="connect error"):
        storage.put_if_absent("log/7", b"data")
    with pytest.raises(StorageError, match="check the storage options aws_endpoint"):
        storage.find("log/7")


def test_reads_and_plain_writes_are_repeated(behind: S3Storage, proxy: FaultProxy) -> None:
    proxy.faults = [Fault("PUT", "500", forward=False), Fault("GET", "503", forward=False)]
    behind.put("hint", b"7")
    assert behind.get("hint") == b"7"
    assert (proxy.requests("PUT"), proxy.requests("GET")) == (2, 2)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("403", "AccessDenied", AccessDeniedError),
        ("403", "InvalidAccessKeyId", AccessDeniedError),
        ("503", "SlowDown", ThrottledError),
        ("400", "ExpiredToken", AccessDeniedError),
        ("404", "NoSuchBucket", StorageError),
        ("507", "XMinioStorageFull", StorageFullError),
    ],
)
def test_errors_are_translated(url: str, proxy: FaultProxy, status: str, code: str, kind: type[AndesError]) -> None:
    storage = S3Storage(url, proxy.options, retries=0)
    storage.put("a", b"")
    proxy.faults = [Fault(method, status, forward=False, code=code, times=99) for method in ("GET", "PUT", "POST")]

    def write() -> None:
        with storage.open_output("mods/1") as output:
            output.write(b"x")

    for call in (
        lambda: storage.get("a"),
        lambda: storage.find("a"),
        lambda: storage.put("a", b""),
        lambda: list(storage.list()),
        lambda: storage.open_input("a"),
        lambda: storage.delete(["a"]),
        write,
    ):
        with pytest.raises(AndesError) as caught:
            call()
        assert type(caught.value) is kind
        assert code in str(caught.value)
        assert caught.value.__cause__ is None
        assert pickle.loads(pickle.dumps(caught.value)).fields == caught.value.fields


def test_an_answer_with_a_token_is_not_repeated() -> None:
    body = "<Error><Code>InvalidToken</Code><Message>bad.</Message><Token-0>T0KEN</Token-0></Error>"
    text = (
        f"Generic S3 error: Error performing GET http://h/b/k in 1ms - Server returned non-2xx status code: "
        f'400 Bad Request: <?xml version="1.0"?>\n{body}\n\nDebug source:\nGeneric {{\n    inner: Status {{\n'
        f'        status: 400,\n        body: Some(\n            "{body}",\n        ),\n    }},\n}}'
    )
    failure = Failure.of(RuntimeError(text))
    assert (failure.status, failure.code, failure.refused) == (400, "InvalidToken", True)
    assert "T0KEN" not in failure.text
    assert failure.text.endswith("InvalidToken, bad")


@pytest.mark.parametrize("text", ["", "anything", "status: 403", "inner: Status { status: 403, }\n\nDebug source:\n"])
def test_what_is_not_understood_is_no_refusal(text: str) -> None:
    assert not Failure.of(RuntimeError(text)).refused


def test_the_name_of_an_object_cannot_fake_a_status(behind: S3Storage, proxy: FaultProxy) -> None:
    name = "x inner: Status { status: 403, kind: Connect"
    proxy.faults = [Fault("PUT", "drop")]
    assert behind.put_if_absent(name, b"data") is PutOutcome.UNKNOWN


def test_a_missing_bucket_is_not_an_empty_one(s3_server: S3Server) -> None:
    storage = S3Storage("s3://no-such-bucket/orders", s3_server.options)
    for call in (
        lambda: storage.find("hint"),
        lambda: storage.get("hint"),
        lambda: list(storage.list()),
        lambda: storage.open_input("hint"),
        lambda: storage.put("hint", b""),
        lambda: storage.put_if_absent("hint", b""),
    ):
        with pytest.raises(StorageError, match="create the bucket"):
            call()


def test_requests_of_an_input(s3: S3Storage) -> None:
    table = pa.table({name: pa.array(range(600_000), pa.int64()) for name in "abcdefgh"})
    with s3.open_output("part") as output:
        pq.write_table(table, output, row_group_size=300_000, compression="none", use_dictionary=False)
    assert output.bytes_written > 38_000_000
    with s3.open_output("small") as output:
        pq.write_table(table.slice(0, 1000), output)

    start = s3.counts.snapshot()
    assert pq.read_table(s3.open_input("small")).num_rows == 1000
    assert s3.counts.minus(start).get == 1, "a small file is one request"

    start = s3.counts.snapshot()
    read = pq.ParquetFile(s3.open_input("part"), pre_buffer=True).read(columns=["a", "b"])
    assert read.equals(table.select(["a", "b"]))
    spent = s3.counts.minus(start)
    assert spent.get == 3, "the end, and one range per row group"
    assert spent.bytes_read < 12_000_000

    start = s3.counts.snapshot()
    assert pq.read_table(s3.open_input("part")).equals(table)
    spent = s3.counts.minus(start)
    assert spent.get <= 12
    assert spent.bytes_read < 1.05 * output.bytes_written + 40_000_000


def test_requests_of_outputs_and_deletes(s3: S3Storage, proxy: FaultProxy, behind: S3Storage) -> None:
    with behind.open_output("small") as output:
        output.write(b"x" * 1000)
    assert [method for method, _ in proxy.seen] == ["PUT"]
    proxy.seen.clear()
    start = behind.counts.snapshot()
    with behind.open_output("large") as output:
        for _ in range(20):
            output.write(b"x" * 2**20)
    assert [method for method, _ in proxy.seen] == ["POST", "PUT", "PUT", "PUT", "POST"]
    assert behind.counts.minus(start).put == 5
    proxy.seen.clear()
    behind.delete(["small", "large", "missing"])
    assert [method for method, _ in proxy.seen] == ["POST"]
    assert list(s3.list()) == []


def test_an_aborted_upload_is_cancelled(s3: S3Storage, s3_server: S3Server, bucket: str) -> None:
    output = s3.open_output("large")
    for _ in range(40):
        output.write(b"x" * 2**20)
    output.abort()
    assert list(s3.list()) == []
    client = s3_client(s3_server)
    try:
        assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    finally:
        client.close()


def test_a_failing_upload_raises_and_leaves_nothing(s3: S3Storage, url: str, proxy: FaultProxy) -> None:
    storage = S3Storage(url, proxy.options, retries=0)
    proxy.faults = [Fault("PUT", "403", forward=False, code="AccessDenied", times=99)]
    with pytest.raises(AccessDeniedError), storage.open_output("large") as output:  # noqa: PT012
        for _ in range(200):
            output.write(b"x" * 2**20)
    assert list(s3.list()) == []


def test_folder_markers_are_no_objects(s3: S3Storage, s3_server: S3Server, bucket: str) -> None:
    prefix = s3.url.removeprefix(f"s3://{bucket}/")
    client = s3_client(s3_server)
    try:
        for marker in ("/", "/_delta_log/", "/mods/", "/mods/empty/"):
            client.put_object(Bucket=bucket, Key=prefix + marker, Body=b"")
    finally:
        client.close()
    s3.put("mods-x", b"1")
    s3.put("mods/1", b"")
    s3.put("_delta_log/0.json", b"1")
    assert [info.path for info in s3.list()] == ["_delta_log/0.json", "mods-x", "mods/1"]
    assert [info.path for info in s3.list("mods")] == ["mods/1"]
    assert s3.find("mods") is None


def test_the_root_of_a_bucket(s3_server: S3Server) -> None:
    storage = S3Storage(f"s3://{s3_server.make_bucket()}", s3_server.options)
    storage.put("mods/1", b"x")
    storage.put("a", b"x")
    assert [info.path for info in storage.list()] == ["a", "mods/1"]
    assert [info.path for info in storage.list("mods", after="a")] == ["mods/1"]


def test_neighbours_are_out_of_reach(s3_server: S3Server, url: str) -> None:
    S3Storage(url + "2", s3_server.options).put("a", b"x")
    storage = S3Storage(url, s3_server.options)
    assert list(storage.list()) == []
    assert storage.find("a") is None


def test_credentials_of_the_environment(s3_server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    options = {key: value for key, value in s3_server.options.items() if "key" not in key}
    storage = S3Storage(url, options)
    storage.put("a", b"1")
    assert storage.get("a") == b"1"


class Rotating:
    """An access whose key is another one each time."""

    def __init__(self, options: dict[str, str]) -> None:
        self.options = options
        self.buckets: list[str] = []

    def __call__(self, bucket: str) -> dict[str, str]:
        self.buckets.append(bucket)
        return {**self.options, "aws_access_key_id": f"KEY{len(self.buckets)}", "aws_session_token": "token"}


def keys_of(proxy: FaultProxy) -> list[str]:
    """Access keys of the requests, in order, without repetitions."""
    matches = [re.search(r"Credential=(\w+)/", headers["authorization"]) for _, _, headers in proxy.received]
    return list(dict.fromkeys(match[1] for match in matches if match is not None))


def test_credentials_that_are_asked_for_again(url: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    # Valid for less time than the client wants left: it asks before each request.
    monkeypatch.setattr(s3_options, "ASKED_AGAIN", timedelta(minutes=1))
    access = Rotating(proxy.options)
    storage = S3Storage(url, access)
    assert access.buckets == []
    storage.put("a", b"1")
    time.sleep(0.2)
    assert pickle.loads(pickle.dumps(storage)).get("a") == storage.get("a") == b"1"
    assert len(keys_of(proxy)) == 3
    assert set(access.buckets) == {url.split("/")[2]}
    assert all(headers["x-amz-security-token"] == "token" for _, _, headers in proxy.received)


def test_credentials_last_for_a_minute(url: str, proxy: FaultProxy) -> None:
    storage = S3Storage(url, Rotating(proxy.options))
    for number in range(3):
        storage.put(str(number), b"1")
        time.sleep(0.15)
    assert len(keys_of(proxy)) == 1


def test_credentials_that_cannot_be_renewed(url: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Rotating):
        def __call__(self, bucket: str) -> dict[str, str]:
            if self.buckets:
                raise AccessDeniedError("the role of this job has ended")
            return super().__call__(bucket)

    with pytest.raises(AccessDeniedError, match="the role of this job has ended"):
        S3Storage(url, Ended(proxy.options)).put("a", b"1")


def test_a_store_that_lists_in_another_order_is_refused(s3: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        s3.put(name, b"1")
    pages = [list(page) for page in obstore.list(s3._clients.patient, prefix=s3.url.split("/")[3], chunk_size=2)]
    monkeypatch.setattr(obstore, "list", lambda *_, **__: iter(pages[::-1]))
    with pytest.raises(UnsupportedTableError, match="another order") as caught:
        list(s3.list())
    assert caught.value.feature == "unordered listing"


def test_no_credentials_anywhere(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(AccessDeniedError, match="No AWS credentials were found"):
        S3Storage(url).put_if_absent("a", b"")


def test_given_credentials_are_not_mixed_with_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "from the environment")
    options = S3Options.parse({"aws_access_key_id": "key", "aws_secret_access_key": "secret"})
    credential = options.credentials()()
    assert credential == {
        "access_key_id": "key",
        "secret_access_key": "secret",
        "token": None,
        "expires_at": None,
    }
    assert not {"access_key_id", "secret_access_key", "session_token"} & set(options.config())


def test_boto3_is_named_when_it_is_missing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "obstore.auth.boto3", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingPackageError, match="andes_spark\\[aws\\]") as caught:
        S3Storage(url).find("a")
    assert caught.value.package == "boto3"


def test_a_forked_process_is_told_to_open_anew(s3: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError):
        s3.get("a")
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(StorageError, match="open it again in the new process"):
        s3.get("a")


def test_storage_opens_lazily() -> None:
    storage = S3Storage("s3://lake/orders", {"aws_endpoint": "https://127.0.0.1:1"})
    assert pickle.loads(pickle.dumps(storage)).url == "s3://lake/orders"
    assert storage.counts.snapshot().requests == 0
