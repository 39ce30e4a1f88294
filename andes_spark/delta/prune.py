"""Selection of the files that can hold some of a set of keys, by statistics and partition values alone.

Conservative: a file is kept if its bounds are missing, unreadable or of a type without an order in the log. A file
that holds one of the keys is never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from andes_spark.delta.data_file import DataFile
from andes_spark.delta.files import Files
from andes_spark.delta.ranges import sorted_values
from andes_spark.schema.schema import Schema

_MANY = 10_000
"""Maximum number of values that are searched in a column after the first, which is sorted already. For more, only their
range is compared: sorting takes as long as reading a file, and few files lie between that many values.
"""


def candidates(
    files: Files | Iterable[DataFile], schema: Schema, partition_columns: Sequence[str], keys: pa.Table
) -> list[int]:
    """Find the files that may hold a row with one of the keys; return their positions in ``files``, ascending.

    Args:
        files: of the table.
        schema: of the table.
        partition_columns: its partition columns.
        keys: key columns only, of the table's types and without nulls, in any order; sorted keys are fastest.

    Each of several key columns is compared alone: a file is left out if no value of one of them, or for very many
    values their range, is within the file's bounds.
    """
    if not keys.num_rows:
        return []
    columns = files if isinstance(files, Files) else Files.of(files)
    kept = np.arange(len(columns))
    for name in keys.column_names:
        type_ = schema.field(name).type
        ranges = columns.ranges(name, type_, partition=name in partition_columns)
        if ranges is None or not len(kept):
            continue
        if len(kept) < len(columns):
            ranges = ranges.pick(kept)
        values = _plain(keys[name])
        if keys.num_rows > _MANY and name != keys.column_names[0]:
            values = pa.chunked_array([values.unique()])
        if len(values) > _MANY and name != keys.column_names[0]:
            extremes = sorted_values(_extremes(values), type_)
            hits = ranges.overlap(extremes[0], extremes[-1])
        else:
            hits = ranges.contain_any(sorted_values(values, type_))
        kept = kept[hits]
    return [int(position) for position in kept]


def _extremes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The least and the greatest value."""
    extremes = pc.min_max(column)
    return pa.chunked_array([pa.array([extremes["min"], extremes["max"]], column.type)])


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pat.is_dictionary(column.type) else column
