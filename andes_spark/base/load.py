"""Rows of an initial load: brought to the table's types, checked, sorted by key."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from andes_spark.base.files import TableShape
from andes_spark.base.runs import sorted_pieces
from andes_spark.errors import BadModsError, DuplicateKeyError
from andes_spark.law.columns import KeyColumns
from andes_spark.law.rows import NAMED_KEYS, bad_rows, same_place
from andes_spark.model.folders import path_room
from andes_spark.model.mod import OP, Op
from andes_spark.schema.conforming import conform


def load_rows(data: pa.Table, shape: TableShape) -> list[pa.Table]:
    """Rows of an initial load in the table's types, sorted by key, in pieces that follow each other.

    Raises:
        SchemaMismatchError: columns that do not fit.
        BadModsError: NULLs where none may be, or an empty partition value.
    """
    table = conform(data, shape.schema, required=shape.columns.narrow).table
    table = table.select(list(shape.schema.names))
    ops = pa.repeat(pa.scalar(int(Op.UPSERT), pa.int8()), table.num_rows)
    bad = bad_rows(
        table.append_column(OP, ops),
        shape.schema,
        shape.columns,
        partition_by=shape.partition_by,
        path_room=path_room(shape.table),
    )
    if len(bad.rows):
        reasons = bad.tally()
        raise BadModsError(
            f"{shape.table}: {len(bad.rows)} rows cannot be loaded: {', '.join(sorted(reasons))}; mend them, or create "
            "the table empty and apply() the rows with max_quarantined",
            table=shape.table,
            quarantined=len(bad.rows),
            reasons=reasons,
        )
    return sorted_pieces(table, shape.columns.key)


def check_unique(rows: pa.Table, columns: KeyColumns, table: str) -> None:
    """Refuse rows, sorted by key, that share a key.

    Raises:
        DuplicateKeyError: ``keys`` names some.
    """
    groups = same_place(rows, KeyColumns(columns.key, ()))
    if groups is not None:
        firsts = np.flatnonzero((groups >= 0) & np.r_[True, groups[1:] != groups[:-1]])[:NAMED_KEYS]
        keys = rows.select(list(columns.key)).take(pa.array(firsts)).to_pylist()
        raise duplicate_keys(keys, table)


def duplicate_keys(keys: list[dict[str, Any]], table: str) -> DuplicateKeyError:
    """The error for rows of an initial load that share a key."""
    return DuplicateKeyError(
        f"{table}: rows to be loaded share the keys {keys}; load each key once, or create the table empty and "
        "apply() the rows, which keeps the one with the highest sequence",
        table=table,
        keys=keys,
    )
