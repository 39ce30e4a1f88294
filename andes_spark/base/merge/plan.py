"""Plan of a merge: in the process, with the scan in tasks, or in buckets of keys.

In the process while mods and the key columns to be scanned fit the byte budget. Above it, where there are
tasks: while the mods are small, they are decided here and only the scan of the base runs in tasks, a group of
files each; else keys are cut into ranges and each task does all of its range. Without tasks, the ranges run
one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from andes_spark.base.evaluate import local_locator
from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.files import NumberedFile, TableShape
from andes_spark.base.keys import KeyCache
from andes_spark.base.match import KeyLookup
from andes_spark.base.merge.bucket import BucketJob, BucketResult, LocateJob
from andes_spark.log.pending import ModsInMemory
from andes_spark.log.sampling import bucket_bounds
from andes_spark.run.executor import Executor
from andes_spark.settings import MIB, Settings
from andes_spark.storage.interface import Storage

BUCKET_BYTES = 64 * MIB
EXPANSION = 4
_PLACE_BYTES = 24


@dataclass(frozen=True)
class Sizes:
    """Estimated Arrow bytes of a merge: whole mods, their narrow form, key columns of the base."""

    mods: int
    narrow: int
    scan: int


def estimate(inputs: EvaluationInput) -> Sizes:
    """Estimate the memory of a merge, from manifests and the Delta log."""
    narrow = row_width(inputs.shape.arrow, inputs.shape.columns.narrow)
    rows = sum(file.file.num_records or 0 for file in inputs.files)
    return Sizes(
        mods=inputs.pending.arrow_bytes,
        narrow=inputs.pending.rows * (narrow + _PLACE_BYTES),
        scan=rows * narrow,
    )


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
    if job.inputs.pending.rows == 0:
        return []
    cache.retain({*(file.path for file in job.inputs.files), *(file.path for file in job.inputs.tombstones)})
    sizes = estimate(job.inputs)
    if sizes.mods + sizes.narrow + sizes.scan <= settings.byte_budget:
        locate = local_locator(job.storage, job.inputs.shape, settings.threads, cache)
        return [job.run(None, locate, in_memory, cache)]
    small = sizes.mods <= settings.byte_budget // 4 and sizes.narrow <= settings.broadcast_bytes
    if small and not executor.distributed:
        return [job.run(None, local_locator(job.storage, job.inputs.shape, 1), in_memory)]
    if small:
        return [job.run(None, _DistributedScan(job.storage, job.inputs.shape, executor), in_memory)]
    slots = executor.slots if executor.distributed else 1
    buckets = max(slots, math.ceil((sizes.mods + sizes.narrow) / BUCKET_BYTES))
    bounds = bucket_bounds(
        job.storage,
        job.inputs.pending,
        job.inputs.shape.columns,
        job.inputs.shape.arrow,
        buckets,
        table=job.inputs.shape.table,
    )
    if executor.distributed:
        return executor.map(job, bounds, step="merge buckets")
    return [job(keys) for keys in bounds]


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
