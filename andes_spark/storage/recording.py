"""A storage that records the new files of one piece of work, so that they can be deleted if it is given up."""

from __future__ import annotations

from andes_spark.storage.interface import OutputFile, Storage
from andes_spark.storage.wrapped import WrappedStorage


class RecordingStorage(WrappedStorage):
    """A storage with the paths of the files that were opened for writing by this object. Thread-safe.

    Tasks get the storage behind it: what they write is not recorded.

    Args:
        storage: the table's folder.

    Attributes:
        paths: files written, or begun.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.paths: list[str] = []

    def open_output(self, path: str) -> OutputFile:
        """See ``Storage.open_output``."""
        self.paths.append(path)
        return super().open_output(path)
