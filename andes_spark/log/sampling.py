"""Split of the keys of mods into ranges of about equal size, by samples of their files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from andes_spark.law.columns import KeyColumns
from andes_spark.law.keys.ranges import KeyRange, split
from andes_spark.log.mod_files import open_entry
from andes_spark.log.pending import Pending
from andes_spark.storage.interface import Storage

_SAMPLED_GROUPS = 128
_SAMPLES_A_GROUP = 64


def bucket_bounds(
    storage: Storage,
    pending: Pending,
    columns: KeyColumns,
    schema: pa.Schema,
    buckets: int,
    *,
    table: str,
) -> list[KeyRange]:
    """Split the keys of pending mods into ranges of about equal size, by sampling the files.

    Files of mods are sorted by key, so samples are taken from row groups spread over each file.
    """
    if buckets < 2:
        return [KeyRange(columns.key, tuple(schema.field(name).type for name in columns.key))]
    parts, weights = [], []
    per_file = max(2, _SAMPLED_GROUPS // max(1, len(pending.files)))
    for file in pending.files:
        entry = file.entry
        if entry.rows == entry.truncates:
            continue
        opened = open_entry(storage, entry, table=table)
        groups = np.unique(np.linspace(0, opened.num_row_groups - 1, per_file).astype(int)).tolist()
        keys = pending.read(opened, entry, columns.key, table, groups)
        if entry.truncates:
            keys = keys.drop_null()
        count = min(keys.num_rows, _SAMPLES_A_GROUP * len(groups))
        if count:
            at = np.linspace(0, keys.num_rows - 1, count).astype(np.int64)
            parts.append(keys.take(pa.array(at)))
            weights += [entry.rows / count] * count
    return split(pa.concat_tables(parts), weights, buckets, columns.key)
