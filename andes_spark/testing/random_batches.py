"""Random batches of mods, encoded with random options, lists of columns or NULLs, with duplicates and bad rows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from andes_spark.testing.kinds import Kind
from andes_spark.testing.oracle import Mod

VALUES = (("a", pa.string()), ("b", pa.int64()), ("must", pa.string()), ("part", pa.string()))
VALUE_NAMES = tuple(name for name, _ in VALUES)


@dataclass
class Batch:
    """A batch: rows, options, and the same mods for the oracle."""

    rows: pa.Table
    options: dict[str, Any]
    mods: list[Mod]
    collapsed: int
    bad: int
    id: tuple[str, int | str] | None


@dataclass
class Author:
    """Generator of batches for one table; ``random`` is shared with the test.

    Attributes:
        key, sequence: columns and values of the table's key and sequence.
        schema: schema of the table.
        partials, truncates: whether to generate such mods.
        batches: number of batches so far.
    """

    random: random.Random
    key: Kind
    sequence: Kind
    schema: pa.Schema
    partials: bool
    truncates: bool
    batches: int = 0

    def values(self) -> dict[str, Any]:
        """Return columns besides key and sequence."""
        rnd = self.random
        return {
            "a": rnd.choice((None, "", "x", "ü")),
            "b": rnd.choice((None, 0, 1, 2**62)),
            "must": rnd.choice(("m", "n")),
            "part": rnd.choice((None, "p", "q=/%1")),
        }

    def load(self) -> tuple[pa.Table, list[Mod]]:
        """Return rows to create the table with."""
        keys = self.random.sample(self.key.values, self.random.randint(0, len(self.key.values)))
        mods = [Mod("upsert", key, self.random.choice(self.sequence.values) or None, self.values()) for key in keys]
        return self.table([self.row(mod) for mod in mods], VALUE_NAMES), mods

    def row(self, mod: Mod) -> dict[str, Any]:
        """Convert a mod to a row of a batch."""
        key = mod.key if mod.key is not None else (None,) * len(self.key.names)
        return {
            **dict(zip(self.key.names, key, strict=True)),
            **dict(zip(self.sequence.names, mod.sequence or (), strict=True)),
            **mod.values,
        }

    def table(self, rows: list[dict[str, Any]], columns: Iterable[str], *extra: pa.Field) -> pa.Table:
        """Build a table with key, sequence and other columns."""
        kept = {*self.key.names, *self.sequence.names, *columns}
        fields = [field.with_nullable(True) for field in self.schema if field.name in kept]
        return pa.Table.from_pylist(rows, schema=pa.schema([*fields, *extra]))

    def batch(self) -> Batch:
        """Generate a batch of random mods in a random encoding."""
        rnd = self.random
        way = rnd.choice(("full", "full", "list", "nulls", "some_nulls", "per_row") if self.partials else ("full",))
        listed = tuple(rnd.sample(VALUE_NAMES, rnd.randint(0, 3))) if way == "list" else VALUE_NAMES
        mods: list[Mod] = []
        lists: list[list[str] | None] = []
        raw: list[dict[str, Any]] = []
        places: set[Any] = set()
        for _ in range(rnd.choice((0, 1, 1, 2, 3, 5, 8))):
            generated = self._mod(way, listed)
            mod, names, values = generated
            place = (mod.key, mod.sequence)
            if place in places:
                continue
            places.add(place)
            mods.append(mod)
            lists.append(names)
            raw.append({**self.row(mod), **values, "op": {"upsert": "U", "delete": "D", "truncate": "T"}[mod.op]})
        copies = rnd.choices(range(len(mods)), k=rnd.choice((0, 0, 2))) if mods else []
        rows = [*raw, *(raw[i] for i in copies)]
        lists += [lists[i] for i in copies]
        bad = self._bad(rows, lists) if rnd.random() < 0.15 else 0
        order = rnd.sample(range(len(rows)), len(rows))
        rows, lists = [rows[i] for i in order], [lists[i] for i in order]
        extra = [pa.field("op", pa.string())]
        if way == "per_row":
            extra.append(pa.field("carried", pa.list_(pa.string())))
            rows = [{**row, "carried": names} for row, names in zip(rows, lists, strict=True)]
        options: dict[str, Any] = {"apply_as_deletes": "op = 'D'", "apply_as_truncates": "op = 'T'"}
        if way == "list":
            others = tuple(name for name in VALUE_NAMES if name not in listed)
            if rnd.random() < 0.5:
                options["column_list"] = list(listed)
            else:
                options["except_column_list"] = list(others)
        if way == "nulls":
            options["ignore_null_updates"] = True
        elif way == "some_nulls":
            options["ignore_null_updates"] = ["a", "part"]
        if way == "per_row":
            options["columns_to_update"] = "carried"
        if bad:
            options["max_quarantined"] = rnd.choice((bad, 99))
        table = self.table(rows, listed, *extra)
        number = self.batches = self.batches + 1
        identity = (rnd.choice("st"), rnd.choice((number, str(number)))) if rnd.random() < 0.5 else None
        if identity is None and not self.sequence.names:
            options["at_least_once"] = True
        return Batch(table, options, mods, len(copies), bad, identity)

    def _mod(self, way: str, listed: Sequence[str]) -> tuple[Mod, list[str] | None, dict[str, Any]]:
        """Return a mod, the names that it lists, and all values of its row."""
        rnd = self.random
        sequence = rnd.choice(self.sequence.values) or None
        values = self.values()
        kind = rnd.random()
        if kind < 0.06 and self.truncates:
            return Mod("truncate", None, sequence), None, {}
        key = rnd.choice(self.key.values)
        if kind < 0.3:
            return Mod("delete", key, sequence), None, values if rnd.random() < 0.5 else {}
        if way == "list":
            values = {name: values[name] for name in listed}
            return Mod("upsert", key, sequence, values, partial=True), None, values
        if way in ("nulls", "some_nulls"):
            ignored = VALUE_NAMES if way == "nulls" else ("a", "part")
            if rnd.random() < 0.2 and way == "nulls":
                values["must"] = None
            carried = {name: v for name, v in values.items() if v is not None or name not in ignored}
            return Mod("upsert", key, sequence, carried, partial=True), None, values
        if way == "per_row" and rnd.random() < 0.8:
            names = rnd.sample(VALUE_NAMES, rnd.randint(0, 4))
            carried = {name: values[name] for name in names}
            # Columns that are not listed may have any value, including NULL in a required column.
            others = {**values, "must": values["must"] if "must" in names else None}
            return Mod("upsert", key, sequence, carried, partial=True), names, others
        return Mod("upsert", key, sequence, values), None, values

    def _bad(self, rows: list[dict[str, Any]], lists: list[list[str] | None]) -> int:
        """Add rows without a key, or without a sequence."""
        sequence = dict(zip(self.sequence.names, self.random.choice(self.sequence.values), strict=True))
        bad_rows = [{**sequence, "must": "m", "op": "U"}]
        if self.sequence.names:
            key = dict(zip(self.key.names, self.key.values[0], strict=True))
            bad_rows.append({**key, **sequence, self.sequence.names[-1]: None, "must": "m", "op": "D"})
        rows += bad_rows
        lists += [None] * len(bad_rows)
        return len(bad_rows)
