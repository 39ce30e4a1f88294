"""Fresh reads as Spark DataFrames: the pinned base, without the rows that pending mods replace, and their rows.

Which pending mods count is decided by the kernel. A pending winner can only be late against a row whose
sequence is at or above it, so the base is looked at just where its statistics allow such rows; a batch that is
newer than the base costs no scan.
"""

from __future__ import annotations

import datetime
import json
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from andes_spark.base.evaluate import evaluate, local_locator
from andes_spark.base.evaluation import Evaluation, EvaluationInput, Snapshot
from andes_spark.base.merge.plan import BUCKET_BYTES, estimate
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.log.sampling import bucket_bounds
from andes_spark.model.values import unscaled
from andes_spark.schema.schema import Schema
from andes_spark.settings import Settings
from andes_spark.spark.arrow_frames import BATCH_ROWS, arrow_frame, shipped_frame
from andes_spark.spark.columns import escaped
from andes_spark.spark.fitted import fitted
from andes_spark.spark.key_blocks import block_type, blocks, fits, without_blocks
from andes_spark.spark.s3a import read_base
from andes_spark.spark.session import require_delta
from andes_spark.spark.tasks import SparkExecutor
from andes_spark.storage.interface import Storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

LOCAL_ROWS = 20_000
"""Rows up to which the driver hands them to Spark; more are read by tasks."""

_NULLABLE = frozenset({"nullable", "containsNull", "valueContainsNull"})


@dataclass(frozen=True)
class Overlay:
    """Evaluation of pending mods for a read; sent to tasks.

    Attributes:
        storage: the table's folder.
        inputs: base and pending mods.
        threads: for scans.
    """

    storage: Storage
    inputs: EvaluationInput
    threads: int

    def evaluate(self, bounds: KeyRange | None, columns: Sequence[str] | None) -> Evaluation:
        """Evaluate the rows written by pending mods, for all keys or those within bounds; some columns or all."""
        locate = local_locator(self.storage, self.inputs.shape, self.threads)
        return evaluate(self.storage, self.inputs, locate=locate, bounds=bounds, columns=columns)

    def keys(self, evaluation: Evaluation) -> pa.Table:
        """Return the keys whose base rows are replaced or deleted."""
        key = list(self.inputs.shape.columns.key)
        schema = pa.schema([self.inputs.shape.arrow.field(name) for name in key])
        deleted = evaluation.deleted.select(key).to_arrow().cast(schema)
        return pa.concat_tables([evaluation.rows.select(key).cast(schema), deleted])


def read_snapshot(executor: SparkExecutor, snapshot: Snapshot, storage: Storage, settings: Settings) -> DataFrame:
    """Read the rows of a pinned version as a DataFrame. Runs no Spark job while pending mods fit the byte budget.

    Raises:
        OptionError: the session cannot do Delta.
    """
    from pyspark.sql.types import StructType

    spark = executor.spark
    require_delta(spark)
    if snapshot.base.foreign is not None:
        warnings.warn(
            f"{storage.url}: Delta version {snapshot.base.foreign.delta_version} is another writer's and "
            f"{snapshot.base.foreign.effect}; this read stays at Delta version {snapshot.base.version}",
            RuntimeWarning,
            stacklevel=3,
        )
    base = read_base(spark, storage, snapshot.base.version)
    if snapshot.inputs.pending.alteration is not None:
        base = fitted(base, StructType.fromJson(snapshot.inputs.shape.schema.to_json_value()))
    if snapshot.merged:
        return base
    base = _truncated(base, snapshot.inputs)
    if snapshot.inputs.pending.rows == 0:
        return base
    overlay = Overlay(storage, _where_late(snapshot.inputs), settings.threads)
    sizes = estimate(snapshot.inputs)
    if sizes.mods + sizes.narrow <= settings.byte_budget:
        return _here(executor, overlay, base)
    return _in_tasks(executor, overlay, base, sizes.mods + sizes.narrow)


def _where_late(inputs: EvaluationInput) -> EvaluationInput:
    """The input with only those base files in which a pending winner could be late."""
    sequence = inputs.shape.columns.sequence
    folds = any(file.entry.partial for file in inputs.pending.files) or inputs.pending.expiry.may_cross
    if folds:
        return inputs
    if not sequence:
        return replace(inputs, files=inputs.files.pick([]))
    lowest = [file.entry.low_sequence for file in inputs.pending.files if file.entry.rows > file.entry.truncates]
    if any(values is None for values in lowest):
        return inputs
    kind = inputs.shape.arrow.field(sequence[0]).type
    type_ = inputs.shape.schema.field(sequence[0]).type
    bound: Any = min(unscaled(values[0], kind) for values in lowest if values)
    ranges = inputs.files.files.ranges(sequence[0], type_, partition=False)
    if ranges is None:
        return inputs
    may_be_late = ranges.high.is_null() | (ranges.high >= bound)
    return replace(inputs, files=inputs.files.pick(np.flatnonzero(may_be_late.to_numpy())))


