"""Manifests of the face, written incrementally: those whose files are as before are part of the next snapshot too."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from andes_spark.delta.data_file import DataFile
from andes_spark.delta.files import Files
from andes_spark.errors import LogDamagedError
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.sync.iceberg.avro import (
    ADDED,
    DATA,
    DELETED,
    DELETES,
    EXISTING,
    LINEAGE_FORMAT,
    ManifestForm,
    decode,
    encode_manifest,
)
from andes_spark.sync.iceberg.files import FACE_FOLDER, Stamp, file_url, root_url
from andes_spark.sync.iceberg.forms import require_form
from andes_spark.sync.iceberg.lineage import inherited, unassigned_rows
from andes_spark.sync.iceberg.schemas import SPEC_ID, Json
from andes_spark.sync.iceberg.vectors import deletes_format, vector_mark

METADATA_FOLDER = f"{FACE_FOLDER}/metadata"
_MOST_ENTRIES = 1_000
"""Entries of a manifest: one is written anew whole when one of its files goes."""
_MOST_SMALL = 32
"""Number of small manifests from which on they are packed together: readers read each of them."""
_SMALL = _MOST_ENTRIES // 2
_ROW: Json = {"manifest_path": str, "content": int, "added_snapshot_id": int}
_ENTRY: Json = {
    "status": int,
    "snapshot_id": int,
    "sequence_number": int,
    "data_file": {
        "content": int,
        "file_path": str,
        "file_format": str,
        "record_count": int,
        "file_size_in_bytes": int,
    },
}


@dataclass(frozen=True)
class Manifest:
    """A manifest of a snapshot.

    Attributes:
        row: its row in the manifest list.
        entries: its entries, those of files that were deleted included, with the first row ids that they inherit.
    """

    row: Json
    entries: Sequence[Json] = field(repr=False)

    @property
    def live(self) -> Iterator[Json]:
        """The entries of files that are part of the snapshot."""
        return (entry for entry in self.entries if entry["status"] != DELETED)


@dataclass(frozen=True)
class Changes:
    """Difference between a snapshot of the face and a state of the base.

    Attributes:
        added: data files that the snapshot lacks.
        removed: locations of files that are to leave it: data files, and deletes of vectors that changed.
        vectors: data files whose deletes the snapshot lacks.
        removed_files: number of the data files among those that are to leave it.
    """

    added: Sequence[DataFile]
    removed: frozenset[str]
    vectors: Sequence[DataFile]
    removed_files: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.vectors)


class ManifestReader:
    """Reader of manifests, which never change, with those of the newest snapshot in memory.

    Args:
        storage: the table's folder.
        root: location of that folder in the metadata; None for the storage's own.
    """

    def __init__(self, storage: Storage, root: str | None = None) -> None:
        self._storage = storage
        self._root = root_url(storage) if root is None else root
        self._entries: dict[str, Sequence[Json]] = {}
        self._rows: tuple[str, list[Json]] = ("", [])

    def rows(self, snapshot: Json) -> list[Json]:
        """Return the manifest list of a snapshot."""
        url, rows = self._rows
        return rows if snapshot["manifest-list"] == url else self._read(snapshot["manifest-list"], _ROW)

    def manifests(self, snapshot: Json) -> list[Manifest]:
        """Return the manifests of a snapshot, with their entries."""
        return self.of_rows(self.rows(snapshot))

    def of_rows(self, listed: Iterable[Json]) -> list[Manifest]:
        """Return the manifests of rows of manifest lists, with their entries."""
        rows = list(listed)
        lacking = [row for row in rows if row["manifest_path"] not in self._entries]

        def read(row: Json) -> Sequence[Json]:
            return inherited(row, self._read(row["manifest_path"], _ENTRY))

        answers = in_windows(self._storage.scheduler, read, lacking)
        new = {row["manifest_path"]: answer.result() for row, answer in answers}
        known = {**self._entries, **new}
        return [Manifest(row, known[row["manifest_path"]]) for row in rows]

    def keep(self, snapshot: Json, manifests: Sequence[Manifest]) -> None:
        """Keep the manifests of a snapshot in memory, and no others."""
        self._rows = (snapshot["manifest-list"], [manifest.row for manifest in manifests])
        self._entries = {manifest.row["manifest_path"]: manifest.entries for manifest in manifests}

    def _read(self, url: str, form: Json) -> list[Json]:
        path = path_below(self._root, url)
        data = self._storage.find(path)
        if data is None:
            raise LogDamagedError(
                f"{self._storage.url}: {path}, a part of the Iceberg face, is missing; delete the folder {FACE_FOLDER} "
                "and synchronize again",
                table=self._storage.url,
                path=path,
            )
        records = decode(data, path)
        require_form(records, [form], path)
        return records


def path_of(storage: Storage, url: str) -> str:
    """Return the path in the table's folder of a file that the metadata names."""
    return path_below(root_url(storage), url)


