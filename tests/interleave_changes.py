"""Changes in random interleavings: the difference of two snapshots of the oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from andes_spark.model.read_options import ChangesOptions
from andes_spark.table.history import changes as changes_module
from andes_spark.table.history.changes import changes
from tests.interleave_vacuum import EXPIRED

if TYPE_CHECKING:
    import pyarrow as pa

    from andes_spark.table.open_table import OpenTable
    from tests.interleave import World

Change = tuple[str, Any, Any]
"""Kind of the change, key, and row."""


def reads_of_changes(world: World) -> tuple[Callable[[int], None], ...]:
    """Comparisons of changes, by a handle, after every second step."""
    return (partial(compare_changes, world),) if world.steps % 2 else ()


def compare_changes(world: World, number: int) -> None:
    """Compare the changes between two random versions by a handle."""
    rnd = random.Random(f"{world.seed} {world.steps} changes")
    earlier, later = sorted(rnd.randrange(len(world.versions)) for _ in range(2))
    before_images, open_table = rnd.random() < 0.7, world.tables[number]._open_table
    # A handle that is behind reads what it knows of, as long as the files are there.
    first = min(len(world.versions) - 1, open_table.log.head)
    options = ChangesOptions.checked(from_version=earlier, to_version=later, before_images=before_images)
    by_all_rows = rnd.random() < 0.25
    answer = world.vacuums.attempt(world, number, None, lambda: _changes(world, open_table, options, by_all_rows))
    if answer == EXPIRED:
        return
    for version in (earlier, later):
        heads = range(first, len(world.versions))
        assert any(world.vacuums.readable(world, version, head) for head in heads), f"version {version} is released"
    expected = expected_changes(world.expected(earlier, columns_of=later), world.expected(later), before_images)
    assert answer == expected, f"changes from {earlier} to {later}: {answer}, not {expected}"


def _changes(world: World, open_table: OpenTable, options: ChangesOptions, by_all_rows: bool) -> list[Change]:
    """Read changes; by all rows as where the mods are gone."""
    if by_all_rows:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(changes_module, "touched_mods", lambda *arguments: None)
            reader = changes(open_table, options)
    else:
        reader = changes(open_table, options)
    assert options.to_version is not None
    return changes_of(world, reader.read_all(), options.to_version)


def expected_changes(before: dict[Any, Any], after: dict[Any, Any], before_images: bool) -> list[Change]:
    """Changes between two snapshots, in the order of the keys."""
    changes: list[Change] = []
    for key in sorted({*before, *after}):
        if key not in after:
            changes.append(("delete", key, before[key]))
        elif key not in before:
            changes.append(("insert", key, after[key]))
        elif before[key] != after[key]:
            changes += [("update_preimage", key, before[key])] if before_images else []
            changes.append(("update_postimage", key, after[key]))
    return changes


def changes_of(world: World, table: pa.Table, version: int) -> list[Change]:
    """Changes as they were returned."""
    changes = []
    for row in table.to_pylist():
        assert row["_commit_version"] == version
        key, sequence = (tuple(row[name] for name in kind.names) for kind in (world.key, world.sequence))
        values = tuple(row[name] for name in world.alters.names(version))
        changes.append((row["_change_type"], key, (sequence, values)))
    return changes
