"""Exclusion of keys from a DataFrame, for keys of one integer column.

A hash join of single keys probes memory at random for each row. Rows of the base are sorted by key, so keys are joined
as blocks of 64 with a bit per key: neighbouring rows use the same entry, and blocks are often dense enough for Spark
to index them like an array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark.spark.columns import escaped

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

BITS = 6
"""Binary logarithm of the keys in a block: as many as a BIGINT has bits."""
_LAST = 2**BITS - 1
_BLOCK = "_andes_block"
_MASK = "_andes_mask"


def fits(key: pa.Schema) -> bool:
    """Return whether a primary key is one integer column."""
    return len(key) == 1 and pa.types.is_signed_integer(key.field(0).type)


def blocks(keys: pa.Table) -> pa.Table:
    """Encode distinct integer keys as blocks: number of the block, and a bitmap of its keys."""
    key = keys.column(0).to_numpy().astype(np.int64)
    # Unsigned while it is shifted: the bit of the last key is the sign of a BIGINT.
    bit = (np.uint64(1) << (key & _LAST).astype(np.uint64)).view(np.int64)
    frame = pl.DataFrame({_BLOCK: key >> BITS, _MASK: bit})
    return frame.group_by(_BLOCK, maintain_order=True).agg(pl.col(_MASK).bitwise_or()).to_arrow()


def block_type() -> StructType:
    """Return Spark's type of blocks."""
    from pyspark.sql.types import LongType, StructField, StructType

    return StructType([StructField(_BLOCK, LongType(), False), StructField(_MASK, LongType(), False)])


def without_blocks(base: DataFrame, excluded: DataFrame, key: str) -> DataFrame:
    """Select the rows whose key is in none of the blocks; columns are those of ``base``."""
    from pyspark.sql import functions as F

    number = f"CAST({escaped(key)} AS BIGINT)"
    joined = base.join(excluded, on=F.expr(f"SHIFTRIGHT({number}, {BITS}) = {_BLOCK}"), how="left")
    bit = f"SHIFTRIGHT({_MASK}, CAST({number} & {_LAST} AS INT)) & 1"
    return joined.where(F.expr(f"{_MASK} IS NULL OR ({bit}) = 0")).drop(_BLOCK, _MASK)
