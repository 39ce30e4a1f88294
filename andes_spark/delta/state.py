"""Contents of a Delta log: files, protocol, metadata, the state at a version, one commit.

Format: the Delta protocol, "Actions". ``log`` reads these from a table's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from andes_spark.delta.files import Files

PREVIOUS_TAG = "andes_spark.previous"
"""Tag of an entry of this library: commit id of the previous entry."""


@dataclass(frozen=True)
class Protocol:
    """Versions and features that a client must support (``protocol``).

    Attributes:
        reader_version, writer_version: least versions of the protocol for reading and writing.
        reader_features, writer_features: names of the features that readers and writers must know.
    """

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
        checkpoint: version of the checkpoint in one file that it was read from; -1 if it was read from entries alone;
            None if from a checkpoint in parts.
    """

    version: int
    protocol: Protocol
    metadata: Metadata
    files: Files = field(repr=False)
    txns: Mapping[str, int] = field(repr=False)
    domains: Mapping[str, Mapping[str, Any]] = field(repr=False, default_factory=dict)
    removed: RemovedFiles = field(default_factory=RemovedFiles, repr=False, compare=False)
    unwritten_actions: bool = field(default=False, repr=False, compare=False)
    commit_id: str | None = field(default=None, compare=False)
    checkpoint: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Commit:
    """One entry of the Delta log.

    Attributes:
        version: Delta version that the entry makes.
        actions: ``(kind, value)`` pairs in the order of the entry, raw.
    """

    version: int
    actions: tuple[tuple[str, dict[str, Any]], ...] = field(repr=False)

    def of_kind(self, kind: str) -> Iterator[dict[str, Any]]:
        """Return the raw actions of a kind, such as ``add``."""
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
