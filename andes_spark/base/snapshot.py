"""A version pinned: what a read evaluates."""

from __future__ import annotations

from dataclasses import dataclass

from andes_spark.base.base import BaseSnapshot
from andes_spark.base.evaluate import Case
from andes_spark.base.files import Shape
from andes_spark.base.merge import watermark_of
from andes_spark.log.pending import Pending


@dataclass(frozen=True)
class Snapshot:
    """A version pinned: the base that a read starts from, and what is pending on it.

    Attributes:
        version: of the log.
        base: newest state of the base that holds no later version.
        case: base and pending mods, as the law sees them.
    """

    version: int
    base: BaseSnapshot
    case: Case

    @property
    def merged(self) -> bool:
        """Whether the base alone is the snapshot."""
        pending = self.case.pending
        return pending.rows == 0 and not pending.truncates


def case_of(base: BaseSnapshot, pending: Pending, shape: Shape) -> Case:
    """A base and pending mods, as the law sees them."""
    return Case(shape, pending, base.state.files, tuple(base.record.tombstones), watermark_of(base.record, shape))
