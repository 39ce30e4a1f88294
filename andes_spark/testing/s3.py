"""An S3 server on this machine, and a proxy in front of it that delays, breaks and records requests.

The server is MiniStack (``andes_spark[test]``), which implements conditional PUTs atomically; it answers the Glue API
too. The number of *rounds*
is the length of the longest chain of requests, each started after the end of the previous one.
"""

from __future__ import annotations

import http.client
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self
from uuid import uuid4

START_SECONDS = 60
QUIET_SECONDS = 0.1


@dataclass(frozen=True)
class S3Server:
    """A server that accepts any credentials."""

    endpoint: str

    @property
    def options(self) -> dict[str, str]:
        """Storage options for this server."""
        return {
            "aws_endpoint": self.endpoint,
            "aws_region": "us-east-1",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "aws_allow_http": "true",
        }

    def make_bucket(self) -> str:
        """Create an empty bucket and return its name."""
        name = f"lake-{uuid4().hex[:12]}"
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        with _opener().open(request, timeout=30):
            return name


@contextmanager
def serve(folder: Path) -> Iterator[S3Server]:
    """Run MiniStack on a free port of the loopback interface.

    Args:
        folder: folder for the log and temporary files.

    Raises:
        RuntimeError: the server did not start; the message ends with its log.
    """
    log = folder / "server.log"
    with log.open("wb") as output:
        port, process = _start(folder, output)
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _wait(f"{endpoint}/_ministack/health", process, log)
            yield S3Server(endpoint)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _start(folder: Path, output: BinaryIO) -> tuple[int, subprocess.Popen[bytes]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3,glue",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(folder),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"], env=environment, stdout=output, stderr=subprocess.STDOUT
    )
    return port, process


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with _opener().open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"the S3 server did not start:\n{log.read_text(errors='replace')[-2000:]}")


@dataclass
class Fault:
    """A fault injected into the first ``times`` matching requests.

    Attributes:
        method: HTTP method of matching requests.
        answer: ``drop`` closes the connection, ``cut`` closes it within the answer, ``hang`` gives none and closes it
            after a while, ``slow`` gives the true answer after a while, ``late`` closes it and forwards the request
            after a while, ``pass`` changes nothing; a number is the status of an error answer with the code ``code``.
        forward: whether the request is forwarded to the server first.
        code: error code of an error answer.
        path: regular expression searched for in the path.
        times: number of requests with the fault.
        before: called before the request is forwarded.
    """

    method: str
    answer: str
    forward: bool = True
    code: str = "Whatever"
    path: str = ""
    times: int = 1
    before: Callable[[], object] | None = None


@dataclass(frozen=True)
class Request:
    """A request received by the proxy; times are seconds of ``time.monotonic``, ``size`` is that of its body."""

    begin: float
    end: float
    method: str
    path: str
    size: int = 0


def rounds(requests: Sequence[Request]) -> int:
    """Return length of the longest chain of requests, each started after the end of the previous one."""
    chain, last_end = 0, float("-inf")
    for request in sorted(requests, key=lambda request: request.end):
        if request.begin >= last_end:
            chain, last_end = chain + 1, request.end
    return chain


