"""Narrow rows of a comparison: key, sequence, kind and the hash of the content; all columns where mods are folded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.base.files import TableShape
from andes_spark.law.columns import ARRIVAL
from andes_spark.model.mod import OP, PRESENT

KIND = "_andes_kind"
HASHES = ["_andes_hash_0", "_andes_hash_1"]
SHOWN = 10


def narrow_schema(shape: TableShape, *, whole: bool) -> pa.Schema:
    """Return the columns of narrow rows, or of rows with all columns of the table."""
    names = shape.schema.names if whole else shape.columns.narrow
    made = [(OP, pa.int8()), (ARRIVAL, pa.int64()), (KIND, pa.int8()), *((name, pa.int64()) for name in HASHES)]
    fields = [*(shape.arrow.field(name).with_nullable(True) for name in names), *(pa.field(*field) for field in made)]
    return pa.schema([*fields, *([pa.field(PRESENT, pa.binary())] if whole else [])])


def kept_rows(deleted: npt.NDArray[np.int64], first: int, count: int) -> pa.BooleanArray:
    """Flags of the rows ``first`` to ``first + count - 1`` that are not deleted."""
    flags = np.ones(count, np.bool_)
    flags[deleted[np.searchsorted(deleted, first) : np.searchsorted(deleted, first + count)] - first] = False
    return pa.array(flags)


def frame_of(rows: pa.Table, columns: Sequence[str]) -> pl.DataFrame:
    """Return columns of rows as a frame."""
    frame = pl.from_arrow(rows.select(list(columns)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def extend(examples: list[dict[str, Any]], keys: pl.DataFrame) -> None:
    """Add keys up to the number that a message shows."""
    for key in keys.head(SHOWN - len(examples)).to_dicts() if len(examples) < SHOWN else ():
        if key not in examples:
            examples.append(key)
