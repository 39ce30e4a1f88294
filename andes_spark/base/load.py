"""Initial load: rows are converted to the table's types, checked, sorted by key and written as files of the base."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from andes_spark.base.files import TableShape
from andes_spark.base.rows import RowWriter
from andes_spark.base.runs import ordered, sorted_pieces
from andes_spark.delta import paths
from andes_spark.delta.actions import Action
from andes_spark.errors import BadModsError, DuplicateKeyError
from andes_spark.law.columns import KeyColumns
from andes_spark.law.rows import NAMED_KEYS, bad_rows, same_place
from andes_spark.model.folders import path_room
from andes_spark.model.mod import OP, Op
from andes_spark.run.spill import Run, Spill
from andes_spark.schema.casts import CastRules
from andes_spark.schema.conforming import conform
from andes_spark.schema.spelling import renamed, spelled
from andes_spark.storage.interface import Storage


def load_tables(
    tables: Iterable[pa.Table], storage: Storage, writer: RowWriter, rules: CastRules, *, byte_budget: int
) -> list[Action]:
    """Write the rows of an initial load as files of the base, sorted by key across files within a partition.

    A single table is sorted in memory. Several tables are written to a local temporary folder as sorted runs, then
    merged; memory stays at about the byte budget for any number of rows.

    Args:
        tables: the rows; at least one table, each well below the byte budget.
        storage: the table's folder.
        writer: writer of the base's files.
        rules: allowed casts.
        byte_budget: Arrow bytes that this process may hold.

    Returns:
        An ``add`` for each file. An error leaves no file behind.

    Raises:
        SchemaMismatchError: missing, extra and wrong-type columns, all at once.
        BadModsError: NULL in a required column, a map with a repeated key, an empty partition value, a failed cast.
        DuplicateKeyError: two rows have the same key; ``keys`` names some.
    """
    shape = writer.shape
    rest = iter(tables)
    rows = _sorted_rows(next(rest), shape, rules)
    table = next(rest, None)
    if table is None:
        return writer.write(storage, rows)
    with (
        tempfile.TemporaryDirectory(prefix="andes-load-") as folder,
        Spill(Path(folder), shape.arrow, shape.columns.key, shape.partition_by) as spill,
    ):
        spill.add(rows)
        while table is not None:
            rows = _sorted_rows(table, shape, rules)
            # Released before the next table is read.
            del table
            spill.add(rows)
            del rows
            table = next(rest, None)
        spill.close()
        return _written(_merged(spill, shape, max(1, byte_budget // 4)), storage, writer)


def _written(pieces: Iterable[pa.Table], storage: Storage, writer: RowWriter) -> list[Action]:
    adds: list[Action] = []
    try:
        for rows in pieces:
            adds += writer.write(storage, rows)
    except BaseException:
        storage.delete(paths.decode_path(action["add"]["path"]) for action in adds)
        raise
    return adds


def _sorted_rows(table: pa.Table, shape: TableShape, rules: CastRules) -> pa.Table:
    pieces = load_rows(table, shape, rules)
    rows = pieces[0] if len(pieces) == 1 else pa.concat_tables(pieces)
    check_unique(rows, shape.columns, shape.table)
    return rows


def _merged(spill: Spill, shape: TableShape, piece_bytes: int) -> Iterator[pa.Table]:
    """Yield all rows, partition by partition, sorted by key within each; raises DuplicateKeyError."""
    key = shape.columns.key
    one_partition_per_key = set(shape.partition_by) <= set(key)
    if not one_partition_per_key:
        for keys in spill.merged(spill.runs, piece_bytes, columns=key):
            check_unique(ordered(keys, key), shape.columns, shape.table)

    def partition(run: Run) -> str:
        return repr(run.partition)

    for _, runs in groupby(sorted(spill.runs, key=partition), key=partition):
        for piece in spill.merged(list(runs), piece_bytes):
            rows = ordered(piece, key)
            del piece
            if one_partition_per_key:
                check_unique(rows, shape.columns, shape.table)
            yield rows


def load_rows(data: pa.Table, shape: TableShape, rules: CastRules) -> list[pa.Table]:
    """Convert rows of an initial load to the table's types and sort them by key; return them in consecutive tables.

    Raises:
        SchemaMismatchError: missing, extra and wrong-type columns, all at once.
        BadModsError: NULL in a required column, a map with a repeated key, an empty partition value, a failed cast.
    """
    data = renamed(data, spelled(data.column_names, shape.schema.names, shape.table))
    conformed = conform(data, shape.schema, required=shape.columns.narrow, rules=rules)
    table = conformed.table.select(list(shape.schema.names))
    ops = pa.repeat(pa.scalar(int(Op.UPSERT), pa.int8()), table.num_rows)
    bad = bad_rows(
        table.append_column(OP, ops),
        shape.schema,
        shape.columns,
        partition_by=shape.partition_by,
        path_room=path_room(shape.table),
        failed=conformed.failed,
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
    """Refuse repeated keys in rows that are sorted by key.

    Raises:
        DuplicateKeyError: ``keys`` names some.
    """
    keys = repeated_keys(rows, columns)
    if keys:
        raise duplicate_keys(keys, table)


def repeated_keys(rows: pa.Table, columns: KeyColumns) -> list[dict[str, Any]]:
    """Return some of the keys that several rows have; the rows are sorted by key."""
    groups = same_place(rows, KeyColumns(columns.key, ()))
    if groups is None:
        return []
    firsts = np.flatnonzero((groups >= 0) & np.r_[True, groups[1:] != groups[:-1]])[:NAMED_KEYS]
    keys: list[dict[str, Any]] = rows.select(list(columns.key)).take(pa.array(firsts)).to_pylist()
    return keys


def duplicate_keys(keys: list[dict[str, Any]], table: str) -> DuplicateKeyError:
    """Build the error for rows of an initial load with the same key."""
    return DuplicateKeyError(
        f"{table}: rows to be loaded share the keys {keys}; load each key once, or create the table empty and "
        "apply() the rows, which keeps the one with the highest sequence",
        table=table,
        keys=keys,
    )
