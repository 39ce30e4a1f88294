"""Rows by key: from the pages of the base that hold them, and from the pending mods of these keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark.base.evaluate import evaluate, files_with, find_targets, outlive
from andes_spark.base.evaluation import Evaluation, EvaluationInput, base_rows
from andes_spark.base.files import NumberedFile, TableShape
from andes_spark.base.keys import KeyCache
from andes_spark.base.locator import concat_located, locate_files, row_lookup, without_sequences
from andes_spark.base.match import KeyLookup
from andes_spark.base.paged import PageSource
from andes_spark.inputs.keys import key_table
from andes_spark.law.columns import BASE_FILE, BASE_ROW, WINNER
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.order import sorted_order
from andes_spark.log.pending import KEPT_SHARE, Pending, PendingFile, kept_mods
from andes_spark.log.readable import floor_of
from andes_spark.model.read_options import GetOptions
from andes_spark.model.values import to_json, unscaled
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.history.versions import chosen_version
from andes_spark.table.open_table import OpenTable
from andes_spark.table.verbs.read import pin, resolved, while_pinned

_PAGE_SHARE = 4
"""Part of the byte budget that decoded pages take."""
_MOST_KEYS = 1_000
"""Number of keys up to which each is compared with the range of a file of mods; beyond it, only first and last are."""


def get_rows(open_table: OpenTable, keys: Any, options: GetOptions) -> pa.Table:
    """Read the rows of some keys; see ``ModTable.get``."""
    shape = open_table.shape()
    key_rows = key_table(keys, shape.schema.select(shape.columns.key))
    floor = floor_of(open_table.log)
    snapshot = pin(open_table, chosen_version(open_table, options))
    inputs = snapshot.inputs
    names = resolved(inputs.shape, options.columns)
    requested = _RequestedKeys.of(key_rows, inputs.shape)
    source = PageSource(
        open_table.storage,
        inputs.shape,
        cache_for(open_table, inputs.shape),
        single_rows=True,
        most_bytes=open_table.settings.byte_budget // _PAGE_SHARE,
    )
    with while_pinned(open_table, snapshot.version, inputs, floor=floor):
        return _Get(open_table.storage, inputs, requested, names, open_table.settings, source).rows()


def cache_for(open_table: OpenTable, shape: TableShape) -> KeyCache | None:
    """Return the cache of keys, which is for the newest schema; None for another one."""
    return open_table.key_cache() if shape == open_table.shape() else None


def rows_of_keys(
    storage: Storage,
    inputs: EvaluationInput,
    keys: pl.DataFrame,
    *,
    bounds: KeyRange | None,
    settings: Settings,
    source: PageSource,
) -> pa.Table:
    """Read the rows of some keys, all columns, in the order of the keys.

    Args:
        storage: the table's folder.
        inputs: base and pending mods.
        keys: key columns, each key once, sorted.
        bounds: range that holds the keys; None if it is not known.
        settings: settings of the process.
        source: reader of pages; another snapshot with the same files may have used it.
    """
    order = np.arange(keys.height)
    requested = _RequestedKeys(keys.with_columns(pl.Series(WINNER, order, pl.Int64)), order)
    return _Get(storage, inputs, requested, inputs.shape.schema.names, settings, source, bounds).rows()


@dataclass(frozen=True)
class _RequestedKeys:
    """Keys to look up.

    Attributes:
        keys: key columns, each key once, sorted, and WINNER, their number.
        order: position of each key's first mention among those of all keys.
    """

    keys: pl.DataFrame
    order: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, key_rows: pa.Table, shape: TableShape) -> _RequestedKeys:
        frame = pl.from_arrow(key_rows)
        assert isinstance(frame, pl.DataFrame)
        once = frame.unique(keep="first", maintain_order=True)
        order = sorted_order(once, shape.columns.key)
        order = np.arange(once.height) if order is None else order
        return cls(once[order].with_columns(pl.Series(WINNER, np.arange(once.height), pl.Int64)), order)


@dataclass(frozen=True)
class _Get:
    """One look-up of rows."""

    storage: Storage
    inputs: EvaluationInput
    requested: _RequestedKeys
    names: Sequence[str]
    settings: Settings
    source: PageSource
    bounds: KeyRange | None = None

    def rows(self) -> pa.Table:
        """Rows in the order in which their keys were mentioned first."""
        shape, keys = self.inputs.shape, self.requested.keys
        if not keys.height:
            return shape.arrow.empty_table().select(list(self.names))
        located = self._located()
        evaluation = self._evaluated(located)
        kept = self._kept(located, evaluation)
        parts = [self._base_rows(kept)]
        numbers = [kept[WINNER].to_numpy()]
        if evaluation is not None:
            written = pl.from_arrow(evaluation.rows.select(shape.columns.key))
            assert isinstance(written, pl.DataFrame)
            parts.append(evaluation.rows.select(self.names))
            numbers.append(
                written.join(keys, on=shape.columns.key, how="left", maintain_order="left")[WINNER].to_numpy()
            )
        order = np.argsort(self.requested.order[np.concatenate(numbers)], kind="stable")
        schema = pa.schema([shape.arrow.field(name) for name in self.names])
        return pa.concat_tables([part.cast(schema) for part in parts]).take(pa.array(order))

    def _base_rows(self, kept: pl.DataFrame) -> pa.Table:
        """Columns of rows of the base; those of the key are known."""
        shape, numbers = self.inputs.shape, kept[WINNER].to_numpy()
        others = [name for name in self.names if name not in shape.columns.key]
        if others:
            rows = base_rows(self.storage, shape, self.inputs.files, kept, others, self.source)
        keys = self.requested.keys[numbers].select(shape.columns.key).to_arrow()
        columns = {name: keys[name] if name in shape.columns.key else rows[name] for name in self.names}
        return pa.table(columns).cast(pa.schema([shape.arrow.field(name) for name in self.names]))

    def _located(self) -> pl.DataFrame:
        """Places of the keys in the base, with the sequences where pending mods are compared with them."""
        inputs, pending = self.inputs, self.inputs.pending
        keys = without_sequences(self.requested.keys, inputs.shape)
        lookup = row_lookup(keys, inputs.shape, sequences=bool(pending.rows or pending.truncates))
        files = [] if inputs.erased else files_with(inputs, keys)
        frames = locate_files(self.source, files, lookup, threads=self.settings.threads)
        return concat_located(frames, inputs.shape, keys)

    def _evaluated(self, located: pl.DataFrame) -> Evaluation | None:
        """The pending mods of the keys, evaluated on the located rows; None where there are none."""
        inputs, keys = self.inputs, self.requested.keys.select(self.inputs.shape.columns.key)
        inputs = replace(inputs, pending=pending_of_keys(inputs.pending, keys, inputs.shape))
        if not inputs.pending.rows:
            return None
        storage = kept_mods(self.storage, inputs.pending, self.settings.byte_budget // KEPT_SHARE)
        targets = find_targets(storage, inputs, keys=keys, bounds=self.bounds)
        if not targets.mods.height:
            return None

        def known(files: Sequence[NumberedFile], lookup: KeyLookup) -> list[pl.DataFrame]:
            numbers = lookup.keys.join(self.requested.keys, on=inputs.shape.columns.key, suffix="_requested")
            rows = numbers.select(WINNER, f"{WINNER}_requested").join(
                located, left_on=f"{WINNER}_requested", right_on=WINNER, how="inner"
            )
            return [rows.select(located.columns)]

        columns = list(dict.fromkeys([*inputs.shape.columns.key, *self.names]))
        return evaluate(
            storage, inputs, locate=known, bounds=self.bounds, columns=columns, cache=self.source.cache, targets=targets
        )

    def _kept(self, located: pl.DataFrame, evaluation: Evaluation | None) -> pl.DataFrame:
        """Located rows that pending mods neither replace nor remove."""
        inputs = self.inputs
        if inputs.pending.truncates and inputs.shape.columns.sequence:
            located = located.filter(outlive(inputs.shape, inputs.swept))
        return (
            located if evaluation is None else located.join(evaluation.replaced, on=[BASE_FILE, BASE_ROW], how="anti")
        )


def pending_of_keys(pending: Pending, keys: pl.DataFrame, shape: TableShape) -> Pending:
    """Return the pending mods without the files whose range holds none of the keys."""
    name = shape.columns.key[0]
    kind = shape.arrow.field(name).type
    first = keys[name].to_arrow()
    every = len(first) <= _MOST_KEYS
    values = [_comparable(first[at], kind) for at in (range(len(first)) if every else (0, len(first) - 1))]

    def may_hold(file: PendingFile) -> bool:
        # Files of a version with another schema have keys of the same types: those never change.
        if file.entry.keys is None:
            return True
        low, high = unscaled(file.entry.keys.low[0], kind), unscaled(file.entry.keys.high[0], kind)
        return any(low <= value <= high for value in values) if every else low <= values[1] and high >= values[0]

    return replace(pending, files=tuple(file for file in pending.files if may_hold(file)))


def _comparable(value: pa.Scalar, kind: pa.DataType) -> Any:
    """A key value in the units of the ranges of files."""
    return unscaled(to_json(value.cast(kind)), kind)
