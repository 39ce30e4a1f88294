"""Comparison of two snapshots, key by key: the rows that are in one of them only, or differ.

Keys are taken from the mods that belong to one of the snapshots only. Where those are not there any more, or one of
them is a truncate, all rows of both are compared by their hashes first. Either way, the rows of a key are read from
both snapshots by the same look-up as in ``get``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.keys import KeyCache
from andes_spark.base.merge.plan import bucket_count, row_width
from andes_spark.base.paged import PageSource
from andes_spark.base.sorted_rows import SortedRows
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.order import sorted_order
from andes_spark.law.rows import content_hashes
from andes_spark.log.pending import Pending, read_narrow
from andes_spark.log.sampling import bucket_bounds
from andes_spark.settings import MIB, Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.verbs.get import rows_of_keys
from andes_spark.table.verbs.read import SHARE, Selection, row_parts

CHANGE_TYPE, COMMIT_VERSION, COMMIT_TIMESTAMP = "_change_type", "_commit_version", "_commit_timestamp"
CHANGE_COLUMNS = (
    pa.field(CHANGE_TYPE, pa.string(), nullable=False),
    pa.field(COMMIT_VERSION, pa.int64(), nullable=False),
    pa.field(COMMIT_TIMESTAMP, pa.timestamp("us", "UTC"), nullable=False),
)
"""Columns of changes behind those of the table, named as in Delta's change data feed."""
_KINDS = ("delete", "insert", "update_preimage", "update_postimage")
_DELETE, _INSERT, _PREIMAGE, _POSTIMAGE = range(len(_KINDS))
_HASH = ("_andes_hash_0", "_andes_hash_1")
_BATCH_BYTES = 16 * MIB
LEAST_BYTES = 64 * 1024
"""Arrow bytes of keys and hashes that are sorted at once, however small the budget."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """Two pinned snapshots, in the columns of the later one; sent to tasks.

    Attributes:
        storage: the table's folder.
        settings: settings of the process.
        before: the earlier snapshot.
        after: the later snapshot.
        touched: mods of which only one of the two has the effects; None if all keys may differ.
        earlier: version of the earlier snapshot.
        later: version of the later snapshot.
        time: commit time of the later version, in milliseconds since 1970 UTC.
        names: columns of the table to return.
        before_images: whether to return updated rows as they were, too.
    """

    storage: Storage
    settings: Settings
    before: EvaluationInput
    after: EvaluationInput
    touched: Pending | None
    earlier: int
    later: int
    time: int
    names: tuple[str, ...]
    before_images: bool

    @cached_property
    def schema(self) -> pa.Schema:
        """The schema of the changes: the chosen columns, then type, version and time of the change."""
        return pa.schema([*(self.after.shape.arrow.field(name) for name in self.names), *CHANGE_COLUMNS])

    def ranges(self) -> list[KeyRange | None]:
        """Return the ranges of keys whose changes are found in turn, or beside each other; None for all keys."""
        touched, shape = self.touched, self.after.shape
        if touched is None or touched.rows == 0:
            return [None]
        buckets = self._buckets(touched.rows, touched.arrow_bytes)
        if buckets < 2:
            return [None]
        return list(bucket_bounds(self.storage, touched, shape.columns, shape.arrow, buckets, table=shape.table))

    def _buckets(self, keys: int, mod_bytes: int) -> int:
        """Number of parts in which the rows of keys, from both snapshots, fit the byte budget."""
        return bucket_count(2 * max(mod_bytes, keys * self._row_bytes), keys, self.settings)

    def batches(self, ranges: list[KeyRange | None], cache: KeyCache | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the changes of some of the ranges, in the order of the keys.

        Args:
            ranges: from :meth:`ranges`.
            cache: keys of files in memory; None for none.
        """
        for bounds in ranges:
            for keys, around in self._keys(bounds):
                rows = self._changes(keys, around, cache)
                yield from rows.to_batches(max_chunksize=max(1, _BATCH_BYTES // self._row_bytes))

    def _keys(self, bounds: KeyRange | None) -> Iterator[tuple[pl.DataFrame, KeyRange | None]]:
        """Yield keys that may differ, sorted, and the range that they lie in."""
        if self.touched is None:
            yield from self._within(self._differing())
        elif self.touched.rows:
            columns = self.after.shape.columns
            mods = read_narrow(self.storage, self.touched, columns, table=self.after.shape.table, bounds=bounds)
            yield self._sorted(mods), bounds

    def _differing(self) -> Iterator[pl.DataFrame]:
        """Yield the keys of rows whose hash is in one of the snapshots only, in ascending pieces."""
        key = self.after.shape.columns.key
        share = max(LEAST_BYTES, self.settings.byte_budget // SHARE)
        fields = [self.after.shape.arrow.field(name) for name in key]
        schema = pa.schema([*fields, *(pa.field(name, pa.int64()) for name in _HASH)])
        with SortedRows(schema, key, share) as collected:
            for inputs in self._without_common_files():
                for rows in self._all_rows(inputs):
                    collected.add(rows.cast(schema))
            for piece in collected.pieces():
                frame = pl.from_arrow(piece)
                assert isinstance(frame, pl.DataFrame)
                keys = self._sorted(frame.filter(~frame.is_duplicated()))
                at_once = max(1, -(-keys.height // self._buckets(keys.height, 0)))
                yield from (keys.slice(first, at_once) for first in range(0, keys.height, at_once))

    def _without_common_files(self) -> tuple[EvaluationInput, ...]:
        """The snapshots, without files of the base whose rows both have."""
        sides = (self.before, self.after)
        if any(inputs.pending.rows or inputs.pending.truncates for inputs in sides):
            return sides
        vectors = [{file.path: file.file.vector for file in inputs.files} for inputs in sides]
        common = {path for path, vector in vectors[0].items() if path in vectors[1] and vectors[1][path] == vector}
        return tuple(
            replace(inputs, files=inputs.files.pick([at for at, path in enumerate(paths) if path not in common]))
            for inputs, paths in zip(sides, vectors, strict=True)
        )

    def _all_rows(self, inputs: EvaluationInput) -> Iterator[pa.Table]:
        """Yield key and hash of all rows of a snapshot."""
        shape = inputs.shape
        names = tuple(shape.schema.names)
        for part in row_parts(self.storage, inputs, self.settings, Selection(names, names, None, None)):
            hashes = content_hashes(part, shape.schema).view(np.int64)
            columns = {name: pa.array(hashes[:, number]) for number, name in enumerate(_HASH)}
            yield pa.table({**{name: part[name] for name in shape.columns.key}, **columns})

    def _within(self, parts: Iterator[pl.DataFrame]) -> Iterator[tuple[pl.DataFrame, KeyRange]]:
        """Add to ascending keys the ranges that they lie in."""
        shape = self.after.shape
        key = shape.columns.key
        types = tuple(shape.arrow.field(name).type for name in key)
        keys: pl.DataFrame | None = None
        for following in parts:
            if keys is not None:
                yield keys, KeyRange(key, types, keys.row(0), following.row(0))
            keys = following
        if keys is not None:
            yield keys, KeyRange(key, types, keys.row(0))

    def _sorted(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Keys of rows, each once, sorted."""
        key = list(self.after.shape.columns.key)
        keys = rows.select(key).unique()
        order = sorted_order(keys, key)
        return keys if order is None else keys[order]

    def _changes(self, keys: pl.DataFrame, bounds: KeyRange | None, cache: KeyCache | None) -> pa.Table:
        """Compare the rows of some keys."""
        # Most files of the base are the same in both.
        source = PageSource(
            self.storage, self.after.shape, cache, single_rows=True, most_bytes=self.settings.byte_budget // SHARE
        )
        sides = [
            rows_of_keys(self.storage, inputs, keys, bounds=bounds, settings=self.settings, source=source)
            for inputs in (self.before, self.after)
        ]
        old, new = (_numbers(keys, rows) for rows in sides)
        hashes = [content_hashes(rows, self.after.shape.schema) for rows in sides]
        updated = np.flatnonzero((old >= 0) & (new >= 0))
        updated = updated[(hashes[0][old[updated]] != hashes[1][new[updated]]).any(axis=1)]
        offset = sides[0].num_rows
        images = [
            _Images(np.flatnonzero((old >= 0) & (new < 0)), old, _DELETE),
            _Images(np.flatnonzero((old < 0) & (new >= 0)), new + offset, _INSERT),
            *([_Images(updated, old, _PREIMAGE)] if self.before_images else []),
            _Images(updated, new + offset, _POSTIMAGE),
        ]
        kinds = np.concatenate([np.full(len(image.keys), image.kind) for image in images])
        # Kinds are numbered so that a row is shown as it was before it is shown as it is.
        order = np.lexsort((kinds, np.concatenate([image.keys for image in images])))
        rows = np.concatenate([image.rows[image.keys] for image in images])[order]
        shown = pa.concat_tables([side.select(list(self.names)) for side in sides]).take(pa.array(rows))
        return self._labelled(shown, kinds[order])

    def _labelled(self, rows: pa.Table, kinds: Ints) -> pa.Table:
        """Add the columns that say what happened."""
        time = pa.scalar(1000 * self.time, pa.int64()).cast(CHANGE_COLUMNS[2].type)
        columns = [
            *rows.columns,
            pa.array(_KINDS).take(pa.array(kinds)),
            pa.repeat(pa.scalar(self.later, pa.int64()), rows.num_rows),
            pa.repeat(time, rows.num_rows),
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)

    @cached_property
    def _row_bytes(self) -> int:
        """Estimated Arrow bytes of a row."""
        files, shape = self.after.files.files, self.after.shape
        rows = int(np.maximum(files.records, 0).sum())
        stored = int(files.arrow_bytes.sum()) // rows if rows else 0
        return max(1, stored, row_width(shape.arrow, shape.schema.names))


@dataclass(frozen=True)
class _Images:
    """Rows of one kind of change: places of their keys, number of the row of each key, and the kind."""

    keys: Ints
    rows: Ints
    kind: int


def _numbers(keys: pl.DataFrame, rows: pa.Table) -> Ints:
    """Number of the row of each key; -1 if there is none."""
    frame: Any = pl.from_arrow(rows.select(keys.columns))
    joined = keys.join(frame.with_row_index("_andes_row"), on=keys.columns, how="left", maintain_order="left")
    return joined["_andes_row"].cast(pl.Int64).fill_null(-1).to_numpy()
