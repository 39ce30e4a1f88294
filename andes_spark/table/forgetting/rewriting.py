"""Files of the base written anew without rows that are deleted already: a deletion vector only hides them."""

from __future__ import annotations

import time
import uuid
from functools import partial

import numpy as np
import polars as pl
from pyroaring import BitMap64

from andes_spark.base.evaluate import files_with
from andes_spark.base.evaluation import evaluation_input
from andes_spark.base.files import NumberedFile, OpenFile, TableShape
from andes_spark.base.merge.merge import commit_entry, drop_files
from andes_spark.base.merge.rewrite import RewriteJob
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta import actions
from andes_spark.errors import CommitConflictError, DamagedError, NotFoundError
from andes_spark.log.pending import Pending
from andes_spark.run.executor import LocalExecutor
from andes_spark.storage.interface import Storage
from andes_spark.table.forgetting.mentions import Keys
from andes_spark.table.open_table import OpenTable


def rewrite_base(open_table: OpenTable, keys: Keys) -> None:
    """Write all files of the base anew that hold rows of some keys, in one Delta commit that changes no rows.

    Raises:
        CommitConflictError: merges were first each time.
    """
    for _ in range(open_table.settings.commit_attempts):
        base = open_table.base.snapshot()
        open_table.base.require_writable(base)
        context = open_table.base_context(base.applied)
        try:
            files = _with_rows(open_table.storage, context.shape, base, keys, threads=context.settings.threads)
            if not files:
                return
            job = RewriteJob(open_table.storage, context.shape, context.writer(base), data_change=False)
            parts = [[(file, BitMap64())] for file in files]
            executor = context.executor_for(file.file for file in files)
            written = [add for adds in executor.map(job, parts, step="write files anew") for add in adds]
        except (DamagedError, NotFoundError):
            if open_table.base.snapshot().version == base.version:
                raise
            continue  # a vacuum deleted files of a state that is no longer the newest one
        now = time.time_ns() // 1_000_000
        removed = [actions.remove(file.file, timestamp_ms=now, data_change=False) for file in files]
        commit_id = str(uuid.uuid4())
        info = actions.commit_info(
            "OPTIMIZE",
            timestamp_ms=now,
            commit_id=commit_id,
            metrics={"numRemovedFiles": len(removed), "numAddedFiles": len(written)},
            read_version=base.version,
            previous=base.state.commit_id,
        )
        open_table.storage.scheduler.barrier()
        entry = commit_entry(context, base.version + 1, [info, *removed, *written], commit_id)
        if entry is not None:
            open_table.base.advance(entry)
            return
        drop_files(context, written, base)
    raise CommitConflictError(
        f"{open_table.table}: other merges were first {open_table.settings.commit_attempts} times; forget again",
        table=open_table.table,
    )


def _with_rows(
    storage: Storage, shape: TableShape, base: BaseSnapshot, keys: Keys, *, threads: int
) -> list[NumberedFile]:
    """Files that hold rows of the keys, deleted ones included; statistics only leave out files that cannot."""
    candidates = files_with(evaluation_input(base, Pending((), ()), shape), keys.frame)
    answers = LocalExecutor(threads).map(partial(_holds, storage, shape, keys), candidates, step="look for rows")
    return [file for file, holds in zip(candidates, answers, strict=True) if holds]


def _holds(storage: Storage, shape: TableShape, keys: Keys, file: NumberedFile) -> bool:
    rows = pl.from_arrow(OpenFile(storage, file.path, file.file, shape).read(list(shape.columns.key)))
    assert isinstance(rows, pl.DataFrame)
    return bool(np.any(keys.among(rows).to_numpy()))
