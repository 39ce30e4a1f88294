"""Rows of a snapshot as Arrow: the base and the pending mods, by the same law as a merge, without Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.evaluate import evaluate, local_locator
from andes_spark.base.evaluation import Evaluation, EvaluationInput, Snapshot, evaluation_input
from andes_spark.base.files import NumberedFile, NumberedFiles, OpenFile, TableShape
from andes_spark.base.merge.bucket import TruncateJob
from andes_spark.base.merge.plan import bucket_count, estimate
from andes_spark.batch.condition import Condition, condition_of
from andes_spark.delta.skipping import may_hold
from andes_spark.delta.vectors import deserialize, from_positions, load_vector, to_positions
from andes_spark.errors import OptionError
from andes_spark.law.columns import BASE_FILE, BASE_ROW
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.order import grouped
from andes_spark.log.pending import KEPT_SHARE, kept_mods, pending_of
from andes_spark.log.readable import check_readable, floor_of
from andes_spark.log.sampling import bucket_bounds
from andes_spark.model.read_options import ReadOptions
from andes_spark.run.executor import LocalExecutor, ahead
from andes_spark.schema.names import resolve_all
from andes_spark.settings import MIB, Settings
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import Asked
from andes_spark.table.history.expired import or_expired
from andes_spark.table.history.travel import evaluable
from andes_spark.table.history.versions import chosen_version
from andes_spark.table.open_table import OpenTable

_BATCH_BYTES = 16 * MIB
SHARE = 8
"""Part of the byte budget that rows of a file above the budget take as they are read: a filter copies them."""
_LIMITED_BYTES = MIB
"""Arrow bytes of the rows that a read with a limit takes at a time."""


def pin(
    open_table: OpenTable, version: int | None, *, shape: TableShape | None = None, refresh: bool = True
) -> Snapshot:
    """Pin a version; the newest for None.

    Base and log are asked for at once; where the base contains more than that, the log is asked again.

    Args:
        open_table: the table.
        version: version of the log.
        shape: shape of the rows, which may be that of a later version; None for that of the version.
        refresh: whether to look for a newer state of the base; False after another pin in the same operation.

    Raises:
        NoSuchVersionError, VersionExpiredError: as the log says.
        LogDamagedError, FileDamagedError: what is stored is not what was written.
    """
    if version is None:
        floor = floor_of(open_table.log)
        open_table.base.ask()
        newer = open_table.log.ask_newer(check_head=False)
        base = open_table.base.snapshot()
        version = open_table.log.take_newer(newer)
        if base.applied > version:
            version = open_table.log.refresh()
        if floor_of(open_table.log) > floor or open_table.base.is_void(base):
            # A vacuum may have deleted files of the state that was read before its manifest, or a repair replaced it.
            base = open_table.base.snapshot()
            version = max(version, open_table.log.refresh()) if base.applied > version else version
    else:
        if version > open_table.log.head:
            open_table.log.refresh()
        check_readable(open_table.log, version)
        with or_expired(open_table, version):
            base = open_table.base.snapshot_at(version) if refresh else open_table.base.older(version)
    shape = shape or open_table.shape_at(version)
    with or_expired(open_table, version):
        base, versions = evaluable(open_table, base, version)
    pending = pending_of(versions, shape.versions, shape.columns)
    return Snapshot(version, base, evaluation_input(base, pending, shape))


def while_pinned(
    open_table: OpenTable, version: int, inputs: EvaluationInput, *, floor: int
) -> AbstractContextManager[None]:
    """Return the context in which the files of a pinned version are read, see ``history.expired.or_expired``.

    Args:
        open_table: the table.
        version: version that was pinned.
        inputs: its base and pending mods.
        floor: floor when it was pinned.
    """

    def is_replaced() -> bool:
        now = pin(open_table, version).inputs.files
        return {file.path for file in now} != {file.path for file in inputs.files}

    return or_expired(open_table, version, floor=floor, is_replaced=is_replaced)


@dataclass(frozen=True)
class Selection:
    """Rows and columns of a read.

    Attributes:
        names: columns of the result.
        used: columns that are read: those of the result and of the condition.
        condition: rows for which it is true; None for all.
        limit: rows at most; None for all.
    """

    names: tuple[str, ...]
    used: tuple[str, ...]
    condition: Condition | None
    limit: int | None


def scan(open_table: OpenTable, options: ReadOptions) -> pa.RecordBatchReader:
    """Return the rows of a version as a stream, pinned at the call; see ``ModTable.to_batches``.

    Files of the base are read when their rows are asked for: those that the filter may match, and with a limit a
    row group at a time.
    """
    floor = floor_of(open_table.log)
    snapshot = pin(open_table, chosen_version(open_table, options))
    open_table.pending_reads += not snapshot.merged
    selection = _selection(snapshot.inputs.shape, options)
    schema = pa.schema([snapshot.inputs.shape.arrow.field(name) for name in selection.names])
    return pa.RecordBatchReader.from_batches(schema, _batches(open_table, snapshot, selection, schema, floor))


def resolved(shape: TableShape, columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the columns that a read asks for; all for None.

    Raises:
        OptionError: no names, unknown ones, or one that is named twice.
    """
    if columns is not None and not columns:
        raise OptionError("columns is an empty list: name at least one column", option="columns")
    names = shape.schema.names if columns is None else resolve_all(columns, shape.schema.names)
    unknown = sorted(set(names) - set(shape.schema.names))
    if unknown:
        raise OptionError(f"{shape.table}: no columns {unknown}", table=shape.table, column=unknown[0])
    repeated = next((name for name in names if list(names).count(name) > 1), None)
    if repeated is not None:
        raise OptionError(f"{shape.table}: columns names {repeated!r} twice", table=shape.table, option="columns")
    return tuple(names)


