"""Tables of random Unicode, and conditions on their text, for comparing the rows that other readers find."""

from __future__ import annotations

import importlib.resources
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from andes_spark import ModTable, Settings
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.log import load_state
from andes_spark.delta.paths import entry_path
from andes_spark.storage.disk import DiskStorage

LAST = "\U0010ffff"
"""The greatest character: the mark of a maximum that is cut off."""
# Planes beyond the first, neighbours of the surrogates, combining, right to left, controls, and what texts escape.
CHARACTERS = (
    "abz\x7f~ '\"\\%_/é\u0301\u05d0\u202e\u200d\ud7ff\ue000\ufffd\ufffe\uffff"
    "\U00010000\U0001f600\U0001ffff\U00020000\U00020bb7\U0002f800\U00040000\U000e0001\U000f0000\U00100000" + LAST
)
CONTROLS = "\x00\x01\t\n\x1f\x85"


@dataclass(frozen=True)
class Condition:
    """A comparison of one column with texts: ``=``, ``<``, ``>``, ``in``, ``prefix`` or ``null``."""

    column: str
    operator: str
    texts: tuple[str, ...] = ()

    def holds(self, value: str | None) -> bool:
        """Whether a value meets the condition: texts are ordered by code point."""
        if value is None or self.operator == "null":
            return value is None and self.operator == "null"
        match self.operator:
            case "<":
                return value < self.texts[0]
            case ">":
                return value > self.texts[0]
            case "prefix":
                return value.startswith(self.texts[0])
        return value in self.texts

    def sql(self) -> str:
        """The condition in SQL whose only escape in literals is the doubled quote."""
        literals = ["'" + text.replace("'", "''") + "'" for text in self.texts]
        match self.operator:
            case "null":
                return f"{self.column} IS NULL"
            case "in":
                return f"{self.column} IN ({', '.join(literals)})"
            case "prefix":
                return f"{self.column} LIKE {literals[0][:-1]}%'"
        return f"{self.column} {self.operator} {literals[0]}"


Finder = Callable[[Condition], set[int]]
"""Keys of the rows that meet a condition."""


@dataclass
class UnicodeTable:
    """A table with text in a plain and in a partition column, and the rows that it must have."""

    url: str
    rows: dict[int, dict[str, Any]]
    random: random.Random

    def keys(self, condition: Condition) -> set[int]:
        """Keys of the rows that meet a condition."""
        return {key for key, row in self.rows.items() if condition.holds(row[condition.column])}

    def conditions(self, number: int) -> Iterator[Condition]:
        """Random conditions on values of the table, and on others."""
        for _ in range(number):
            column = self.random.choice(["name", "name", "part"])
            yield self._condition(column)

    def _condition(self, column: str) -> Condition:
        values = [row[column] for row in self.rows.values() if row[column]]
        values.append(random_text(self.random))
        # No text of SQL holds a NUL.
        texts = [value for value in values if "\0" not in value]
        operator = self.random.choice(["=", "=", "<", ">", "in", "prefix", "null"])
        if operator == "null":
            return Condition(column, operator)
        if operator == "prefix":
            prefixes = {text[: self.random.randint(1, 34)] for text in texts} - {""}
            plain = sorted(prefix for prefix in prefixes if not set(prefix) & set("%_\\"))
            return Condition(column, operator, (self.random.choice(plain or ["a"]),))
        number = self.random.randint(1, 3) if operator == "in" else 1
        return Condition(column, operator, tuple(self.random.choices(texts, k=number)))


def random_text(chance: random.Random, *, controls: bool = True) -> str:
    """Text of up to 80 characters: often long enough for a statistic to be cut off, within any kind of character."""
    alphabet = chance.sample(CHARACTERS + CONTROLS * controls, 3)
    length = chance.choice([1, 2, 5, 31, 32, 33, 64, 80])
    return "".join(chance.choices(alphabet, k=length))


