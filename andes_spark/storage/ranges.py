"""Ranges of bytes of one object of known size, read without a look at its end."""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import pyarrow as pa

from andes_spark.settings import MIB

Range: TypeAlias = tuple[int, int]
"""First byte, and the position after the last one."""

NEAR_BYTES = MIB // 2
"""Distance of ranges below which one request for both, with what lies between, is faster than two."""


class ByteRanges(Protocol):
    """Ranges of one object. Threads may share it."""

    def load(self, ranges: Iterable[Range]) -> None:
        """Read ranges that are not in memory yet, at once.

        Raises:
            NotFoundError: there is no such object.
            pa.ArrowInvalid: the object ends within a range.
        """

    def view(self, start: int, end: int) -> memoryview:
        """Return the bytes of a range that was loaded, or lies within loaded ones."""


class LocalRanges:
    """Ranges of an object in memory, or mapped into it.

    Args:
        source: opens the object.
    """

    def __init__(self, source: Callable[[], pa.NativeFile]) -> None:
        self._source = source
        self._data: memoryview | None = None

    def load(self, ranges: Iterable[Range]) -> None:
        """See ``ByteRanges.load``."""
        if self._data is None:
            source = self._source()
            self._data = memoryview(source.read_buffer(source.size())).cast("B")
        _check_ends(ranges, len(self._data))

    def view(self, start: int, end: int) -> memoryview:
        """See ``ByteRanges.view``."""
        assert self._data is not None
        return self._data[start:end]


class RemoteRanges:
    """Ranges of an object of a store, where near ones are read together.

    Args:
        fetch: returns the bytes of ranges, one request each, side by side.
        size: of the object.
    """

    def __init__(self, fetch: Callable[[Sequence[Range]], Sequence[memoryview]], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._starts: list[int] = []
        self._parts: dict[int, memoryview] = {}
        self._lock = threading.Lock()

    def load(self, ranges: Iterable[Range]) -> None:
        """See ``ByteRanges.load``."""
        missing = join_near([part for part in ranges if self._part(*part) is None], NEAR_BYTES)
        _check_ends(missing, self._size)
        if not missing:
            return
        for (start, end), data in zip(missing, self._fetch(missing), strict=True):
            if len(data) != end - start:
                raise pa.ArrowInvalid(f"it ends before byte {end}")
            with self._lock:
                self._keep(start, data)

    def view(self, start: int, end: int) -> memoryview:
        """See ``ByteRanges.view``."""
        part = self._part(start, end)
        assert part is not None, "the range was not loaded"
        return part

    def _keep(self, start: int, data: memoryview) -> None:
        """Keep a part; parts that lie within it are dropped, so that no part lies within another."""
        end = start + len(data)
        inside = [other for other in self._starts if start <= other and other + len(self._parts[other]) <= end]
        for other in inside:
            self._starts.remove(other)
            del self._parts[other]
        insort(self._starts, start)
        self._parts[start] = data

    def _part(self, start: int, end: int) -> memoryview | None:
        with self._lock:
            at = bisect_right(self._starts, start) - 1
            if at < 0:
                return None
            first = self._starts[at]
            part = self._parts[first]
        return part[start - first : end - first] if end - first <= len(part) else None


def join_near(ranges: Iterable[Range], near: int) -> list[Range]:
    """Join ranges that overlap or are near each other; return them in ascending order."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start - joined[-1][1] <= near:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _check_ends(ranges: Iterable[Range], size: int) -> None:
    for _, end in ranges:
        if end > size:
            raise pa.ArrowInvalid(f"it ends at byte {size}, before byte {end}")
