"""The law inside one batch: which rows are bad mods, and which mods stand twice.

Works on Arrow tables that hold the columns of the table, ``_andes_op`` and maybe ``_andes_present``.
"""

from __future__ import annotations

import datetime
import enum
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.errors import SequenceTieError
from andes_spark.law.columns import KeyColumns
from andes_spark.law.hashing import digest
from andes_spark.law.map_keys import repeated_map_keys
from andes_spark.law.order import table_order
from andes_spark.law.presence import present_by_column
from andes_spark.model.folders import folder_bytes, is_folder_name
from andes_spark.model.mod import OP, Op
from andes_spark.schema.arrow_types import whole
from andes_spark.schema.conforming import nulls_in_required
from andes_spark.schema.schema import Schema

Bools = npt.NDArray[np.bool_]

UNKNOWN_OP = -1
"""``_andes_op`` of a row whose operation is not known; such rows never get past ``bad_rows``."""
NAMED_KEYS = 10
_DAYS = (datetime.date.min.toordinal() - 719_163, datetime.date.max.toordinal() - 719_163)
_DAY_US = 86_400_000_000


class Reason(enum.Enum):
    """Why a row is a bad mod, as quarantine files say it."""

    NULL_KEY = "null key"
    NULL_SEQUENCE = "null sequence"
    UNKNOWN_OPERATION = "unknown operation"
    NULL_REQUIRED = "null in a required column"
    FAILED_CAST = "failed cast"
    NULL_TIE_BREAK = "null tie break"
    REPEATED_MAP_KEY = "map that holds a key twice"
    EMPTY_PARTITION = "empty string in a partition column"
    PARTITION_NAME = "partition value that cannot name a folder"
    PARTITION_PATH = "partition values whose folders are too long for a path together"
    OUT_OF_RANGE = "time outside the years 1 to 9999 in a key, sequence or partition column"
    UNKNOWN_COLUMN = "columns_to_update names an unknown column"
    LATE_PARTIAL = "late partial mod"
    PARTIAL_WITHOUT_ROW = "partial mod for a row that does not exist, without all required columns"


@dataclass(frozen=True)
class BadRows:
    """Rows that are bad mods, each with its first reason; ``column`` is None where no one column is to blame."""

    rows: npt.NDArray[np.int64]
    reasons: tuple[Reason, ...]
    columns: tuple[str | None, ...]

    def tally(self) -> dict[str, int]:
        """How many rows there are by reason, and column where one is to blame."""
        pairs = zip(self.reasons, self.columns, strict=True)
        return dict(Counter(why.value if column is None else f"{why.value}: {column}" for why, column in pairs))


def bad_rows(
    table: pa.Table,
    schema: Schema,
    columns: KeyColumns,
    *,
    partition_by: Sequence[str] = (),
    path_room: int | None = None,
    failed: Mapping[str, Bools] | None = None,
    unknown_columns: Bools | None = None,
    present: Bools | None = None,
    null_ties: Mapping[str, Bools] | None = None,
) -> BadRows:
    """Find the bad mods of a batch.

    Args:
        table: rows with ``_andes_op``.
        schema: the table's schema.
        columns: its key and sequence.
        partition_by: its partition columns.
        path_room: bytes that their folders may take in a path; None: any number.
        failed: per column, rows whose value could not be cast.
        unknown_columns: rows whose ``columns_to_update`` names something else than columns.
        present: (rows, columns of the schema): whether the row carries the column; None: all full.
        null_ties: by number of a value that orders ties, rows in which it is NULL.
    """
    reason = np.full(table.num_rows, -1, np.int16)
    found: list[tuple[Reason, str | None]] = []
    checks = itertools.chain(
        _checks(table, schema, columns, partition_by, failed or {}, unknown_columns, present),
        _long_paths(table, partition_by, path_room),
    )
    for why, column, mask in checks:
        reason[mask & (reason < 0)] = len(found)
        found.append((why, column))
    ops = table[OP].to_numpy()
    for number, mask in (null_ties or {}).items():
        reason[mask & (ops != Op.TRUNCATE) & (reason < 0)] = len(found)
        found.append((Reason.NULL_TIE_BREAK, number))
    rows = np.flatnonzero(reason >= 0)
    picked = [found[i] for i in reason[rows]]
    return BadRows(rows, tuple(why for why, _ in picked), tuple(column for _, column in picked))


