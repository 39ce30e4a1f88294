"""Random access to an object by few, large range requests.

The latency of a request outweighs the transfer of a small range. Opening fetches the end of the
object (a Parquet footer, and all of a small file) together with its size in one request; a small read also
fetches the bytes after it; a large one is fetched in parts, side by side.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from andes_spark.errors import OptionError

MIB = 1024 * 1024
TAIL_BYTES = MIB
READ_AHEAD_BYTES = MIB
PART_BYTES = 8 * MIB
KEPT_BLOCKS = 8

Span: TypeAlias = tuple[int, int]
Fetch: TypeAlias = Callable[[Sequence[Span]], Sequence[memoryview]]


class RangeReader:
    """A read-only file over ranges, made to be wrapped in ``pa.PythonFile``. Threads may share it.

    Args:
        fetch: returns the bytes of spans (start, end), one request each, side by side.
        size: of the object, in bytes.
        tail: its last bytes, at most all of them.
    """

    mode = "rb"

    def __init__(self, fetch: Fetch, size: int, tail: memoryview) -> None:
        self._fetch = fetch
        self._size = size
        self._tail = tail
        self._tail_start = size - tail.nbytes
        self._blocks: deque[tuple[int, memoryview]] = deque(maxlen=KEPT_BLOCKS)
        self._position = 0
        self._lock = threading.RLock()
        self._closed = False

    def read(self, size: int | None = -1) -> memoryview:
        """Read from the position; fewer bytes only at the end. The view must not be changed."""
        with self._lock:
            start = self._position
            count = self._size - start if size is None or size < 0 else size
            data = self.read_at(start, count)
            self._position = start + data.nbytes
            return data

    def read_at(self, start: int, size: int) -> memoryview:
        """Read at an offset; the position does not move."""
        start = min(max(start, 0), self._size)
        end = min(start + max(size, 0), self._size)
        if start == end:
            return memoryview(b"")
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        if end > self._tail_start:
            before = self._before_tail(start, self._tail_start)
            return memoryview(b"".join((before, self._tail[: end - self._tail_start])))
        return self._before_tail(start, end)

    def _before_tail(self, start: int, end: int) -> memoryview:
        with self._lock:
            for first, block in self._blocks:
                if first <= start and end <= first + block.nbytes:
                    return block[start - first : end - first]
        if end - start > PART_BYTES:
            spans = [(at, min(at + PART_BYTES, end)) for at in range(start, end, PART_BYTES)]
            return memoryview(b"".join(self._fetch(spans)))
        fetched_end = min(max(end, start + READ_AHEAD_BYTES), self._tail_start)
        block = self._fetch([(start, fetched_end)])[0]
        if fetched_end > end:
            with self._lock:
                self._blocks.append((start, block))
        return block[: end - start]

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position and return it."""
        with self._lock:
            base = (0, self._position, self._size)[whence]
            if base + offset < 0:
                raise OptionError(f"Cannot move to {base + offset}, before the start of an object")
            self._position = base + offset
            return self._position

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def size(self) -> int:
        """Return the size of the object in bytes."""
        return self._size

    def close(self) -> None:
        """Release the fetched bytes."""
        with self._lock:
            self._closed = True
            self._blocks.clear()

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def readable(self) -> bool:
        """Return whether bytes can be read: yes."""
        return True

    def writable(self) -> bool:
        """Return whether bytes can be written: no."""
        return False

    def seekable(self) -> bool:
        """Return whether the position can be moved: yes."""
        return True
