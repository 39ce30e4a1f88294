"""Contents of a Delta log: files, protocol, metadata, the state at a version, one commit.

Format: the Delta protocol, "Actions". ``log`` reads these from a table's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from andes_spark.delta import statistics
from andes_spark.delta.paths import decode_path
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import LogDamagedError

FOOTER_TAG = "andes.footer"
"""Tag of an ``add`` of this library: the file's footer mark, see ``storage.parquet``."""
ARROW_TAG = "andes.arrow_bytes"
"""Tag of an ``add`` of this library: size of the file's rows in Arrow's memory format."""
KEYS_TAG = "andes.keys"
"""Tag of an ``add`` of this library: least and greatest key of the file, as JSON."""
PREVIOUS_TAG = "andes_spark.previous"
"""Tag of an entry of this library: commit id of the previous entry."""
_EXPANSION = 4
"""Estimated Arrow bytes per byte of a Parquet file."""


@dataclass(frozen=True)
class DataFile:
    """A live file of the table, from its ``add`` action.

    Attributes:
        path: as in the log, URL-encoded.
        partition_values: text by partition column, None for null.
        size: number of bytes.
        add: the raw action, written again unchanged; read-only.
        vector: deleted rows, None if there are none.
    """

    path: str
    partition_values: Mapping[str, str | None]
    size: int
    add: Mapping[str, Any] = field(repr=False, compare=False)
    vector: VectorDescriptor | None = None

    @cached_property
    def location(self) -> str:
        """Path in the table's folder, decoded: the key of ``DeltaState.files``."""
        return decode_path(self.path)

    @cached_property
    def stats(self) -> dict[str, Any]:
        """Statistics with exact numbers (``Decimal`` for fractions); empty if there are none."""
        return statistics.parse(self.add.get("stats"))

    @property
    def num_records(self) -> int | None:
        """Number of rows in the file, deleted ones included; None if unknown."""
        count = self.stats.get("numRecords")
        return count if type(count) is int and count >= 0 else None

    def tag(self, name: str) -> str | None:
        """Return a tag of the file; None if it lacks the tag."""
        return (self.add.get("tags") or {}).get(name)

    @property
    def footer(self) -> str | None:
        """The file's footer mark; None for a file of another writer."""
        return self.tag(FOOTER_TAG)

    @property
    def arrow_bytes(self) -> int:
        """Size of the rows in Arrow's memory format; estimated from the size of a file of another writer."""
        tag = self.tag(ARROW_TAG) or ""
        return int(tag) if tag.isascii() and tag.isdigit() else self.size * _EXPANSION

    @property
    def live_records(self) -> int | None:
        """Number of rows that are not deleted; None if unknown."""
        rows = self.num_records
        return rows if rows is None or self.vector is None else rows - self.vector.cardinality

    @classmethod
    def from_add(cls, add: Mapping[str, Any]) -> DataFile:
        """Read an ``add`` action.

        Raises:
            LogDamagedError: a member is missing or malformed; ``path``.
            UnsupportedTableError: a deletion vector of an unsupported kind; ``feature``.
        """
        try:
            vector = add.get("deletionVector")
            return cls(
                add["path"],
                add.get("partitionValues") or {},
                int(add["size"]),
                add,
                None if vector is None else VectorDescriptor.from_json(vector),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LogDamagedError(
                f"an add action that cannot be read: {str(add)[:200]}", path=add.get("path")
            ) from error


@dataclass(frozen=True)
class Protocol:
    """Versions and features that a client must support (``protocol``)."""

    reader_version: int
    writer_version: int
    reader_features: frozenset[str]
    writer_features: frozenset[str]

    @classmethod
    def from_action(cls, value: Mapping[str, Any]) -> Protocol:
        """Read a ``protocol`` action; KeyError, TypeError or ValueError if it is malformed."""
        return cls(
            int(value["minReaderVersion"]),
            int(value["minWriterVersion"]),
            frozenset(value.get("readerFeatures") or ()),
            frozenset(value.get("writerFeatures") or ()),
        )


@dataclass(frozen=True)
class Metadata:
    """Schema and properties of the table (``metaData``); ``created`` in milliseconds since 1970."""

    id: str
    schema_json: str
    partition_columns: tuple[str, ...]
    configuration: Mapping[str, str]
    created: int | None
    name: str | None = None
    description: str | None = None
    provider: str = "parquet"

    @classmethod
    def from_action(cls, value: Mapping[str, Any]) -> Metadata:
        """Read a ``metaData`` action; KeyError, TypeError or ValueError if it is malformed."""
        return cls(
            value["id"],
            value["schemaString"],
            tuple(value.get("partitionColumns") or ()),
            dict(value.get("configuration") or {}),
            value.get("createdTime"),
            value.get("name"),
            value.get("description"),
            (value.get("format") or {}).get("provider", "parquet"),
        )


@dataclass(frozen=True)
class RemovedFiles:
    """Files that left the table, kept by checkpoints within Delta's retention.

    Attributes:
        parts: Parquet bytes of the checkpoint of the state; its removals are read when needed.
        recent: raw ``remove`` actions after that checkpoint, by path and vector.
    """

    parts: tuple[bytes, ...] = ()
    recent: Mapping[tuple[str, str | None], Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class DeltaState:
    """The table at one version. Immutable; a refresh returns a new object that shares the files.

    Attributes:
        version: Delta's version.
        protocol: versions and features that a client must support.
        metadata: schema and properties.
        files: live files by their path in the table's folder (decoded).
        txns: newest version of each application.
        domains: newest ``domainMetadata`` of each domain, raw, removed ones too.
        removed: files that left the table.
        unwritten_actions: whether the log holds actions of a kind that this library's checkpoints lack.
        commit_id: of the entry of the version; None if a checkpoint was read instead, or the entry has none.
    """

    version: int
    protocol: Protocol
    metadata: Metadata
    files: Mapping[str, DataFile] = field(repr=False)
    txns: Mapping[str, int] = field(repr=False)
    domains: Mapping[str, Mapping[str, Any]] = field(repr=False, default_factory=dict)
    removed: RemovedFiles = field(default_factory=RemovedFiles, repr=False, compare=False)
    unwritten_actions: bool = field(default=False, repr=False, compare=False)
    commit_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Commit:
    """One entry of the log.

    Attributes:
        version: Delta's version.
        actions: ``(kind, value)`` pairs in the order of the entry, raw.
    """

    version: int
    actions: tuple[tuple[str, dict[str, Any]], ...] = field(repr=False)

    def of_kind(self, kind: str) -> Iterator[dict[str, Any]]:
        """The raw actions of a kind, such as ``add``."""
        return (value for name, value in self.actions if name == kind)

    @property
    def commit_info(self) -> dict[str, Any] | None:
        """The ``commitInfo`` action, None if there is none."""
        return next(self.of_kind("commitInfo"), None)

    @property
    def commit_id(self) -> str | None:
        """Identifier of the attempt that created the commit, None if there is none."""
        commit_id = (self.commit_info or {}).get("txnId")
        return commit_id if isinstance(commit_id, str) else None

    @property
    def previous(self) -> str | None:
        """Commit id of the previous entry, None if there is none."""
        previous = ((self.commit_info or {}).get("tags") or {}).get(PREVIOUS_TAG)
        return previous if isinstance(previous, str) else None

    @property
    def txns(self) -> dict[str, int]:
        """Versions of applications that the commit sets."""
        return {txn["appId"]: txn["version"] for txn in self.of_kind("txn")}

    @property
    def data_change(self) -> bool:
        """Whether rows of the table may have changed: any file added or removed with ``dataChange``."""
        return any(
            value.get("dataChange", True) is not False for kind, value in self.actions if kind in ("add", "remove")
        )

    @property
    def changes_metadata(self) -> bool:
        """Whether schema or properties may have changed."""
        return any(kind == "metaData" for kind, _ in self.actions)
