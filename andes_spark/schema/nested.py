"""Offsets and children of nested Arrow arrays, with slices and NULLs applied."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Offsets = npt.NDArray[np.int64]


def list_parts(array: pa.Array) -> tuple[Offsets, pa.Array]:
    """Return offsets of lists (in any encoding) and their elements.

    NULL lists are empty: elements below them are left out.
    """
    lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int64()), 0).to_numpy()
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), array.flatten()


def map_parts(array: pa.MapArray) -> tuple[Offsets, pa.Array, pa.Array]:
    """Return offsets of maps, and their keys and values; NULL maps may have entries."""
    offsets = array.offsets.to_numpy().astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    return offsets - first, array.keys.slice(first, last - first), array.items.slice(first, last - first)


def any_per_row(marked: npt.NDArray[np.bool_], offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Return whether any element is marked, for each list or map."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(marked)])
    rows: npt.NDArray[np.bool_] = before[offsets[1:]] > before[offsets[:-1]]
    return rows
