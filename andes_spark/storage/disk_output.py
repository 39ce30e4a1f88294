"""New files on disk, and fsync of files and folders."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from andes_spark.storage.disk_errors import translated
from andes_spark.storage.interface import OutputFile, Requests


def make_durable(handle: int, counts: Requests) -> None:
    """Make a file or a folder durable, and count the seconds."""
    start = time.perf_counter()
    try:
        os.fsync(handle)
    finally:
        counts.add_sync(time.perf_counter() - start)


def write_all(handle: int, data: memoryview) -> None:
    """Write all bytes, with as many calls as needed."""
    while data:
        data = data[os.write(handle, data) :]


class DiskOutput(OutputFile):
    """``OutputFile`` on disk.

    Not buffered: callers gather small writes themselves.

    Args:
        path: path in the table's folder, for messages.
        root: the table's folder, for messages.
        parent: descriptor of the folder that holds the file; this object closes it.
        handle: descriptor of the new, empty file; this object closes it.
        counts: where bytes and the time spent in fsync are counted.
    """

    def __init__(self, path: str, *, root: str, parent: int, handle: int, counts: Requests) -> None:
        super().__init__(path)
        self._root = root
        self._parent = parent
        self._counts = counts
        self._handle = handle

    def _append(self, data: memoryview) -> None:
        with translated("write", self._root, self.path):
            write_all(self._handle, data)

    def _finish(self) -> None:
        with translated("write", self._root, self.path):
            make_durable(self._handle, self._counts)
            make_durable(self._parent, self._counts)
        self._counts.add_bytes(written=self._size)
        self._release()

    def _discard(self) -> None:
        with suppress(OSError):
            os.unlink(self.path.rpartition("/")[2], dir_fd=self._parent)
        self._release()

    def _release(self) -> None:
        with suppress(OSError):
            os.close(self._handle)
        os.close(self._parent)
