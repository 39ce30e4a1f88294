"""A storage that keeps some opened files, for work that reads them several times."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from andes_spark.storage.interface import Storage
from andes_spark.storage.wrapped import WrappedStorage

_MOST_FILES = 64


class KeptInputs(WrappedStorage):
    """A storage that opens some files once: on a remote store, their ends stay in memory with them.

    Whoever opens one of these files gets the same object, so only one reader of it may run at a time.

    Args:
        storage: the table's folder.
        sizes: bytes of the files, by path; those that fit are kept, the first ones first.
        limit: bytes of the files that may be kept.
    """

    def __init__(self, storage: Storage, sizes: Mapping[str, int], limit: int) -> None:
        super().__init__(storage)
        self._sources: dict[str, pa.NativeFile | None] = {}
        for path, size in sizes.items():
            limit -= size
            if limit < 0 or len(self._sources) == _MOST_FILES:
                break
            self._sources[path] = None

    def open_input(self, path: str) -> pa.NativeFile:
        """See ``Storage.open_input``."""
        source = self._sources.get(path)
        if source is None:
            source = super().open_input(path)
            if path in self._sources:
                self._sources[path] = source
        return source
