"""The interface of stores, and their common parts: paths, counters, outcomes, output files.

A store is one table's folder. Its one strong promise is ``put_if_absent``: of all writers that ask
for a name, at most one creates it. All commits depend on that call alone.
"""

from __future__ import annotations

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from enum import Enum
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

import pyarrow as pa

from andes_spark.errors import OptionError
from andes_spark.storage.ranges import ByteRanges
from andes_spark.storage.scheduler import Scheduler

Kind: TypeAlias = Literal["get", "put", "put_if_absent", "list", "delete", "head"]

MAX_PATH_CHARS = 1024
# Names of unfinished files on disk: no method accepts or lists them. The dot hides them from Hadoop too.
TEMP_PREFIX = ".andes_tmp-"

# Control characters, the backslash, and lone surrogates (which have no UTF-8 form).
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\\\\\ud800-\udfff]")


class PutOutcome(Enum):
    """Outcome of ``put_if_absent``.

    With ``UNKNOWN`` the request may have reached the store: the caller reads the object and compares, and
    never cleans up first. ``EXISTS`` is no proof of a lost race either: a call repeated after ``UNKNOWN``
    may meet the caller's own object.
    """

    CREATED = "created"
    EXISTS = "exists"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ObjectInfo:
    """One listed object.

    Attributes:
        path: path in the table's folder.
        size: size in bytes.
        modified_ms: time of the last change, in milliseconds since 1970 UTC.
    """

    path: str
    size: int
    modified_ms: int


