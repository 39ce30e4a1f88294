"""Checks within one batch: bad mods and duplicate mods.

The functions work on Arrow tables with the columns of the table, ``_andes_op`` and optionally ``_andes_present``.
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
"""``_andes_op`` of a row with an unknown operation, which ``bad_rows`` reports."""
NAMED_KEYS = 10
_DAYS = (datetime.date.min.toordinal() - 719_163, datetime.date.max.toordinal() - 719_163)
_DAY_US = 86_400_000_000


class Reason(enum.Enum):
    """Reason of a bad mod, as stored in quarantine files."""

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
    EXPIRED = "expired"
    PARTIAL_WITHOUT_ROW = "partial mod for a row that does not exist, without all required columns"


@dataclass(frozen=True)
class BadRows:
    """Bad mods of a table of mods, each with its first reason.

    Attributes:
        rows: row numbers, ascending.
        reasons: reason of each of these rows.
        columns: column that the reason is about; None for reasons without a single column.
    """

    rows: npt.NDArray[np.int64]
    reasons: tuple[Reason, ...]
    columns: tuple[str | None, ...]

    def tally(self) -> dict[str, int]:
        """Count the rows by reason and, if any, column."""
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
        columns: names of the key and sequence columns.
        partition_by: names of the partition columns.
        path_room: maximum length in bytes of partition folders in a path; None for no limit.
        failed: mask of the rows with a failed cast, by column.
        unknown_columns: mask of the rows whose ``columns_to_update`` names unknown columns.
        present: (rows, columns of the schema): whether the row has the column; None if all rows are full.
        null_ties: mask of the rows with a NULL tie-breaking value, by number of the value.
    """
    reason = np.full(table.num_rows, -1, np.int16)
    problems: list[tuple[Reason, str | None]] = []
    checks = itertools.chain(
        _checks(table, schema, columns, partition_by, failed or {}, unknown_columns, present),
        _long_paths(table, partition_by, path_room),
    )
    for why, column, mask in checks:
        reason[mask & (reason < 0)] = len(problems)
        problems.append((why, column))
    ops = table[OP].to_numpy()
    for number, mask in (null_ties or {}).items():
        reason[mask & (ops != Op.TRUNCATE) & (reason < 0)] = len(problems)
        problems.append((Reason.NULL_TIE_BREAK, number))
    rows = np.flatnonzero(reason >= 0)
    picked = [problems[i] for i in reason[rows]]
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
            # A delete has a key and a sequence, a truncate only a sequence.
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
    """Find upserts whose partition folders are too long together."""
    if path_room is None or not partition_by:
        return
    total = np.zeros(table.num_rows, np.int64)
    for name in partition_by:
        encoded = table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        # Only strings vary in length; times may be out of the range of Python's calendar.
        is_text = pa.types.is_string(encoded.dictionary.type)
        values = encoded.dictionary.to_pylist() if is_text else [0] * len(encoded.dictionary)
        sizes = np.array([folder_bytes(name, value) for value in values], np.int64)
        total += sizes[encoded.indices.to_numpy()]
    if (total > path_room).any():
        yield Reason.PARTITION_PATH, None, (total > path_room) & (table[OP].to_numpy() == Op.UPSERT)


def _out_of_range(column: pa.ChunkedArray) -> Bools | None:
    """Find times out of the range of Python's calendar and of file statistics; None if there are none."""
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
    """Find strings that cannot name a folder when escaped; None if there are none."""
    distinct = [v for v in pc.unique(column).to_pylist() if v and not is_folder_name(v, column=name)]
    if not distinct:
        return None
    mask: Bools = pc.is_in(column, pa.array(distinct, column.type)).to_numpy()
    return mask


def sort_mods(table: pa.Table, columns: KeyColumns) -> pa.Table:
    """Sort rows by key, then sequence, with truncates first; sorted rows are returned unchanged."""
    # The key of a truncate is NULL, except for columns that are also in the sequence.
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
    """Drop duplicate mods, and refuse different mods with equal key and sequence.

    Mods with equal key and sequence are compared by all columns, operation and presence, using the 128-bit hash of
    ``law.digest``: NULL equals NULL, NaN equals NaN.

    Args:
        table: rows sorted by ``sort_mods``.
        schema: the table's schema.
        columns: names of the key and sequence columns.

    Returns:
        The table without duplicates, and the number of dropped rows.

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
    """Return number the groups of rows with equal key and sequence, -1 for single rows; None if all rows are single.

    Truncates are grouped with truncates only, even if the key is part of the sequence.
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
    """Return whether each value except the last equals the next; NULL equals NULL."""
    values = whole(column)
    one, two = values.slice(0, len(values) - 1), values.slice(1)
    equal: Bools = pc.fill_null(pc.equal(one, two), False).to_numpy(zero_copy_only=False).copy()
    if values.null_count:
        equal |= pc.and_(pc.is_null(one), pc.is_null(two)).to_numpy(zero_copy_only=False)
    return equal


def mod_hashes(table: pa.Table, schema: Schema) -> npt.NDArray[np.uint64]:
    """Hash mods by operation, presence and all columns; the result has the shape (rows, 2)."""
    return digest.row_hashes(table, schema, schema.names, op=table[OP], present=present_by_column(table, schema))


def content_hashes(table: pa.Table, schema: Schema) -> npt.NDArray[np.uint64]:
    """Hash rows by all columns; rows with equal hashes are equal. The result has the shape (rows, 2)."""
    op = pa.array(np.zeros(table.num_rows, np.int8))
    return digest.row_hashes(table, schema, schema.names, op=op)


def tie_error(rows: pa.Table, columns: KeyColumns) -> SequenceTieError:
    """Return the error for different mods with equal key and sequence."""
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
