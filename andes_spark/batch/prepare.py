"""Preparation of a batch: rows are converted to mods, bad mods set aside, repeated mods collapsed.

It runs in the calling process or in a task, on a whole batch or a part of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.batch.columns import listing_column, table_names
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.ties import break_ties, null_ties, tie_columns
from andes_spark.errors import SchemaMismatchError
from andes_spark.law.hashing import digest
from andes_spark.law.presence import pack_present, present_by_column
from andes_spark.law.rows import Reason, bad_rows, collapse, sort_mods
from andes_spark.log.mod_files import NO_QUARANTINE, QUARANTINE_SCHEMA
from andes_spark.model.folders import path_room
from andes_spark.model.manifest import Counts
from andes_spark.model.mod import OP, PRESENT, Op
from andes_spark.model.values import json_rows
from andes_spark.schema.conforming import conform
from andes_spark.schema.names import resolve_all
from andes_spark.schema.spelling import renamed

Bools = npt.NDArray[np.bool_]
EXAMPLES = 5


@dataclass(frozen=True)
class Prepared:
    """A batch, or a part of one, ready to be written.

    Attributes:
        mods: columns of the table, ``_andes_op`` and maybe ``_andes_present``; sorted by key, then sequence.
        quarantined: refused rows, of ``QUARANTINE_SCHEMA``.
        counts: rows by kind.
        digest: of ``mods``; empty if the plan has none.
        reasons: bad mods by reason.
        examples: some of them, for messages.
    """

    mods: pa.Table
    quarantined: pa.Table
    counts: Counts
    digest: digest.Digest
    reasons: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()


def prepare(rows: pa.Table, plan: BatchPlan, *, offset: int = 0, condition_only: Sequence[str] = ()) -> Prepared:
    """Turn rows into mods.

    Args:
        rows: the batch's columns and ``_andes_op`` with the operation of each row.
        plan: plan of the batch.
        offset: number of the first row within the batch, for quarantine files.
        condition_only: columns that only the conditions use, kept in quarantined rows but not in mods.

    Raises:
        SchemaMismatchError: missing, extra or wrong-type columns, all at once.
        SequenceTieError: two different mods of one key at one sequence.
    """
    ops, received = rows[OP], rows.num_rows
    ties = tie_columns(rows.column_names)
    data = rows.drop_columns([OP, *ties, *condition_only])
    listing = None
    if plan.columns_to_update is not None:
        listing = _listing(data, plan)
        data = data.drop_columns([listing_column(data.column_names, plan)])
    data = renamed(data, table_names(data.column_names, plan))
    table, failed = _conformed(data, ops, plan)
    present, full, unknown = _present(table, data, ops, listing, plan)
    table = table.append_column(OP, ops)
    bad = bad_rows(
        table,
        plan.schema,
        plan.columns,
        partition_by=plan.partition_by,
        path_room=path_room(plan.table),
        failed=failed,
        unknown_columns=unknown,
        null_ties=null_ties(rows),
        present=present,
    )
    quarantined = _quarantine(rows, bad.rows, bad.reasons, bad.columns, offset)
    if len(bad.rows):
        keep = np.ones(table.num_rows, np.bool_)
        keep[bad.rows] = False
        table = table.filter(pa.array(keep))
        present = None if present is None else present[keep]
        full = full[keep]
        rows = rows.filter(pa.array(keep))
    mods = _canonical(table, present, full, plan)
    for name in ties:
        mods = mods.append_column(name, rows[name])
    mods, outranked = sort_mods(mods, plan.columns), 0
    if ties:
        mods, outranked = break_ties(mods, plan.columns)
    mods, repeated = collapse(mods, plan.schema, plan.columns)
    return Prepared(
        mods=mods,
        quarantined=quarantined,
        counts=_counts(mods, received, outranked + repeated, len(bad.rows)),
        digest=digest_of(mods, plan),
        reasons=bad.tally(),
        examples=tuple(quarantined["row"].slice(0, EXAMPLES).to_pylist()) if len(bad.rows) else (),
    )


def digest_of(mods: pa.Table, plan: BatchPlan) -> digest.Digest:
    """Compute the digest of mods, empty if the plan has none."""
    total = digest.Digest()
    if plan.digest is not None and mods.num_rows:
        present = present_by_column(mods, plan.schema) if plan.digest == "all" else None
        total.add(digest.row_hashes(mods, plan.schema, plan.digest_columns, op=mods[OP], present=present))
    return total


def _conformed(data: pa.Table, ops: pa.ChunkedArray, plan: BatchPlan) -> tuple[pa.Table, dict[str, Bools]]:
    """Convert to all columns of the table in its types; columns that the batch lacks are NULL."""
    no_upserts = not (ops.to_numpy() == Op.UPSERT).any()
    schema = plan.schema
    conformed = conform(
        data,
        schema,
        partial_ok=no_upserts or plan.may_lack,
        required=plan.columns.narrow,
        rules=plan.rules,
    )
    arrow = schema.nullable.to_arrow()
    missing = [name for name in schema.names if name not in conformed.table.column_names]
    lacking = sorted(set(missing) & (plan.listed or set()))
    if lacking and not no_upserts and not plan.fill_missing:
        raise SchemaMismatchError(
            f"{plan.table}: column_list names {lacking}, which the batch lacks", missing=tuple(lacking)
        )
    arrays = conformed.table.columns
    if missing:
        arrays = [
            pa.nulls(data.num_rows, arrow.field(name).type) if name in missing else conformed.table[name]
            for name in schema.names
        ]
    return pa.Table.from_arrays(arrays, schema=arrow), dict(conformed.failed)


def _listing(data: pa.Table, plan: BatchPlan) -> pa.ChunkedArray:
    name = listing_column(data.column_names, plan) or ""
    if name not in data.column_names:
        raise SchemaMismatchError(
            f"{plan.table}: columns_to_update names {name!r}, which the batch lacks", missing=(name,)
        )
    column = data[name]
    try:
        if pa.types.is_null(column.type) or pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            return column.cast(pa.list_(pa.string()))
        why = "not a list of names"
    except pa.ArrowException as error:
        why = f"not a list of names ({error})"
    raise SchemaMismatchError(
        f"{plan.table}: columns_to_update names {name!r}, which is {column.type}, {why}",
        wrong_type={name: (str(column.type), "array<string>")},
    )


def _present(
    table: pa.Table,
    data: pa.Table,
    ops: pa.ChunkedArray,
    listing: pa.ChunkedArray | None,
    plan: BatchPlan,
) -> tuple[Bools | None, Bools, Bools | None]:
    """Return the present columns of each row (None if all are full), the full rows, and rows that list unknown names.

    Full rows are deletes, truncates, and upserts of all columns.
    """
    full = ops.to_numpy() != Op.UPSERT
    if not plan.may_be_partial:
        return None, np.ones(table.num_rows, np.bool_), None
    names = plan.schema.names
    present = np.ones((table.num_rows, len(names)), np.bool_)
    unknown = None
    if listing is not None:
        present, unknown = _from_listing(listing, names)
        if plan.listed is None and not plan.ignore_null:
            full |= listing.combine_chunks().is_null().to_numpy(zero_copy_only=False)
    for position, name in enumerate(names):
        lacks = name not in data.column_names and not plan.fill_missing
        lacks |= plan.listed is not None and name not in plan.listed
        if lacks:
            present[:, position] = False
        elif name in plan.ignore_null:
            present[:, position] &= pc.is_valid(table[name]).to_numpy()
    for name in plan.columns.narrow:
        present[:, names.index(name)] = True
    present[ops.to_numpy() != Op.UPSERT] = True
    return present, full, unknown


def _from_listing(listing: pa.ChunkedArray, names: Sequence[str]) -> tuple[Bools, Bools]:
    column = listing.combine_chunks()
    rows = pc.list_parent_indices(column).to_numpy()
    listed = pc.list_flatten(column).cast(pa.string()).dictionary_encode()
    spellings = pa.array(resolve_all(listed.dictionary.to_pylist(), names), pa.string())
    positions = pc.index_in(spellings.take(listed.indices), pa.array(names, pa.string()))
    known = positions.is_valid().to_numpy(zero_copy_only=False)
    present = np.zeros((len(column), len(names)), np.bool_)
    present[column.is_null().to_numpy(zero_copy_only=False)] = True
    present[rows[known], positions.drop_null().to_numpy()] = True
    unknown = np.zeros(len(column), np.bool_)
    unknown[rows[~known]] = True
    return present, unknown


def _canonical(table: pa.Table, present: Bools | None, full: Bools, plan: BatchPlan) -> pa.Table:
    """Convert mods to a canonical form: absent columns are NULL, and a delete has only key and sequence."""
    ops = table[OP].to_numpy()
    no_upsert = ops != Op.UPSERT
    bare, truncates = _some(no_upsert), _some(ops == Op.TRUNCATE)
    columns = table.columns
    for position, name in enumerate(plan.schema.names):
        drop = None
        if name not in plan.columns.narrow:
            drop = bare if present is None else _some(no_upsert | ~present[:, position])
        elif name not in plan.columns.sequence:
            drop = truncates
        if drop is not None:
            columns[position] = pc.if_else(drop, pa.scalar(None, columns[position].type), columns[position])
    table = pa.Table.from_arrays(columns, schema=table.schema)
    if present is not None and not full.all():
        table = table.append_column(PRESENT, pack_present(present, full))
    return table


def _some(rows: Bools) -> pa.BooleanArray | None:
    """Return the marked rows, None if there are none."""
    return pa.array(rows) if rows.any() else None


def _quarantine(
    rows: pa.Table,
    bad: npt.NDArray[np.int64],
    reasons: Sequence[Reason],
    columns: Sequence[str | None],
    offset: int,
) -> pa.Table:
    if not len(bad):
        return NO_QUARANTINE
    picked = rows.drop_columns([OP, *tie_columns(rows.column_names)]).take(pa.array(bad, pa.int64()))
    return pa.table(
        [
            pa.array([reason.value for reason in reasons], pa.string()),
            pa.array(list(columns), pa.string()),
            pa.array(bad + offset, pa.int64()),
            pa.array(json_rows(picked), pa.string()),
        ],
        schema=QUARANTINE_SCHEMA,
    )


def _counts(mods: pa.Table, received: int, collapsed: int, quarantined: int) -> Counts:
    ops = mods[OP].to_numpy()
    partial = mods.num_rows - mods[PRESENT].null_count if PRESENT in mods.column_names else 0
    return Counts(
        received=received,
        upserts=int(np.count_nonzero(ops == Op.UPSERT)),
        deletes=int(np.count_nonzero(ops == Op.DELETE)),
        truncates=int(np.count_nonzero(ops == Op.TRUNCATE)),
        collapsed=collapsed,
        quarantined=quarantined,
        partial=partial,
    )
