"""A new file on disk, and the one way in which anything here is made durable."""

from __future__ import annotations

import io
import os
import time
from contextlib import suppress

from andes_spark.storage.base import Counts, OutputFile
from andes_spark.storage.disk_errors import translated

_BUFFER_BYTES = 1024 * 1024


def make_durable(handle: int, counts: Counts) -> None:
    """Makes a file or a folder durable, and counts the seconds."""
    start = time.perf_counter()
    try:
        os.fsync(handle)
    finally:
        counts.add_sync(time.perf_counter() - start)


class DiskOutput(OutputFile):
    """``OutputFile`` on disk.

    Args:
        path: path in the table's folder, for messages.
        root: the table's folder, for messages.
        parent: descriptor of the folder that holds the file; this object closes it.
        handle: descriptor of the new, empty file; this object closes it.
        counts: where bytes and the time spent in fsync are counted.
    """

    def __init__(self, path: str, *, root: str, parent: int, handle: int, counts: Counts) -> None:
        super().__init__(path)
        self._root = root
        self._parent = parent
        self._counts = counts
        self._raw = io.FileIO(handle, "wb")
        self._file = io.BufferedWriter(self._raw, _BUFFER_BYTES)

    def _append(self, data: memoryview) -> None:
        with translated("write", self._root, self.path):
            self._file.write(data)

    def _finish(self) -> None:
        with translated("write", self._root, self.path):
            self._file.flush()
            make_durable(self._raw.fileno(), self._counts)
            make_durable(self._parent, self._counts)
        self._counts.add_bytes(written=self._size)
        self._release()

    def _discard(self) -> None:
        with suppress(OSError):
            os.unlink(self.path.rpartition("/")[2], dir_fd=self._parent)
        self._release()

    def _release(self) -> None:
        # The raw file first: closing the buffer would try once more to write what a full disk refused.
        with suppress(OSError):
            self._raw.close()
        self._file.close()
        os.close(self._parent)