def path_below(root: str, url: str) -> str:
    """Return the path of a file in a folder."""
    return url.removeprefix(f"{root}/")


def gone_files(storage: Storage, path: str, existing: Collection[str]) -> int:
    """Return the number of entries of a manifest whose data files do not exist; 0 for a manifest list.

    The bounds of such a file are all that is left of its rows.
    """
    files = (record["data_file"] for record in decode(storage.get(path), path) if "data_file" in record)
    return sum(file["content"] == DATA and path_of(storage, file["file_path"]) not in existing for file in files)


def file_changes(storage: Storage, manifests: Iterable[Manifest], files: Files, format_version: int) -> Changes:
    """Compare the files of a snapshot with those of a state of the base; a snapshot that does not exist has none.

    Deletes of another format are to be written anew.
    """
    shown: set[str] = set()
    deletes: set[str] = set()
    marks: dict[str, tuple[str, str]] = {}
    for manifest in manifests:
        for entry in manifest.live:
            data_file = entry["data_file"]
            if data_file["content"] == DATA:
                shown.add(data_file["file_path"])
                continue
            deletes.add(data_file["file_path"])
            if data_file["file_format"].upper() == deletes_format(format_version):
                name = data_file["file_path"].rpartition("/")[2]
                marks[data_file["referenced_data_file"]] = (name.partition("-")[0], data_file["file_path"])
    added: list[DataFile] = []
    vectors: list[DataFile] = []
    kept: set[str] = set()
    root = root_url(storage)
    for position, (location, deleted) in enumerate(zip(files, files.deleted.tolist(), strict=True)):
        url = f"{root}/{location}"
        kept.add(url)
        is_new = url not in shown
        if not is_new and not deleted:
            continue
        # Made of its columns, which takes longer than the comparison.
        file = files.at(position)
        if is_new:
            added.append(file)
        if deleted:
            mark, path = marks.get(url, ("", ""))
            if mark == vector_mark(file):
                kept.add(path)
            else:
                vectors.append(file)
    return Changes(added, frozenset((shown | deletes) - kept), vectors, len(shown - kept))


@dataclass(frozen=True)
class Following:
    """Manifests of the next snapshot.

    Attributes:
        manifests: all of them.
        written: number of those that were written.
        assigned_rows: number of rows that got an id, from format 3 on.
    """

    manifests: Sequence[Manifest]
    written: int
    assigned_rows: int


