"""Arrow memory of a block of code, for tests of byte budgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

_POOLS: list[pa.MemoryPool] = []
"""Pools that were used: buffers may outlive the block, and a pool must outlive its buffers."""


@contextmanager
def arrow_memory() -> Iterator[pa.MemoryPool]:
    """Count what Arrow allocates in the block; ``max_memory()`` of the pool is the peak."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)
