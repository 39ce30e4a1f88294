"""Check of the options of an apply against the table, before the batch is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from andes_spark.base.files import TableShape
from andes_spark.batch.conditions import Conditions
from andes_spark.batch.plan import BatchPlan
from andes_spark.batch.tie_break import TieBreak
from andes_spark.batch.write import ArrowRows
from andes_spark.errors import OptionError
from andes_spark.inputs.rows import Reading, arrow_tables
from andes_spark.model.options import ApplyOptions
from andes_spark.schema.casts import cast_rules
from andes_spark.schema.names import resolve, resolve_all
from andes_spark.settings import Settings
from andes_spark.storage.interface import Storage
from andes_spark.table.sessions import input_options


def plan_batch(table: str, shape: TableShape, options: ApplyOptions) -> BatchPlan:
    """Check the options of an apply against the table.

    Raises:
        OptionError: options that contradict each other, or name a column that does not exist.
    """
    names, narrow = shape.schema.names, shape.columns.narrow
    _check(table, shape, options)
    listed, dropped = _listed(options, names, narrow)
    ignored = options.ignore_null_updates
    if isinstance(ignored, bool):
        ignored = tuple(name for name in names if name not in narrow) if ignored else ()
    else:
        ignored = resolve_all(ignored, names)
        _check_names("ignore_null_updates", ignored, names, narrow)
    covers_all = options.strict_replay or not shape.columns.sequence
    return BatchPlan(
        table=table,
        version=shape.versions.current,
        columns=shape.columns,
        partition_by=shape.partition_by,
        listed=listed,
        ignore_null=ignored,
        columns_to_update=options.columns_to_update,
        fill_missing=options.missing == "null",
        drop_extra=options.extra == "drop",
        dropped=dropped,
        ties=len(options.tie_break_by),
        rules=cast_rules(options.cast, options.time_zone, fill=options.missing == "null"),
        digest=None if options.batch_id is None else "all" if covers_all else "key",
    )


def arrow_rows(
    mods: Any, shape: TableShape, options: ApplyOptions, *, settings: Settings, storage: Storage
) -> ArrowRows:
    """Convert the input of an apply, other than a Spark DataFrame, to a source of rows; nothing is read yet."""
    reading = Reading(
        part_bytes=max(1, settings.byte_budget // 4),
        schema=shape.schema,
        text=frozenset(shape.schema.names) if options.cast else frozenset(),
        time_zone=options.time_zone,
        storage_options=input_options(storage),
        store_seconds=settings.store_seconds,
    )
    return ArrowRows(arrow_tables(mods, reading), Conditions.of(options), TieBreak(options.tie_break_by))


def _check(table: str, shape: TableShape, options: ApplyOptions) -> None:
    if options.batch_id is None and not shape.columns.sequence and not options.at_least_once:
        raise OptionError(
            f"{table}: a table without sequence_by cannot tell a batch that is sent twice: give batch_id, "
            "or at_least_once=True to accept that",
            table=table,
            option="batch_id",
        )
    if options.backfill and not shape.columns.sequence:
        raise OptionError(
            f"{table}: without sequence_by nothing expires, so that there is nothing to backfill: leave backfill out",
            table=table,
            option="backfill",
        )
    if options.column_list is not None and options.except_column_list is not None:
        raise OptionError("give column_list or except_column_list, not both", option="column_list")
    listing = options.columns_to_update
    if listing is not None and resolve(listing, shape.schema.names) is not None:
        raise OptionError(
            f"columns_to_update names {listing!r}, a column of the table; it names a column of "
            "the batch that is not stored",
            option="columns_to_update",
        )
    if options.tie_break_by and (listing is not None or options.ignore_null_updates):
        other = "ignore_null_updates" if listing is None else "columns_to_update"
        raise OptionError(
            f"tie_break_by keeps the last of several mods alone, and with {other} the ones before it may carry columns "
            "that it lacks: put their values together first, or give each mod a sequence of its own",
            option="tie_break_by",
        )


def _listed(
    options: ApplyOptions, names: Sequence[str], narrow: Sequence[str]
) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    """Return the columns set by upserts, None for all, and the excluded columns that only the batch has."""
    if options.column_list is not None:
        listed = resolve_all(options.column_list, names)
        _check_names("column_list", listed, names, ())
        return frozenset(listed) | frozenset(narrow), ()
    if options.except_column_list is None:
        return None, ()
    left_out = resolve_all(options.except_column_list, names)
    of_table = [name for name in left_out if name in names]
    _check_names("except_column_list", of_table, names, narrow)
    dropped = tuple(name for name in left_out if name not in names)
    return frozenset(names) - frozenset(of_table) if of_table or not dropped else None, dropped


def _check_names(option: str, chosen: Any, names: Sequence[str], keyed: Sequence[str]) -> None:
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise OptionError(f"{option} names {unknown}, which the table does not have", option=option)
    if set(chosen) & set(keyed):
        raise OptionError(
            f"{option} names {sorted(set(chosen) & set(keyed))}: key and sequence are part of every mod",
            option=option,
        )
