"""Mods and their columns in mod files.

A mod file has the columns of the table under its schema id, followed by ``_andes_op``, by
``_andes_present`` if rows may be partial, and by ``_andes_batch`` if the version has several batches.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

OnNull = Literal["quarantine", "upsert"]
"""Operation of a row whose condition is NULL."""

OP = "_andes_op"
"""Column of a mod file: int8, one of :class:`Op`."""

PRESENT = "_andes_present"
"""Column of a mod file: binary; bit ``i`` (byte ``i // 8``, least significant first) is set if the row has the
column at position ``i`` of its schema. NULL for a full row."""

BATCH = "_andes_batch"
"""Column of a mod file: int32; number of the mod's batch within its version."""

HASH = "_andes_hash"
"""Column of a file of hashed tombstones: binary; salted hash of the key."""

SYSTEM_IDS = {OP: 2_000_000_001, PRESENT: 2_000_000_002, BATCH: 2_000_000_003, HASH: 2_000_000_004}
"""Field ids of these columns in files, above all field ids of table columns."""


class Op(enum.IntEnum):
    """Operation of a mod, as stored in ``_andes_op``; 3 is reserved (feature ``columnSequences``)."""

    UPSERT = 0
    DELETE = 1
    TRUNCATE = 2


LARGEST_ID = 10**38 - 1
"""Maximum absolute value of a batch id: the digits of a decimal."""


@dataclass(frozen=True)
class BatchId:
    """Identity of a batch: ``id`` is unique within ``source``; 42 and "42" are different ids."""

    source: str
    id: int | str

    @property
    def tagged(self) -> str:
        """The id with its type, as the ledger stores it: ``i:42`` or ``s:42``."""
        return f"{'i' if isinstance(self.id, int) else 's'}:{self.id}"

    @property
    def place(self) -> tuple[bool, int | str]:
        """Place of the id among those of its source: integers before strings."""
        return isinstance(self.id, str), self.id

    @classmethod
    def from_tagged(cls, source: str, tagged: str) -> BatchId:
        """Return the id of a text made by ``tagged``."""
        kind, _, text = tagged.partition(":")
        return cls(source, int(text) if kind == "i" else text)
