"""One synchronization of the Iceberg face: the difference to the base as a snapshot, committed by put-if-absent.

Objects are written in the order of their references: deletes and manifests, the manifest list, the metadata file.
Readers find the last one by the metadata that was committed before until the new one exists, whole.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from andes_spark.errors import AndesError, CommitConflictError, CommitUnknownError
from andes_spark.storage.interface import Storage
from andes_spark.storage.put_once import put_once
from andes_spark.sync.iceberg.avro import (
    DATA,
    DELETES,
    LINEAGE_FORMAT,
    ManifestForm,
    encode_manifest_list,
    fastavro,
    manifest_schema,
)
from andes_spark.sync.iceberg.files import FACE_FOLDER, Columns, Stamp, data_entries, file_url
from andes_spark.sync.iceberg.manifests import (
    METADATA_FOLDER,
    Changes,
    Following,
    Manifest,
    ManifestReader,
    file_changes,
    next_manifests,
    path_below,
    path_of,
    write,
)
from andes_spark.sync.iceberg.metadata import (
    APPLIED,
    DELTA_VERSION,
    HINT,
    VERSION,
    Shown,
    TableMetadata,
    chosen_format,
    continued,
    is_of_catalog,
    metadata_path,
    names_of,
    newest_metadata,
    next_document,
    schema_for,
    spec_for,
    unexpired,
)
from andes_spark.sync.iceberg.schemas import Json
from andes_spark.sync.iceberg.summary import summary_of
from andes_spark.sync.iceberg.vectors import delete_entries

_SECONDS = 60.0
"""Time for which a commit with an unknown outcome is repeated."""
_ORPHAN_MS = 24 * 60 * 60 * 1000
"""Age from which on a file of the face that no snapshot names is deleted: its writer has ended."""


@dataclass(frozen=True)
class Outcome:
    """What a synchronization did.

    Attributes:
        metadata: newest metadata of the face.
        changes: difference to the snapshot before; None if nothing was committed.
        manifests: number of manifests that were written.
        reused: number of manifests that are part of the snapshot as they were.
        expired: number of snapshots that left the face.
    """

    metadata: TableMetadata
    changes: Changes | None
    manifests: int = 0
    reused: int = 0
    expired: int = 0


class Face:
    """The Iceberg face of one table. Thread-safe: one synchronization runs after the other.

    Args:
        storage: the table's folder.
        table_id: id of the table.
    """

    def __init__(self, storage: Storage, table_id: str) -> None:
        self._storage = storage
        self._table_id = table_id
        self._reader = ManifestReader(storage)
        self._known: int | None = None
        self._lock = threading.Lock()

    def synchronize(
        self,
        read: Callable[[], Shown],
        *,
        format_version: int | None,
        now_ms: Callable[[], int],
        attempts: int,
        after: Callable[[Outcome], None],
        is_newest: bool = True,
    ) -> Outcome:
        """Make the newest state of the base the newest snapshot of the face, unless it is that already.

        Args:
            read: reads what to show; called after the face was read, so that what it returns is never older.
            format_version: version of Iceberg's specification; None for that of the face.
            now_ms: clock, in milliseconds since 1970.
            attempts: number of commits that other writers may win.
            after: called with the outcome of a commit, for advisory work.
            is_newest: whether ``read`` returns the newest state; another one is not shown after a newer one.

        Raises:
            MissingPackageError: fastavro is not installed.
            OptionError: the face has a later format; ``option``, ``value``.
            UnsupportedTableError: what Iceberg cannot represent; ``feature``, ``column``.
            ForeignWriteError: another writer committed to the face.
            CommitConflictError: other writers were first each time.
            CommitUnknownError: the store did not tell whether the commit succeeded.
        """
        fastavro()
        with self._lock:
            for _ in range(attempts):
                outcome = self._attempt(read, format_version, now_ms(), is_newest=is_newest)
                if outcome is not None:
                    self._known = outcome.metadata.number
                    if outcome.changes is not None:
                        after(outcome)
                    return outcome
        raise CommitConflictError(
            f"{self._storage.url}: other writers were first {attempts} times to commit to the Iceberg face; "
            "synchronize again",
            table=self._storage.url,
        )

    def _attempt(
        self, read: Callable[[], Shown], format_version: int | None, now_ms: int, *, is_newest: bool
    ) -> Outcome | None:
        """Synchronize on what is the newest metadata; None if another writer was first."""
        newest = newest_metadata(self._storage, self._table_id, self._known)
        chosen = chosen_format(self._storage, newest, format_version)
        shown = read()
        if newest is not None and not is_newest and newest.delta_version > shown.state.version:
            return Outcome(newest, None)
        return _Attempt(self._storage, self._reader, newest, shown, chosen, now_ms).run()

    def write_hint(self, outcome: Outcome) -> None:
        """Write the number of the newest metadata file, for readers of folders."""
        self._storage.put(HINT, str(outcome.metadata.number).encode(), sync=False)

    def delete_unnamed(self, outcome: Outcome, now_ms: int) -> None:
        """Delete files of the face that its snapshots do not name, a day after they were written.

        Metadata files of catalogs, which only these name, stay.
        """
        document, reader, storage = outcome.metadata.document, self._reader, self._storage
        named = {HINT, outcome.metadata.path}
        named |= {path_of(storage, entry["metadata-file"]) for entry in document["metadata-log"]}
        for snapshot in outcome.metadata.snapshots:
            named.add(path_of(storage, snapshot["manifest-list"]))
            for manifest in reader.manifests(snapshot):
                named.add(path_of(storage, manifest.row["manifest_path"]))
                named |= {path_of(storage, entry["data_file"]["file_path"]) for entry in manifest.live}
        storage.delete(
            info.path
            for info in list(storage.list(FACE_FOLDER))
            if info.path not in named and info.modified_ms < now_ms - _ORPHAN_MS and not is_of_catalog(info.path)
        )


def needed_by_face(storage: Storage, newest: TableMetadata | None, floor: int) -> set[str]:
    """Return the data files that the face names in its newest snapshot, and in those of readable versions.

    Args:
        storage: the table's folder.
        newest: newest metadata of the face; None if there is none.
        floor: oldest version that can be read.
    """
    if newest is None:
        return set()
    # A face may have begun under another path of the same folder, a link or a mount: its readers need their files too.
    root = newest.document["location"].removesuffix(f"/{FACE_FOLDER}")
    reader = ManifestReader(storage, root)
    snapshots = (*unexpired(newest.snapshots, floor), newest.current)
    rows = {row["manifest_path"]: row for snapshot in snapshots for row in reader.rows(snapshot)}
    manifests = reader.of_rows(row for row in rows.values() if row["content"] == DATA)
    return {path_below(root, entry["data_file"]["file_path"]) for manifest in manifests for entry in manifest.live}


class _Attempt:
    """One attempt to commit a snapshot, on the metadata that was the newest."""

    def __init__(
        self,
        storage: Storage,
        reader: ManifestReader,
        newest: TableMetadata | None,
        shown: Shown,
        format_version: int,
        now_ms: int,
    ) -> None:
        self._storage = storage
        self._reader = reader
        self._newest = newest
        self._shown = shown
        self._before = before = continued(storage, newest, shown)
        version = shown.version
        types = [(name, version.node(name).field.type) for name in shown.partition_by]
        self._columns = Columns(version, types)
        self._schema = schema_for(before, shown)
        spec = spec_for(before, shown)
        # By the names of the spec, which a renamed column keeps.
        names = [field["name"] for field in spec]
        avro_schema = manifest_schema(list(zip(names, (type_ for _, type_ in types), strict=True)), format_version)
        self._format = format_version
        self._form = ManifestForm(format_version, self._schema, spec, avro_schema)
        self._names = names_of(before)
        sequence = 0 if before is None else before.document["last-sequence-number"]
        self._stamp = Stamp(uuid.uuid4().int >> 65, sequence + 1)
        self._now_ms = now_ms if before is None else max(now_ms, before.document["last-updated-ms"] + 1)

    def run(self) -> Outcome | None:
        """Commit the snapshot if something changed; None if another writer was first."""
        before, storage = self._before, self._storage
        manifests = [] if before is None else self._reader.manifests(before.current)
        changes = file_changes(storage, manifests, self._shown.state.files, self._format)
        if before is not None and not changes and self._is_shown(before):
            self._reader.keep(before.current, manifests)
            return Outcome(before, None, reused=len(manifests))
        following = self._write_manifests(manifests, changes)
        snapshot = self._snapshot(following)
        number = 1 if self._newest is None else self._newest.number + 1
        document = next_document(
            storage,
            before,
            self._shown,
            self._schema,
            self._names,
            snapshot,
            number=number,
            format_version=self._format,
        )
        if not self._commit(number, document):
            self._discard(following.manifests, snapshot)
            return None
        self._reader.keep(snapshot, following.manifests)
        metadata = TableMetadata(number, document)
        expired = (0 if before is None else len(before.snapshots)) + 1 - len(metadata.snapshots)
        reused = len(following.manifests) - following.written
        return Outcome(metadata, changes, following.written, reused, expired)

    def _is_shown(self, before: TableMetadata) -> bool:
        """Whether the newest snapshot has this format, schema and version of the log, and no other one expired."""
        earlier = [snapshot for snapshot in before.snapshots if snapshot is not before.current]
        return (
            before.format_version == self._format
            and before.schema() == self._schema
            and int(before.current["summary"][APPLIED]) == self._shown.applied
            and unexpired(earlier, self._shown.floor) == earlier
        )

    def _write_manifests(self, manifests: Sequence[Manifest], changes: Changes) -> Following:
        storage, stamp, columns = self._storage, self._stamp, self._columns
        data, unnumbered = data_entries(storage, changes.added, columns, stamp)
        self._names = self._names.after(self._shown.schemas, unnumbered)
        added: Mapping[int, Sequence[Json]] = {
            DATA: data,
            DELETES: delete_entries(storage, changes.vectors, columns, stamp, self._format),
        }
        # A manifest of format 2 may have deleted files before others: what ids these inherit is not the same to all.
        anew = self._before is not None and self._before.format_version < self._format
        return next_manifests(
            storage, manifests, changes.removed, added, stamp, self._form, next_row_id=self._next_row_id, anew=anew
        )

    @property
    def _next_row_id(self) -> int:
        return 0 if self._before is None else self._before.next_row_id

    def _snapshot(self, following: Following) -> Json:
        """Write the manifest list; return the snapshot."""
        stamp, before = self._stamp, self._before
        path = f"{METADATA_FOLDER}/snap-{stamp.snapshot_id}-1-{uuid.uuid4()}.avro"
        snapshot: Json = {
            "snapshot-id": stamp.snapshot_id,
            "sequence-number": stamp.sequence,
            "timestamp-ms": self._now_ms,
            "manifest-list": file_url(self._storage, path),
            "summary": {**summary_of(following.manifests, stamp), **self._own_summary()},
            "schema-id": self._schema["schema-id"],
        }
        if before is not None:
            snapshot["parent-snapshot-id"] = before.current["snapshot-id"]
        if self._format >= LINEAGE_FORMAT:
            snapshot |= {"first-row-id": self._next_row_id, "added-rows": following.assigned_rows}
        rows = (manifest.row for manifest in following.manifests)
        write(self._storage, path, encode_manifest_list(rows, snapshot, self._format))
        return snapshot

    def _own_summary(self) -> dict[str, str]:
        shown = self._shown
        return {
            APPLIED: str(shown.applied),
            VERSION: str(shown.head),
            DELTA_VERSION: str(shown.state.version),
        }

    def _commit(self, number: int, document: Json) -> bool:
        """Create the metadata file; return whether it is this one."""
        path = metadata_path(number)
        data = json.dumps(document, ensure_ascii=False).encode("utf-8")
        stored = put_once(self._storage, path, data, seconds=_SECONDS)
        if stored is None:
            raise CommitUnknownError(
                f"{self._storage.url}: the store did not tell whether {path} was created; synchronize again",
                table=self._storage.url,
            )
        return stored == data

    def _discard(self, manifests: Sequence[Manifest], snapshot: Json) -> None:
        """Delete what was written for a commit that another writer won; what stays is deleted after a day."""
        own = self._stamp.snapshot_id
        paths = [path_of(self._storage, snapshot["manifest-list"])]
        for manifest in manifests:
            if manifest.row["added_snapshot_id"] != own:
                continue
            paths.append(path_of(self._storage, manifest.row["manifest_path"]))
            if manifest.row["content"] == DELETES:
                paths += [
                    path_of(self._storage, entry["data_file"]["file_path"])
                    for entry in manifest.live
                    if entry["snapshot_id"] == own
                ]
        try:
            self._storage.delete(paths)
        except AndesError:
            # Nothing names them.
            return
