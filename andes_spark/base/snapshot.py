"""A Delta version of the base, with the version of the log that it contains."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.base.foreign import ForeignChange
from andes_spark.delta.state import DeltaState
from andes_spark.errors import UnsupportedTableError
from andes_spark.model.merge_record import MergeRecord, merge_record_path


@dataclass(frozen=True)
class BaseSnapshot:
    """A Delta version of the base, with its state in memory.

    Attributes:
        state: files and properties of the version.
        applied: version of the log that it contains.
        record: tombstones and watermarks as of that version.
        foreign: the change of another writer above it, if there is one.
        unwritable: features in use that keep this library from writing it, if there are some.
        take_in_version: version that takes the state in, which another writer made, in the place of ``applied``.
        cuts: number of cuts of the Delta log when it was read.
    """

    state: DeltaState
    applied: int
    record: MergeRecord
    foreign: ForeignChange | None = None
    unwritable: UnsupportedTableError | None = None
    take_in_version: int | None = None
    cuts: int = 0

    @property
    def record_path(self) -> str | None:
        """Path of the merge record; None before the first merge."""
        return merge_record_path(self.record.version, self.record.commit_id) if self.applied else None

    @property
    def version(self) -> int:
        """The Delta version of the state."""
        return self.state.version


@dataclass(frozen=True)
class KeptSnapshot:
    """An older state in memory: that of all versions of the log below ``until`` that it does not contain."""

    snapshot: BaseSnapshot
    until: int
