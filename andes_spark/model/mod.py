"""What a mod is, and how a file of mods carries it.

A mod file has the columns of the table under its schema id and, behind them, ``_andes_op`` and, where a row
may be partial, ``_andes_present``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

OnNull = Literal["quarantine", "upsert"]
"""What a row is for which a condition is NULL."""

OP = "_andes_op"
"""Column of a mod file: int8, one of :class:`Op`."""

PRESENT = "_andes_present"
"""Column of a mod file: binary; bit ``i`` (byte ``i // 8``, least significant first) says that the row carries
the column at position ``i`` of its schema. NULL means a full row."""

SYSTEM_IDS = {OP: 2_000_000_001, PRESENT: 2_000_000_002}
"""Field ids of these columns in files, above all ids of a table's own columns."""


class Op(enum.IntEnum):
    """Operation of a mod, as stored in ``_andes_op``; 3 is reserved (feature ``columnSequences``)."""

    UPSERT = 0
    DELETE = 1
    TRUNCATE = 2


LARGEST_ID = 10**38 - 1
"""Of batches: as many digits as a decimal has. Python itself refuses to write out numbers of thousands."""


@dataclass(frozen=True)
class BatchId:
    """Identity of a batch: ``id`` is unique within ``source``; 42 and "42" are different ids."""

    source: str
    id: int | str

    @property
    def tagged(self) -> str:
        """The id with its type, as the ledger stores it: ``i:42`` or ``s:42``."""
        return f"{'i' if isinstance(self.id, int) else 's'}:{self.id}"

    @classmethod
    def from_tagged(cls, source: str, tagged: str) -> BatchId:
        """The id that ``tagged`` gave."""
        kind, _, text = tagged.partition(":")
        return cls(source, int(text) if kind == "i" else text)
