"""What every Delta log of a table must say of its files, compared with the files themselves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.delta.bounds import column_range
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.log import load_state
from andes_spark.delta.partition_values import partition_value
from andes_spark.delta.prune import candidates
from andes_spark.delta.state import DeltaState
from andes_spark.delta.vectors import load_vector
from andes_spark.schema.schema import Schema
from andes_spark.storage.interface import Storage


def check_log(storage: Storage, keys: Sequence[str]) -> None:
    """Check statistics, vectors, partition values and pruning by key of all live files.

    Raises:
        AssertionError: the log says something else than the files do.
    """
    state = load_state(storage)
    schema = Schema.from_json(state.metadata.schema_json)
    for location, file in state.files.items():
        rows = pq.read_table(pa.BufferReader(storage.get(location)))
        _check_file(storage, file, rows, schema, state)
        for start in range(rows.num_rows):
            key = rows.select(list(keys)).slice(start, 1)
            positions = candidates(state.files.values(), schema, state.metadata.partition_columns, key)
            assert file in list(itertools.compress(state.files.values(), _marks(positions, len(state.files))))


def _marks(positions: Sequence[int], count: int) -> list[bool]:
    return [number in positions for number in range(count)]


def _check_file(storage: Storage, file: DataFile, rows: pa.Table, schema: Schema, state: DeltaState) -> None:
    assert file.num_records == rows.num_rows
    assert file.stats["tightBounds"] is (file.vector is None)
    if file.vector is not None:
        assert file.vector.storage_type == "u"
        vector = load_vector(storage, file.vector)
        assert 0 < len(vector) <= rows.num_rows
        assert vector.max() < rows.num_rows
    for field in schema:
        column = rows[field.name]
        if field.name in state.metadata.partition_columns:
            values = {partition_value(value, field.type) for value in column.to_pylist()}
            assert values == {file.partition_values[field.name]}
        elif field.name in file.stats.get("nullCount", {}):
            assert file.stats["nullCount"][field.name] == column.null_count
            _check_bounds(file, field.name, column, schema)


def _check_bounds(file: DataFile, name: str, column: pa.ChunkedArray, schema: Schema) -> None:
    low, high = column_range(file.stats, name, schema.field(name).type)
    if column.null_count == len(column) or not isinstance(low if low is not None else high, int | str):
        return
    extremes: dict[str, Any] = pc.min_max(column.cast(pa.int64()) if isinstance(low, int) else column).as_py()
    assert low is None or low <= extremes["min"]
    assert high is None or high >= extremes["max"]
