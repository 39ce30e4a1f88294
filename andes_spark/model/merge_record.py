"""Merge records: complete state beside the base after a merge, as a function of the log up to its version."""

from __future__ import annotations

from typing import Any

from andes_spark.errors import LogDamagedError, UnsupportedTableError
from andes_spark.model import documents, files
from andes_spark.model.documents import FORMAT, Document
from andes_spark.model.files import SideFile

MERGES = "_andes/merges"
_RESERVED = {"key_states": "columnSequences", "ghosts": "columnSequences", "events": "scd2"}


class MergeRecord(Document, frozen=True):
    """State beside the base after a merge up to ``version``.

    Its content is a function of the log up to that version, independent of the merge that wrote it.

    Attributes:
        format: format of this document.
        table_id: UUID of the table.
        version: newest merged version of the log.
        commit_id: commit id of that version's manifest; part of the record's name.
        truncates: sequences of truncates in effect; only the greatest in this release.
        tombstones: the complete set of tombstone files.
        quarantined: files that list quarantined mods.
        key_states, ghosts: reserved (feature ``columnSequences``).
        events: reserved (feature ``scd2``).
        cut: sequence at or below which mods of later versions take no part, unless they are a backfill; None before the
            first ``expire``.
        checksum: see ``documents.encode``.
    """

    format: int
    table_id: str
    version: int
    commit_id: str
    truncates: list[list[Any]] = []
    tombstones: list[SideFile] = []
    quarantined: list[SideFile] = []
    key_states: list[SideFile] = []
    ghosts: list[SideFile] = []
    events: list[SideFile] = []
    cut: list[Any] | None = None
    checksum: str = ""


def no_record(table_id: str) -> MergeRecord:
    """Return the state before the first merge."""
    return MergeRecord(format=FORMAT, table_id=table_id, version=0, commit_id="")


def merge_record_path(version: int, commit_id: str) -> str:
    """Return path of a merge record below the table's folder, named by its newest manifest."""
    return f"{MERGES}/{version:020d}-{commit_id}.json"


def decode_merge_record(data: bytes, *, table: str, version: int, commit_id: str) -> MergeRecord:
    """Read a merge record and check it, without reference to other documents.

    Raises:
        UnsupportedTableError: an unknown format or a reserved field in use; ``feature``.
        LogDamagedError: not the record of this version, or changed after it was written.
    """
    path = merge_record_path(version, commit_id)
    record = documents.decode(data, MergeRecord, table=table, path=path, version=version)
    if (record.version, record.commit_id) != (version, commit_id):
        raise LogDamagedError(
            f"{table}: {path} says that it is of version {record.version} ({record.commit_id}); restore the file",
            table=table,
            version=version,
            path=path,
        )
    for file in (*record.tombstones, *record.quarantined):
        files.check_path(file.path, table=table, version=version)
    used = [feature for name, feature in _RESERVED.items() if getattr(record, name)]
    for feature in used:
        raise UnsupportedTableError(
            f"{table}: {path} uses {feature}, which this release does not know; install a newer andes_spark",
            table=table,
            version=version,
            path=path,
            feature=feature,
        )
    return record
