"""Mistakes planted into expires on purpose: the interleavings must find every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import polars as pl
import pytest

from andes_spark.base import expiring
from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.merge import finish
from andes_spark.base.merge.merge import Planned
from andes_spark.law.columns import KeyColumns
from andes_spark.law.expiry import Expiry, Sequence, _above
from andes_spark.law.order import equal
from andes_spark.log import line, pending
from andes_spark.model.events import Expire, PendingVersion
from andes_spark.model.options import ApplyOptions
from andes_spark.table.verbs import apply
from tests.mutants import assert_found

pytestmark = pytest.mark.faults

Patch = pytest.MonkeyPatch
ORDERED = ("int", "two", "decimal", "timestamp", "string")


def cut_at_the_lowest_tombstone_kept(patch: Patch) -> None:
    """The record's cut is the oldest tombstone that stays, in the place of what was dropped."""
    true = finish.record_of

    def record_of(context: Any, planned: Planned, commit_id: str) -> Any:
        lows = [file.low_sequence for file in planned.tombstones if file.low_sequence]
        cut = planned.cut if planned.cut is None or not lows else min(lows, key=str)
        return true(context, replace(planned, cut=cut), commit_id)

    patch.setattr(finish, "record_of", record_of)


def cut_without_ties(patch: Patch) -> None:
    """A mod at the sequence of the expire takes part: ``<`` for ``<=``."""

    def above(columns: KeyColumns, sequence: Sequence) -> pl.Expr:
        names = [pl.col(name) for name in columns.sequence]
        return _above(columns, sequence) | equal(names, [pl.lit(value) for value in sequence])

    patch.setattr("andes_spark.law.expiry._above", above)


def tombstones_that_stay(patch: Patch) -> None:
    """A merge keeps the tombstones that its expires forget."""
    patch.setattr(expiring, "expire_files", lambda storage, files, shape, sequence, *, version: list(files))


def tombstones_of_backfills_dropped_at_once(patch: Patch) -> None:
    """A backfilled delete at or below the cut leaves no tombstone."""

    def kept_after(self: Expiry, columns: KeyColumns) -> pl.Expr:
        return pl.lit(True) if self.new_cut is None else _above(columns, self.new_cut)

    patch.setattr(Expiry, "kept_after", kept_after)


def deletes_before_an_expire_leave_tombstones(patch: Patch) -> None:
    """A merge of a delete and the expire that forgets it writes a tombstone."""
    patch.setattr(Expiry, "kept_after", lambda self, columns: pl.lit(True))


def no_fold_for_mods_that_cross(patch: Patch) -> None:
    """A backfilled mod loses against a delete that a pending expire forgets."""
    patch.setattr(Expiry, "may_cross", property(lambda self: False))


def watermark_that_no_expire_ends(patch: Patch) -> None:
    """A truncate is in force for ever."""
    true = Expiry.watermark

    def watermark(self: Expiry, truncates: Any, before: Any) -> Any:
        return true(replace(self, events=()), truncates, before)

    patch.setattr(Expiry, "watermark", watermark)


def rows_swept_by_the_watermark_alone(patch: Patch) -> None:
    """A truncate that a later expire forgets removes no row of the base."""
    patch.setattr(EvaluationInput, "swept", property(lambda self: self.new_watermark))


def cut_that_a_merge_forgets(patch: Patch) -> None:
    """The merge record has no cut."""
    true = finish.record_of
    patch.setattr(finish, "record_of", lambda *arguments: msgspec.structs.replace(true(*arguments), cut=None))


def expires_that_outlive_a_restore(patch: Patch) -> None:
    """An expire that a restore leaves out is still in effect."""
    true = line.line

    def with_expires(versions: Any) -> list[PendingVersion]:
        selected = true(versions)
        numbers = {version.version for version in selected}
        kept = [
            msgspec.structs.replace(version, events=[event for event in version.events if isinstance(event, Expire)])
            for version in versions
            if version.version not in numbers
        ]
        return sorted([*selected, *kept], key=lambda version: version.version)

    patch.setattr(pending, "line", with_expires)


def backfills_that_are_not_recorded(patch: Patch) -> None:
    """A batch that is applied as a backfill is committed as any other."""
    true = apply._Attempt._events

    def events(self: apply._Attempt, part: Any) -> Any:
        self._backfill = False
        return true(self, part)

    patch.setattr(apply._Attempt, "_events", events)


def truncates_below_the_cut_take_part(patch: Patch) -> None:
    """A truncate at or below the cut removes rows."""
    patch.setattr(Expiry, "takes_part", lambda self, truncate: True)


def forgotten_rows_that_are_expired(patch: Patch) -> None:
    """A forget deletes rows by mods that the cut leaves out."""
    true = ApplyOptions.checked

    def checked(**options: Any) -> ApplyOptions:
        return true(**options | ({"backfill": False} if options.get("job") == "forget" else {}))

    patch.setattr(ApplyOptions, "checked", checked)


MUTANTS: dict[Callable[[Patch], None], dict[str, Any]] = {
    cut_at_the_lowest_tombstone_kept: {},
    cut_without_ties: {},
    tombstones_that_stay: {},
    tombstones_of_backfills_dropped_at_once: {},
    deletes_before_an_expire_leave_tombstones: {},
    no_fold_for_mods_that_cross: {},
    watermark_that_no_expire_ends: {"truncates": True},
    rows_swept_by_the_watermark_alone: {"truncates": True},
    cut_that_a_merge_forgets: {},
    expires_that_outlive_a_restore: {"restores": 0.4},
    backfills_that_are_not_recorded: {},
    truncates_below_the_cut_take_part: {"truncates": True},
    forgotten_rows_that_are_expired: {"forgetting": 0.3},
}
SEEDS = 100
FIRST: dict[Callable[[Patch], None], int] = {no_fold_for_mods_that_cross: 5101, watermark_that_no_expire_ends: 5101}
"""First seed, where it is not 5000."""
GIVEN: dict[str, Any] = {
    "steps": 12,
    "sequences": ORDERED,
    "expiring": 0.4,
    "foreign": 0.0,
    "altering": 0.0,
    "tagging": 0.0,
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_mistake_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    assert_found(mutant, monkeypatch, FIRST.get(mutant, 5000), SEEDS, **GIVEN | MUTANTS[mutant])
