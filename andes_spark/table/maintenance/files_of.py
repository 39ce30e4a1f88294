"""Files that a version needs, and the files that a document of the log names.

No other code decides which files belong to a version: verification finds with it what no version needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from andes_spark.delta.data_file import DataFile
from andes_spark.delta.log import log_files
from andes_spark.log.line import line
from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.log.readable import check_readable
from andes_spark.model import events
from andes_spark.model.manifest import Manifest, decode_manifest, manifest_path
from andes_spark.model.merge_record import MergeRecord
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.open_table import OpenTable


@dataclass(frozen=True)
class VersionFiles:
    """Paths of the files that a version needs, by kind.

    Attributes:
        manifests: of the versions from the floor up to this one; they hold the schemas.
        mods: mods that the base of the version does not contain.
        quarantine: rows refused by the batches up to the version.
        ledger: ids of batches before the version's roll-up.
        records: merge record of the base.
        side_files: tombstones, and mods set aside by the law, that the record or a later version names.
        delta_log: entries and checkpoint from which the base's state is loaded.
        data: live data files of the base.
        vectors: their deletion vectors.
    """

    manifests: tuple[str, ...]
    mods: tuple[str, ...]
    quarantine: tuple[str, ...]
    ledger: tuple[str, ...]
    records: tuple[str, ...]
    side_files: tuple[str, ...]
    delta_log: tuple[str, ...]
    data: tuple[str, ...]
    vectors: tuple[str, ...]

    def __iter__(self) -> Iterator[str]:
        for field in fields(self):
            yield from getattr(self, field.name)


def files_of(open_table: OpenTable, version: int) -> VersionFiles:
    """Return the files that reads of a version, and writes on top of it, need. Reads all manifests from the floor on.

    Files that are only read for reports of earlier versions (mods that the base contains, states of the base before)
    are no part of it, nor are advisory ones.

    Raises:
        NoSuchVersionError, VersionExpiredError: as the log says.
        LogDamagedError: a document is missing or damaged.
    """
    log = open_table.log
    if version > log.head:
        log.refresh()
    check_readable(log, version)
    base, pending = open_table.evaluable(open_table.base.snapshot_at(version), version)
    versions = range(log.manifest(version).floor, version + 1)
    roll_up = log.manifest(version - version % ROLL_UP_INTERVAL).roll_up
    record = base.record
    return VersionFiles(
        manifests=tuple(manifest_path(number) for number in versions),
        mods=tuple(entry.path for part in line(pending) for entry in events.mods_of(part.events)),
        quarantine=tuple(_quarantine(open_table, versions)),
        ledger=tuple(file.path for file in roll_up.ledger) if roll_up is not None else (),
        records=() if base.record_path is None else (base.record_path,),
        side_files=tuple(dict.fromkeys((*named_by_record(record), *_forgotten(pending)))),
        delta_log=tuple(log_files(open_table.storage, base.version)),
        data=tuple(base.state.files),
        vectors=tuple(dict.fromkeys(vectors_of(base.state.files))),
    )


def _forgotten(pending: Sequence[events.PendingVersion]) -> Iterator[str]:
    for part in line(pending):
        for file in events.forgotten_of(part.events):
            yield file.path


def _quarantine(open_table: OpenTable, versions: range) -> Iterator[str]:
    storage, table = open_table.storage, open_table.table
    for version, answer in in_windows(storage.scheduler, lambda number: storage.get(manifest_path(number)), versions):
        manifest = decode_manifest(answer.result(), table=table, version=version)
        for entry in events.quarantine_of(manifest.events):
            yield entry.path


def named_by_manifest(manifest: Manifest) -> Iterator[str]:
    """Yield the files that a manifest names."""
    for entry in (*events.files_of(manifest.events), *events.side_files_of(manifest.events)):
        yield entry.path
    for ledger in manifest.roll_up.ledger if manifest.roll_up is not None else ():
        yield ledger.path


def named_by_record(record: MergeRecord) -> Iterator[str]:
    """Yield the files that a merge record names."""
    for file in (*record.tombstones, *record.quarantined):
        yield file.path


def vectors_of(files: Mapping[str, DataFile]) -> Iterator[str]:
    """Yield the files with the deletion vectors of data files."""
    for file in files.values():
        if file.vector is not None and file.vector.file_path is not None:
            yield file.vector.file_path
