"""A storage in front of another one, for classes that change a part of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from andes_spark.storage.interface import ObjectInfo, OutputFile, PutOutcome, Storage
from andes_spark.storage.ranges import ByteRanges
from andes_spark.storage.scheduler import Scheduler


class WrappedStorage:
    """A storage that passes all calls on. Tasks get the storage behind it.

    Args:
        storage: the table's folder.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.url = storage.url
        self.counts = storage.counts

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unwrapped, (self._storage,))

    @property
    def scheduler(self) -> Scheduler:
        """See ``Storage.scheduler``."""
        return self._storage.scheduler

    def get(self, path: str) -> bytes:
        """See ``Storage.get``."""
        return self._storage.get(path)

    def find(self, path: str) -> bytes | None:
        """See ``Storage.find``."""
        return self._storage.find(path)

    def size(self, path: str) -> int | None:
        """See ``Storage.size``."""
        return self._storage.size(path)

    def info(self, path: str) -> ObjectInfo | None:
        """See ``Storage.info``."""
        return self._storage.info(path)

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        """See ``Storage.put``."""
        self._storage.put(path, data, sync=sync)

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        """See ``Storage.put_if_absent``."""
        return self._storage.put_if_absent(path, data)

    def delete(self, paths: Iterable[str]) -> None:
        """See ``Storage.delete``."""
        self._storage.delete(paths)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``Storage.list``."""
        return self._storage.list(prefix, after=after)

    def open_input(self, path: str) -> pa.NativeFile:
        """See ``Storage.open_input``."""
        return self._storage.open_input(path)

    def open_ranges(self, path: str, size: int) -> ByteRanges:
        """See ``Storage.open_ranges``."""
        return self._storage.open_ranges(path, size)

    def open_output(self, path: str) -> OutputFile:
        """See ``Storage.open_output``."""
        return self._storage.open_output(path)


def _unwrapped(storage: Storage) -> Storage:
    return storage
