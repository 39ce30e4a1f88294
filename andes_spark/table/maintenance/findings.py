"""Findings of a verification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import pyarrow as pa

from andes_spark.base.remedies import BY_REPAIR
from andes_spark.errors import AndesError, FileDamagedError, LogDamagedError, NotFoundError
from andes_spark.model.files import LogFile
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import check_page_index

T = TypeVar("T")
_BLOCK_BYTES = 1024 * 1024
"""Bytes of a file that are hashed at a time."""


class Findings:
    """Findings of the checks of one verification; each file is named once.

    Attributes:
        problems: messages of the problems.
        missing: files of older states of the base that no longer exist.
        files: number of files whose checksums were compared.
        rows: number of rows compared with the law's evaluation.
        needed: files that any version names.
        differs: whether the base has other rows, columns or tombstones than the log gives.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._named: dict[str, str] = {}
        self._compared: set[str] = set()
        self.missing: list[str] = []
        self.needed: set[str] = set()
        self.files = 0
        self.rows = 0
        self.differs = False

    @property
    def damaged(self) -> frozenset[str]:
        """Paths of files and documents that a problem names."""
        return frozenset(self._named)

    def problems_besides(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return the messages of the problems without those that name some files."""
        named = {self._named.get(path) for path in paths}
        return tuple(problem for problem in self.problems if problem not in named)

    def check(self, function: Callable[[], object]) -> None:
        """Run a check; record the message of an error of the library, once for each file."""
        self.get(function)

    def get(self, function: Callable[[], T]) -> T | None:
        """Run a function as ``check`` does, and return its result; None if it failed."""
        try:
            return function()
        except AndesError as error:
            path = _path_of(error)
            if path is None or path not in self._named:
                self.problems.append(error.message)
            if path is not None:
                self._named.setdefault(path, error.message)
                if path in self.missing:
                    self.missing.remove(path)
            return None

    def differ(self, problem: str) -> None:
        """Record that the base is not what the log gives."""
        self.problems.append(problem)
        self.differs = True

    def is_named(self, path: str) -> bool:
        """Return whether a problem names a file."""
        return path in self._named

    def name(self, paths: Iterable[str]) -> None:
        """Note files that a version names."""
        self.needed.update(paths)

    def checksum(self, storage: Storage, file: LogFile) -> None:
        """Compare a whole file with the committed SHA-256, once for all versions that name it."""
        if file.path not in self._compared:
            self._compared.add(file.path)
            self.check(lambda: self._compare(storage, file))

    def _compare(self, storage: Storage, file: LogFile) -> None:
        self.files += 1
        digest = _sha256(storage, file)
        if digest is None:
            raise FileDamagedError(f"{storage.url}: {file.path} is missing", table=storage.url, path=file.path)
        if digest != file.sha256:
            raise FileDamagedError(
                f"{storage.url}: {file.path} is not the file that was committed: its SHA-256 differs",
                table=storage.url,
                path=file.path,
            )

    def page_index(self, storage: Storage, path: str, footer: str) -> None:
        """Compare the page index of a file's key and sequence with its footer mark.

        Raises:
            FileDamagedError: the page index differs. A missing file is reported by the read of its rows.
        """
        try:
            check_page_index(storage, path, footer=footer)
        except NotFoundError:
            return
        except (pa.ArrowInvalid, OSError) as error:
            raise FileDamagedError(
                f"{storage.url}: {path} is not the file that was written ({error}); {BY_REPAIR}",
                table=storage.url,
                path=path,
            ) from error


def _sha256(storage: Storage, file: LogFile) -> str | None:
    """Hash a file, a large one in blocks; None if it is missing."""
    if file.bytes <= _BLOCK_BYTES:
        data = storage.find(file.path)
        return None if data is None else hashlib.sha256(data).hexdigest()
    digest = hashlib.sha256()
    try:
        with storage.open_input(file.path) as source:
            while block := source.read_buffer(_BLOCK_BYTES):
                digest.update(block)
    except NotFoundError:
        return None
    return digest.hexdigest()


def _path_of(error: AndesError) -> str | None:
    """Path of the file of an error; that of the manifest if the error names a version of the log."""
    path = getattr(error, "path", None)
    if path is None and isinstance(error, LogDamagedError) and error.version is not None and error.applied is None:
        return manifest_path(error.version)
    return path
