"""New objects on S3: one PUT for a small object, else a multipart upload beside the writer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from andes_spark.errors import AndesError, StorageError
from andes_spark.storage.interface import OutputFile

PART_BYTES = 8 * 1024 * 1024
QUEUED_PARTS = 2


class _Aborted(Exception):  # noqa: N818  # no error: stops the uploading thread
    """Raised inside the upload, so that the client cancels it at the store."""


class S3Output(OutputFile):
    """``OutputFile`` on S3.

    Args:
        path: for messages.
        put_whole: stores all bytes by one request.
        put_parts: stores an iterator of parts as one multipart upload, and cancels it if the iterator raises.
        closed: called with the number of requests and bytes once the object exists.
    """

    def __init__(
        self,
        path: str,
        *,
        put_whole: Callable[[bytes], None],
        put_parts: Callable[[Iterator[bytes]], None],
        closed: Callable[[int, int], None],
    ) -> None:
        super().__init__(path)
        self._put_whole = put_whole
        self._put_parts = put_parts
        self._on_closed = closed
        self._pending = bytearray()
        self._parts: queue.Queue[bytes | _Aborted | None] = queue.Queue(maxsize=QUEUED_PARTS)
        self._thread: threading.Thread | None = None
        self._error: AndesError | None = None
        self._sent = 0

    def _append(self, data: memoryview) -> None:
        self._pending += data
        while len(self._pending) >= PART_BYTES:
            self._send(bytes(self._pending[:PART_BYTES]))
            del self._pending[:PART_BYTES]

    def _finish(self) -> None:
        if self._thread is None:
            self._put_whole(bytes(self._pending))
            self._on_closed(1, self._size)
            return
        if self._pending:
            self._send(bytes(self._pending))
        self._offer(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        # One request per part, one to start and one to complete.
        self._on_closed(self._sent + 2, self._size)

    def _discard(self) -> None:
        self._pending = bytearray()
        if self._thread is not None:
            self._offer(_Aborted())
            self._thread.join()

    def _send(self, part: bytes) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._upload, name="andes-upload", daemon=True)
            self._thread.start()
        self._offer(part)
        self._sent += 1
        if self._error is not None:
            raise self._error

    def _offer(self, part: bytes | _Aborted | None) -> None:
        """Queue a part, unless the upload has ended."""
        thread = self._thread
        while thread is not None and thread.is_alive():
            try:
                return self._parts.put(part, timeout=0.1)
            except queue.Full:
                continue

    def _take(self) -> Iterator[bytes]:
        while True:
            part = self._parts.get()
            if part is None:
                return
            if isinstance(part, _Aborted):
                raise part
            yield part

    def _upload(self) -> None:
        try:
            self._put_parts(self._take())
        except _Aborted:
            pass
        except AndesError as error:
            self._error = error
        except BaseException as error:
            self._error = StorageError(f"The upload of {self.path!r} failed: {error}", path=self.path)
            raise