def _truncated(base: DataFrame, inputs: EvaluationInput) -> DataFrame:
    """Remove rows at or below a pending truncate from the base."""
    from pyspark.sql import functions as F

    if inputs.erased:
        return base.where(F.lit(False))
    mark = inputs.swept
    if not inputs.pending.truncates or mark is None:
        return base
    names = inputs.shape.columns.sequence
    above = F.lit(False)
    for name, value in zip(reversed(names), reversed(mark), strict=True):
        column = base[escaped(name)]
        literal = F.lit(value)
        if isinstance(value, datetime.datetime) and value.tzinfo is None:
            # pyspark makes a timestamp of it, which Spark would compare in the zone of the session.
            literal = F.lit(value.isoformat(" ")).cast("timestamp_ntz")
        above = (column > literal) | ((column == literal) & above)
    return base.where(above)


def _here(executor: SparkExecutor, overlay: Overlay, base: DataFrame) -> DataFrame:
    """Apply pending mods to the base, evaluated in this process."""
    shape = overlay.inputs.shape
    is_small = overlay.inputs.pending.rows <= LOCAL_ROWS
    evaluation = overlay.evaluate(None, None if is_small else shape.columns.key)
    kept = _without(executor, overlay, base, overlay.keys(evaluation))
    if evaluation.picks is not None and evaluation.picks.height > LOCAL_ROWS:
        return kept.unionByName(_picked(executor, overlay, evaluation.picks))
    whole = evaluation.rows if is_small else overlay.evaluate(None, None).rows
    kind = struct_type(overlay, shape.schema.names)
    return kept.unionByName(arrow_frame(executor.spark, whole.cast(shape.arrow), kind))


def _without(executor: SparkExecutor, overlay: Overlay, base: DataFrame, keys: pa.Table) -> DataFrame:
    """Remove the rows of some keys from the base."""
    from pyspark.sql import functions as F

    in_blocks = fits(keys.schema)
    data = blocks(keys) if in_blocks else keys
    kind = block_type() if in_blocks else struct_type(overlay, keys.column_names)
    if data.num_rows > LOCAL_ROWS:
        frame = shipped_frame(executor.spark, data, kind, tasks=executor.slots)
    else:
        frame = arrow_frame(executor.spark, data, kind)
    replaced = F.broadcast(frame)
    return without_blocks(base, replaced, keys.column_names[0]) if in_blocks else _without_keys(base, replaced)


def _without_keys(base: DataFrame, keys: DataFrame) -> DataFrame:
    condition = [base[escaped(name)] == keys[escaped(name)] for name in keys.columns]
    return base.join(keys, on=condition, how="left_anti")


def _picked(executor: SparkExecutor, overlay: Overlay, picks: pl.DataFrame) -> DataFrame:
    """Return rows that tasks read from files of mods, which is faster for many rows than sending them."""
    storage, pending, shape = overlay.storage, overlay.inputs.pending, overlay.inputs.shape
    names, table, tasks = list(shape.schema.names), shape.table, executor.slots

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from andes_spark.log.pending_rows import read_rows

        for batch in batches:
            for number in batch.column(0).to_pylist():
                share = picks[number * picks.height // tasks : (number + 1) * picks.height // tasks]
                rows = read_rows(storage, pending, share, table=table, columns=names)
                yield from rows.combine_chunks().to_batches(max_chunksize=BATCH_ROWS)

    return executor.spark.range(0, tasks, 1, tasks).mapInArrow(run, struct_type(overlay, names))


def struct_type(overlay: Overlay, names: Sequence[str]) -> StructType:
    """Return Spark's type of columns."""
    return relaxed_type(overlay.inputs.shape.schema.select(names))


def relaxed_type(schema: Schema) -> StructType:
    """Return Spark's type of rows of a schema.

    Parts of nested values are nullable, as they are in Arrow: pyspark would take a NULL struct for one whose
    NOT NULL fields are NULL.
    """
    from pyspark.sql.types import StructType

    def relaxed(value: dict[str, Any]) -> dict[str, Any]:
        return {name: True if name in _NULLABLE else part for name, part in value.items()}

    fields = [
        {**field, "type": json.loads(json.dumps(field["type"]), object_hook=relaxed)}
        for field in json.loads(schema.to_json())["fields"]
    ]
    return StructType.fromJson({"type": "struct", "fields": fields})


def _in_tasks(executor: SparkExecutor, overlay: Overlay, base: DataFrame, size: int) -> DataFrame:
    """Apply pending mods to the base, evaluated by tasks, one range of keys each, when the DataFrame is."""
    shape = overlay.inputs.shape
    buckets = max(executor.slots, -(-size // BUCKET_BYTES))
    bounds = bucket_bounds(
        overlay.storage, overlay.inputs.pending, shape.columns, shape.arrow, buckets, table=shape.table
    )
    numbers = executor.spark.range(0, len(bounds), 1, len(bounds))
    frames = []
    for part, names in (("keys", shape.columns.key), ("rows", shape.schema.names)):
        task = _task(pickle.dumps((overlay, bounds)), part)
        frames.append(numbers.mapInArrow(task, struct_type(overlay, names)))
    return _without_keys(base, frames[0]).unionByName(frames[1])


def _task(payload: bytes, part: str) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that runs in a task; pickled by value, see ``spark.tasks``."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pickle

        for batch in batches:
            for number in batch.column(0).to_pylist():
                overlay, bounds = pickle.loads(payload)
                evaluation = overlay.evaluate(bounds[number], None)
                rows = overlay.keys(evaluation) if part == "keys" else evaluation.rows
                yield from rows.combine_chunks().to_batches(max_chunksize=BATCH_ROWS)

    return run
