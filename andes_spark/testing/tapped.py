"""A storage that reports each request before it runs, so that a test can intervene."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from andes_spark.storage.interface import ObjectInfo, OutputFile, PutOutcome, Storage
from andes_spark.storage.ranges import LocalRanges
from andes_spark.storage.scheduler import InlineScheduler

Tap = Callable[[str, str], None]


class TappedStorage:
    """A storage that calls ``tap`` before each request, on the thread that created it."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.url = inner.url
        self.counts = inner.counts
        self.scheduler = InlineScheduler()
        self.tap: Tap | None = None
        self._thread = threading.get_ident()

    def _tell(self, kind: str, path: str) -> None:
        if self.tap is not None and threading.get_ident() == self._thread:
            self.tap(kind, path)

    def get(self, path: str) -> bytes:
        self._tell("get", path)
        return self.inner.get(path)

    def find(self, path: str) -> bytes | None:
        self._tell("get", path)
        return self.inner.find(path)

    def size(self, path: str) -> int | None:
        self._tell("head", path)
        return self.inner.size(path)

    def info(self, path: str) -> ObjectInfo | None:
        self._tell("head", path)
        return self.inner.info(path)

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        self._tell("put", path)
        self.inner.put(path, data, sync=sync)

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        self._tell("put_if_absent", path)
        return self.inner.put_if_absent(path, data)

    def delete(self, paths: Iterable[str]) -> None:
        deleted = list(paths)
        for path in deleted:
            self._tell("delete", path)
        self.inner.delete(deleted)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        self._tell("list", prefix)
        return self.inner.list(prefix, after=after)

    def open_input(self, path: str) -> pa.NativeFile:
        self._tell("get", path)
        return self.inner.open_input(path)

    def open_ranges(self, path: str, size: int) -> LocalRanges:
        return LocalRanges(lambda: self.open_input(path))

    def open_output(self, path: str) -> OutputFile:
        self._tell("open_output", path)
        return self.inner.open_output(path)
