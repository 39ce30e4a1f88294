"""Mistakes planted into what takes changes of other writers in or back: interleavings find every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from andes_spark.base import older, tombstones
from andes_spark.base import undo as base_undo
from andes_spark.base.snapshots import Base, BaseSnapshot
from andes_spark.model.events import Drop, PendingVersion, TakeIn
from andes_spark.table import open_table
from andes_spark.table.history import changes
from andes_spark.table.repair import take_in, undo
from tests.mutants import assert_found

pytestmark = pytest.mark.faults
Patch = pytest.MonkeyPatch
SEEDS = 60


def removed_rows_without_tombstones(patch: Patch) -> None:
    """Older mods of rows that the other writer removed bring them back."""
    true = tombstones.write_tombstones
    patch.setattr(
        take_in,
        "write_tombstones",
        lambda storage, deleted, cleared, *rest, **options: true(storage, deleted.clear(), cleared, *rest, **options),
    )


def tombstones_under_new_rows(patch: Patch) -> None:
    """A tombstone stays in force though its key has a row again."""
    patch.setattr(take_in, "_buried", lambda open_table, base, shape, rows: rows.clear())


def truncate_over_new_rows(patch: Patch) -> None:
    """The truncate in force stays, though rows below it were taken in."""
    patch.setattr(take_in, "_reaches", lambda rows, shape, mark: False)


def mods_before_it_are_lost(patch: Patch) -> None:
    """Mods that were not merged before the take-in take no part any more."""
    true = Base.after_take_in

    def after_take_in(base: Base, version: PendingVersion, event: TakeIn) -> BaseSnapshot:
        return replace(true(base, version, event), applied=version.version)

    patch.setattr(Base, "after_take_in", after_take_in)


def state_before_instead_of_the_changed_one(patch: Patch) -> None:
    """The event has no effect on the rows."""
    patch.setattr(open_table, "taken_in", lambda versions: None)


def changed_states_for_versions_before(patch: Patch) -> None:
    """Versions before the take-in are evaluated on what the other writer made."""
    patch.setattr(older, "may_be_foreign", lambda commit: False)


def changes_by_mods_alone(patch: Patch) -> None:
    """Rows that another writer changed are no changes between two versions."""
    patch.setattr(changes, "TakeIn", Drop)


def undone_files_alone(patch: Patch) -> None:
    """The other writer's rows stay beside those that are brought back."""
    true = base_undo.files_back
    patch.setattr(
        undo,
        "files_back",
        lambda *states, **options: [action for action in true(*states, **options) if "remove" not in action],
    )


MUTANTS: dict[Callable[[Patch], None], dict[str, Any]] = {
    removed_rows_without_tombstones: {"sequences": ("int", "two")},
    tombstones_under_new_rows: {"sequences": ("int", "two"), "steps": 12},
    truncate_over_new_rows: {"sequences": ("int", "two"), "truncates": True, "steps": 12},
    mods_before_it_are_lost: {},
    state_before_instead_of_the_changed_one: {},
    changed_states_for_versions_before: {},
    changes_by_mods_alone: {},
    undone_files_alone: {},
}
QUIETER = {"forgetting": 0.0, "expiring": 0.0, "altering": 0.0, "tagging": 0.0, "vacuuming": 0.0, "asides": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda kind: kind.__name__)
def test_a_planted_mistake_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    assert_found(mutant, monkeypatch, 5000, SEEDS, **{"foreign": 0.4, **QUIETER, **MUTANTS[mutant]})
