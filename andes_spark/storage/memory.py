"""A store in a dictionary: for tests and scratch tables of one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import NoReturn
from uuid import uuid4

import pyarrow as pa

from andes_spark.errors import NotFoundError, OptionError, StorageError
from andes_spark.storage.interface import ObjectInfo, OutputFile, PutOutcome, Requests, check_folder, check_path
from andes_spark.storage.ranges import LocalRanges
from andes_spark.storage.scheduler import InlineScheduler


class MemoryStorage:
    """``Storage`` in the memory of this process. It cannot be pickled."""

    def __init__(self) -> None:
        self.url = f"memory://{uuid4().hex}"
        self.counts = Requests()
        self.scheduler = InlineScheduler()
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, int]] = {}

    def __repr__(self) -> str:
        return f"MemoryStorage({self.url!r})"

    def __reduce__(self) -> NoReturn:
        raise OptionError(
            "A MemoryStorage lives in one process and cannot be pickled or copied: "
            "keep the table on disk or on S3 to use it from other processes",
            url=self.url,
        )

    def get(self, path: str) -> bytes:
        """See ``Storage.get``."""
        data = self.find(path)
        if data is None:
            raise NotFoundError(f"There is no {path!r} in {self.url}", path=path)
        return data

    def find(self, path: str) -> bytes | None:
        """See ``Storage.find``."""
        data = self._look(path)
        self.counts.add("get", read=len(data or b""))
        return data

    def size(self, path: str) -> int | None:
        """See ``Storage.size``."""
        info = self.info(path)
        return None if info is None else info.size

    def info(self, path: str) -> ObjectInfo | None:
        """See ``Storage.info``."""
        check_path(path)
        self.counts.add("head")
        with self._lock:
            record = self._objects.get(path)
        return None if record is None else ObjectInfo(path, len(record[0]), record[1])

    def _look(self, path: str) -> bytes | None:
        check_path(path)
        with self._lock:
            record = self._objects.get(path)
        return None if record is None else record[0]

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        """See ``Storage.put``."""
        check_path(path)
        self.counts.add("put", written=len(data))
        with self._lock:
            self._objects[path] = (bytes(data), _now_ms())

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        """See ``Storage.put_if_absent``; the outcome is never ``UNKNOWN``."""
        check_path(path)
        self.counts.add("put_if_absent", written=len(data))
        with self._lock:
            entry = (bytes(data), _now_ms())
            return PutOutcome.CREATED if self._objects.setdefault(path, entry) is entry else PutOutcome.EXISTS

    def delete(self, paths: Iterable[str]) -> None:
        """See ``Storage.delete``."""
        checked = [check_path(path) for path in paths]
        self.counts.add("delete", len(checked))
        with self._lock:
            for path in checked:
                self._objects.pop(path, None)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``Storage.list``; what is listed is the moment of the call."""
        folder = check_folder(prefix)
        start = f"{folder}/" if folder else ""
        self.counts.add("list")
        with self._lock:
            infos = [
                ObjectInfo(path, len(data), modified)
                for path, (data, modified) in self._objects.items()
                if path.startswith(start) and (after is None or path > after)
            ]
        return iter(sorted(infos, key=lambda info: info.path))

    def open_input(self, path: str) -> pa.NativeFile:
        """See ``Storage.open_input``."""
        return pa.BufferReader(self.get(path))

    def open_ranges(self, path: str, size: int) -> LocalRanges:
        """See ``Storage.open_ranges``."""
        return LocalRanges(lambda: self.open_input(path))

    def open_output(self, path: str) -> OutputFile:
        """See ``Storage.open_output``."""
        check_path(path)
        self.counts.add("put")
        return _MemoryOutput(self, path)


class _MemoryOutput(OutputFile):
    def __init__(self, storage: MemoryStorage, path: str) -> None:
        super().__init__(path)
        self._storage = storage
        self._data = bytearray()

    def _append(self, data: memoryview) -> None:
        self._data += data

    def _finish(self) -> None:
        entry = (bytes(self._data), _now_ms())
        with self._storage._lock:
            if self._storage._objects.setdefault(self.path, entry) is not entry:
                raise StorageError(f"{self.path!r} exists: output files need unique names", path=self.path)
        self._storage.counts.add_bytes(written=len(self._data))

    def _discard(self) -> None:
        self._data = bytearray()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
