"""What is measured with: a table of eight mixed columns, and batches of mods for it, the same in every run.

A row stands for an entity with a serial number, in the order of creation. Its key is the serial, or a region
and a code made of it. Both sides read the same Parquet files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Ints = npt.NDArray[np.int64]
KeyType = Literal["bigint", "strings"]
KeyChoice = Literal["random", "newest"]

KEY_TYPES: tuple[KeyType, ...] = ("bigint", "strings")
KEY_CHOICES: tuple[KeyChoice, ...] = ("random", "newest")
SEQUENCE = "lsn"
DELETES = "op = 'D'"
REGIONS = 16
NEWEST = 0.05
BASE_FILES = 8
ROW_GROUP = 128 * 1024
_EPOCH_US = 1_700_000_000_000_000
_SEED = 7


@dataclass(frozen=True)
class Batch:
    """One batch of mods.

    Attributes:
        number: unique in its series.
        size: rows.
        choice: which keys it is about.
        path: its Parquet file.
    """

    number: int
    size: int
    choice: KeyChoice
    path: Path

    def arrow(self) -> pa.Table:
        """The batch in memory."""
        return pq.read_table(self.path)


def primary_key(key_type: KeyType) -> list[str]:
    """Names of the key columns."""
    return ["id"] if key_type == "bigint" else ["region", "code"]


def schema_of(key_type: KeyType) -> pa.Schema:
    """The table's eight columns."""
    keys = [pa.field(name, pa.int64() if key_type == "bigint" else pa.string()) for name in primary_key(key_type)]
    values = [
        pa.field(SEQUENCE, pa.int64()),
        pa.field("name", pa.string()),
        pa.field("amount", pa.decimal128(12, 2)),
        pa.field("weight", pa.float64()),
        pa.field("updated_at", pa.timestamp("us", "UTC")),
        pa.field("quantity", pa.int32()),
        pa.field("active", pa.bool_()),
    ]
    return pa.schema([*keys, *values[: 8 - len(keys)]])


def rows_of(serials: Ints, lsn: Ints, key_type: KeyType, rng: np.random.Generator) -> pa.Table:
    """Rows of some entities, in the order given, with random values."""
    size = len(serials)
    schema = schema_of(key_type)
    numbers = pa.array(rng.integers(0, 1_000_000, size)).cast(pa.string())
    cents = rng.integers(0, 100_000_000, size)
    columns = {
        **_keys(serials, key_type),
        SEQUENCE: pa.array(lsn),
        "name": pc.binary_join_element_wise("customer", pc.utf8_lpad(numbers, 6, "0"), "-"),
        "amount": _decimals(cents),
        "weight": pa.array(rng.random(size) * 1000),
        "updated_at": pa.array(_EPOCH_US + lsn * 1000).cast(schema.field("updated_at").type),
        "quantity": pa.array(rng.integers(0, 1000, size).astype(np.int32)),
        "active": pa.array(rng.random(size) < 0.9),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def base_parts(rows: int, key_type: KeyType, files: int = BASE_FILES) -> Iterator[pa.Table]:
    """The table's first rows in the order of the key, a file's worth at a time."""
    serials = np.arange(rows, dtype=np.int64)
    if key_type == "strings":
        serials = serials[np.argsort(serials % REGIONS, kind="stable")]
    for number, part in enumerate(np.array_split(serials, files)):
        yield rows_of(part, part, key_type, np.random.default_rng([_SEED, number]))


def write_base(folder: Path, rows: int, key_type: KeyType, files: int = BASE_FILES) -> Path:
    """The table's first rows as Parquet files; written once."""
    base = folder / f"base-{key_type}-{rows}"
    if not base.exists():
        making = base.with_suffix(".making")
        making.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(base_parts(rows, key_type, files)):
            _write(part, making / f"part-{number:04d}.parquet")
        making.rename(base)
    return base


class Feed:
    """Makes batches for a table of so many rows: 80% updates, 10% inserts, 10% deletes.

    Keys are drawn with replacement, so that a large batch holds some twice; a key may have been deleted before.
    """

    def __init__(self, folder: Path, rows: int, key_type: KeyType) -> None:
        self._folder = folder
        self._rows = rows
        self._key_type = key_type
        self._next = rows
        self._lsn = rows
        self._number = 0

    def batch(self, size: int, choice: KeyChoice) -> Batch:
        """The next batch, written."""
        table = self.table(size, choice)
        path = self._folder / f"batch-{self._key_type}-{self._rows}-{self._number:04d}-{size}-{choice}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(table, path)
        return Batch(self._number, size, choice, path)

    def table(self, size: int, choice: KeyChoice) -> pa.Table:
        """The next batch in memory."""
        self._number += 1
        rng = np.random.default_rng([_SEED, self._number, size, len(choice)])
        inserts = size // 10
        oldest = int(self._next * (1 - NEWEST)) if choice == "newest" else 0
        drawn = rng.integers(oldest, self._next, size - inserts)
        serials = np.concatenate([np.arange(self._next, self._next + inserts), drawn])
        op = np.repeat(np.array([73, 68, 85], np.uint8), [inserts, size // 10, size - inserts - size // 10])
        order = rng.permutation(size)
        lsn = np.arange(self._lsn, self._lsn + size)
        self._next += inserts
        self._lsn += size
        table = rows_of(serials[order], lsn, self._key_type, rng)
        codes = pa.array(op[order]).cast(pa.int32())
        return table.append_column("op", pc.choose(_ordinal(codes), "U", "I", "D"))


def _ordinal(codes: pa.Array) -> pa.Array:
    return pc.index_in(codes, pa.array([85, 73, 68], pa.int32())).cast(pa.int64())


def _keys(serials: Ints, key_type: KeyType) -> dict[str, pa.Array]:
    if key_type == "bigint":
        return {"id": pa.array(serials)}
    regions = pa.array([f"region-{number:02d}" for number in range(REGIONS)])
    padded = pc.utf8_lpad(pa.array(serials).cast(pa.string()), 10, "0")
    return {
        "region": regions.take(pa.array(serials % REGIONS)),
        "code": pc.binary_join_element_wise("ORD", padded, "-"),
    }


def _decimals(cents: Ints) -> pa.Array:
    """Numbers of cents as decimal(12, 2), without going through Python."""
    words = np.zeros((len(cents), 2), np.int64)
    words[:, 0] = cents
    return pa.Array.from_buffers(pa.decimal128(12, 2), len(cents), [None, pa.py_buffer(words)])


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP)
