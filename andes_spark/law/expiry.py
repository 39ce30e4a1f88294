"""Expiry: which mods take no part any more, which keys it makes depend on arrival, and what it forgets.

An expire at sequence W forgets tombstones and truncates at or below W. Mods of later versions at or below W take no
part, unless they are a backfill. So the mods that do take part are still free of order, but for one case: a backfilled
mod at or below W is not judged by what the expire forgot. Its key is folded by arrival, see ``law.fold``, while the
expire is pending too; once it is merged, what it forgot is not there any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import polars as pl

from andes_spark.law.columns import ARRIVAL, KeyColumns, arrival
from andes_spark.law.order import above
from andes_spark.law.winners import TruncateEvent

Sequence = tuple[Any, ...]


@dataclass(frozen=True)
class ExpireEvent:
    """An expire of a version, at its sequence."""

    version: int
    sequence: Sequence

    @property
    def arrival(self) -> int:
        """Place in the order of all batches: its version has no batch."""
        return arrival(self.version)


@dataclass(frozen=True)
class Expiry:
    """Expires that some versions meet.

    Attributes:
        events: expires among the versions, oldest first.
        cut: greatest sequence of the expires before them; None for none.
        backfills: versions whose mods are a backfill.
    """

    events: tuple[ExpireEvent, ...] = ()
    cut: Sequence | None = None
    backfills: frozenset[int] = frozenset()

    @property
    def new_cut(self) -> Sequence | None:
        """Cut after the versions."""
        return max([event.sequence for event in self.events] + ([] if self.cut is None else [self.cut]), default=None)

    def cut_at(self, version: int) -> Sequence | None:
        """Cut that the mods of a version meet, whether they are a backfill or not."""
        return Expiry(tuple(event for event in self.events if event.version < version), self.cut).new_cut

    def takes_part(self, truncate: TruncateEvent) -> bool:
        """Whether a truncate is above the cut that it meets, or a backfill."""
        cut = self.cut_at(truncate.version)
        return cut is None or truncate.backfill or truncate.sequence > cut

    def expired(self, columns: KeyColumns) -> pl.Expr:
        """Expression for mods that take no part."""
        return self._is_backfill().not_() & self._at_or_below(self._cuts(self.cut), columns)

    def crossing(self, columns: KeyColumns) -> pl.Expr:
        """Expression for backfilled mods at or below the sequence of an earlier expire among the versions."""
        return self._is_backfill() & self._at_or_below(self._cuts(None), columns)

    @property
    def may_cross(self) -> bool:
        """Whether there may be such mods."""
        return any(event.version < version for event in self.events for version in self.backfills)

    def kept_after(self, columns: KeyColumns) -> pl.Expr:
        """Expression for deletes whose tombstones no later expire among the versions forgets."""
        forgotten = [(pl.col(ARRIVAL) < event.arrival) & ~_above(columns, event.sequence) for event in self.events]
        return ~pl.any_horizontal([pl.lit(False), *forgotten])

    def forgets(self, version: int) -> Sequence | None:
        """Sequence up to which tombstones of a version, or of the state before all, are forgotten; None for none."""
        return max((event.sequence for event in self.events if event.version > version), default=None)

    def watermark(self, truncates: Iterable[TruncateEvent], before: Sequence | None) -> Sequence | None:
        """Truncate watermark after the versions; None without ``sequence_by``.

        Args:
            truncates: truncates that take part.
            before: watermark before the versions.
        """
        at_sequences = [truncate for truncate in truncates if truncate.sequence]
        steps: list[TruncateEvent | ExpireEvent] = [*at_sequences, *self.events]
        return reduce(_watermark, sorted(steps, key=lambda event: event.arrival), before)

    def _is_backfill(self) -> pl.Expr:
        return (pl.col(ARRIVAL) // arrival(1)).is_in(sorted(self.backfills)) if self.backfills else pl.lit(False)

    def _cuts(self, first: Sequence | None) -> list[tuple[int, Sequence]]:
        """Cuts by the arrival from which on they are in effect, ascending."""
        cuts = [] if first is None else [(0, first)]
        for event in self.events:
            greatest = event.sequence if not cuts else max(event.sequence, cuts[-1][1])
            cuts.append((event.arrival, greatest))
        return cuts

    def _at_or_below(self, cuts: list[tuple[int, Sequence]], columns: KeyColumns) -> pl.Expr:
        reached = [(pl.col(ARRIVAL) > at) & ~_above(columns, sequence) for at, sequence in cuts]
        return pl.any_horizontal([pl.lit(False), *reached])


def _watermark(mark: Sequence | None, event: TruncateEvent | ExpireEvent) -> Sequence | None:
    if isinstance(event, ExpireEvent):
        return None if mark is None or mark <= event.sequence else mark
    return event.sequence if mark is None else max(mark, event.sequence)


def _above(columns: KeyColumns, sequence: Sequence) -> pl.Expr:
    return above([pl.col(name) for name in columns.sequence], [pl.lit(value) for value in sequence])
