"""Clients of a bucket: a patient one, one that never repeats, and one for a store that has not answered yet.

An endpoint that is wrong looks like one that is away for a while. What tells them apart is whether the store has ever
answered this process: only then is it worth waiting for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from andes_spark.errors import StorageError
from andes_spark.storage.put_once import LONGEST_PAUSE
from andes_spark.storage.s3_errors import UNANSWERED, Failure
from andes_spark.storage.s3_options import Access, RenewedCredentials, S3Options

if TYPE_CHECKING:
    from obstore.store import RetryConfig

T = TypeVar("T")

FIRST_SECONDS = 4.0
"""Time for which requests to a store that has not answered yet are repeated."""
_FIRST_ATTEMPT = 10.0
"""Time limit of one attempt of those, for stores that accept connections and say nothing."""
_CONNECT = 10.0
_FIRST_CONNECT = 5.0
_ANSWERED: set[tuple[str, str]] = set()
"""Stores that have answered this process: endpoint and region, whatever the bucket."""


@dataclass(frozen=True)
class _Opened:
    """Clients of a process, by what they are for, and the name of their store."""

    process: int
    store: tuple[str, str]
    patient: S3Store
    once: S3Store
    first: S3Store


class S3Clients:
    """The clients of a bucket, opened at the first call.

    Args:
        bucket: name of the bucket.
        access: see ``andes_spark.storage.s3_options``.
        url: folder of the table, for messages.
        seconds: time for which the patient client repeats a request.
        timeout: time limit of one attempt, in seconds.
        retries: maximum number of repetitions.
    """

    def __init__(self, bucket: str, access: Access, url: str, *, seconds: float, timeout: float, retries: int) -> None:
        self._bucket = bucket
        self._access = access
        self._url = url
        self._seconds = seconds
        # An attempt that hangs leaves time for another one.
        self._timeout = min(timeout, max(1.0, seconds / 2))
        self._retries = retries
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    def options(self) -> dict[str, str]:
        """Storage options as of now."""
        return dict(self._access(self._bucket) if callable(self._access) else self._access)

    @property
    def patient(self) -> S3Store:
        """Client that repeats requests while the store throttles, fails or does not answer."""
        return self._clients().patient

    @property
    def once(self) -> S3Store:
        """Client that sends each request once."""
        return self._clients().once

    @property
    def has_answered(self) -> bool:
        """Whether the store has ever answered this process."""
        return self._clients().store in _ANSWERED

    def ask(self, request: Callable[[S3Store], T]) -> T:
        """Send a request that reads. A store that has never answered is given seconds only; the error has a note."""
        clients = self._clients()
        if clients.store in _ANSWERED:
            return request(clients.patient)
        try:
            return self._first(request)
        except (BaseError, OSError) as error:
            if not Failure.of(error).passing:
                raise
        return request(clients.patient)

    def greet(self, key: str) -> bool:
        """Look at an object if the store has never answered, before a request that writes; tell whether that was so.

        What a request uploads takes time, and may be uploaded once only. So a store that is silent must be known by
        another request, which ends as those of :meth:`ask`; any answer will do.
        """
        if self.has_answered:
            return False
        try:
            self._first(lambda store: obstore.head(store, key))
        except (BaseError, OSError):
            if not self.has_answered:
                raise
        return True

    def _first(self, request: Callable[[S3Store], T]) -> T:
        """Send the first request of this process to its store."""
        clients = self._clients()
        try:
            result = request(clients.first)
        except (BaseError, OSError) as error:
            if Failure.of(error).unanswered:
                error.add_note(UNANSWERED)
            else:
                _ANSWERED.add(clients.store)
            raise
        _ANSWERED.add(clients.store)
        return result

    def _clients(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            opened = self._opened
        if opened.process != os.getpid():
            raise StorageError(
                f"{self._url} was opened before this process was forked: open it again in the new process",
                url=self._url,
            )
        return opened

    def _open(self) -> _Opened:
        options = S3Options.parse(self.options())
        renewed = callable(self._access) and options.access_key_id is not None
        credentials = RenewedCredentials(self.options) if renewed else options.credentials()

        def client(retry: RetryConfig, timeout: float, connect: float) -> S3Store:
            return S3Store(
                self._bucket,
                config=options.config(),
                client_options={
                    "allow_http": options.allow_http,
                    "timeout": timedelta(seconds=timeout),
                    "connect_timeout": timedelta(seconds=min(connect, timeout)),
                    # Below the idle timeout of S3, so that no request uses a connection that is being closed.
                    "pool_idle_timeout": timedelta(seconds=15),
                },
                retry_config=retry,
                credential_provider=credentials,
            )

        return _Opened(
            os.getpid(),
            (options.endpoint or "", options.region or ""),
            patient=client(self._repeated(self._seconds), self._timeout, _CONNECT),
            once=client({"max_retries": 0}, self._timeout, _CONNECT),
            first=client(
                self._repeated(min(FIRST_SECONDS, self._seconds)), min(_FIRST_ATTEMPT, self._timeout), _FIRST_CONNECT
            ),
        )

    def _repeated(self, seconds: float) -> Any:
        return {
            "max_retries": self._retries,
            "retry_timeout": timedelta(seconds=seconds),
            "backoff": {"max_backoff": timedelta(seconds=min(LONGEST_PAUSE, max(0.1, seconds / 10)))},
        }
