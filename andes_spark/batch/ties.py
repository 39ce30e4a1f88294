"""Mods of one key at one sequence within a batch, ordered by columns of the batch: only the last is written.

The values are stored beside the mods in columns :data:`TIE` with a number, in mod files too, since mods shared by two
parts of a batch are searched for after they are written. Readers ignore these columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.law.columns import KeyColumns
from andes_spark.law.rows import NAMED_KEYS, same_place, tie_error
from andes_spark.model.mod import OP, PRESENT, Op

Bools = npt.NDArray[np.bool_]
TIE = "_andes_tie_"
_GROUP, _ROW = "_andes_group", "_andes_row"


def tie_columns(names: Sequence[str]) -> list[str]:
    """Select the columns with the values that order ties, in their order."""
    return sorted((name for name in names if name.startswith(TIE)), key=lambda name: int(name.removeprefix(TIE)))


def null_ties(rows: pa.Table) -> dict[str, Bools]:
    """Find rows with a NULL among the values that order ties, by the number of the value from 1."""
    return {
        str(number): pc.is_null(rows[name]).to_numpy()
        for number, name in enumerate(tie_columns(rows.column_names), start=1)
        if rows[name].null_count
    }


def break_ties(mods: pa.Table, columns: KeyColumns) -> tuple[pa.Table, int]:
    """Select the last mod of each key and sequence; return these and the number of dropped mods.

    Args:
        mods: sorted as ``sort_mods`` does, with columns :data:`TIE`.
        columns: key and sequence.

    Raises:
        SequenceTieError: see :func:`outranked`.
    """
    groups = same_place(mods, columns)
    if groups is None:
        return mods, 0
    groups[mods[OP].to_numpy() == Op.TRUNCATE] = -1
    rows = np.flatnonzero(groups >= 0)
    is_outranked = outranked(mods.take(pa.array(rows)), groups[rows], columns)
    keep = np.ones(mods.num_rows, np.bool_)
    keep[rows[is_outranked]] = False
    return mods.filter(pa.array(keep)), int(is_outranked.sum())


def outranked(mods: pa.Table, groups: npt.NDArray[np.int64], columns: KeyColumns) -> Bools:
    """Return whether each mod comes before another of its group; mods that share the last place do not.

    Args:
        mods: with columns :data:`TIE`.
        groups: a number for each key and sequence.
        columns: key and sequence.

    Raises:
        SequenceTieError: a partial mod comes after a delete, whose effect it would lose; ``keys``.
    """
    names = tie_columns(mods.column_names)
    frame = pl.DataFrame({_GROUP: groups, **{name: pl.Series(mods[name]) for name in names}}).with_row_index(_ROW)
    ordered = frame.sort([_GROUP, *names])
    last = ordered.group_by(_GROUP, maintain_order=True).last()
    beside = ordered.select(_GROUP).join(last, on=_GROUP, how="left", maintain_order="left")
    is_last = np.ones(ordered.height, np.bool_)
    for name in names:
        is_last &= ordered[name].eq_missing(beside[name]).to_numpy()
    is_outranked = np.zeros(mods.num_rows, np.bool_)
    is_outranked[ordered[_ROW].to_numpy()[~is_last]] = True
    _refuse_partial_after_delete(mods, groups, is_outranked, columns)
    return is_outranked


def _refuse_partial_after_delete(
    mods: pa.Table, groups: npt.NDArray[np.int64], is_outranked: Bools, columns: KeyColumns
) -> None:
    if PRESENT not in mods.column_names or mods[PRESENT].null_count == mods.num_rows:
        return
    deleted = groups[is_outranked & (mods[OP].to_numpy() == Op.DELETE)]
    partial = ~is_outranked & mods[PRESENT].is_valid().to_numpy() & np.isin(groups, deleted)
    if partial.any():
        raise tie_error(mods.filter(pa.array(partial)).slice(0, NAMED_KEYS), columns)