def random_part(chance: random.Random) -> str | None:
    """A partition value: short enough for the name of a folder."""
    return chance.choice([None, random_text(chance, controls=False)[:6]])


def random_table(path: Path, seed: int, *, partitioned: bool, checkpoint: bool) -> UnicodeTable:
    """A table with several files, deletion vectors on some of them, and maybe a checkpoint in place of its entries."""
    chance = random.Random(seed)
    parts = [random_part(chance) for _ in range(3)]
    rows = {
        key: {
            "k": key,
            "seq": 1,
            "name": None if chance.random() < 0.1 else random_text(chance),
            "part": chance.choice(parts),
        }
        for key in range(chance.randint(1, 12))
    }
    schema = pa.schema([("k", pa.int64()), ("seq", pa.int64()), ("name", pa.string()), ("part", pa.string())])
    table = ModTable.create(
        path,
        schema,
        primary_key=["k"],
        sequence_by=["seq"],
        partition_by=["part"] if partitioned else (),
        merge="always",
        data=pa.Table.from_pylist(list(rows.values()), schema=schema),
        settings=Settings(compact_bytes=0),
    )
    deleted = [key for key in rows if chance.random() < 0.2]
    fresh = {key: {"k": key, "seq": 2, "name": random_text(chance), "part": chance.choice(parts)} for key in (90, 91)}
    table.apply(pa.Table.from_pylist(list(fresh.values()), schema=schema))
    if deleted:
        deletes = pa.table({"k": pa.array(deleted, pa.int64()), "seq": pa.array([2] * len(deleted), pa.int64())})
        table.apply(deletes, apply_as_deletes="true")
    if checkpoint:
        storage = DiskStorage(str(path))
        state = load_state(storage)
        assert write_checkpoint(storage, state, now_ms=time.time_ns() // 1_000_000)
        # Delta itself asks for the entry of the newest version beside its checkpoint.
        storage.delete([entry_path(number) for number in range(state.version)])
    left = {key: row for key, row in {**rows, **fresh}.items() if key not in deleted}
    return UnicodeTable(table.url, left, chance)


def polars_reader(url: str) -> Finder:
    """Conditions that ``scan_delta`` takes into its scan."""
    frame = pl.scan_delta(url)

    def find(condition: Condition) -> set[int]:
        column = pl.col(condition.column)
        match condition.operator:
            case "null":
                expected = column.is_null()
            case "in":
                expected = column.is_in(list(condition.texts))
            case "prefix":
                expected = column.str.starts_with(condition.texts[0])
            case "<":
                expected = column < condition.texts[0]
            case ">":
                expected = column > condition.texts[0]
            case _:
                expected = column == condition.texts[0]
        return set(frame.filter(expected).select("k").collect()["k"])

    return find


def delta_rs_reader(url: str) -> Finder:
    """Conditions of DataFusion over a table of delta-rs."""
    builder = QueryBuilder().register("t", DeltaTable(url))

    def find(condition: Condition) -> set[int]:
        rows = builder.execute(f"SELECT k FROM t WHERE {condition.sql()}").read_all()
        return set(pa.table(rows)["k"].to_pylist())

    return find


def duckdb_reader(url: str) -> Finder:
    """Conditions of DuckDB over its extension for Delta."""
    connection = duckdb_connection()

    def find(condition: Condition) -> set[int]:
        rows = connection.execute(f"SELECT k FROM delta_scan($1) WHERE {condition.sql()}", [url]).fetchall()
        return {key for (key,) in rows}

    return find


def duckdb_connection() -> duckdb.DuckDBPyConnection:
    """A database with the extension for Delta."""
    folder = Path(str(importlib.resources.files("duckdb_extension_delta")))
    extension = next(folder.glob("extensions/*/delta.duckdb_extension"))
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


READERS: dict[str, Callable[[str], Finder]] = {
    "polars": polars_reader,
    "delta-rs": delta_rs_reader,
    "duckdb": duckdb_reader,
}
