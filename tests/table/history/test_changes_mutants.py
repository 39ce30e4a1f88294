"""Mistakes planted into changes: the interleavings must find every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from andes_spark.log import line
from andes_spark.model.events import SetAside, Truncate
from andes_spark.table.history import changes, comparison
from andes_spark.table.history.comparison import Comparison
from andes_spark.table.verbs import read
from tests.interleave import explore

pytestmark = pytest.mark.faults

Patch = pytest.MonkeyPatch


def restores_leave_nothing_out(patch: Patch) -> None:
    patch.setattr(changes, "difference", lambda read, earlier, later: {part.version: part for part in read(earlier)})


def what_is_set_aside_is_not_looked_at(patch: Patch) -> None:
    true = line.difference

    def without(read: Any, earlier: int, later: int) -> Any:
        def hidden(version: int) -> Any:
            # Restores are as before.
            return [
                replace_events(part, [event for event in part.events if not isinstance(event, SetAside)])
                for part in read(version)
            ]

        return true(hidden, earlier, later)

    patch.setattr(changes, "difference", without)


def replace_events(part: Any, events: list[Any]) -> Any:
    return type(part)(version=part.version, commit_id=part.commit_id, events=events)


def truncates_change_no_other_keys(patch: Patch) -> None:
    true = line.difference

    def without(read: Any, earlier: int, later: int) -> Any:
        return {
            number: replace_events(part, [event for event in part.events if not isinstance(event, Truncate)])
            for number, part in true(read, earlier, later).items()
        }

    patch.setattr(changes, "difference", without)


def equal_rows_are_shown(patch: Patch) -> None:
    patch.setattr(comparison, "content_hashes", lambda rows, schema: np.arange(2 * rows.num_rows).reshape(-1, 2) * -1)


def the_first_version_is_included(patch: Patch) -> None:
    true = read.pin

    def earlier(open_table: Any, version: int | None, **options: Any) -> Any:
        return true(open_table, max(0, version - 1) if options and version else version, **options)

    patch.setattr(changes, "pin", earlier)


def rows_of_the_later_base_for_both(patch: Patch) -> None:
    true = Comparison._changes

    def images(self: Comparison, keys: pl.DataFrame, bounds: Any, cache: Any) -> Any:
        return true(replace(self, before=replace(self.before, files=self.after.files)), keys, bounds, cache)

    patch.setattr(Comparison, "_changes", images)


def the_last_key_of_a_range_is_left_out(patch: Patch) -> None:
    true = Comparison._keys

    def fewer(self: Comparison, bounds: Any) -> Any:
        for keys, around in true(self, bounds):
            yield keys.head(keys.height - 1) if keys.height > 1 else keys, around

    patch.setattr(Comparison, "_keys", fewer)


def files_with_other_vectors_are_common(patch: Patch) -> None:
    true = Comparison._without_common_files

    def fewer(self: Comparison) -> Any:
        sides = true(self)
        paths = [{file.path for file in side.files} for side in sides]
        if any(side.pending.rows or side.pending.truncates for side in sides):
            return sides
        return tuple(
            replace(side, files=side.files.pick([n for n, file in enumerate(side.files) if file.path not in other]))
            for side, other in zip(sides, reversed(paths), strict=True)
        )

    patch.setattr(Comparison, "_without_common_files", fewer)


MUTANTS: dict[Callable[[Patch], None], dict[str, Any]] = {
    restores_leave_nothing_out: {"restores": 0.5},
    what_is_set_aside_is_not_looked_at: {"asides": 0.5},
    truncates_change_no_other_keys: {"truncates": True, "steps": 12},
    equal_rows_are_shown: {},
    the_first_version_is_included: {},
    rows_of_the_later_base_for_both: {},
    the_last_key_of_a_range_is_left_out: {},
    files_with_other_vectors_are_common: {"vectors": True, "compacts": False, "steps": 10},
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    for seed in range(600_000, 600_200):
        try:
            explore(seed, **MUTANTS[mutant])
        except AssertionError:
            return
    pytest.fail("not found")
