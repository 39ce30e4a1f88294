"""Snapshots as Arrow: the base and the pending mods by the same law as a merge, without Spark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from andes_spark.base.evaluate import evaluate, local_locator
from andes_spark.base.evaluation import Evaluation, EvaluationInput, Snapshot, case_of
from andes_spark.base.files import NumberedFile, OpenFile, TableShape
from andes_spark.base.merge.bucket import TruncateJob
from andes_spark.batch.conditions import parsed
from andes_spark.batch.row_wise import check_row_wise
from andes_spark.batch.sql_types import check_types, types_of, with_doubles
from andes_spark.delta.vectors import deserialize, from_positions, load_vector, to_positions
from andes_spark.errors import OptionError
from andes_spark.law.columns import BASE_FILE, BASE_ROW
from andes_spark.log.pending import pending_of
from andes_spark.run.executor import LocalExecutor
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.open_table import OpenTable


def pin(open_table: OpenTable, version: int | None) -> Snapshot:
    """Pin a version; the newest for None. The base is read first, then the log.

    Raises:
        NoSuchVersionError, VersionExpiredError: as the log says.
        LogDamagedError, FileDamagedError: what is stored is not what was written.
    """
    if version is None:
        base = open_table.base.snapshot()
        version = open_table.log.refresh()
    else:
        if version > open_table.log.head:
            open_table.log.refresh()
        open_table.log.check_readable(version)
        base = open_table.base.snapshot_at(version)
    shape = open_table.shape()
    pending = pending_of(open_table.log.pending(base.applied, version), shape.arrow, shape.columns)
    return Snapshot(version, base, case_of(base, pending, shape))


def read_arrow(
    open_table: OpenTable,
    *,
    version: int | None = None,
    columns: Sequence[str] | None = None,
    filter: Any = None,
) -> pa.Table:
    """The rows of a version; see ``ModTable.to_arrow``."""
    snapshot = pin(open_table, version)
    shape = snapshot.case.shape
    if columns is not None and not columns:
        raise OptionError("columns is an empty list: name at least one column", option="columns")
    names = list(columns) if columns is not None else list(shape.schema.names)
    unknown = sorted(set(names) - set(shape.schema.names))
    if unknown:
        raise OptionError(f"{open_table.table}: no columns {unknown}", table=open_table.table, column=unknown[0])
    condition = _condition(filter)
    wanted = list(dict.fromkeys([*names, *_roots(condition, shape)]))
    if condition is not None and isinstance(filter, str):
        used = dict.fromkeys(condition.meta.root_names())
        check_types("filter", condition, types_of(pa.schema([shape.arrow.field(name) for name in used])))
    parts = list(snapshot_parts(open_table.storage, snapshot.case, open_table.settings, columns=wanted))
    schema = pa.schema([shape.arrow.field(name) for name in names])
    return pa.concat_tables(
        [schema.empty_table(), *(_filtered(part, condition).select(names).cast(schema) for part in parts)]
    )


def snapshot_parts(
    storage: Storage, case: EvaluationInput, settings: Settings, *, columns: Sequence[str]
) -> list[pa.Table]:
    """The rows of a snapshot: what is left of each file of the base, then the rows that pending mods write."""
    done = evaluated(storage, case, settings, columns=columns)
    gone = gone_rows(storage, case, done, settings)

    def alive(file: NumberedFile) -> pa.Table:
        return alive_rows(storage, file, case.shape, columns, gone.get(file.number))

    parts = LocalExecutor(settings.threads).map(alive, () if case.erased else case.files, step="read base")
    return [*parts, done.rows] if done is not None else parts


def evaluated(
    storage: Storage, case: EvaluationInput, settings: Settings, *, columns: Sequence[str]
) -> Evaluation | None:
    """Pending mods evaluated in this process; None where there are none."""
    if case.pending.rows == 0:
        return None
    locate = local_locator(storage, case.shape, settings.threads)
    return evaluate(storage, case, locate=locate, columns=columns)


def gone_rows(
    storage: Storage, case: EvaluationInput, done: Evaluation | None, settings: Settings
) -> dict[int, BitMap64]:
    """Rows of the base that pending mods replace or remove, by number of the file."""
    gone: dict[int, BitMap64] = {}
    if done is not None:
        files, rows = done.replaced[BASE_FILE].to_numpy(), done.replaced[BASE_ROW].to_numpy()
        for number in np.unique(files):
            gone[int(number)] = from_positions(np.sort(rows[files == number]))
    if case.pending.truncates and not case.erased and case.new_watermark is not None:
        job = TruncateJob(storage, case.shape, case.new_watermark)
        for number, data in LocalExecutor(settings.threads).map(job, case.files, step="find truncated rows"):
            if data:
                gone[number] = gone.get(number, BitMap64()) | deserialize(data)
    return gone


def alive_rows(
    storage: Storage, file: NumberedFile, shape: TableShape, columns: Sequence[str], gone: BitMap64 | None
) -> pa.Table:
    """Columns of the rows of a file that are left."""
    data = OpenFile(storage, file.path, file.file, shape).read(columns)
    dead = BitMap64() if gone is None else gone
    if file.file.vector is not None:
        dead = dead | load_vector(storage, file.file.vector)
    if not dead:
        return data
    keep = np.ones(data.num_rows, np.bool_)
    keep[to_positions(dead)] = False
    return data.filter(pa.array(keep))


def _condition(given: Any) -> pl.Expr | None:
    if given is None or isinstance(given, pl.Expr):
        return given if given is None else check_row_wise("filter", given)
    if isinstance(given, str):
        return parsed("filter", given)
    raise OptionError(f"filter is a SQL expression or a polars expression, not {type(given).__name__}", option="filter")


def _roots(condition: pl.Expr | None, shape: TableShape) -> list[str]:
    if condition is None:
        return []
    roots = condition.meta.root_names()
    unknown = sorted(set(roots) - set(shape.schema.names))
    if unknown:
        raise OptionError(
            f"{shape.table}: filter uses unknown columns {unknown}",
            table=shape.table,
            option="filter",
            column=unknown[0],
        )
    return roots


def _filtered(rows: pa.Table, condition: pl.Expr | None) -> pa.Table:
    if condition is None or rows.num_rows == 0:
        return rows
    used = {name: with_doubles(rows[name]) for name in condition.meta.root_names()}
    frame = pl.from_arrow(pa.table(used)) if used else pl.DataFrame(height=rows.num_rows)
    assert isinstance(frame, pl.DataFrame)
    try:
        mask = frame.select(condition.alias("keep"))["keep"]
    except pl.exceptions.PolarsError as error:
        raise OptionError(f"filter: it cannot be evaluated: {error}", option="filter") from error
    if mask.dtype != pl.Boolean:
        raise OptionError(f"filter: it gives {mask.dtype}, not a condition", option="filter")
    if mask.len() == 1 and rows.num_rows != 1:
        mask = mask.new_from_index(0, rows.num_rows)
    return rows.filter(mask.fill_null(False).to_arrow())
