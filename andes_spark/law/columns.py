"""Column names of narrow frames of mods, rows and tombstones.

A narrow frame of mods holds the key columns, the sequence columns and the columns named here; whole rows are
fetched by ``FILE`` and ``ROW`` once it is known which ones count. All names carry the reserved prefix, so they
never meet a column of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from andes_spark.model.mod import OP

ARRIVAL = "_andes_arrival"
"""Place of the mod's batch in the order of all batches (int64), see :func:`arrival`."""
FILE = "_andes_file"
"""Index of the mod's file in the list of files (int32)."""
ROW = "_andes_row"
"""Row number of the mod in its file (int64)."""
PARTIAL = "_andes_partial"
"""Whether the mod is partial (boolean)."""
WINNER = "_andes_winner"
"""Row number of a winner (int64)."""
BASE_FILE = "_andes_base_file"
"""Index of a base file in the list of files (int32)."""
BASE_ROW = "_andes_base_row"
"""Row number in a file of the base (int64)."""

_BATCH_BITS = 20
"""Bits of the number of a batch within its version."""

PLACE = (OP, ARRIVAL, FILE, ROW, PARTIAL)


def arrival(version: int, batch: int = 0) -> int:
    """Return the place of a batch in the order of all batches: by version, then by number within the version."""
    return (version << _BATCH_BITS) + batch


@dataclass(frozen=True)
class KeyColumns:
    """Names of the key and sequence columns.

    Attributes:
        key: names of the key columns.
        sequence: names of the sequence columns; empty: the arrival is the sequence.
    """

    key: tuple[str, ...]
    sequence: tuple[str, ...]

    @property
    def narrow(self) -> list[str]:
        """Key and sequence columns, each once."""
        return list(dict.fromkeys((*self.key, *self.sequence)))

    def base_sequence(self) -> list[str]:
        """Return names of the sequence columns of a base row, joined to a winner."""
        return [f"_andes_base_{i}" for i in range(len(self.sequence))]

    def tombstone_sequence(self) -> list[str]:
        """Return names of the sequence columns of a tombstone, joined to a winner."""
        return [f"_andes_tombstone_{i}" for i in range(len(self.sequence))]


def same_key_as_next(columns: Sequence[str]) -> pl.Expr:
    """Return whether the next row of a frame sorted by the columns has equal values; false for the last row."""
    return pl.all_horizontal([pl.col(name) == pl.col(name).shift(-1) for name in columns]).fill_null(False)