def _selection(shape: TableShape, options: ReadOptions) -> Selection:
    names = resolved(shape, options.columns)
    condition = condition_of("filter", options.filter)
    roots = _columns_of(condition, shape)
    selection = Selection(names, tuple(dict.fromkeys([*names, *roots])), condition, options.limit)
    _filtered(shape.arrow.empty_table(), condition)  # refuses what cannot be evaluated before a file is read
    return selection


def _batches(
    open_table: OpenTable, snapshot: Snapshot, selection: Selection, schema: pa.Schema, floor: int
) -> Iterator[pa.RecordBatch]:
    left = selection.limit
    if left == 0:
        return
    settings = open_table.settings
    for part in _unless_expired(open_table, snapshot, selection, floor):
        rows = _filtered(part, selection.condition).select(list(selection.names)).cast(schema)
        rows = rows if left is None else rows.slice(0, left)
        yield from rows.to_batches(max_chunksize=_batch_rows(rows, settings.byte_budget))
        left = None if left is None else left - rows.num_rows
        if left == 0:
            return


def _unless_expired(open_table: OpenTable, snapshot: Snapshot, selection: Selection, floor: int) -> Iterator[pa.Table]:
    with while_pinned(open_table, snapshot.version, snapshot.inputs, floor=floor):
        yield from row_parts(open_table.storage, snapshot.inputs, open_table.settings, selection)


