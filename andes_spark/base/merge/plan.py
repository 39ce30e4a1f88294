"""Plan of a merge: in this process, with the scan in tasks, or in buckets of keys.

While the mods fit the byte budget, their winners are picked in this process first. The files of the base are pruned by
them, and only what is left to be read decides whether the base is scanned here or in tasks, a group of files each. Mods
beyond the budget are cut into ranges of keys, which run in tasks, or one after the other in this process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark.base.evaluate import Locator, Targets, find_targets, local_locator
from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.files import NumberedFile, TableShape
from andes_spark.base.keys import KeyCache
from andes_spark.base.match import KeyLookup
from andes_spark.base.merge.bucket import BucketJob, BucketResult, LocateJob
from andes_spark.log.pending import KEPT_SHARE, ModsInMemory, kept_mods
from andes_spark.log.sampling import bucket_bounds
from andes_spark.run.executor import Executor
from andes_spark.settings import MIB, Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import PAGE_ROWS

BUCKET_BYTES = 64 * MIB
"""Maximum size of the mods of a bucket."""
BUCKETS_A_BUDGET = 4
"""Number of buckets per byte budget of mods, since the mods of a bucket are copied while they are evaluated."""
BUCKET_ROWS = PAGE_ROWS
"""Mods of a bucket at least, however small the budget: each bucket opens files anew."""
_PLACE_BYTES = 24


@dataclass(frozen=True)
class Sizes:
    """Estimated Arrow bytes of an evaluation.

    Attributes:
        mods: whole mods, and the rows of the base that partial ones are folded with.
        narrow: their narrow form.
        inputs: base and pending mods.
    """

    mods: int
    narrow: int
    inputs: EvaluationInput = field(repr=False)

    @property
    def scan(self) -> int:
        """Key and sequence columns of all files of the base."""
        rows = int(np.maximum(self.inputs.files.files.records, 0).sum())
        return rows * row_width(self.inputs.shape.arrow, self.inputs.shape.columns.narrow)


def estimate(inputs: EvaluationInput) -> Sizes:
    """Estimate the size of an evaluation, from manifests and the Delta log alone."""
    narrow = row_width(inputs.shape.arrow, inputs.shape.columns.narrow)
    files, pending = inputs.files.files, inputs.pending
    partial = sum(file.entry.partial for file in pending.files)
    folded = partial * int(files.arrow_bytes.sum()) // max(1, int(np.maximum(files.records, 0).sum()))
    return Sizes(pending.arrow_bytes + folded, pending.rows * (narrow + _PLACE_BYTES), inputs)


def run_buckets(
    job: BucketJob, executor: Executor, settings: Settings, *, in_memory: ModsInMemory | None, cache: KeyCache
) -> list[BucketResult]:
    """Evaluate and write a merge, in this process or in tasks by its size.

    Args:
        job: the merge.
        executor: executor of parts.
        settings: settings of the process.
        in_memory: mod files that are in memory.
        cache: keys of base files, and tombstones, that are in memory; used where the scan runs here.
    """
    inputs = job.inputs
    if inputs.pending.rows == 0:
        return []
    cache.retain({*inputs.files.files, *(file.path for file in inputs.tombstones)})
    sizes = estimate(inputs)
    kept = replace(job, storage=kept_mods(job.storage, inputs.pending, settings.byte_budget // KEPT_SHARE))
    if sizes.mods + sizes.narrow <= settings.byte_budget:
        targets = find_targets(kept.storage, inputs, in_memory=in_memory)
        scan = scan_bytes(targets, inputs.shape, cache)
        if not executor.distributed or sizes.mods + sizes.narrow + scan <= settings.byte_budget:
            return [kept.run(None, _here(job, targets.files, settings, cache), in_memory, cache, targets)]
        if sizes.mods <= settings.byte_budget // 4 and sizes.narrow <= settings.broadcast_bytes:
            return [kept.run(None, _DistributedScan(job.storage, inputs.shape, executor), in_memory, None, targets)]
    count = bucket_count(sizes.mods + sizes.narrow, inputs.pending.rows, settings)
    buckets = max(executor.slots, count) if executor.distributed else count
    shape = inputs.shape
    bounds = bucket_bounds(job.storage, inputs.pending, shape.columns, shape.arrow, buckets, table=shape.table)
    if executor.distributed:
        return executor.map(job, bounds, step="merge buckets")
    local_job = _here(job, inputs.files, settings, cache)
    return [kept.run(keys, local_job, in_memory, cache) for keys in bounds]


def bucket_count(size: int, rows: int, settings: Settings) -> int:
    """Return the number of buckets for mods of an estimated size."""
    fitting = max(1, min(BUCKET_BYTES, settings.byte_budget // BUCKETS_A_BUDGET))
    return max(1, min(math.ceil(size / fitting), rows // BUCKET_ROWS))


def scan_bytes(targets: Targets, shape: TableShape, cache: KeyCache) -> int:
    """Estimate the Arrow bytes of keys and sequences that a look-up reads: files in the cache are not read.

    At most one page is needed for each key in each file.
    """
    width, most = row_width(shape.arrow, shape.columns.narrow), targets.keys.height * PAGE_ROWS
    total = 0
    for file in targets.files:
        if not cache.holds(file.path):
            rows = file.file.num_records
            total += file.file.arrow_bytes if rows is None else min(rows, most) * width
    return total


def _here(job: BucketJob, files: Sequence[NumberedFile], settings: Settings, cache: KeyCache) -> Locator:
    """Return a locator of this process that scans as many files at the same time as fit the byte budget."""
    shape = job.inputs.shape
    largest = max((file.file.num_records or 0 for file in files), default=0)
    fitting = settings.byte_budget // max(1, largest * row_width(shape.arrow, shape.columns.narrow))
    return local_locator(job.storage, shape, max(1, min(settings.threads, fitting)), cache)


@dataclass(frozen=True)
class _DistributedScan:
    storage: Storage
    shape: TableShape
    executor: Executor

    def __call__(self, files: Sequence[NumberedFile], keys: KeyLookup) -> list[pl.DataFrame]:
        groups = file_groups(files, 4 * self.executor.slots)
        located = self.executor.map(LocateJob(self.storage, self.shape, keys), groups, step="locate rows")
        return [frame for frames in located for frame in frames]


def file_groups(files: Sequence[NumberedFile], most: int) -> list[list[NumberedFile]]:
    """Group files by size into at most ``most`` groups of similar size, none empty."""
    groups: list[list[NumberedFile]] = [[] for _ in range(min(most, len(files)))]
    weight = [0] * len(groups)
    for file in sorted(files, key=lambda file: -file.file.size):
        lightest = weight.index(min(weight))
        groups[lightest].append(file)
        weight[lightest] += file.file.size
    return groups


def row_width(schema: pa.Schema, columns: Sequence[str]) -> int:
    """Estimate the bytes of columns in one row."""
    return sum(width(schema.field(name).type) for name in columns)


def width(kind: pa.DataType) -> int:
    """Estimate the bytes of a value."""
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:
        return 32
