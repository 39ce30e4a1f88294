"""What a verification has found so far."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pyarrow as pa

from andes_spark.errors import AndesError, FileDamagedError, NotFoundError
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import check_page_index


class Findings:
    """Collects what the checks of one verification find.

    Attributes:
        problems: what is wrong.
        missing: files of older states of the base that are gone.
        files: files whose checksums were compared.
        rows: rows that were compared with the law's evaluation.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.missing: list[str] = []
        self.files = 0
        self.rows = 0

    def check(self, function: Callable[[], object]) -> None:
        """Run a check; an error of the library that it raises leaves its message here."""
        try:
            function()
        except AndesError as error:
            self.problems.append(error.message)

    def checksum(self, storage: Storage, path: str, sha256: str) -> None:
        """Compare a whole file with the SHA-256 that was committed.

        Raises:
            FileDamagedError: it is missing, or is another.
        """
        data = storage.find(path)
        self.files += 1
        if data is None:
            raise FileDamagedError(f"{storage.url}: {path} is missing", table=storage.url, path=path)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FileDamagedError(
                f"{storage.url}: {path} is not the file that was committed: its SHA-256 differs",
                table=storage.url,
                path=path,
            )

    def page_index(self, storage: Storage, path: str, footer: str) -> None:
        """Compare the page index of a file's key and sequence with its footer mark.

        Raises:
            FileDamagedError: it is another; a file that is missing is named by whoever reads its rows.
        """
        try:
            check_page_index(storage, path, footer=footer)
        except NotFoundError:
            return
        except (pa.ArrowInvalid, OSError) as error:
            raise FileDamagedError(
                f"{storage.url}: {path} is not the file that was written ({error}); restore it from a backup",
                table=storage.url,
                path=path,
            ) from error