def next_manifests(
    storage: Storage,
    manifests: Iterable[Manifest],
    removed: frozenset[str],
    added: Mapping[int, Sequence[Json]],
    stamp: Stamp,
    form: ManifestForm,
    *,
    next_row_id: int,
    anew: bool,
) -> Following:
    """Write the manifests of the next snapshot that differ from those before.

    Args:
        storage: the table's folder.
        manifests: those of the snapshot before.
        removed: locations of files that leave it.
        added: entries of new files, by content.
        stamp: of the next snapshot.
        form: what the manifests have in common.
        next_row_id: id of the next row that gets one, from format 3 on.
        anew: whether all of them are written.
    """
    kept: list[Manifest] = []
    written: list[Manifest] = []
    before, row_id = list(manifests), next_row_id
    for content in (DATA, DELETES):
        own = [manifest for manifest in before if manifest.row["content"] == content]
        untouched, entries = _sorted_out(own, removed, stamp, anew=anew)
        entries += added.get(content, ())
        kept += untouched
        for first in range(0, len(entries), _MOST_ENTRIES):
            # Readers count rows without ids from the first entry on: those of deleted files come last.
            part = sorted(entries[first : first + _MOST_ENTRIES], key=lambda entry: entry["status"] == DELETED)
            path = f"{METADATA_FOLDER}/{uuid.uuid4()}-m0.avro"
            data = encode_manifest(part, content, form)
            write(storage, path, data)
            row = _row(file_url(storage, path), len(data), content, part, stamp)
            if content == DATA and form.format_version >= LINEAGE_FORMAT:
                row["first_row_id"], row_id = row_id, row_id + unassigned_rows(part)
            written.append(Manifest(row, inherited(row, part)))
    return Following([*written, *kept], len(written), row_id - next_row_id)


def write(storage: Storage, path: str, data: bytes) -> None:
    """Write a new object whose name is unique."""
    with storage.open_output(path) as sink:
        sink.write(data)


def _sorted_out(
    manifests: Sequence[Manifest], removed: frozenset[str], stamp: Stamp, *, anew: bool
) -> tuple[list[Manifest], list[Json]]:
    """Return the manifests that stay, and the entries of the others, with the status that they have from now on."""
    untouched: list[Manifest] = []
    entries: list[Json] = []
    for manifest in manifests:
        live = list(manifest.live)
        if anew or any(entry["data_file"]["file_path"] in removed for entry in live):
            entries += (_later(entry, removed, stamp) for entry in live)
        elif live:
            untouched.append(manifest)
    small = [manifest for manifest in untouched if len(manifest.entries) < _SMALL]
    if len(small) <= _MOST_SMALL:
        return untouched, entries
    packed = {manifest.row["manifest_path"] for manifest in small}
    entries += (_later(entry, removed, stamp) for manifest in small for entry in manifest.live)
    return [manifest for manifest in untouched if manifest.row["manifest_path"] not in packed], entries


def _later(entry: Json, removed: frozenset[str], stamp: Stamp) -> Json:
    """Return an entry as it is in the next snapshot. Its sequence numbers stay: they order files and deletes."""
    if entry["data_file"]["file_path"] in removed:
        return {**entry, "status": DELETED, "snapshot_id": stamp.snapshot_id}
    return {**entry, "status": EXISTING}


def _row(url: str, length: int, content: int, entries: Sequence[Json], stamp: Stamp) -> Json:
    counts = dict.fromkeys((EXISTING, ADDED, DELETED), 0)
    rows = dict(counts)
    for entry in entries:
        counts[entry["status"]] += 1
        rows[entry["status"]] += entry["data_file"]["record_count"]
    sequences = [entry["sequence_number"] for entry in entries if entry["status"] != DELETED]
    return {
        "manifest_path": url,
        "manifest_length": length,
        "partition_spec_id": SPEC_ID,
        "content": content,
        "sequence_number": stamp.sequence,
        "min_sequence_number": min(sequences, default=stamp.sequence),
        "added_snapshot_id": stamp.snapshot_id,
        "added_files_count": counts[ADDED],
        "existing_files_count": counts[EXISTING],
        "deleted_files_count": counts[DELETED],
        "added_rows_count": rows[ADDED],
        "existing_rows_count": rows[EXISTING],
        "deleted_rows_count": rows[DELETED],
    }
