"""What a mod is, how a file of mods carries it, and the options of one ``apply``.

A mod file has the columns of the table under its schema id and, behind them, ``_andes_op`` and, where a row
may be partial, ``_andes_present``.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

OnNull = Literal["quarantine", "upsert"]
"""What a row is for which a condition is NULL."""

OP = "_andes_op"
"""Column of a mod file: int8, one of :class:`Op`."""

PRESENT = "_andes_present"
"""Column of a mod file: binary; bit ``i`` (byte ``i // 8``, least significant first) says that the row carries
the column at position ``i`` of its schema. NULL means a full row."""


class Op(enum.IntEnum):
    """Operation of a mod, as stored in ``_andes_op``."""

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


@dataclass(frozen=True)
class ApplyOptions:
    """Options of one ``apply``; names follow Spark's AUTO CDC where it has them.

    Attributes:
        apply_as_deletes: condition that makes a row a delete: a SQL expression, a Spark Column (for Spark
            DataFrames) or a polars expression (for everything else). Deletes need key and sequence only.
        apply_as_upserts: condition that makes a row an upsert. When given, a row that meets none or more
            than one of the conditions is an unknown operation, a bad mod. When not, a row that meets no
            condition is an upsert.
        apply_as_truncates: condition that makes a row a truncate of the whole table, at its sequence.
        batch_id: ``(source, id)``: the same batch is applied once, however often it is sent.
        at_least_once: accepts a batch without ``batch_id`` for a table without ``sequence_by``.
        column_list: upserts set only these columns (key and sequence always count as listed).
        except_column_list: upserts set all columns but these.
        ignore_null_updates: a NULL in a value column keeps the value that the row has; True for all value
            columns, or the names of some.
        columns_to_update: name of an array<string> column of the batch that lists, per row, the columns
            that the row carries; NULL means all of them. The column itself is not stored.
        on_null_operation: what a row is for which a condition is NULL: a bad mod, or an upsert.
        max_quarantined: how many bad mods are set aside before the batch is refused.
        cast: casts value columns of other types by the library's rules; a value that cannot be cast makes
            its row a bad mod.
        strict_replay: the digest of the batch covers all columns, not only key, sequence and operation.
        merge: overrides the table's merge policy for this call.
    """

    apply_as_deletes: Any = None
    apply_as_upserts: Any = None
    apply_as_truncates: Any = None
    batch_id: BatchId | None = None
    at_least_once: bool = False
    column_list: Sequence[str] | None = None
    except_column_list: Sequence[str] | None = None
    ignore_null_updates: bool | Sequence[str] = False
    columns_to_update: str | None = None
    on_null_operation: OnNull = "quarantine"
    max_quarantined: int = 0
    cast: bool = False
    strict_replay: bool = False
    merge: bool | None = None

    @property
    def may_be_partial(self) -> bool:
        """Whether rows of the batch can leave columns out."""
        return (
            self.column_list is not None
            or self.except_column_list is not None
            or self.columns_to_update is not None
            or self.ignore_null_updates is not False
        )
