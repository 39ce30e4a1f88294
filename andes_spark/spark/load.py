"""Initial load of a Spark DataFrame, straight into files of the base; tasks write, then keys are checked."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from andes_spark.base.files import OpenFile
from andes_spark.base.load import check_unique, duplicate_keys, load_rows
from andes_spark.base.merge.plan import width
from andes_spark.base.rows import RowWriter
from andes_spark.base.runs import merged_runs
from andes_spark.delta import paths
from andes_spark.delta.actions import Action
from andes_spark.delta.data_file import DataFile
from andes_spark.law.rows import NAMED_KEYS
from andes_spark.run.executor import LocalExecutor
from andes_spark.schema.casts import CastRules
from andes_spark.schema.differences import differences
from andes_spark.schema.schema import Schema
from andes_spark.schema.spelling import renamed, spelled
from andes_spark.settings import Settings
from andes_spark.spark.columns import numbered, quoted
from andes_spark.spark.tasks import Row, SparkExecutor, result_type
from andes_spark.storage.interface import Storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Loaded:
    """Files with the rows of one sorted piece, and the ranges of its keys."""

    adds: list[Action]
    ranges: list[tuple[tuple[Any, ...], tuple[Any, ...]]]


@dataclass(frozen=True)
class Loader:
    """Work of one task on its rows; sent to tasks."""

    storage: Storage
    writer: RowWriter
    rules: CastRules

    def run(self, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
        """Yield pickled ``Loaded``, one for the rows of each file.

        Raises:
            DuplicateKeyError: two rows of one of them share a key.
        """
        pending: list[pa.RecordBatch] = []
        size = 0
        for batch in batches:
            if batch.num_rows == 0:
                continue
            pending.append(batch)
            size += batch.nbytes
            if size >= 2 * self.writer.target_bytes:
                yield self._write(pending)
                pending, size = [], 0
        if pending:
            yield self._write(pending)

    def _write(self, pending: list[pa.RecordBatch]) -> bytes:
        shape = self.writer.shape
        pieces = load_rows(pa.Table.from_batches(pending), shape, self.rules)
        rows = pa.concat_tables(pieces)
        check_unique(rows, shape.columns, shape.table)
        ranges = [_range(piece.select(list(shape.columns.key))) for piece in pieces]
        return pickle.dumps(Loaded(self.writer.write(self.storage, rows), ranges))


def _range(keys: pa.Table) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    low, high = (tuple(end.values()) for end in keys.take(pa.array([0, keys.num_rows - 1])).to_pylist())
    return low, high


def load_frame(
    executor: SparkExecutor,
    frame: DataFrame,
    storage: Storage,
    writer: RowWriter,
    settings: Settings,
    rules: CastRules,
) -> list[Action]:
    """Write the rows of a DataFrame as files of the base. Runs one Spark job, and one more for huge keys.

    Raises:
        SchemaMismatchError: before any job runs.
        BadModsError, DuplicateKeyError: nothing stays behind.
    """
    shape = writer.shape
    schema = Schema.from_json(frame.schema.json()).to_arrow()
    spelling = spelled(schema.names, shape.schema.names, shape.table)
    incoming = renamed(schema.empty_table(), spelling).schema
    differences(incoming, shape.schema, required=shape.columns.narrow, rules=rules).raise_if_any()
    selected = frame.select(*(quoted(name).alias(column) for name, column in spelling.items()))
    task = _task(pickle.dumps((Loader(storage, writer, rules), selected.columns)))
    job = numbered(selected).mapInArrow(task, result_type())
    rows = executor.collect(job, step="load rows", undo=lambda rows: _drop(storage, _loaded(rows)))
    loaded = _loaded(rows)
    try:
        _check_unique(
            executor, storage, writer, [action for result in meeting(loaded) for action in result.adds], settings
        )
    except BaseException:
        _drop(storage, loaded)
        raise
    return [action for result in loaded for action in result.adds]


def _loaded(rows: list[Row]) -> list[Loaded]:
    return [pickle.loads(payload) for kind, _, payload in rows if kind == "adds"]


def _drop(storage: Storage, loaded: list[Loaded]) -> None:
    storage.delete(paths.decode_path(action["add"]["path"]) for result in loaded for action in result.adds)


def meeting(loaded: list[Loaded]) -> list[Loaded]:
    """Select the pieces with a range of keys that overlaps another's: only these can share a key."""
    ordered = sorted((low, high, number) for number, result in enumerate(loaded) for low, high in result.ranges)
    numbers: set[int] = set()
    reach: tuple[Any, ...] | None = None
    furthest = -1
    for low, high, number in ordered:
        if reach is not None and low <= reach:
            numbers |= {number, furthest}
        if reach is None or high > reach:
            reach, furthest = high, number
    return [loaded[number] for number in sorted(numbers)]