@dataclass
class FaultProxy:
    """A loopback HTTP proxy in front of an S3 server.

    Attributes:
        server: server behind the proxy.
        hang_seconds: duration of the faults ``hang``, ``slow`` and ``late``.
        delay: delay of each request in seconds.
        faults: faults to inject.
        seen: method and path of received requests.
        copies: paths of requests that copy an object, as in a rename on S3.
        received: method, path and headers of received requests; names of headers in lower case.
        ignored: names of headers, in lower case, that are not forwarded: the store does not know them.
        trace: answered requests.
    """

    server: S3Server
    hang_seconds: float = 3.0
    delay: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    received: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    trace: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        proxy: FaultProxy = self

        class Handler(ProxyHandler):
            owner = proxy

        self._http = _ProxyServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._lock = threading.Lock()
        self._under_way = 0
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def endpoint(self) -> str:
        """URL of the proxy."""
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def options(self) -> dict[str, str]:
        """Storage options for the proxy."""
        return {**self.server.options, "aws_endpoint": self.endpoint}

    def requests(self, method: str) -> int:
        """Return number of requests with a method so far."""
        return sum(1 for received, _ in self.seen if received == method)

    def fault_for(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        """Record a received request and return its fault, if any; names of headers are in lower case."""
        with self._lock:
            self.seen.append((method, path))
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    @contextmanager
    def timed(self, method: str, path: str, size: int = 0) -> Iterator[None]:
        """Delay a request and record it."""
        begin = time.monotonic()
        with self._lock:
            self._under_way += 1
        try:
            if self.delay:
                time.sleep(self.delay)
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                self.trace.append(Request(begin, time.monotonic(), method, path, size))

    def settle(self) -> None:
        """Wait until no request has been running for a while."""
        quiet_since, count = time.monotonic(), len(self.trace)
        while time.monotonic() - quiet_since < QUIET_SECONDS + self.delay:
            time.sleep(0.01)
            with self._lock:
                if self._under_way or len(self.trace) != count:
                    quiet_since, count = time.monotonic(), len(self.trace)


class _ProxyServer(http.server.ThreadingHTTPServer):
    # Connections beyond these are not refused but made a second later, or three: clients would wait for nothing.
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Print errors, but those of clients that were killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class ProxyHandler(http.server.BaseHTTPRequestHandler):
    """Handler that forwards requests to the server."""

    protocol_version = "HTTP/1.1"
    # An answer is sent in two writes: with Nagle's algorithm the second one would wait for an acknowledgement.
    disable_nagle_algorithm = True
    owner: FaultProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("x-amz-copy-source"):
            self.owner.copies.append(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.received.append((self.command, self.path, headers))
        fault = self.owner.fault_for(self.command, self.path, headers)
        if fault is not None and fault.before is not None:
            fault.before()
        # Recorded before the answer is sent, since the client continues at once.
        forwarded = fault is None or (fault.forward and fault.answer != "late")
        with self.owner.timed(self.command, self.path, len(body)):
            answer = self._forward(body) if forwarded else (200, [], b"")
        if fault is None or fault.answer == "pass":
            self._send(*answer)
        elif fault.answer == "slow":
            time.sleep(self.owner.hang_seconds)
            self._send(*answer)
        elif fault.answer in ("drop", "late"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            if fault.answer == "late":
                time.sleep(self.owner.hang_seconds)
                self._forward(body)
        elif fault.answer == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-")
            self.close_connection = True
        elif fault.answer == "hang":
            time.sleep(self.owner.hang_seconds)
            self.close_connection = True
        else:
            text = f"<Error><Code>{fault.code}</Code><Message>planted</Message></Error>".encode()
            self._send(int(fault.answer), [], text)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        target = http.client.HTTPConnection(self.owner.server.endpoint.removeprefix("http://"), timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in self.owner.ignored}
            target.request(self.command, self.path, body, headers)
            response = target.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            target.close()

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        skipped = {"transfer-encoding", "connection", "keep-alive"}
        if self.command != "HEAD":
            skipped.add("content-length")
        for name, value in headers:
            if name.lower() not in skipped:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@dataclass(frozen=True)
class Cost:
    """Requests of one verb.

    Attributes:
        seconds: time until the verb returned.
        requests: number of requests until then.
        rounds: length of the longest chain of requests.
        later: number of requests after the verb returned.
        kinds: number of requests until then, by method.
        paths: paths of requests until then, in order of their start.
    """

    seconds: float
    requests: int
    rounds: int
    later: int
    kinds: dict[str, int]
    paths: tuple[str, ...]

    @classmethod
    def of(cls, trace: Sequence[Request], begin: float, end: float) -> Self:
        """Cost of a verb that ran from ``begin`` to ``end``, by its requests."""
        ordered = sorted(trace, key=lambda request: request.begin)
        waited = [request for request in ordered if request.end <= end]
        return cls(
            seconds=end - begin,
            requests=len(waited),
            rounds=rounds(waited),
            later=len(trace) - len(waited),
            kinds=dict(Counter(request.method for request in waited)),
            paths=tuple(f"{request.method} {urllib.parse.unquote(request.path)}" for request in waited),
        )


class Meter:
    """Meter of verbs behind a proxy: ``with meter.verb(): ...``, then ``meter.cost``."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self.cost = Cost(0.0, 0, 0, 0, {}, ())

    @contextmanager
    def verb(self) -> Iterator[None]:
        """Measure the requests of the block, after all earlier requests have ended."""
        self._proxy.settle()
        self._proxy.trace.clear()
        begin = time.monotonic()
        yield
        end = time.monotonic()
        self._proxy.settle()
        self.cost = Cost.of(self._proxy.trace, begin, end)
