"""Ascending integers in little memory, which are searched as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

BLOCK = 256
"""Number of integers that share a first value."""
_KINDS = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<u4"))


@dataclass(frozen=True)
class PackedIntegers:
    """Distinct integers in ascending order, in blocks.

    Attributes:
        first: first value of each block.
        above: by how much each value is above the first one of its block; the last block is filled up with its last
            value.
        count: number of values.
    """

    first: Ints
    above: npt.NDArray[Any]
    count: int

    @classmethod
    def of(cls, values: Ints) -> PackedIntegers | None:
        """Pack integers; None if a block spans more than 32 bits, or if there are none."""
        if not len(values):
            return None
        blocks = -(-len(values) // BLOCK)
        filled = np.full(blocks * BLOCK, values[-1], np.int64)
        filled[: len(values)] = values
        rows = filled.reshape(blocks, BLOCK)
        first = rows[:, 0].copy()
        # The difference of any two integers fits as an unsigned one.
        above = rows.view(np.uint64) - first.view(np.uint64)[:, None]
        widest = int(above[:, -1].max())
        kind = next((kind for kind in _KINDS if widest < 1 << 8 * kind.itemsize), None)
        return None if kind is None else cls(first, above.astype(kind).reshape(-1), len(values))

    @property
    def bytes(self) -> int:
        """The memory of the packed integers in bytes."""
        return int(self.first.nbytes + self.above.nbytes)

    def values(self) -> Ints:
        """Return the integers as an array of int64, unpacked; a copy."""
        whole = self.first.view(np.uint64)[:, None] + self.above.reshape(-1, BLOCK).astype(np.uint64)
        return whole.view(np.int64).reshape(-1)[: self.count]

    def find(self, keys: Ints) -> tuple[Ints, Ints]:
        """Find sorted keys among the integers; return positions among these, and among the keys."""
        start = int(np.searchsorted(keys, self.first[0]))
        numbers = np.arange(start, len(keys))
        block = np.searchsorted(self.first, keys[start:], side="right") - 1
        above = keys[start:].view(np.uint64) - self.first[block].view(np.uint64)
        near = above <= np.iinfo(self.above.dtype).max
        numbers, block = numbers[near], block[near]
        target = above[near].astype(self.above.dtype)
        at = block * BLOCK
        step = BLOCK // 2
        while step:
            at = at + step * (self.above[at + step - 1] < target)
            step //= 2
        hit = (self.above[at] == target) & (at < self.count)
        return at[hit], numbers[hit]
