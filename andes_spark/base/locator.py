"""Locating the base rows that winners replace: by pages or a scan of key columns, and of sequences where needed.

Files are pruned by the statistics of the Delta log, row groups by the Parquet footer, pages by the page index. Rows
that an existing deletion vector removes are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.files import NumberedFile, TableShape, holds
from andes_spark.base.keys import (
    Ints,
    KeyCache,
    Layout,
    MarkedFile,
    is_integral,
    read_keys,
    read_layout,
    read_vector,
)
from andes_spark.base.match import KeyLookup, Matches, match
from andes_spark.base.page_lookup import match_pages, rows_below, rows_with
from andes_spark.base.paged import PageSource, rows_at
from andes_spark.delta.bounds import column_range
from andes_spark.delta.vectors import to_positions
from andes_spark.errors import DuplicateKeyError
from andes_spark.law.columns import BASE_FILE, BASE_ROW, WINNER
from andes_spark.law.decide import no_located
from andes_spark.model.values import to_json, unscaled
from andes_spark.run.executor import LocalExecutor
from andes_spark.schema.arrow_types import as_integers
from andes_spark.storage.interface import Storage
from andes_spark.storage.paged_file import Rows
from andes_spark.storage.scheduler import Asked


def without_sequences(keys: pl.DataFrame, shape: TableShape) -> pl.DataFrame:
    """Return keys as winners whose sequences are NULL, for :func:`row_lookup` and :func:`concat_located`."""
    narrow = pl.from_arrow(shape.arrow.empty_table().select(shape.columns.narrow))
    assert isinstance(narrow, pl.DataFrame)
    return pl.concat([narrow, keys.select(shape.columns.key)], how="diagonal")


def row_lookup(keys: pl.DataFrame, shape: TableShape, *, sequences: bool) -> KeyLookup:
    """Prepare keys whose rows are sought, sorted, for :func:`locate_files`.

    Args:
        keys: as :func:`without_sequences` gives them.
        shape: shape of the table.
        sequences: whether the sequences of the rows are needed.
    """
    return replace(key_lookup(keys, shape, every_sequence=True), places_only=not sequences)


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
    """Find the live rows of one file with one of the keys; see :func:`locate_files`."""
    return locate_files(PageSource(storage, shape, cache), [file], keys)[0]


def locate_files(
    source: PageSource, files: Sequence[NumberedFile], keys: KeyLookup, *, threads: int = 1
) -> list[pl.DataFrame]:
    """Find the live rows of files with one of the keys.

    Files whose keys are in memory are searched there. Of others, the pages that may hold keys are read, or whole key
    columns where those are many; whole columns are kept in memory.

    Args:
        source: reader of the files, with their cache.
        files: of the base.
        keys: to look up.
        threads: threads that scan whole key columns.

    Returns:
        For each file WINNER, BASE_FILE, BASE_ROW and the sequence (NULL if statistics show that it is lower); no
        columns if there are no such rows.
    """
    by_pages = _rows_by_pages(source, files, keys)
    # Beside the pages, since nearly all of these files hold keys.
    vectors = {number: _ask_vector(source, files[number]) for number, rows in by_pages.items() if len(rows[0])}
    scanned = [number for number in range(len(files)) if number not in by_pages]
    matches: dict[int, Matches] = dict(
        zip(
            scanned,
            LocalExecutor(threads).map(lambda number: _scan(source, files[number], keys), scanned, step="locate"),
            strict=True,
        )
    )
    paged = [(number, rows) for number, rows in by_pages.items() if len(rows[0])]
    part = match_pages(source, [(files[number], rows) for number, rows in paged], keys, source.shape)
    matches |= dict(zip([number for number, _ in paged], part, strict=True))
    vectors |= {number: _ask_vector(source, files[number]) for number in scanned if len(matches[number][0])}
    frames = [_alive(files[n], matches.get(n), vectors.get(n)) for n in range(len(files))]
    return _with_sequences(source, files, frames, keys)


def _rows_by_pages(source: PageSource, files: Sequence[NumberedFile], keys: KeyLookup) -> dict[int, Rows]:
    """Rows of the pages that may hold keys, of the files for which reading pages pays, by position of the file."""
    others = [number for number, file in enumerate(files) if not _in_memory(source, file, keys)]
    source.open([files[number] for number in others])
    opened = [(number, paged) for number in others if (paged := source.file(files[number])) is not None]
    rows = rows_with([paged for _, paged in opened], keys, source.shape)
    return {
        number: part
        for (number, _), part in zip(opened, rows, strict=True)
        if part is not None and source.pays_for_keys(files[number], part)
    }


def _in_memory(source: PageSource, file: NumberedFile, keys: KeyLookup) -> bool:
    """Whether all keys of a file that matter are cached."""
    cache, marked = source.cache, MarkedFile.of(file.path, file.file.footer, source.shape)
    if cache is None:
        return False
    if cache.layout(file.path) is None and marked is not None:
        cache.recall(marked)
    layout = cache.layout(file.path)
    if layout is None:
        return False
    return all(cache.find(file.path, group) is not None for group in _groups(layout, keys, source.shape))


def _scan(source: PageSource, file: NumberedFile, keys: KeyLookup) -> Matches:
    """Match whole key columns of the row groups that may hold keys."""
    opened, shape, cache = source.whole(file), source.shape, source.cache
    layout = read_layout(opened, file.path, shape, cache)
    groups = _groups(layout, keys, shape)
    return match(read_keys(opened, file.path, file.file.footer, layout, groups, shape, cache), keys)


def _ask_vector(source: PageSource, file: NumberedFile) -> Asked[BitMap64] | None:
    vector = file.file.vector
    if vector is None:
        return None
    return source.storage.scheduler.ask(read_vector, source.storage, file.path, vector, source.cache)


def _alive(file: NumberedFile, matches: Matches | None, vector: Asked[BitMap64] | None) -> pl.DataFrame:
    """Matched rows that are not deleted."""
    if matches is None or not len(matches[0]):
        return pl.DataFrame()
    rows, winner = matches
    if vector is not None:
        alive = ~_among(rows, to_positions(vector.result()))
        rows, winner = rows[alive], winner[alive]
    if not len(rows):
        return pl.DataFrame()
    return pl.DataFrame({WINNER: winner, BASE_FILE: np.full(len(rows), file.number, np.int32), BASE_ROW: rows})


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


def _with_sequences(
    source: PageSource, files: Sequence[NumberedFile], frames: Sequence[pl.DataFrame], keys: KeyLookup
) -> list[pl.DataFrame]:
    """Add the sequence of each row; it is NULL where statistics of the file or of the page show that it is lower."""
    shape = source.shape
    names = list(shape.columns.sequence)
    if not names:
        return list(frames)
    result = list(frames)
    needed: list[tuple[int, npt.NDArray[np.bool_]]] = []
    with_rows = [number for number, frame in enumerate(frames) if frame.height]
    if not keys.places_only:
        source.open([files[number] for number in with_rows if not _all_lower(files[number], keys, shape)])
    for number in with_rows:
        lower = _lower(source, files[number], frames[number], keys)
        if lower.all():
            nulls = [column.new_from_index(0, frames[number].height) for column in keys.no_sequence.get_columns()]
            result[number] = frames[number].hstack(nulls)
        else:
            needed.append((number, ~lower))
    requested = [(files[number], frames[number][BASE_ROW].to_numpy()[above]) for number, above in needed]
    for (number, above), table in zip(needed, rows_at(source, requested, names), strict=True):
        # A row number for each that is read, else NULL.
        at = pa.array(np.cumsum(above) - 1, mask=~above)
        values = pl.from_arrow(table.take(at))
        assert isinstance(values, pl.DataFrame)
        values.columns = shape.columns.base_sequence()
        result[number] = frames[number].hstack(values)
    return result


def _lower(source: PageSource, file: NumberedFile, frame: pl.DataFrame, keys: KeyLookup) -> npt.NDArray[np.bool_]:
    """Whether each row is known to be below every winner, so that none is late or equal there."""
    if keys.places_only:
        return np.ones(frame.height, np.bool_)
    if keys.lowest is None:
        return np.zeros(frame.height, np.bool_)
    if _all_lower(file, keys, source.shape):
        return np.ones(frame.height, np.bool_)
    paged = source.file(file)
    if paged is None:
        return np.zeros(frame.height, np.bool_)
    name = source.shape.columns.sequence[0]
    return rows_below(paged, frame[BASE_ROW].to_numpy(), name, keys.lowest, source.shape.arrow.field(name).type)


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
    return [group for group, low, high in layout.ranges if low is None or holds(ordered, low, high)]


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
