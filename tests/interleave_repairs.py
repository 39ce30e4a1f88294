"""Changes of the base by another writer in random interleavings, which a repair takes in or takes back."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.files import numbered_files
from andes_spark.delta import actions
from andes_spark.delta.log import load_state
from andes_spark.errors import CommitConflictError, ForeignWriteError, OptionError
from andes_spark.log.pending import Pending
from andes_spark.settings import Settings
from andes_spark.table.mod_table import ModTable
from andes_spark.table.verbs.read import Selection, row_parts
from andes_spark.testing.oracle import State
from tests.foreign_tables import ForeignTable, partitions

if TYPE_CHECKING:
    from tests.interleave import World


@dataclass
class Repairs:
    """States that versions take in, each with the version that the base contained, and whether a repair is due."""

    taken: dict[int, tuple[int, State]] = field(default_factory=dict)
    due: bool = False

    def allow(self, verb: Callable[[], Any]) -> Any:
        """Result of a verb; None if it stops at a change of another writer that is there."""
        try:
            return verb()
        except ForeignWriteError:
            if not self.due:
                raise
            return None

    def act(self, world: World, number: int) -> None:
        """Change the base as another writer does, and repair it by a handle."""
        rnd = random.Random(f"{world.seed} {world.steps} foreign")
        tap, world.taps[number].tap = world.taps[number].tap, None
        if rnd.random() < 0.3:
            world.count(ModTable.open(world.storage).merge())
        state = load_state(world.storage)
        applied = next(iter(state.txns.values()))
        before = world.state(applied)
        rows = _rows(world, state, applied)
        changed = _changed(world, rows, rnd)
        if not changed.num_rows and not state.files:
            return
        _write(world, changed, state, applied, rnd)
        self.due = True
        world.taps[number].tap = tap
        try:
            self._repair(world, number, applied, before, changed, rnd)
        finally:
            self.due = False
        if self.taken and world.forgets.is_due(world, "after a take-in", often=4):
            world.forget(number)

    def _repair(
        self, world: World, number: int, applied: int, before: State, changed: pa.Table, rnd: random.Random
    ) -> None:
        choice, table = rnd.choice(("take_in", "take_in", "undo")), world.tables[number]
        for _ in range(9):
            try:
                result = table.repair(foreign=choice)
            except CommitConflictError:
                continue
            except OptionError:
                # A version that is not merged restores or sets aside what the base contains.
                assert choice == "take_in"
                assert world.restored or world.aside
                choice = "undo"
                continue
            if result.committed is not None:
                world.learn_quiet(result.committed)
            if choice == "take_in":
                assert result.committed is not None
                self.taken[result.committed] = (applied, _after(world, before, changed))
            world.count(result.merge)
            return
        raise AssertionError("the base was not repaired")


def _rows(world: World, state: Any, applied: int) -> pa.Table:
    """Rows of the base, which are those of the version that it contains."""
    open_table = ModTable.open(world.storage)._open_table
    shape = open_table.shape_at(applied)
    names = tuple(shape.schema.names)
    inputs = EvaluationInput(shape, Pending((), ()), numbered_files(state.files))
    parts = row_parts(world.storage, inputs, Settings(), Selection(names, names, None, None))
    return pa.concat_tables([shape.arrow.empty_table(), *(part.select(names).cast(shape.arrow) for part in parts)])


def _changed(world: World, rows: pa.Table, rnd: random.Random) -> pa.Table:
    """Some rows removed, some changed, some added."""
    values = [row for row in rows.to_pylist() if rnd.random() < 0.7]
    kept_keys = {tuple(row[name] for name in world.key.names) for row in values}
    sequences = world.sequence.values
    for row in values:
        if rnd.random() < 0.3:
            row["b"] = rnd.choice((None, 7, 8))
        if rnd.random() < 0.2:
            row.update(zip(world.sequence.names, rnd.choice(sequences), strict=True))
    for key in world.key.values:
        if key not in kept_keys and rnd.random() < 0.3 and not (world.partition and "" in key):
            new_row = dict.fromkeys(rows.column_names) | {"must": "theirs", "b": rnd.choice((None, 9))}
            new_row |= dict(zip(world.key.names, key, strict=True))
            values.append(new_row | dict(zip(world.sequence.names, rnd.choice(sequences), strict=True)))
    return pa.Table.from_pylist(values, schema=rows.schema)


def _write(world: World, rows: pa.Table, state: Any, applied: int, rnd: random.Random) -> None:
    """Replace the rows of the base in one Delta commit."""
    shape = ModTable.open(world.storage)._open_table.shape_at(applied)
    foreign_table = ForeignTable(
        world.storage,
        shape.schema,
        shape.partition_by,
        rnd,
        version=state.version,
        _numbers=itertools.count(1_000 * (state.version + 1)),
    )
    removes = [actions.remove(file, timestamp_ms=1) for file in state.files.values()]
    adds = [
        foreign_table._file(values, part, None) for values, part in partitions(rows, shape.schema, shape.partition_by)
    ]
    foreign_table.commit("MERGE", [*removes, *adds])


def _after(world: World, before: State, changed: pa.Table) -> State:
    """State after the change: tombstones of what was removed, none of what is there, and the watermark if it holds."""
    state = deepcopy(before)
    rows: dict[Any, Any] = {}
    for row in changed.to_pylist():
        key = tuple(row.pop(name) for name in world.key.names)
        sequence = tuple(row.pop(name) for name in world.sequence.names) if world.sequence.names else (-1, 0)
        rows[key] = (sequence, dict.fromkeys(world.alters.ever()) | row)
    differing = {key: row for key, row in rows.items() if before.rows.get(key) != row}
    if world.sequence.names:
        for key, (sequence, _) in before.rows.items():
            if key not in rows:
                state.tombstones[key] = sequence
        for key in rows:
            state.tombstones.pop(key, None)
        if state.watermark is not None and any(at <= state.watermark for at, _ in differing.values()):
            # The truncate covers tombstones, so they end with it; those of forgotten keys stay.
            state.tombstones = {
                key: at
                for key, at in state.tombstones.items()
                if at > state.watermark or key not in before.tombstones or key in world.forgets.keys
            }
            state.watermark = None
    return replace(state, rows=rows)