@dataclass(frozen=True)
class Tally:
    """Work of a store, in total or between two moments: requests by kind, bytes, seconds spent in fsync.

    On disk a request is a call, on S3 a request to the service as far as its client shows them (its own
    retries are not counted). ``bytes_read`` leaves out memory-mapped files.
    """

    get: int = 0
    put: int = 0
    put_if_absent: int = 0
    list: int = 0
    delete: int = 0
    head: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    sync_seconds: float = 0.0

    @property
    def requests(self) -> int:
        """The number of requests of all kinds."""
        return self.get + self.put + self.put_if_absent + self.list + self.delete + self.head

    def minus(self, earlier: Tally) -> Tally:
        """Return the difference to ``earlier``."""
        return Tally(**{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)})

    def plus(self, other: Tally) -> Tally:
        """Sum of both, for the work of several tasks."""
        return Tally(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


class Requests:
    """Thread-safe counters of one ``Storage`` object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, float] = asdict(Tally())

    def add(self, kind: Kind, times: int = 1, *, read: int = 0, written: int = 0) -> None:
        """Count ``times`` requests of a kind with their bytes."""
        with self._lock:
            self._values[kind] += times
            self._values["bytes_read"] += read
            self._values["bytes_written"] += written

    def add_bytes(self, *, read: int = 0, written: int = 0) -> None:
        """Count bytes of a request that is already counted."""
        with self._lock:
            self._values["bytes_read"] += read
            self._values["bytes_written"] += written

    def add_sync(self, seconds: float) -> None:
        """Add time spent in fsync."""
        with self._lock:
            self._values["sync_seconds"] += seconds

    def snapshot(self) -> Tally:
        """Return a frozen copy of the counters."""
        with self._lock:
            return Tally(**self._values)  # type: ignore[arg-type]  # every field but the last stays an int

    def minus(self, earlier: Tally) -> Tally:
        """Return the difference to ``earlier``."""
        return self.snapshot().minus(earlier)


class OutputFile(ABC):
    """A new object, written front to back; visible and durable once ``close`` returns.

    Usable as the sink of ``pa.PythonFile`` and ``pq.ParquetWriter``. Leaving its ``with`` block by an
    exception aborts it. After ``abort`` further writes are ignored, since a discarded Parquet writer
    still writes its footer. Not thread-safe.
    """

    mode = "wb"

    def __init__(self, path: str) -> None:
        self.path = path
        self._hash = hashlib.sha256()
        self._size = 0
        self._state: Literal["open", "closed", "aborted"] = "open"

    @abstractmethod
    def _append(self, data: memoryview) -> None:
        """Append bytes; the view is only valid during the call."""

    @abstractmethod
    def _finish(self) -> None:
        """Make the object durable and visible."""

    @abstractmethod
    def _discard(self) -> None:
        """Discard the file, with as few remains as possible. Never raises."""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append bytes (anything with a contiguous buffer, Arrow's included) and return their number.

        Raises:
            OptionError: the file is closed.
            StorageError: the store failed; the file is aborted.
        """
        view = memoryview(data).cast("B")
        if self._state == "closed":
            raise OptionError(f"{self.path!r} is closed: bytes must be written before close()", path=self.path)
        if self._state == "open":
            try:
                self._append(view)
            except BaseException:
                self.abort()
                raise
            self._hash.update(view)
            self._size += view.nbytes
        return view.nbytes

    def close(self) -> None:
        """Make the object durable. Does nothing on a file that is closed or aborted already.

        Raises:
            StorageError: the store failed; the file is aborted.
        """
        if self._state != "open":
            return
        try:
            self._finish()
        except BaseException:
            self.abort()
            raise
        self._state = "closed"

    def abort(self) -> None:
        """Discard the file: it never becomes visible. Does nothing on a closed file."""
        if self._state == "open":
            self._state = "aborted"
            self._discard()

    @property
    def closed(self) -> bool:
        """Whether the object is written. An aborted file is not closed: it ignores further writes."""
        return self._state == "closed"

    @property
    def bytes_written(self) -> int:
        """The number of bytes that were written so far."""
        return self._size

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes, in hex.

        Raises:
            OptionError: the file is not closed.
        """
        if self._state != "closed":
            raise OptionError(f"The checksum of {self.path!r} exists once close() returned", path=self.path)
        return self._hash.hexdigest()

    def tell(self) -> int:
        """Return the position, the number of bytes written."""
        return self._size

    def flush(self) -> None:  # noqa: B027  # not abstract: there is nothing to do for any store
        """Do nothing: only ``close`` makes a file visible."""

    def readable(self) -> bool:
        """Return whether bytes can be read: no."""
        return False

    def writable(self) -> bool:
        """Return whether bytes can be written: yes."""
        return True

    def seekable(self) -> bool:
        """Return whether the position can be moved: no."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class Storage(Protocol):
    """One table's folder. Paths are relative to it, separated by ``/`` and checked by ``check_path``.

    Every method may be called by several threads at once and raises only ``AndesError``: ``OptionError``
    for a path that cannot be used, ``AccessDeniedError``, ``StorageFullError``, ``ThrottledError`` or
    another ``StorageError`` when the store fails. No method starts a Spark job. Objects that the log names
    are never changed once written, so readers need no locks.

    Attributes:
        url: absolute path of a folder on disk (not percent-encoded), else ``scheme://...``; never holds
            credentials. ``open_storage(url)`` opens the same folder.
        counts: counters of the requests of this object.
    """

    url: str
    counts: Requests

    @property
    def scheduler(self) -> Scheduler:
        """Scheduler of the requests of this object."""

    def get(self, path: str) -> bytes:
        """Return the whole object.

        Raises:
            NotFoundError: the object does not exist.
        """

    def find(self, path: str) -> bytes | None:
        """Return the whole object, or None if it does not exist."""

    def size(self, path: str) -> int | None:
        """Return the size of the object in bytes, or None if it does not exist."""

    def info(self, path: str) -> ObjectInfo | None:
        """Return size and time of the object, or None if it does not exist."""

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        """Write an object, replacing one that exists: for advisory files only.

        Readers see the old or the new bytes, never a mixture. With ``sync=False`` the object may be missing
        for an instant, and a crash may lose both versions.
        """

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        """Create the object, whole and durable, unless the name is taken.

        Raises:
            StorageError: the store refused; nothing was created.
            UnsupportedTableError: the store cannot do this safely.
        """

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored. All paths are checked before the first is deleted."""

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Return the objects below a folder, at any depth, in the order of their paths (by code point).

        Args:
            prefix: a folder, with or without a final slash; whole segments: ``mods`` has no part in
                ``mods2/x``. Empty for everything; a folder that does not exist is empty.
            after: only paths greater than this one (a path from the table's folder, not from ``prefix``).
        """

    def open_input(self, path: str) -> pa.NativeFile:
        """Open an object for random access, as a source for ``pyarrow.parquet``.

        Several threads may read from it by ``read_at``.

        Raises:
            NotFoundError: there is none.
        """

    def open_ranges(self, path: str, size: int) -> ByteRanges:
        """Prepare reads of ranges of an object of known size; no request is made before the first."""

    def open_output(self, path: str) -> OutputFile:
        """Start a new object, whose name must be unique: it is no race and replaces nothing.

        Where writes are deferred (``scheduler``), ``close`` may return before the object exists for others. This
        object of ``Storage`` waits for it before it reads it or creates anything by ``put_if_absent``; ``list`` may
        not show it yet.
        """


def check_path(path: str) -> str:
    """Return a path inside a table's folder unchanged, or refuse it.

    Spaces, quotes, ``%`` and letters of any script are fine and are taken as they are, never decoded.

    Raises:
        OptionError: absolute, empty or longer than 1024 characters, with an empty, ``.`` or ``..`` segment,
            a backslash, a control character or a lone surrogate, or a name reserved for unfinished files.
    """
    reason = _path_fault(path)
    if reason:
        shown = repr(path) if len(repr(path)) <= 200 else repr(path)[:200] + "..."
        raise OptionError(f"The path {shown} cannot be used in a table's folder: it {reason}", path=path)
    return path


def _path_fault(path: object) -> str | None:
    if not isinstance(path, str):
        return "is not a string"
    if not path:
        return "is empty"
    if len(path) > MAX_PATH_CHARS:
        return f"is longer than {MAX_PATH_CHARS} characters"
    if path.startswith("/"):
        return "is absolute"
    if _FORBIDDEN.search(path):
        return "has a backslash, a control character or a lone surrogate"
    for segment in path.split("/"):
        if segment in ("", ".", ".."):
            return f"has the segment {segment!r}"
        if segment.startswith(TEMP_PREFIX):
            return f"has a name that begins with {TEMP_PREFIX!r}, which is reserved for unfinished files"
    return None


def check_folder(prefix: str) -> str:
    """Return the folder of a ``list`` call without its final slash; empty means everything.

    Raises:
        OptionError: see ``check_path``.
    """
    return check_path(prefix.removesuffix("/")) if prefix else ""
