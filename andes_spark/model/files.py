"""Files that documents refer to: of mods, refused rows, batch ids, and state beside the base."""

from __future__ import annotations

import re
from typing import Any

from andes_spark.errors import LogDamagedError
from andes_spark.model.documents import Document

_PATH = re.compile(r"_andes/(mods|quarantine|tombstones|ledger)/[0-9A-Za-z][0-9A-Za-z._-]{0,120}\.parquet")


class FileKeyRange(Document, frozen=True):
    """Smallest and greatest key of a file, as tuples in key order; see ``model.values`` for the JSON form."""

    low: list[Any]
    high: list[Any]


class LogFile(Document, frozen=True):
    """What every reference to a Parquet file of the log says.

    Attributes:
        path: below the table's folder.
        rows: number of rows in the file.
        bytes: size of the file.
        sha256: hex, over the bytes as written.
        footer: length and CRC-32 of the file's Parquet footer, see ``storage.parquet``.
        arrow_bytes: size of the rows in memory, as Arrow holds them.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    footer: str
    arrow_bytes: int


class Entry(LogFile, frozen=True):
    """A file that a version commits, of mods or of refused rows.

    Attributes:
        schema_id: schema of the file.
        upserts, deletes, truncates, partial: mods in the file by kind.
        keys: range of its keys; none when it holds only truncates, or keys too long to quote.
        low_sequence, high_sequence: range of its sequences, lexicographic.
    """

    schema_id: int
    upserts: int = 0
    deletes: int = 0
    truncates: int = 0
    partial: int = 0
    keys: FileKeyRange | None = None
    low_sequence: list[Any] | None = None
    high_sequence: list[Any] | None = None


class LedgerFile(LogFile, frozen=True):
    """A file of batch ids, sorted by source and id. ``sources`` lists them when they are few."""

    from_version: int
    to_version: int
    newest_time: int
    sources: list[str] | None = None


class SideFile(LogFile, frozen=True):
    """A file of state beside the base; oldest first in a record.

    Attributes:
        schema_id: schema of its key and sequence columns.
        keys: range of its keys, where it is sorted by them.
        low_sequence, high_sequence: range of its sequences, lexicographic.
        salt: reserved (feature ``hashedTombstones``): what keys were hashed with that stand as hashes.
    """

    schema_id: int
    keys: FileKeyRange | None = None
    low_sequence: list[Any] | None = None
    high_sequence: list[Any] | None = None
    salt: str | None = None


def check_path(path: str, *, table: str, version: int) -> None:
    """Refuse a path that is not exactly one that this library writes.

    Raises:
        LogDamagedError: anything else; it could lead out of the table's folder.
    """
    if _PATH.fullmatch(path) is None:
        raise LogDamagedError(
            f"{table}: version {version} refers to {path!r}, which is no path of this library; "
            "the document was edited: restore it",
            table=table,
            version=version,
            path=path,
        )
