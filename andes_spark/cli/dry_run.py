"""Storage for dry runs: reads come from the table's folder, writes stay in memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NoReturn

import pyarrow as pa

from andes_spark.errors import NotFoundError, OptionError
from andes_spark.storage.interface import ObjectInfo, OutputFile, PutOutcome, Requests, Storage, check_path
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.ranges import ByteRanges
from andes_spark.storage.scheduler import InlineScheduler


class DryRun:
    """``Storage`` that reads from another one and writes to memory.

    Args:
        real: storage of the folder; it is never changed.
    """

    def __init__(self, real: Storage) -> None:
        self.url = real.url
        self.counts: Requests = real.counts
        self.scheduler = InlineScheduler()
        self._real = real
        self._written = MemoryStorage()
        self._deleted: set[str] = set()

    def __reduce__(self) -> NoReturn:
        raise OptionError("A dry run stays in this process: it cannot be pickled or copied.", url=self.url)

    def get(self, path: str) -> bytes:
        """See ``Storage.get``."""
        data = self.find(path)
        if data is None:
            raise NotFoundError(f"There is no {path!r} in {self.url}", path=path)
        return data

    def find(self, path: str) -> bytes | None:
        """See ``Storage.find``."""
        data = self._written.find(path)
        return data if data is not None or path in self._deleted else self._real.find(path)

    def size(self, path: str) -> int | None:
        """See ``Storage.size``."""
        size = self._written.size(path)
        return size if size is not None or path in self._deleted else self._real.size(path)

    def info(self, path: str) -> ObjectInfo | None:
        """See ``Storage.info``."""
        info = self._written.info(path)
        return info if info is not None or path in self._deleted else self._real.info(path)

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        """See ``Storage.put``."""
        self._written.put(path, data)

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        """See ``Storage.put_if_absent``; the outcome is never ``UNKNOWN``."""
        return PutOutcome.EXISTS if self.size(path) is not None else self._written.put_if_absent(path, data)

    def delete(self, paths: Iterable[str]) -> None:
        """See ``Storage.delete``."""
        checked = [check_path(path) for path in paths]
        self._written.delete(checked)
        self._deleted.update(checked)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``Storage.list``."""
        written = list(self._written.list(prefix, after=after))
        hidden = self._deleted | {info.path for info in written}
        real = (info for info in self._real.list(prefix, after=after) if info.path not in hidden)
        return heapq.merge(real, written, key=lambda info: info.path)

    def open_input(self, path: str) -> pa.NativeFile:
        """See ``Storage.open_input``."""
        return self._holder(path).open_input(path)

    def open_ranges(self, path: str, size: int) -> ByteRanges:
        """See ``Storage.open_ranges``."""
        return self._holder(path).open_ranges(path, size)

    def _holder(self, path: str) -> Storage:
        """Storage that has an object, or would have it."""
        is_in_memory = path in self._deleted or self._written.size(path) is not None
        return self._written if is_in_memory else self._real

    def open_output(self, path: str) -> OutputFile:
        """See ``Storage.open_output``."""
        return self._written.open_output(path)
