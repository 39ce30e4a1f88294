"""Plan of a batch: the options of its apply, checked against the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from andes_spark.law.columns import KeyColumns
from andes_spark.schema.casts import NO_CASTS, CastRules
from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import SchemaVersion


@dataclass(frozen=True)
class BatchPlan:
    """Plan of the conversion of rows to mods; sent to tasks.

    Attributes:
        table: URL, for messages.
        version: schema of the table.
        columns: key and sequence.
        partition_by: partition columns of the base.
        listed: columns that upserts set; None for all.
        ignore_null: columns in which NULL means absent.
        columns_to_update: column of the batch with the list of columns of each row.
        fill_missing: whether columns of the table that the batch lacks are NULL.
        drop_extra: whether columns of the batch that the table lacks are left out.
        dropped: names of such columns that are always left out.
        ties: number of values that order mods of one key at one sequence.
        rules: allowed casts.
        digest: columns of the digest: key, sequence and operation, all columns, or none.
    """

    table: str
    version: SchemaVersion
    columns: KeyColumns
    partition_by: tuple[str, ...]
    listed: frozenset[str] | None = None
    ignore_null: tuple[str, ...] = ()
    columns_to_update: str | None = None
    fill_missing: bool = False
    drop_extra: bool = False
    dropped: tuple[str, ...] = ()
    ties: int = 0
    rules: CastRules = NO_CASTS
    digest: Literal["key", "all"] | None = None

    @property
    def may_be_partial(self) -> bool:
        """Whether upserts can leave columns out."""
        return self.listed is not None or bool(self.ignore_null) or self.columns_to_update is not None

    @property
    def may_lack(self) -> bool:
        """Whether the batch can lack columns of the table, key and sequence apart."""
        return self.listed is not None or self.columns_to_update is not None or self.fill_missing

    @property
    def schema(self) -> Schema:
        """The columns of the table that the batch is written for."""
        return self.version.schema

    @property
    def digest_columns(self) -> Sequence[str]:
        """The names of the columns that the digest of the batch covers."""
        return self.schema.names if self.digest == "all" else self.columns.narrow