def _check_unique(
    executor: SparkExecutor, storage: Storage, writer: RowWriter, adds: list[Action], settings: Settings
) -> None:
    shape = writer.shape
    rows = sum(int(json.loads(action["add"]["stats"])["numRecords"]) for action in adds)
    key_bytes = sum(width(shape.arrow.field(name).type) for name in shape.columns.key)
    if rows * key_bytes > settings.byte_budget:
        _check_in_spark(executor, storage, writer, adds)
        return
    key = list(shape.columns.key)

    def read(action: Action) -> pa.Table:
        path = paths.decode_path(action["add"]["path"])
        return OpenFile(storage, path, DataFile.from_add(action["add"]), shape).read(key)

    if not adds:
        return
    read_keys = pa.concat_tables(LocalExecutor(settings.threads).map(read, adds, step="read keys"))
    pieces = merged_runs(read_keys, key)
    if pieces is not None:
        check_unique(pa.concat_tables(pieces), shape.columns, shape.table)
        return
    keys = pl.from_arrow(read_keys)
    assert isinstance(keys, pl.DataFrame)
    # Hashes are compared first, which is faster for keys of several columns.
    suspects = keys.filter(keys.hash_rows().is_duplicated())
    twice = suspects.filter(suspects.is_duplicated())
    if twice.height:
        raise duplicate_keys(twice.unique().head(NAMED_KEYS).to_dicts(), shape.table)


def _check_in_spark(executor: SparkExecutor, storage: Storage, writer: RowWriter, adds: list[Action]) -> None:
    """Check for repeated keys by a Spark aggregation, for keys above the byte budget; tasks read the files."""
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    shape = writer.shape
    names = [f"k{i}" for i in range(len(shape.columns.key))]
    fields = json.loads(shape.schema.select(shape.columns.key).to_json())["fields"]
    kinds = [{**field, "name": name} for field, name in zip(fields, names, strict=True)]
    task = _keys_task(pickle.dumps((storage, shape, adds)))
    files = executor.spark.range(0, len(adds), 1, max(1, len(adds)))
    frame = files.mapInArrow(task, StructType.fromJson({"type": "struct", "fields": kinds}))
    with executor.described("check that keys are unique"):
        twice = frame.groupBy(*names).agg(F.count(F.lit(1)).alias("n")).where("n > 1").limit(NAMED_KEYS).collect()
    if twice:
        # Spark gives instants without a zone, in this process's; as everywhere else they are told in UTC.
        instants = {field["name"] for field in kinds if field["type"] == "timestamp"}
        keys = [
            {
                key: row[n].astimezone(UTC) if n in instants else row[n]
                for key, n in zip(shape.columns.key, names, strict=True)
            }
            for row in twice
        ]
        raise duplicate_keys(keys, shape.table)


def _task(payload: bytes) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in a task; pickled by value, see ``spark.tasks``."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pickle

        import pyarrow as pa

        def row(kind: str, data: bytes) -> pa.RecordBatch:
            return pa.record_batch(
                [pa.array([kind]), pa.array([0], pa.int64()), pa.array([data], pa.binary())],
                names=["kind", "part", "payload"],
            )

        try:
            from andes_spark.errors import AndesError, StorageError
            from andes_spark.spark.task_errors import note

            loader, names = pickle.loads(payload)
        except ImportError as error:
            yield row("missing", str(error.name or error).encode())
            return
        try:
            for data in loader.run(batch.rename_columns(names) for batch in batches):
                yield row("adds", data)
        except StorageError as error:
            note(error)
            raise
        except AndesError as error:
            yield row("error", pickle.dumps(error))

    return run


def _keys_task(payload: bytes) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that reads the keys of files in a task; pickled by value, see ``spark.tasks``."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pickle

        from andes_spark.base.files import OpenFile
        from andes_spark.delta.data_file import DataFile
        from andes_spark.delta.paths import decode_path
        from andes_spark.errors import AndesError
        from andes_spark.spark.task_errors import note

        storage, shape, adds = pickle.loads(payload)
        names = [f"k{i}" for i in range(len(shape.columns.key))]
        for batch in batches:
            for number in batch.column(0).to_pylist():
                add = adds[number]["add"]
                file = OpenFile(storage, decode_path(add["path"]), DataFile.from_add(add), shape)
                try:
                    keys = file.read(list(shape.columns.key))
                except AndesError as error:
                    note(error)
                    raise
                yield from keys.rename_columns(names).to_batches(max_chunksize=65536)

    return run
