"""Roles of the columns of a batch: columns of the table, the listing column, and those that are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from andes_spark.batch.plan import BatchPlan
from andes_spark.errors import SchemaMismatchError
from andes_spark.schema.names import resolve
from andes_spark.schema.spelling import spelled


def table_names(names: Sequence[str], plan: BatchPlan) -> dict[str, str]:
    """Map the batch's columns that are columns of the table to the table's spelling; raises as ``spelled``."""
    return spelled(names, plan.schema.names, plan.table)


def listing_column(names: Sequence[str], plan: BatchPlan) -> str | None:
    """Return the name of the batch's column with the list of columns of each row; unresolved if the batch lacks it."""
    if plan.columns_to_update is None:
        return None
    return resolve(plan.columns_to_update, names) or plan.columns_to_update


def dropped_columns(
    names: Sequence[str], spelling: Mapping[str, str], plan: BatchPlan, *, used: Sequence[str] = ()
) -> list[str]:
    """Return the batch's columns to leave out by options: those that the table lacks and nothing uses.

    Args:
        names: columns of the batch.
        spelling: those that are columns of the table.
        plan: plan of the batch.
        used: columns that conditions use.

    Raises:
        SchemaMismatchError: ``except_column_list`` names a column that neither the table nor the batch has.
    """
    named = {name: resolve(name, names) for name in plan.dropped}
    unknown = sorted(name for name, column in named.items() if column is None)
    if unknown:
        raise SchemaMismatchError(
            f"{plan.table}: except_column_list names {unknown}, which neither the table nor the batch has",
            missing=tuple(unknown),
        )
    kept = {*spelling, *used, listing_column(names, plan)}
    free = [name for name in names if name not in kept]
    return free if plan.drop_extra else [name for name in free if name in named.values()]
