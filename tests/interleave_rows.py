"""Rows of random interleavings: how two sets of them differ."""

from __future__ import annotations

import itertools
from typing import Any

from andes_spark.table.mod_table import ModTable


def difference(actual: dict[Any, Any], expected: dict[Any, Any]) -> str:
    """Where two sets of rows differ."""
    keys = [key for key in {**actual, **expected} if actual.get(key) != expected.get(key)]
    return "; ".join(f"{key}: found {actual.get(key)}, wanted {expected.get(key)}" for key in keys)


def rewound(table: ModTable) -> bool:
    """Whether a merge started from an older state than the newest: mods are counted by both merges then."""
    merges = table.merges()
    return any(later.from_version <= earlier.to_version for later, earlier in itertools.pairwise(merges))
