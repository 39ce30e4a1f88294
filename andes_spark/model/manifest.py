"""The documents of the log: manifests, merge records and their parts, format 1.

A manifest commits a version: creating ``_andes/manifests/<version>.json`` *is* the commit. The JSON Schema in
``manifest.schema.json`` is generated from these classes and pinned by a test. Unknown fields are refused, so
that a document edited by hand does not half work.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, TypeVar

import msgspec

from andes_spark.errors import LogDamagedError, UnsupportedTableError

FORMAT = 1
T = TypeVar("T", bound="Document")

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_SEAL = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\Z')
_SEAL_BYTES = len(',"checksum":""}') + 64

_ENTRY_PATH = re.compile(r"_andes/(mods|quarantine|tombstones|ledger)/[0-9A-Za-z][0-9A-Za-z._-]{0,120}\.parquet")


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Base of everything that is stored as JSON."""


class Definition(Document, frozen=True):
    """What a table is; changes are versions of the log.

    Attributes:
        schema: Spark's StructType JSON.
        schema_id: grows with each change of the schema.
        primary_key: names of the key columns, in order.
        sequence_by: names of the sequence columns, in order; empty: the version is the sequence.
        partition_by: names of the partition columns of the base.
        merge: ``"always"``, ``"manual"`` or a staleness such as ``"15 minutes"``.
        lateness: tombstones are kept at least so long.
        batch_retention: batch ids are remembered at least so long.
        deletion_vectors: whether merges mark rows as deleted or rewrite their files.
        comment: free text.
        properties: free names and values.
    """

    schema: str
    schema_id: int
    primary_key: tuple[str, ...]
    sequence_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    merge: str = "always"
    lateness: str = "30 days"
    batch_retention: str = "30 days"
    deletion_vectors: bool = True
    comment: str | None = None
    properties: dict[str, str] = {}


class Batch(Document, frozen=True):
    """Identity and content of a batch: ``id`` with its type (``i:42``, ``s:x``), digest ``andes1:...``."""

    source: str
    id: str
    digest: str


class Counts(Document, frozen=True):
    """Rows of a batch: received = upserts + deletes + truncates + collapsed + quarantined.

    ``partial`` counts those upserts that leave columns out.
    """

    received: int = 0
    upserts: int = 0
    deletes: int = 0
    truncates: int = 0
    collapsed: int = 0
    quarantined: int = 0
    partial: int = 0


class FileKeyRange(Document, frozen=True):
    """Smallest and greatest key of a file, as tuples in key order; see ``model.values`` for the JSON form."""

    low: list[Any]
    high: list[Any]


class Entry(Document, frozen=True):
    """A file that a version refers to.

    Attributes:
        kind: ``mods`` or ``quarantine``.
        path: below the table's folder.
        rows: rows in the file.
        upserts, deletes, truncates, partial: mods in the file by kind.
        bytes: size of the file.
        sha256: hex, over the bytes as written.
        footer: length and CRC-32 of the file's Parquet footer, see ``log.parquet_files``.
        schema_id: schema of the file.
        keys: range of its keys; none when it holds only truncates, or keys too long to quote.
        low_sequence, high_sequence: range of its sequences, lexicographic.
    """

    kind: str
    path: str
    rows: int
    bytes: int
    sha256: str
    footer: str
    schema_id: int
    upserts: int = 0
    deletes: int = 0
    truncates: int = 0
    partial: int = 0
    keys: FileKeyRange | None = None
    low_sequence: list[Any] | None = None
    high_sequence: list[Any] | None = None


class Truncate(Document, frozen=True):
    """That a version truncates: the sequences of its truncates, each once; none without ``sequence_by``."""

    sequences: list[list[Any]] = []


class PendingVersion(Document, frozen=True):
    """A version as a roll-up repeats it."""

    version: int
    entries: list[Entry] = []
    truncate: Truncate | None = None


class LedgerFile(Document, frozen=True):
    """A file of batch ids, sorted by source and id. ``sources`` lists them when they are few."""

    path: str
    from_version: int
    to_version: int
    rows: int
    bytes: int
    sha256: str
    footer: str
    newest_time: int
    sources: list[str] | None = None


class RollUp(Document, frozen=True):
    """What every 10th manifest repeats, so that no reader goes further back.

    Attributes:
        applied: version that ``pending`` begins behind: what the writer knew the base to contain, or a later one
            where that would be too many entries.
        pending: versions after ``applied``, up to the one before this manifest.
        definition: the table's definition as of this manifest.
        ledger: files of batch ids, without those of this manifest.
    """

    applied: int
    pending: list[PendingVersion]
    definition: Definition
    ledger: list[LedgerFile] = []


class Origin(Document, frozen=True):
    """A base snapshot that is the truth for this version and everything below it."""

    delta_version: int
    rows: int


class Manifest(Document, frozen=True):
    """One version of the log.

    Attributes:
        format: of this document.
        table_id: UUID of the table.
        version: number of the version; also the name of the file.
        previous: SHA-256 of the previous manifest's bytes; none for version 0.
        commit_id: UUID of this attempt to commit.
        time: milliseconds since 1970 UTC; never below the previous one.
        operation: what made the version.
        writer: library and version, and the job when it named itself.
        epoch: grows when a restore or a foreign write starts a new line of versions.
        floor: oldest readable version.
        checksum: see :func:`encode`; empty in a document that was not stored yet.
    """

    format: int
    table_id: str
    version: int
    previous: str | None
    commit_id: str
    time: int
    operation: str
    writer: dict[str, str]
    counts: Counts
    entries: list[Entry] = []
    schema_id: int = 0
    batch: Batch | None = None
    truncate: Truncate | None = None
    definition: Definition | None = None
    origin: Origin | None = None
    roll_up: RollUp | None = None
    epoch: int = 0
    floor: int = 0
    checksum: str = ""


