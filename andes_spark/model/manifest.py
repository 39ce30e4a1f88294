"""Manifests: one per version of the log.

Creating ``_andes/manifests/<version>.json`` commits the version. The JSON Schema in ``manifest.schema.json`` is
generated from these classes and checked by a test.
"""

from __future__ import annotations

import hashlib

import msgspec

from andes_spark.errors import LogDamagedError
from andes_spark.model import documents, events, features, files
from andes_spark.model.definition import Definition, check_definition
from andes_spark.model.display import moment, time_text
from andes_spark.model.documents import Document
from andes_spark.model.events import CurrentTag, Event, PendingVersion
from andes_spark.model.files import LedgerFile

MANIFESTS = "_andes/manifests"


class Counts(Document, frozen=True):
    """Numbers of rows of a batch: received = upserts + deletes + truncates + collapsed + quarantined.

    Attributes:
        received: rows that the batch had.
        upserts, deletes, truncates: mods that were committed, by kind.
        collapsed: rows that repeat another row of the batch.
        quarantined: rows that were refused and stored with a reason.
        partial: upserts with absent columns; they are among ``upserts``.
    """

    received: int = 0
    upserts: int = 0
    deletes: int = 0
    truncates: int = 0
    collapsed: int = 0
    quarantined: int = 0
    partial: int = 0


_SALTED = "andes1s:"


def salted_digest(digest: str, commit_id: str) -> str:
    """Return the form of a batch's digest in a manifest that a ``forget`` wrote anew: hashed once more, with a salt."""
    if digest.startswith(_SALTED):
        return digest
    return _SALTED + hashlib.blake2b(digest.encode(), digest_size=16, key=commit_id.encode()).hexdigest()


class Batch(Document, frozen=True):
    """Identity, content and balance of a batch.

    Attributes:
        source: name of the source, the scope of the id.
        id: id with its type (``i:42``, ``s:x``).
        digest: digest of the content (``andes1:...``), over the columns of a schema; see also :func:`salted_digest`.
        schema_id: id of that schema.
        counts: number of rows of the batch.
        number: number of the batch within its version, in the order of arrival.
    """

    source: str
    id: str
    digest: str
    schema_id: int
    counts: Counts
    number: int = 0


COUNTED = tuple(name for name in Counts.__struct_fields__ if name != "unknown")
"""Names of the counts."""


class Origin(Document, frozen=True):
    """The base snapshot with the content of this version and all earlier ones.

    Attributes:
        delta_version: Delta version of the snapshot.
        rows: number of its rows.
    """

    delta_version: int
    rows: int


class RollUp(Document, frozen=True):
    """State repeated in every 10th manifest, so that readers need no older manifests.

    Attributes:
        applied: version before the first of ``pending``: the version of the base known to the writer, or a later one
            to limit the number of entries.
        applied_commit_id: commit id of that version.
        pending: versions after ``applied``, up to the version before this manifest.
        definition: the table's definition as of this manifest.
        ledger: files of batch ids, without the batches of this manifest.
        tags: current tags, without those of this manifest.
        origin: base snapshot at the start of the log.
    """

    applied: int
    applied_commit_id: str
    pending: list[PendingVersion]
    definition: Definition
    ledger: list[LedgerFile] = []
    tags: list[CurrentTag] = []
    origin: Origin | None = None


class Manifest(Document, frozen=True):
    """One version of the log.

    Attributes:
        format: format of this document.
        table_id: UUID of the table.
        version: number of the version; also the name of the file.
        previous: SHA-256 of the previous manifest; none for version 0.
        commit_id: UUID of this commit attempt.
        time: commit time in milliseconds since 1970 UTC; not less than that of the previous version.
        operation: name of the verb that made the version, for display; ``events`` defines the changes of rows.
        writer: library and version, and the job if it has a name.
        counts: number of rows of all batches.
        reader_features, writer_features: names of all features in use up to this version, see ``model.features``.
        events: changes made by the version.
        batches: identity, content and balance of the batches with an id.
        definition: the table's definition, if this version sets it.
        origin: base snapshot at the start of the log.
        roll_up: state repeated in every 10th manifest.
        epoch: number increased when a restore or a foreign write starts a new line of versions.
        floor: oldest readable version.
        cuts: number of times that a repair began or ended to cut off the Delta log: what was read of the base before is
            void.
        original: SHA-256 of the manifest as it was committed, if a ``forget`` has removed ranges of keys from it later:
            the next manifest names that one.
        checksum: see ``documents.encode``; empty before the document is stored.
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
    reader_features: list[str] = []
    writer_features: list[str] = []
    events: list[Event] = []
    batches: list[Batch] = []
    definition: Definition | None = None
    origin: Origin | None = None
    roll_up: RollUp | None = None
    epoch: int = 0
    floor: int = 0
    cuts: int = 0
    original: str | None = None
    checksum: str = ""

    def __repr__(self) -> str:
        return f"<Manifest: version {self.version}, {self.operation}, {time_text(moment(self.time))}>"

    def batch(self, source: str, tagged: str) -> Batch | None:
        """Return the batch with an id, if the version has it."""
        return next((batch for batch in self.batches if (batch.source, batch.id) == (source, tagged)), None)

    def is_followed_by(self, later: Manifest, digest: str) -> bool:
        """Return whether a manifest names this one, whose bytes have a digest, or the lost one that it stands for."""
        lost_digests = (event.digest for event in self.events if isinstance(event, events.Rebuilt))
        return later.previous in (digest, *lost_digests)

    @property
    def pending(self) -> PendingVersion:
        """The version as repeated in a roll-up."""
        return PendingVersion(version=self.version, commit_id=self.commit_id, events=self.events)


class _Original(msgspec.Struct):
    original: str | None = None


def committed_digest(data: bytes) -> str:
    """Return the SHA-256 of a stored manifest as it was committed, which the next one names."""
    original = None
    if b'"original":' in data and documents.is_sealed(data):
        original = msgspec.json.decode(data, type=_Original).original
    return original or documents.digest_of(data)


def manifest_path(version: int) -> str:
    """Return path of a manifest below the table's folder."""
    return f"{MANIFESTS}/{version:020d}.json"


def decode_manifest(data: bytes, *, table: str, version: int) -> Manifest:
    """Read a manifest and check it, without reference to other documents.

    Raises:
        UnsupportedTableError: an unknown format, feature or event; ``feature``.
        LogDamagedError: not a manifest of this version, or changed after it was written.
    """
    path = manifest_path(version)
    try:
        manifest = documents.decode(data, Manifest, table=table, path=path, version=version)
    except LogDamagedError as error:
        if error.__cause__ is not None:  # the checksum is right, but this release cannot decode it
            features.refuse_unknown(data, table=table, version=version)
            events.refuse_unknown(data, table=table, path=path, version=version)
        raise
    if manifest.version != version:
        raise LogDamagedError(
            f"{table}: {path} says that it is version {manifest.version}; restore the file",
            table=table,
            version=version,
            path=path,
        )
    features.check_readable(manifest.reader_features, table=table, version=version)
    roll_up = manifest.roll_up
    for definition in (manifest.definition, roll_up.definition if roll_up else None):
        if definition is not None:
            check_definition(definition, table=table, version=version, path=path)
    for pending in (manifest.pending, *(roll_up.pending if roll_up else [])):
        for entry in (*events.files_of(pending.events), *events.side_files_of(pending.events)):
            files.check_path(entry.path, table=table, version=version)
    for ledger in roll_up.ledger if roll_up else []:
        files.check_path(ledger.path, table=table, version=version)
    return manifest
