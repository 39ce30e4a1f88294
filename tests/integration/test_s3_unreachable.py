"""A store that never answers is told within seconds; one that has answered, or that throttles, is waited for."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.cli.app import RETRYABLE, exit_code
from andes_spark.errors import AndesError, StorageError, StoreUnavailableError
from andes_spark.storage import s3_clients
from andes_spark.storage.s3 import S3Storage
from andes_spark.storage.s3_output import PART_BYTES
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server

pytestmark = [pytest.mark.integration, pytest.mark.faults]
LATEST = 60.0
"""Seconds after which an error has come, however busy the machine: it takes 4, or 10 of a store that says nothing; a
store that has answered would be waited for during 120."""
URL = "s3://lake/orders"
ACCESS = {
    "aws_region": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
    "aws_allow_http": "true",
}
ROWS = pa.table({"id": [1]})
METHODS = ("GET", "HEAD", "PUT", "POST")
CALLS: dict[str, Callable[[dict[str, str]], object]] = {
    "open": lambda options: ModTable.open(URL, storage_options=options),
    "create": lambda options: ModTable.create(URL, "id BIGINT", primary_key="id", storage_options=options),
    "list": lambda options: list(S3Storage(URL, options).list()),
    "put": lambda options: S3Storage(URL, options).put("mods/x", b"x"),
    "upload": lambda options: uploaded(S3Storage(URL, options), b"x"),
    "upload in parts": lambda options: uploaded(S3Storage(URL, options), bytes(2 * PART_BYTES)),
    "delete": lambda options: S3Storage(URL, options).delete(["mods/x"]),
}
"""Calls that come first in a process: a task writes files without having read any."""
KINDS = (
    "refused", "unknown host", "unknown region", "no TLS", "no HTTP", "connections closed", "no answer",
    "no connection",
)  # fmt: skip


def uploaded(storage: S3Storage, data: bytes) -> None:
    with storage.open_output("mods/x") as output:
        output.write(data)


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """Address of a server that does one thing with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    serve(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=run, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def deaf() -> Iterator[str]:
    """Address where connections are neither made nor refused, as behind a firewall: a server's queue is full."""
    with socket.socket() as server, ExitStack() as clients:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


def answer(text: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(65536)
            connection.sendall(text)

    return serve


@pytest.fixture(scope="module")
def told() -> Iterator[dict[tuple[str, str], tuple[float, AndesError]]]:
    """Seconds and error of each kind and call; all at the same time, since they wait."""
    kept: list[socket.socket] = []
    with ExitStack() as stack:
        closing = stack.enter_context(listening(lambda connection: connection.close()))
        silent = stack.enter_context(listening(kept.append))
        shell = stack.enter_context(listening(answer(b"SSH-2.0-x\r\n")))
        plain = stack.enter_context(listening(answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
        endpoints = {
            "refused": "http://127.0.0.1:1",
            "unknown host": "http://no-such-host.invalid",
            "no TLS": f"https://{plain}",
            "no HTTP": f"http://{shell}",
            "connections closed": f"http://{closing}",
            "no answer": f"http://{silent}",
            "no connection": f"http://{stack.enter_context(deaf())}",
        }
        access = {kind: ACCESS | {"aws_endpoint": endpoint} for kind, endpoint in endpoints.items()}
        access["unknown region"] = ACCESS | {"aws_region": "eu-nowhere-1"}
        pool = stack.enter_context(ThreadPoolExecutor(len(KINDS) * len(CALLS)))
        futures: dict[tuple[str, str], Future[tuple[float, AndesError]]] = {
            (kind, name): pool.submit(failed, call, access[kind]) for kind in KINDS for name, call in CALLS.items()
        }
        yield {place: future.result() for place, future in futures.items()}
    for connection in kept:
        connection.close()


def failed(call: Callable[[dict[str, str]], object], options: dict[str, str]) -> tuple[float, AndesError]:
    begin = time.monotonic()
    try:
        call(options)
    except AndesError as error:
        return time.monotonic() - begin, error
    raise AssertionError("no error")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_never_answers(
    told: dict[tuple[str, str], tuple[float, AndesError]], kind: str, call: str
) -> None:
    seconds, error = told[kind, call]
    assert seconds < LATEST
    assert type(error) is StoreUnavailableError
    assert URL in str(error)
    assert "has not answered this process yet: check the storage options aws_endpoint and aws_region" in str(error)
    assert (error.retryable, exit_code(error)) == (True, RETRYABLE)


def test_the_command_line() -> None:
    command = [str(Path(sys.executable).parent / "andes"), "table", "status", URL]
    options = ACCESS | {"aws_endpoint": "http://127.0.0.1:1"}
    begin = time.monotonic()
    done = subprocess.run(
        [*command, *(part for item in options.items() for part in ("--storage-option", "=".join(item)))],
        capture_output=True,
        text=True,
    )
    assert time.monotonic() - begin < LATEST
    assert (done.returncode, done.stdout) == (RETRYABLE, "")
    said = " ".join(done.stderr.split())
    assert URL in said
    assert "check the storage options aws_endpoint and aws_region" in said


def test_a_server_that_is_none_of_s3() -> None:
    page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nConnection: close\r\n\r\nnone\n"
    with listening(answer(page)) as address:
        seconds, error = failed(CALLS["create"], ACCESS | {"aws_endpoint": f"http://{address}"})
    assert seconds < LATEST
    assert type(error) is StorageError
    assert URL in str(error)
    assert "does not know S3: check the storage option aws_endpoint" in str(error)
    assert exit_code(error) == 1


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setattr(s3_clients, "FIRST_SECONDS", 0.2)
    with FaultProxy(s3_server) as proxy:
        yield proxy
        # Hints are written after the caller has its answer.
        proxy.settle()


@contextmanager
def storm(proxy: FaultProxy, answer: str, seconds: float) -> Iterator[None]:
    """All requests fail for a while."""
    proxy.faults = [Fault(method, answer, forward=False, code="SlowDown", times=10_000) for method in METHODS]
    timer = threading.Timer(seconds, proxy.faults.clear)
    timer.start()
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin > seconds
    timer.join()


def test_throttling_from_the_first_request_on_is_waited_for(proxy: FaultProxy) -> None:
    url = f"s3://{proxy.server.make_bucket()}/t"
    with storm(proxy, "503", 2.0):
        table = ModTable.create(url, "id BIGINT", primary_key="id", storage_options=proxy.options)
    with storm(proxy, "503", 2.0):
        assert table.apply(ROWS, batch_id=("s", 1)).upserts == 1


@pytest.mark.parametrize("size", [1, 2 * PART_BYTES], ids=["whole", "in parts"])
def test_throttling_of_an_upload_that_comes_first_is_waited_for(proxy: FaultProxy, size: int) -> None:
    storage = S3Storage(f"s3://{proxy.server.make_bucket()}/t", proxy.options)
    with storm(proxy, "503", 2.0):
        uploaded(storage, bytes(size))
    assert storage.get("mods/x") == bytes(size)


def test_a_store_is_asked_once_before_the_first_upload(proxy: FaultProxy) -> None:
    bucket = proxy.server.make_bucket()
    storage = S3Storage(f"s3://{bucket}/t", proxy.options)
    uploaded(storage, b"x")
    uploaded(storage, b"y")
    S3Storage(f"s3://{bucket}/u", proxy.options).put("x", b"x")
    assert [method for method, _ in proxy.seen] == ["HEAD", "PUT", "PUT", "PUT"]
    assert (storage.counts.snapshot().head, storage.counts.snapshot().put) == (1, 2)


@pytest.mark.parametrize("answer", ["cut", "drop"])
def test_connections_that_are_cut_later_are_waited_for(proxy: FaultProxy, answer: str) -> None:
    """The store has answered this process: by another handle."""
    url = f"s3://{proxy.server.make_bucket()}/t"
    ModTable.create(url, "id BIGINT", primary_key="id", storage_options=proxy.options)
    with storm(proxy, answer, 2.0):
        table = ModTable.open(url, storage_options=proxy.options)
    with storm(proxy, answer, 2.0):
        assert table.to_arrow().num_rows == 0


@pytest.mark.parametrize("answer", ["cut", "drop"])
def test_connections_that_are_cut_from_the_first_request_on(proxy: FaultProxy, answer: str) -> None:
    url = f"s3://{proxy.server.make_bucket()}/t"
    proxy.faults = [Fault(method, answer, forward=False, times=10_000) for method in METHODS]
    seconds, error = failed(lambda options: ModTable.open(url, storage_options=options), proxy.options)
    assert seconds < LATEST
    assert type(error) is StoreUnavailableError
    proxy.faults = []
    ModTable.create(url, "id BIGINT", primary_key="id", storage_options=proxy.options)


def test_all_pages_of_a_listing_that_comes_first(s3_server: S3Server, proxy: FaultProxy) -> None:
    """Its first page, and the next ones by the patient client, from there on."""
    url = f"s3://{s3_server.make_bucket()}/t"
    stored = S3Storage(url, s3_server.options)
    names = [f"{number:04d}" for number in range(2001)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: stored.put(name, b"x"), names))
    listing = S3Storage(url, proxy.options).list()
    seen = [next(listing).path]
    with storm(proxy, "503", 2.0):
        seen += [info.path for info in listing]
    assert seen == names
    assert len(proxy.seen) > 3
