"""Locating the base rows that winners replace: a scan of key columns, and of sequences where needed.

Files are pruned by the statistics of the Delta log, row groups by the Parquet footer. Rows that an existing
deletion vector removes are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.base.files import NumberedFile, OpenFile, TableShape
from andes_spark.base.keys import Ints, KeyCache, Layout, is_integral, read_keys, read_layout, read_vector
from andes_spark.base.match import KeyLookup, match
from andes_spark.delta.bounds import column_range
from andes_spark.delta.vectors import to_positions
from andes_spark.errors import DuplicateKeyError
from andes_spark.law.columns import BASE_FILE, BASE_ROW, WINNER
from andes_spark.law.decide import no_located
from andes_spark.model.values import to_json, unscaled
from andes_spark.schema.arrow_types import as_integers
from andes_spark.storage.interface import Storage


def key_lookup(winners: pl.DataFrame, shape: TableShape, *, every_sequence: bool = False) -> KeyLookup:
    """Prepare winners, sorted by key, for :func:`locate`.

    Args:
        winners: key and sequence columns.
        shape: shape of the table.
        every_sequence: whether sequences are read even if statistics show that they are lower.
    """
    keys = winners.select(shape.columns.key).with_row_index(WINNER).with_columns(pl.col(WINNER).cast(pl.Int64))
    sequence = shape.columns.sequence
    skips = sequence and winners.height and not every_sequence
    lowest = None
    if skips:
        lowest = _comparable(winners[sequence[0]].min(), shape.arrow.field(sequence[0]).type)
    no_sequence = winners.select(sequence).clear(1)
    no_sequence.columns = shape.columns.base_sequence()
    return KeyLookup(keys, _integers(keys, shape), lowest, no_sequence)


def locate(
    storage: Storage, file: NumberedFile, keys: KeyLookup, shape: TableShape, *, cache: KeyCache | None = None
) -> pl.DataFrame:
    """Find the live rows of one file with one of the keys.

    Args:
        storage: the table's folder.
        file: one of the base.
        keys: to look up.
        shape: shape of the table.
        cache: keys of base files in memory, extended by this call.

    Returns:
        WINNER, BASE_FILE, BASE_ROW and the sequence (NULL if statistics show that it is lower); no columns
        if there are no such rows.
    """
    opened = OpenFile(storage, file.path, file.file, shape)
    layout = read_layout(opened, file.path, shape, cache)
    groups = _groups(layout, keys, shape)
    rows, winner = match(read_keys(opened, file.path, layout, groups, shape, cache), keys)
    if len(rows) and file.file.vector is not None:
        alive = ~_among(rows, to_positions(read_vector(storage, file.path, file.file.vector, cache)))
        rows, winner = rows[alive], winner[alive]
    if not len(rows):
        return pl.DataFrame()
    frame = pl.DataFrame(
        {
            WINNER: winner,
            BASE_FILE: np.full(len(rows), file.number, np.int32),
            BASE_ROW: rows,
        }
    )
    return _with_sequence(frame, opened, file, keys, shape)


def concat_located(parts: Sequence[pl.DataFrame], shape: TableShape, winners: pl.DataFrame) -> pl.DataFrame:
    """Concatenate located rows of several files.

    Raises:
        DuplicateKeyError: two live rows share a key, written by another writer.
    """
    located = pl.concat([no_located(shape.columns, winners), *(part for part in parts if part.height)])
    twice = located.filter(pl.col(WINNER).is_duplicated())
    if twice.height:
        keys = winners[sorted(set(twice[WINNER].to_list()))[:10]].select(shape.columns.key).to_dicts()
        raise DuplicateKeyError(
            f"{shape.table}: the base has more than one row for {keys}; another writer added them: "
            "find it with history(), and restore the base",
            table=shape.table,
            keys=keys,
        )
    return located


def _with_sequence(
    frame: pl.DataFrame, opened: OpenFile, file: NumberedFile, keys: KeyLookup, shape: TableShape
) -> pl.DataFrame:
    sequence = shape.columns.sequence
    if not sequence:
        return frame
    if _all_lower(file, keys, shape):
        return frame.hstack([column.new_from_index(0, frame.height) for column in keys.no_sequence.get_columns()])
    values = pl.from_arrow(opened.read_at(list(sequence), frame[BASE_ROW].to_numpy()))
    assert isinstance(values, pl.DataFrame)
    values.columns = shape.columns.base_sequence()
    return frame.hstack(values)


def _all_lower(file: NumberedFile, keys: KeyLookup, shape: TableShape) -> bool:
    """Whether every row of the file is below every winner, so that none can be late or equal."""
    if keys.lowest is None:
        return False
    name = shape.columns.sequence[0]
    _, high = column_range(file.file.stats, name, shape.schema.field(name).type)
    return high is not None and bool(high < keys.lowest)


def _comparable(value: Any, kind: pa.DataType) -> int | str | None:
    """Convert a value to the units of ``bounds.column_range``; None for types without units."""
    quoted = to_json(pa.scalar(value, kind))
    return unscaled(quoted, kind) if isinstance(quoted, (int, str)) else None


def _groups(layout: Layout, keys: KeyLookup, shape: TableShape) -> list[int]:
    """Select row groups whose range of the first key column contains one of the keys."""
    first = keys.keys[shape.columns.key[0]]
    # Numbers are searched without a call into polars for each group of each file.
    ordered = keys.integers if keys.integers is not None and first.dtype.is_integer() else first
    return [group for group, low, high in layout.ranges if low is None or _holds(ordered, low, high)]


def _holds(ordered: Ints | pl.Series, low: Any, high: Any) -> bool:
    if isinstance(ordered, np.ndarray):
        start = int(np.searchsorted(ordered, low))
        return start < len(ordered) and bool(ordered[start] <= high)
    example = ordered[0] if len(ordered) else low
    if type(example) is not type(low):
        return True
    start = int(ordered.search_sorted(low, side="left"))
    return start < len(ordered) and bool(ordered[start] <= high)


def _among(rows: Ints, ascending: Ints) -> npt.NDArray[np.bool_]:
    """Whether each row is among sorted rows; ``np.isin`` would not use their order."""
    if len(ascending) == 0:
        return np.zeros(len(rows), np.bool_)
    at = np.minimum(np.searchsorted(ascending, rows), len(ascending) - 1)
    among: npt.NDArray[np.bool_] = ascending[at] == rows
    return among


def _integers(keys: pl.DataFrame, shape: TableShape) -> Ints | None:
    if not is_integral(shape):
        return None
    return as_integers(keys[shape.columns.key[0]].to_arrow())