def _checks(
    table: pa.Table,
    schema: Schema,
    columns: KeyColumns,
    partition_by: Sequence[str],
    failed: Mapping[str, Bools],
    unknown_columns: Bools | None,
    present: Bools | None,
) -> Iterator[tuple[Reason, str | None, Bools]]:
    op = table[OP].to_numpy()
    upsert, truncate = op == Op.UPSERT, op == Op.TRUNCATE
    if (op == UNKNOWN_OP).any():
        yield Reason.UNKNOWN_OPERATION, None, op == UNKNOWN_OP
    if unknown_columns is not None and unknown_columns.any():
        yield Reason.UNKNOWN_COLUMN, None, unknown_columns & upsert
    for name, mask in failed.items():
        if mask.any():
            # A delete carries its key and sequence, a truncate its sequence.
            carried = ~truncate if name in columns.key else upsert
            yield Reason.FAILED_CAST, name, mask if name in columns.sequence else mask & carried
    for name in columns.key:
        if table[name].null_count:
            yield Reason.NULL_KEY, name, _is_null(table[name]) & ~truncate
    for name in columns.sequence:
        if table[name].null_count:
            yield Reason.NULL_SEQUENCE, name, _is_null(table[name])
    for name, mask in nulls_in_required(table, schema).items():
        if name not in columns.narrow:
            carried = upsert if present is None else upsert & present[:, schema.names.index(name)]
            yield Reason.NULL_REQUIRED, name, mask & carried
    for name, mask in repeated_map_keys(table, schema).items():
        carried = upsert if present is None else upsert & present[:, schema.names.index(name)]
        yield Reason.REPEATED_MAP_KEY, name, mask & carried
    for name in partition_by:
        if pa.types.is_string(table[name].type):
            empty = pc.fill_null(pc.equal(table[name], ""), False).to_numpy()
            if empty.any():
                yield Reason.EMPTY_PARTITION, name, empty & upsert
            unfit = _no_folders(table[name], name)
            if unfit is not None:
                yield Reason.PARTITION_NAME, name, unfit & upsert
    for name in dict.fromkeys((*columns.narrow, *partition_by)):
        outside = _out_of_range(table[name])
        if outside is not None:
            carries = ~truncate if name in columns.key else upsert
            yield Reason.OUT_OF_RANGE, name, outside if name in columns.sequence else outside & carries


def _long_paths(
    table: pa.Table, partition_by: Sequence[str], path_room: int | None
) -> Iterator[tuple[Reason, str | None, Bools]]:
    """Upserts whose folders are too long together."""
    if path_room is None or not partition_by:
        return
    total = np.zeros(table.num_rows, np.int64)
    for name in partition_by:
        encoded = table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        # Only texts differ in length; times may lie beyond Python's calendar.
        is_text = pa.types.is_string(encoded.dictionary.type)
        values = encoded.dictionary.to_pylist() if is_text else [0] * len(encoded.dictionary)
        sizes = np.array([folder_bytes(name, value) for value in values], np.int64)
        total += sizes[encoded.indices.to_numpy()]
    if (total > path_room).any():
        yield Reason.PARTITION_PATH, None, (total > path_room) & (table[OP].to_numpy() == Op.UPSERT)


def _out_of_range(column: pa.ChunkedArray) -> Bools | None:
    """Times that Python's calendar, and with it the statistics of files, does not have; None if there are none."""
    kind = column.type
    if pa.types.is_date32(kind):
        low, high = _DAYS
    elif pa.types.is_timestamp(kind):
        low, high = (_DAYS[0] * _DAY_US, (_DAYS[1] + 1) * _DAY_US - 1)
    else:
        return None
    numbers = column.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    extremes = pc.min_max(numbers).as_py()
    if extremes["min"] is None or (extremes["min"] >= low and extremes["max"] <= high):
        return None
    outside: Bools = pc.fill_null(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)), False).to_numpy()
    return outside


def _no_folders(column: pa.ChunkedArray, name: str) -> Bools | None:
    """Strings that escaped are longer than a name on disk can be, or hold what no path can; None if there are none."""
    distinct = [v for v in pc.unique(column).to_pylist() if v and not is_folder_name(v, column=name)]
    if not distinct:
        return None
    mask: Bools = pc.is_in(column, pa.array(distinct, column.type)).to_numpy()
    return mask


def sort_mods(table: pa.Table, columns: KeyColumns) -> pa.Table:
    """Rows sorted by key, then sequence; truncates first. Sorted rows are returned as they are."""
    # Their key is NULL, but for columns that are part of the sequence too.
    if set(columns.key) & set(columns.sequence):
        truncate = pc.equal(table[OP], pa.scalar(int(Op.TRUNCATE), pa.int8()))
        if pc.any(truncate).as_py():
            parts = (table.filter(truncate), table.filter(pc.invert(truncate)))
            return pa.concat_tables([_sorted(part, columns) for part in parts])
    return _sorted(table, columns)


