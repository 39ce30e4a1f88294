"""Changes of the schema in random interleavings: columns that come, become wider and go, and batches with them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from andes_spark.errors import CommitConflictError, OptionError
from andes_spark.model.events import mods_of
from andes_spark.schema.schema import Schema
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.oracle import Mod
from andes_spark.testing.random_batches import VALUE_NAMES, Batch

if TYPE_CHECKING:
    from tests.interleave import World

NARROW, WIDE = pa.int32(), pa.int64()
Columns: TypeAlias = dict[str, pa.DataType]


@dataclass
class Alters:
    """Columns beside those of the beginning, with their types, by the version that changes them.

    Names are never used again: e1, e2, ...
    """

    changes: dict[int, Callable[[Columns], Columns]] = field(default_factory=dict)
    made: int = 0
    begun: bool = False

    def at(self, version: int) -> Columns:
        """Columns as of a version."""
        columns: Columns = {}
        # In the order of versions, not in that in which they become known.
        for number in sorted(self.changes):
            if number <= version:
                columns = self.changes[number](columns)
        return columns

    def names(self, version: int) -> tuple[str, ...]:
        """Names of the value columns as of a version."""
        return (*VALUE_NAMES, *self.at(version))

    def ever(self) -> tuple[str, ...]:
        """Names of all value columns that there ever were."""
        return (*VALUE_NAMES, *(f"e{number}" for number in range(1, self.made + 1)))

    def change(self, world: World, number: int) -> None:
        """Add, widen or drop a column by a handle, or change a comment."""
        rnd, alter = world.random, world.tables[number].alter
        self.begun = True
        columns = self.at(len(world.versions))
        narrow = [name for name, kind in columns.items() if kind == NARROW]
        action = rnd.choice(("add", "add", "widen", "drop", "comment"))
        if action == "add" and len(columns) < 3:
            self.made += 1
            name = f"e{self.made}"
            kind = rnd.choice((NARROW, WIDE))
            result, after = alter.add_column(name, kind), lambda columns: {**columns, name: kind}
        elif action == "widen" and narrow:
            name = rnd.choice(narrow)
            result, after = self._attempt(alter.widen, name, WIDE), lambda columns: {**columns, name: WIDE}
        elif action == "drop" and columns:
            name = rnd.choice(list(columns))
            result, after = self._attempt(alter.drop_column, name), lambda columns: _without(columns, name)
        else:
            result, after = alter.rename_comment("a", rnd.choice((None, "x", "y"))), dict
        if result is None or result.version is None:
            return
        world.learn_quiet(result.version)
        self.changes[result.version] = after
        world.count(result.merge)

    def _attempt(self, verb: Any, *arguments: Any) -> Any:
        """None if another handle changed the column meanwhile."""
        try:
            return verb(*arguments)
        except OptionError:
            return None

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options of a batch without the added columns."""
        # Others may apply before the end of the first change.
        return {**options, "missing": "null"} if self.begun else options

    def quiet(self, batch: Batch) -> Batch:
        """A batch without the added columns."""
        return replace(batch, options=self.options(batch.options))

    def committed(self, world: World, version: int, batch: Batch) -> list[Mod]:
        """Mods of a batch as they were committed: NULL in the added columns that it lacks and does not keep."""
        names_others = "except_column_list" in batch.options or isinstance(
            batch.options.get("ignore_null_updates"), list
        )
        if "missing" not in batch.options or not names_others or not batch.mods:
            return batch.mods
        added = dict.fromkeys(_added_columns(world, version))
        return [replace(mod, values={**added, **mod.values}) if mod.partial else mod for mod in batch.mods]

    def fitted(self, world: World, batch: Batch) -> Batch:
        """A batch for the columns of now: without the added ones, or with values for some of them."""
        columns = self.at(len(world.versions) - 1)
        options = self.options(batch.options)
        chosen = [name for name in columns if world.random.random() < 0.7]
        if not chosen or any(mod.partial for mod in batch.mods) or batch.bad or batch.collapsed or not batch.mods:
            return replace(batch, options=options)
        rnd = random.Random(f"{world.seed} {len(world.versions)}")
        rows = batch.rows
        places = {mod.key: number for number, mod in enumerate(batch.mods)}
        if len(places) < len(batch.mods) or any(mod.op != "upsert" for mod in batch.mods):
            return replace(batch, options=options)
        values = [
            {name: rnd.choice((None, 7, 2**40 if columns[name] == WIDE else -7)) for name in chosen} for _ in batch.mods
        ]
        keys = zip(*(rows[name].to_pylist() for name in world.key.names), strict=True)
        order = [places[key] for key in keys]
        for name in chosen:
            rows = rows.append_column(name, pa.array([values[at][name] for at in order], columns[name]))
        mods = [replace(mod, values={**mod.values, **added}) for mod, added in zip(batch.mods, values, strict=True)]
        # Not sent again: a column may be dropped by then.
        return replace(batch, rows=rows, mods=mods, options={**options, "evolve_schema": "add_and_widen"}, id=None)


def _added_columns(world: World, version: int) -> list[str]:
    """Added columns that the writer of a version knew: those of the schema of its files."""
    log = ModTable.open(world.storage)._open_table.log
    (schema_id,) = {file.schema_id for file in mods_of(log.manifest(version).events)}
    (struct,) = (schema.struct for schema in log.definition_at(version).schemas if schema.id == schema_id)
    fixed = {*world.key.names, *world.sequence.names, *VALUE_NAMES}
    return [name for name in Schema.from_json(struct).names if name not in fixed]


def refused(error: Exception) -> bool:
    """Whether a batch was refused for a column that another handle dropped or is just changing."""
    return isinstance(error, CommitConflictError) or "was dropped" in str(error)


def _without(columns: Columns, name: str) -> Columns:
    return {other: kind for other, kind in columns.items() if other != name}
