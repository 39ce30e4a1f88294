"""Reads of whole rows of mods, at places that the law picked on narrow frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from andes_spark.law.columns import FILE, ROW
from andes_spark.law.order import grouped
from andes_spark.log.mod_files import open_entries
from andes_spark.log.pending import ModsInMemory, Pending, stored
from andes_spark.model.files import Entry
from andes_spark.model.mod import PRESENT
from andes_spark.storage.interface import Storage

Ints = npt.NDArray[np.int64]


def read_rows(
    storage: Storage,
    pending: Pending,
    picks: pl.DataFrame,
    *,
    table: str,
    columns: Sequence[str],
    in_memory: ModsInMemory | None = None,
) -> pa.Table:
    """Read whole mods: the rows at FILE and ROW of ``picks``, in its order. No picks: no rows of file 0.

    Raises:
        FileDamagedError: a file is not what was committed.
    """
    parts = list(_picked(storage, pending, picks, table, lambda entry: columns, in_memory or {}))
    return parts[0][1] if len(parts) == 1 else _in_order(parts)


_Parts = Sequence[tuple[Ints, pa.Table]]
"""Rows of files with their places in the result."""


def _in_order(parts: _Parts) -> pa.Table:
    order = np.concatenate([places for places, _ in parts])
    return pa.concat_tables([part for _, part in parts]).take(pa.array(np.argsort(order, kind="stable")))


def _picked(
    storage: Storage,
    pending: Pending,
    picks: pl.DataFrame,
    table: str,
    columns_of: Callable[[Entry], Sequence[str]],
    in_memory: ModsInMemory,
) -> Iterator[tuple[Ints, pa.Table]]:
    """Yield the picked rows of each file; no rows of file 0 if there are no picks."""
    rows = picks[ROW].to_numpy()
    groups = grouped(picks[FILE].to_numpy()) or [(0, np.zeros(0, np.int64))]
    opened = open_entries(storage, stored(pending, (number for number, _ in groups), in_memory), table=table)
    for number, places in groups:
        entry = pending.files[number].entry
        columns, rows_in_memory = columns_of(entry), in_memory.get(entry.path)
        if rows_in_memory is not None:
            yield places, take(pending.adapt(entry, rows_in_memory, columns, table), rows[places])
        else:
            yield places, _take_rows(next(opened), pending, entry, rows[places], table, columns)


def read_mods(
    storage: Storage,
    pending: Pending,
    picks: pl.DataFrame,
    *,
    table: str,
    columns: Sequence[str],
    in_memory: ModsInMemory | None = None,
) -> pa.Table:
    """As :func:`read_rows`, with ``_andes_present`` behind the columns, NULL where files have none."""

    def columns_of(entry: Entry) -> list[str]:
        return [*columns, *([PRESENT] if entry.partial else [])]

    parts = []
    for places, part in _picked(storage, pending, picks, table, columns_of, in_memory or {}):
        if PRESENT not in part.column_names:
            part = part.append_column(PRESENT, pa.nulls(part.num_rows, pa.binary()))
        parts.append((places, part))
    return _in_order(parts)


def _take_rows(
    opened: pq.ParquetFile, pending: Pending, entry: Entry, rows: Ints, table: str, columns: Sequence[str]
) -> pa.Table:
    sizes = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    group = np.searchsorted(starts, rows, side="right") - 1
    groups = np.unique(group)
    data = pending.read(opened, entry, columns, table, groups.tolist())
    offset = np.cumsum([0, *(sizes[i] for i in groups)])[:-1]
    return take(data, rows - starts[group] + offset[np.searchsorted(groups, group)])


def take(data: pa.Table, rows: Ints) -> pa.Table:
    """Return the rows by number; without a copy if they are consecutive and more than half of all."""
    if len(rows) == data.num_rows and bool((rows == np.arange(len(rows))).all()):
        return data
    # A slice keeps all rows in memory, of as many files as there are.
    if 2 * len(rows) > data.num_rows and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return data.slice(int(rows[0]), len(rows))
    return data.take(pa.array(rows))
