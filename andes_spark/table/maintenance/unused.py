"""Files that no version names."""

from __future__ import annotations

import re
from functools import partial

from andes_spark.base.records import read_record
from andes_spark.model.merge_record import MERGES
from andes_spark.storage.interface import Storage
from andes_spark.table.maintenance.files_of import named_by_record
from andes_spark.table.maintenance.findings import Findings

_RECORD = re.compile(rf"{MERGES}/(\d{{20}})-([0-9a-f-]+)\.json")
_NAMED = re.compile(
    r"_andes/(mods|quarantine|tombstones|ledger)/.*|([^_][^/]*/)*(part-.*\.parquet|deletion_vector_.*\.bin)"
)
"""Paths of the files that are part of the table only if a document names them."""


def unused_files(storage: Storage, table_id: str, findings: Findings, *, before_ms: int) -> tuple[str, ...]:
    """List files that no version names.

    A merge record without a Delta entry is of a merge that did not end: the next one takes it, with its files.

    Args:
        storage: the table's folder.
        table_id: UUID of the table.
        findings: with the files that manifests, merge records and Delta entries name.
        before_ms: time in milliseconds since 1970; later files may be of versions that were not read.
    """
    for info in storage.list(MERGES):
        match = _RECORD.fullmatch(info.path)
        if match is not None and info.path not in findings.needed:
            record = findings.get(partial(read_record, storage, table_id, int(match[1]), match[2]))
            findings.name(() if record is None else named_by_record(record))
    return tuple(
        info.path
        for info in storage.list()
        if info.modified_ms < before_ms and info.path not in findings.needed and _NAMED.fullmatch(info.path)
    )