class SideFile(Document, frozen=True):
    """A file beside the base, of tombstones or of mods that the law set aside; oldest first in a record."""

    path: str
    rows: int
    bytes: int
    sha256: str
    footer: str


LogFile = Entry | LedgerFile | SideFile  # What can be opened and checked by its path, rows and checksum.


class MergeRecord(Document, frozen=True):
    """State beside the base for a merge up to ``version``.

    The complete set of tombstone files, the truncate watermark, and which mods the law has set aside.

    Its content is a function of the log up to ``version``; it says nothing of the merge that wrote it.
    """

    format: int
    table_id: str
    version: int
    truncate: list[Any] | None = None
    tombstones: list[SideFile] = []
    quarantined: list[SideFile] = []
    checksum: str = ""


def manifest_path(version: int) -> str:
    """Path of a manifest below the table's folder."""
    return f"_andes/manifests/{version:020d}.json"


def merge_record_path(version: int) -> str:
    """Path of a merge record below the table's folder."""
    return f"_andes/merges/{version:020d}.json"


def encode(document: Document) -> bytes:
    """JSON bytes of a document, deterministic for equal content.

    A manifest or merge record ends with ``"checksum"``: the SHA-256 of its bytes without that member. The chain
    shows an edited manifest only once there is a later version; the checksum shows it at once.
    """
    if isinstance(document, Manifest | MergeRecord):
        return seal(msgspec.json.encode(msgspec.structs.replace(document, checksum="")))
    return msgspec.json.encode(document)


def seal(body: bytes) -> bytes:
    """The bytes of a JSON object with their checksum as its last member."""
    return b'%b,"checksum":"%b"}' % (body[:-1], digest_of(body).encode())


def digest_of(data: bytes) -> str:
    """SHA-256 of a document's bytes, hex: what the next manifest calls ``previous``."""
    return hashlib.sha256(data).hexdigest()


def decode_manifest(data: bytes, *, table: str, version: int) -> Manifest:
    """Read a manifest and check all that one document can show.

    Raises:
        UnsupportedTableError: a newer format.
        LogDamagedError: not a manifest of this version, or one that was edited.
    """
    manifest = _decode(data, Manifest, table=table, path=manifest_path(version), version=version)
    if manifest.version != version:
        raise LogDamagedError(
            f"{table}: {manifest_path(version)} says that it is version {manifest.version}; restore the file",
            table=table,
            version=version,
            path=manifest_path(version),
        )
    pending = manifest.roll_up.pending if manifest.roll_up else []
    for entries in (manifest.entries, *(each.entries for each in pending)):
        for entry in entries:
            check_entry_path(entry.path, table=table, version=version)
    for ledger in manifest.roll_up.ledger if manifest.roll_up else []:
        check_entry_path(ledger.path, table=table, version=version)
    return manifest


def decode_merge_record(data: bytes, *, table: str, version: int) -> MergeRecord:
    """Read a merge record; errors as for :func:`decode_manifest`."""
    record = _decode(data, MergeRecord, table=table, path=merge_record_path(version), version=version)
    if record.version != version:
        raise LogDamagedError(
            f"{table}: {merge_record_path(version)} says that it is version {record.version}; restore the file",
            table=table,
            version=version,
        )
    for file in (*record.tombstones, *record.quarantined):
        check_entry_path(file.path, table=table, version=version)
    return record


def check_entry_path(path: str, *, table: str, version: int) -> None:
    """Refuse a path that is not exactly one that this library writes.

    Raises:
        LogDamagedError: anything else; it could lead out of the table's folder.
    """
    if _ENTRY_PATH.fullmatch(path) is None:
        raise LogDamagedError(
            f"{table}: version {version} refers to {path!r}, which is no path of this library; "
            "the manifest was edited: restore it",
            table=table,
            version=version,
            path=path,
        )


def _decode(data: bytes, kind: type[T], *, table: str, path: str, version: int) -> T:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise LogDamagedError(
            f"{table}: {path} has {len(data)} bytes; no such file is written by this library",
            table=table,
            path=path,
            version=version,
        )
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format > FORMAT:
            raise UnsupportedTableError(
                f"{table}: {path} has format {head.format}, this release reads up to {FORMAT}; "
                "install a newer andes_spark",
                table=table,
                path=path,
                version=version,
                feature=f"format {head.format}",
            )
        _check_seal(data, table=table, path=path, version=version)
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise LogDamagedError(
            f"{table}: {path} is not a document of this library ({error}); restore it from a backup",
            table=table,
            path=path,
            version=version,
        ) from error


def _check_seal(data: bytes, *, table: str, path: str, version: int) -> None:
    found = _SEAL.search(data, max(0, len(data) - _SEAL_BYTES))
    if found is None or digest_of(data[: found.start()] + b"}").encode() != found[1]:
        raise LogDamagedError(
            f"{table}: {path} is not as it was written: its checksum differs; it was edited or damaged: restore it "
            "from a backup",
            table=table,
            path=path,
            version=version,
        )


class _Head(msgspec.Struct):
    format: int
