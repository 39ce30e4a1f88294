"""An S3 server on this machine for integration tests, and a proxy that spoils its answers.

Use: ``from tests.s3 import s3_server`` in a ``conftest.py`` makes the fixture known to the tests beside it.
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
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

START_SECONDS = 60


@dataclass(frozen=True)
class S3Server:
    endpoint: str

    @property
    def options(self) -> dict[str, str]:
        """Storage options that lead here."""
        return {
            "aws_endpoint": self.endpoint,
            "aws_region": "us-east-1",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "aws_allow_http": "true",
        }

    def client(self):
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def make_bucket(self) -> str:
        """A new, empty bucket."""
        name = f"lake-{uuid4().hex[:12]}"
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()
        return name


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """MiniStack on a free port of the loopback interface, stopped at the end of the session."""
    folder = tmp_path_factory.mktemp("s3")
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


def _start(folder: Path, output) -> tuple[int, subprocess.Popen[bytes]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3",
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(folder),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "ministack"], env=environment, stdout=output, stderr=subprocess.STDOUT
    )
    return port, process


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with opener.open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"The S3 server did not start:\n{log.read_text(errors='replace')[-2000:]}")


@dataclass
class Fault:
    """What the proxy does to requests that match, ``times`` times; then it is transparent again.

    ``answer``: ``drop`` closes the connection, ``cut`` does so within the answer, ``hang`` says nothing
    for a while, a number is the status of a made-up answer with the error code ``code``.
    ``forward``: whether the server sees the request first.
    """

    method: str
    answer: str
    forward: bool = True
    code: str = "Whatever"
    path: str = ""
    times: int = 1


@dataclass
class FaultProxy:
    """A loopback HTTP proxy in front of an S3 server. ``seen`` lists the requests that came in."""

    server: S3Server
    hang_seconds: float = 3.0
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> FaultProxy:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def options(self) -> dict[str, str]:
        return {**self.server.options, "aws_endpoint": self.endpoint}

    def requests(self, method: str) -> int:
        return sum(1 for seen, _ in self.seen if seen == method)

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.seen.append((method, path))
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.owner.fault_for(self.command, self.path)
        answer = self._forward(body) if fault is None or fault.forward else (200, [], b"")
        if fault is None:
            return self._send(*answer)
        if fault.answer == "drop":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault.answer == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-")
            self.close_connection = True
        elif fault.answer == "hang":
            time.sleep(self.owner.hang_seconds)
            self.close_connection = True
        else:
            text = f"<Error><Code>{fault.code}</Code><Message>planted</Message></Error>".encode()
            self._send(int(fault.answer), [], text)
        return None

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        target = http.client.HTTPConnection(self.owner.server.endpoint.removeprefix("http://"), timeout=30)
        try:
            target.request(self.command, self.path, body, dict(self.headers))
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
        pass