def _sorted(table: pa.Table, columns: KeyColumns) -> pa.Table:
    by = [*columns.key, *(name for name in columns.sequence if name not in columns.key)]
    order = table_order(table, by)
    return table if order is None else table.take(pa.array(order))


def collapse(table: pa.Table, schema: Schema, columns: KeyColumns) -> tuple[pa.Table, int]:
    """Drop mods that stand twice, and refuse different mods of one key at one sequence.

    Candidates are found on key and sequence alone and then compared on all columns, operation and presence,
    by the 128-bit hash of ``law.digest``: NULL equals NULL, NaN equals NaN.

    Args:
        table: sorted as ``sort_mods`` does.
        schema: the table's schema.
        columns: its key and sequence.

    Returns:
        The table without repeated mods, and how many were dropped.

    Raises:
        SequenceTieError: ``keys`` names up to ten keys.
    """
    groups = same_place(table, columns)
    if groups is None:
        return table, 0
    rows = np.flatnonzero(groups >= 0)
    hashes = mod_hashes(table.take(pa.array(rows)), schema)
    group = groups[rows]
    same_group = group[1:] == group[:-1]
    differs = same_group & (hashes[1:] != hashes[:-1]).any(axis=1)
    if differs.any():
        raise tie_error(table.take(pa.array(rows[1:][differs][:NAMED_KEYS])), columns)
    keep = np.ones(table.num_rows, np.bool_)
    keep[rows[1:][same_group]] = False
    return table.filter(pa.array(keep)), int(same_group.sum())


def same_place(table: pa.Table, columns: KeyColumns) -> npt.NDArray[np.int64] | None:
    """Group numbers of rows that share key and sequence with a neighbour, -1 for others; None if none do.

    A truncate shares its place with truncates only, even where the key is part of the sequence.
    """
    equal_next = np.zeros(table.num_rows, np.bool_)
    if table.num_rows < 2:
        return None
    equal_next[:-1] = True
    for name in columns.narrow:
        equal_next[:-1] &= _equals_next(table[name])
        if not equal_next.any():
            return None
    if OP in table.column_names:
        truncate = table[OP].to_numpy() == Op.TRUNCATE
        equal_next[:-1] &= truncate[1:] == truncate[:-1]
    if not equal_next.any():
        return None
    member = equal_next.copy()
    member[1:] |= equal_next[:-1]
    starts = np.r_[True, ~equal_next[:-1]]
    return np.where(member, np.cumsum(starts), -1)


def _equals_next(column: pa.ChunkedArray) -> Bools:
    """Whether each value but the last equals the next; NULL equals NULL."""
    values = whole(column)
    one, two = values.slice(0, len(values) - 1), values.slice(1)
    equal: Bools = pc.fill_null(pc.equal(one, two), False).to_numpy(zero_copy_only=False).copy()
    if values.null_count:
        equal |= pc.and_(pc.is_null(one), pc.is_null(two)).to_numpy(zero_copy_only=False)
    return equal


def mod_hashes(table: pa.Table, schema: Schema) -> npt.NDArray[np.uint64]:
    """Hashes of whole mods: operation, presence and all columns. TableShape (rows, 2)."""
    return digest.row_hashes(table, schema, schema.names, op=table[OP], present=present_by_column(table, schema))


def content_hashes(table: pa.Table, schema: Schema) -> npt.NDArray[np.uint64]:
    """Hashes of rows by all columns: rows with equal hashes are equal. TableShape (rows, 2)."""
    op = pa.array(np.zeros(table.num_rows, np.int8))
    return digest.row_hashes(table, schema, schema.names, op=op)


def tie_error(rows: pa.Table, columns: KeyColumns) -> SequenceTieError:
    """The error for mods that differ at one key and sequence."""
    keys = rows.select(list(columns.key)).to_pylist()
    at = f"one sequence ({', '.join(columns.sequence)})" if columns.sequence else "one batch"
    return SequenceTieError(
        f"two different mods of one key at {at}: {keys}; "
        "say their order within the batch by tie_break_by, or give the table a sequence that orders them",
        keys=keys,
    )


def _is_null(column: pa.ChunkedArray) -> Bools:
    mask: Bools = pc.is_null(column).to_numpy()
    return mask
