"""Rows of random interleavings: how two sets of them differ."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from andes_spark.table.mod_table import ModTable


def difference(actual: dict[Any, Any], expected: dict[Any, Any]) -> str:
    """Where two sets of rows differ."""
    keys = [key for key in {**actual, **expected} if actual.get(key) != expected.get(key)]
    return "; ".join(f"{key}: found {actual.get(key)}, wanted {expected.get(key)}" for key in keys)


def by_key(table: pa.Table, key: Sequence[str], sequence: Sequence[str]) -> dict[Any, Any]:
    """Sequence and other values of rows by key."""
    rows: dict[Any, Any] = {}
    narrow = {*key, *sequence}
    for row in table.to_pylist():
        name = tuple(row[column] for column in key)
        assert name not in rows, f"two rows for {name}"
        values = tuple(value for column, value in row.items() if column not in narrow)
        rows[name] = (tuple(row[column] for column in sequence), values)
    return rows


def rewound(table: ModTable) -> bool:
    """Whether a merge started from an older state than the newest: mods are counted by both merges then."""
    merges = table.merges()
    return any(later.from_version <= earlier.to_version for later, earlier in itertools.pairwise(merges))
