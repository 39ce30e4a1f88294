"""References to files of mods, refused rows, batch ids, and state beside the base."""

from __future__ import annotations

import re
from typing import Any

from andes_spark.errors import LogDamagedError
from andes_spark.model.documents import Document
from andes_spark.model.mod import BATCH, PRESENT, BatchId

_PATH = re.compile(r"_andes/(mods|quarantine|tombstones|ledger)/[0-9A-Za-z][0-9A-Za-z._-]{0,120}\.parquet")


class FileKeyRange(Document, frozen=True):
    """Range of the keys of a file, as tuples of the key columns in the JSON form of ``model.values``.

    Attributes:
        low, high: least and greatest key in the order of keys; both are in the file.
    """

    low: list[Any]
    high: list[Any]


class LogFile(Document, frozen=True):
    """Common members of references to Parquet files of the log.

    Attributes:
        path: path below the table's folder.
        rows: number of rows in the file.
        bytes: size of the file.
        sha256: SHA-256 of the file, in hex.
        footer: length and CRC-32 of the file's Parquet footer, see ``storage.parquet``.
        arrow_bytes: size of the rows in Arrow's memory format.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    footer: str
    arrow_bytes: int


class Entry(LogFile, frozen=True):
    """A file of mods or of refused rows, committed by a version.

    Attributes:
        schema_id: id of the file's schema.
        upserts, deletes, truncates, partial: number of mods in the file, by kind.
        batches: number of batches of the version; above 1 the file of mods has the column ``_andes_batch``.
        keys: range of the keys; none for a file of truncates only, or if the keys are too long.
        low_sequence, high_sequence: range of the sequences, in lexicographic order.
    """

    schema_id: int
    upserts: int = 0
    deletes: int = 0
    truncates: int = 0
    partial: int = 0
    batches: int = 1
    keys: FileKeyRange | None = None
    low_sequence: list[Any] | None = None
    high_sequence: list[Any] | None = None

    @property
    def system_columns(self) -> list[str]:
        """Columns of the file of mods behind those of the table and ``_andes_op``."""
        return [*([PRESENT] if self.partial else []), *([BATCH] if self.batches > 1 else [])]


class LedgerFile(LogFile, frozen=True):
    """A file of batch ids, sorted by source and id.

    Attributes:
        from_version, to_version: versions of the batches.
        newest_time: time of the newest of them.
        ids: least and greatest id of each source, if there are few sources; integers are less than strings.
    """

    from_version: int
    to_version: int
    newest_time: int
    ids: dict[str, list[str]] | None = None

    def may_name(self, batch: BatchId) -> bool:
        """Return whether the file may name a batch."""
        if self.ids is None:
            return True
        limits = [BatchId.from_tagged(batch.source, tagged) for tagged in self.ids.get(batch.source, [])]
        return bool(limits) and limits[0].place <= batch.place <= limits[-1].place


class SideFile(LogFile, frozen=True):
    """A file of state beside the base; a merge record lists the oldest first.

    Attributes:
        schema_id: id of the schema of its key and sequence columns.
        keys: range of the keys, if the file is sorted by them.
        low_sequence, high_sequence: range of the sequences, in lexicographic order.
        salt: salt of hashed keys (feature ``hashedTombstones``), see ``base.forgotten``; None for a file with keys.
    """

    schema_id: int
    keys: FileKeyRange | None = None
    low_sequence: list[Any] | None = None
    high_sequence: list[Any] | None = None
    salt: str | None = None


def check_path(path: str, *, table: str, version: int) -> None:
    """Refuse a path that does not have the exact form of this library's paths.

    Raises:
        LogDamagedError: another form, which could point outside the table's folder.
    """
    if _PATH.fullmatch(path) is None:
        raise LogDamagedError(
            f"{table}: version {version} refers to {path!r}, which is no path of this library; "
            "the document was edited: restore it",
            table=table,
            version=version,
            path=path,
        )
