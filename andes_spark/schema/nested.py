"""The parts of nested Arrow arrays, slices and NULLs taken into account."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Offsets = npt.NDArray[np.int64]


def list_parts(array: pa.Array) -> tuple[Offsets, pa.Array]:
    """Offsets of the lists (of any encoding) and the elements that they point into.

    What lies below NULL lists is left out: they are empty.
    """
    lengths = pc.fill_null(pc.list_value_length(array).cast(pa.int64()), 0).to_numpy()
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), array.flatten()


def map_parts(array: pa.MapArray) -> tuple[Offsets, pa.Array, pa.Array]:
    """Offsets of the maps, and the keys and values that they point into; NULL maps may hold some."""
    offsets = array.offsets.to_numpy().astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    return offsets - first, array.keys.slice(first, last - first), array.items.slice(first, last - first)


def any_per_row(marked: npt.NDArray[np.bool_], offsets: Offsets) -> npt.NDArray[np.bool_]:
    """For each list or map, whether any of its elements is marked."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(marked)])
    rows: npt.NDArray[np.bool_] = before[offsets[1:]] > before[offsets[:-1]]
    return rows
