"""Replaying the actions of a log into a state: the Delta protocol, "Action Reconciliation"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from andes_spark.delta import checkpoints, vectors
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.entries import bad_entry
from andes_spark.delta.files import Changes, Files, no_files
from andes_spark.delta.paths import decode_path, entry_path
from andes_spark.delta.segment import Segment
from andes_spark.delta.state import Commit, DeltaState, Metadata, Protocol, RemovedFiles
from andes_spark.errors import (
    FileDamagedError,
    ForeignWriteError,
    LogDamagedError,
)


def advanced(previous: DeltaState, commit: Commit) -> DeltaState:
    """Advance a state by one commit, which the caller knows to be in the log.

    Raises:
        LogDamagedError: an action is malformed.
        ForeignWriteError: the commit was built on another entry than the one before it.
    """
    replay = Replay(previous)
    replay.apply(commit)
    return replay.state()


class Replay:
    """A state under construction: it starts from a checkpoint or a state, and entries are applied to it in order."""

    def __init__(self, previous: DeltaState | None = None) -> None:
        self.version = -1 if previous is None else previous.version
        self.protocol = None if previous is None else previous.protocol
        self.metadata = None if previous is None else previous.metadata
        self.files = Changes(no_files() if previous is None else previous.files)
        self.txns: dict[str, int] = {} if previous is None else dict(previous.txns)
        self.domains: dict[str, Mapping[str, Any]] = {} if previous is None else dict(previous.domains)
        removed = RemovedFiles() if previous is None else previous.removed
        self.parts = removed.parts
        self.recent = dict(removed.recent)
        self.unwritten_actions = previous is not None and previous.unwritten_actions
        self.commit_id = None if previous is None else previous.commit_id
        self.checkpoint = -1 if previous is None else previous.checkpoint

    @classmethod
    def from_checkpoint(cls, checkpoint: checkpoints.Checkpoint, contents: checkpoints.Contents) -> Replay:
        """Begin a replay with the contents of a checkpoint."""
        replay = cls()
        replay.version = checkpoint.version
        replay.checkpoint = checkpoint.version if checkpoint.is_single else None
        replay.txns = dict(contents.txns)
        replay.domains = dict(contents.domains)
        replay.parts = contents.parts
        replay.unwritten_actions = contents.other_actions
        try:
            replay.protocol = Protocol.from_action(contents.protocol)
            replay.metadata = Metadata.from_action(contents.metadata)
            segment = Segment(contents.adds)
        except (KeyError, TypeError, ValueError, LogDamagedError) as error:
            raise bad_checkpoint(checkpoint, f"an action cannot be read: {error!r}") from error
        if segment.repeated_path():
            raise bad_checkpoint(checkpoint, "it has two adds for one path")
        replay.files = Changes(Files(segment))
        return replay

    def apply(self, commit: Commit) -> None:
        """Apply the actions of the next entry."""
        if None not in (commit.previous, self.commit_id) and commit.previous != self.commit_id:
            raise overwritten(self.version)
        self.version, self.commit_id = commit.version, commit.commit_id
        try:
            # The actions of an entry have no order: a file whose vector changes is removed and added.
            for removed in commit.of_kind("remove"):
                self._remove(removed)
            for added in commit.of_kind("add"):
                self._add(added)
            for kind, value in commit.actions:
                match kind:
                    case "protocol":
                        self.protocol = Protocol.from_action(value)
                    case "metaData":
                        self.metadata = Metadata.from_action(value)
                    case "txn":
                        self.txns[str(value["appId"])] = int(value["version"])
                    case "domainMetadata":
                        self.domains |= {str(value.get("domain")): value}
                        self.unwritten_actions = True
                    case "add" | "remove" | "commitInfo" | "cdc":
                        pass
                    case _:
                        self.unwritten_actions = True
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise bad_entry(commit.version, f"an action cannot be read: {error!r}") from error
        except LogDamagedError as error:
            raise bad_entry(commit.version, error.message) from error

    def _remove(self, value: Mapping[str, Any]) -> None:
        location = decode_path(value["path"])
        self.recent[str(value["path"]), _vector_id(value)] = value
        live = self.files.get(location)
        # A removal names a file together with its vector: another vector is another logical file.
        if live is not None and _vector_id(live.add) == _vector_id(value):
            self.files.remove(location)

    def _add(self, value: dict[str, Any]) -> None:
        file = DataFile.from_add(value)
        live = self.files.get(file.location)
        if live is not None and _vector_id(live.add) != _vector_id(value):
            raise LogDamagedError(f"{file.path} gets another deletion vector without losing the old one")
        self.files.put(file)

    def state(self) -> DeltaState:
        """Build the state from the actions applied so far."""
        if self.protocol is None or self.metadata is None:
            raise bad_entry(self.version, "no entry up to it has a protocol and metadata")
        return DeltaState(
            self.version,
            self.protocol,
            self.metadata,
            self.files.files(),
            self.txns,
            domains=self.domains,
            removed=RemovedFiles(self.parts, self.recent),
            unwritten_actions=self.unwritten_actions,
            commit_id=self.commit_id,
            checkpoint=self.checkpoint,
        )


def _vector_id(action: Mapping[str, Any]) -> str | None:
    return vectors.unique_id(action.get("deletionVector"))


def bad_checkpoint(checkpoint: checkpoints.Checkpoint, problem: str) -> FileDamagedError:
    """Build the error for a checkpoint with invalid content."""
    path = checkpoint.paths[0]
    return FileDamagedError(
        f"checkpoint {path}: {problem}; delete it if the log entries below it still exist", path=path
    )


def overwritten(version: int) -> ForeignWriteError:
    """Build the error for an entry that another writer has overwritten."""
    path = entry_path(version)
    return ForeignWriteError(
        f"Delta version {version}: another writer put its own entry in the place of the one that the next entry was "
        f"built on; restore the first {path}, or repair() the table",
        delta_version=version,
    )