def _batch_rows(rows: pa.Table, byte_budget: int) -> int:
    """Rows of a batch of about ``_BATCH_BYTES``."""
    width = max(1, rows.nbytes // max(1, rows.num_rows))
    return int(max(1, min(_BATCH_BYTES, byte_budget) // width))


def row_parts(
    storage: Storage, inputs: EvaluationInput, settings: Settings, selection: Selection
) -> Iterator[pa.Table]:
    """Yield the remaining rows of each file of the base, then the rows that pending mods write."""
    ranges = pending_ranges(storage, inputs, settings)
    if ranges == [None]:
        evaluation = evaluated(storage, inputs, settings, columns=selection.used)
        replaced = gone_rows(storage, inputs, evaluation, settings)
        yield from base_parts(storage, inputs, settings, selection, replaced)
        if evaluation is not None:
            yield evaluation.rows
        return
    # Above the budget each range of keys is evaluated twice: for the base rows that it replaces, then for its own.
    replaced = truncated_rows(storage, inputs, settings)
    for bounds in ranges:
        evaluation = evaluated(storage, inputs, settings, columns=inputs.shape.columns.key, bounds=bounds)
        add_rows(replaced, replaced_rows(evaluation))
    yield from base_parts(storage, inputs, settings, selection, replaced)
    for bounds in ranges:
        evaluation = evaluated(storage, inputs, settings, columns=selection.used, bounds=bounds)
        if evaluation is not None:
            yield evaluation.rows


def pending_ranges(storage: Storage, inputs: EvaluationInput, settings: Settings) -> list[KeyRange | None]:
    """Split the keys into ranges whose pending mods fit the byte budget; None for all keys."""
    sizes = estimate(inputs)
    size = sizes.mods + sizes.narrow
    if size <= settings.byte_budget or inputs.pending.rows == 0:
        return [None]
    shape, buckets = inputs.shape, bucket_count(size, inputs.pending.rows, settings)
    return list(bucket_bounds(storage, inputs.pending, shape.columns, shape.arrow, buckets, table=shape.table))


def base_parts(
    storage: Storage,
    inputs: EvaluationInput,
    settings: Settings,
    selection: Selection,
    replaced: Mapping[int, BitMap64],
) -> Iterator[pa.Table]:
    """Yield the rows of each file of a base that are neither deleted nor among ``replaced``, by number of the file."""
    files = inputs.files.pick([]) if inputs.erased else _files_for(inputs, selection.condition)
    largest = int(files.files.arrow_bytes.max(initial=0))
    share = settings.byte_budget // SHARE

    def alive(file: NumberedFile) -> pa.Table:
        return alive_rows(storage, file, inputs.shape, selection.used, replaced.get(file.number))

    if selection.limit is None and largest <= settings.byte_budget:
        slots = min(settings.threads, settings.byte_budget // max(1, largest))
        yield from ahead(alive, files, slots=slots, step="read base")
        return
    for file in files:
        size = share if selection.limit is None else min(share, _LIMITED_BYTES)
        yield from alive_batches(storage, file, inputs.shape, selection.used, replaced.get(file.number), size)


def _files_for(inputs: EvaluationInput, condition: Condition | None) -> NumberedFiles:
    """Select files of the base that may contain rows for which a condition is true."""
    if condition is None:
        return inputs.files
    flags = may_hold(
        inputs.files.files,
        inputs.shape.schema,
        inputs.shape.partition_by,
        condition.form(inputs.shape.arrow),
    )
    return inputs.files.pick(np.flatnonzero(flags))


def evaluated(
    storage: Storage,
    inputs: EvaluationInput,
    settings: Settings,
    *,
    columns: Sequence[str],
    bounds: KeyRange | None = None,
) -> Evaluation | None:
    """Evaluate pending mods in this process, all or those within bounds; None if there are none."""
    if inputs.pending.rows == 0:
        return None
    locate = local_locator(storage, inputs.shape, settings.threads)
    storage = kept_mods(storage, inputs.pending, settings.byte_budget // KEPT_SHARE)
    return evaluate(storage, inputs, locate=locate, columns=columns, bounds=bounds)


def gone_rows(
    storage: Storage, inputs: EvaluationInput, evaluation: Evaluation | None, settings: Settings
) -> dict[int, BitMap64]:
    """Return the rows of the base that pending mods replace or remove, by number of the file."""
    replaced = truncated_rows(storage, inputs, settings)
    add_rows(replaced, replaced_rows(evaluation))
    return replaced


def replaced_rows(evaluation: Evaluation | None) -> dict[int, BitMap64]:
    """Return the rows of the base that an evaluation replaces or removes, by number of the file."""
    if evaluation is None or evaluation.replaced.height == 0:
        return {}
    files, rows = evaluation.replaced[BASE_FILE].to_numpy(), evaluation.replaced[BASE_ROW].to_numpy()
    return {number: from_positions(rows[places]) for number, places in grouped(files)}


def truncated_rows(storage: Storage, inputs: EvaluationInput, settings: Settings) -> dict[int, BitMap64]:
    """Return the rows of the base at or below a pending truncate, by number of the file."""
    if not inputs.pending.truncates or inputs.erased or inputs.swept is None:
        return {}
    job = TruncateJob(storage, inputs.shape, inputs.swept)
    bitmaps = LocalExecutor(settings.threads).map(job, inputs.files, step="find truncated rows")
    return {number: deserialize(data) for number, data in bitmaps if data}


def add_rows(bitmaps: dict[int, BitMap64], more: Mapping[int, BitMap64]) -> None:
    """Add rows, by number of the file."""
    for number, rows in more.items():
        bitmaps[number] = bitmaps[number] | rows if number in bitmaps else rows


def alive_rows(
    storage: Storage, file: NumberedFile, shape: TableShape, columns: Sequence[str], replaced: BitMap64 | None
) -> pa.Table:
    """Read columns of the rows of a file that are not deleted or replaced."""
    vector = _ask_vector(storage, file)
    data = OpenFile(storage, file.path, file.file, shape).read(columns)
    return _without(data, _dead_rows(vector, replaced))


def alive_batches(
    storage: Storage,
    file: NumberedFile,
    shape: TableShape,
    columns: Sequence[str],
    replaced: BitMap64 | None,
    batch_bytes: int,
) -> Iterator[pa.Table]:
    """As :func:`alive_rows`, in tables of about ``batch_bytes``, however large the row groups of the file are."""
    vector = _ask_vector(storage, file)
    dead: npt.NDArray[np.int64] | None = None
    first = 0
    for data in OpenFile(storage, file.path, file.file, shape).batches(columns, batch_bytes):
        dead = _dead_rows(vector, replaced) if dead is None else dead
        last = first + data.num_rows
        yield _without(data, dead[np.searchsorted(dead, first) : np.searchsorted(dead, last)] - first)
        first = last


def _ask_vector(storage: Storage, file: NumberedFile) -> Asked[BitMap64] | None:
    """Request the deletion vector of a file, if it has one, in parallel with the file."""
    vector = file.file.vector
    return None if vector is None else storage.scheduler.ask(load_vector, storage, vector)


def _dead_rows(vector: Asked[BitMap64] | None, replaced: BitMap64 | None) -> npt.NDArray[np.int64]:
    dead = BitMap64() if replaced is None else replaced
    return to_positions(dead if vector is None else dead | vector.result())


def _without(data: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    if not len(rows):
        return data
    keep = np.ones(data.num_rows, np.bool_)
    keep[rows] = False
    return data.filter(pa.array(keep))


def _columns_of(condition: Condition | None, shape: TableShape) -> list[str]:
    if condition is None:
        return []
    names = condition.columns(shape.schema.names)
    if names.missing:
        raise OptionError(
            f"{shape.table}: filter uses unknown columns {sorted(names.missing)}",
            table=shape.table,
            option="filter",
            column=min(names.missing),
        )
    return list(dict.fromkeys(names.columns.values()))


def _filtered(rows: pa.Table, condition: Condition | None) -> pa.Table:
    if condition is None:
        return rows
    return rows.filter(condition.answers(rows).fill_null(False).to_arrow())
