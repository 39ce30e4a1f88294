"""Columns of a batch as columns of the table: by exact name, else by case as Spark resolves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from andes_spark.batch.plan import BatchPlan
from andes_spark.errors import SchemaMismatchError
from andes_spark.schema.names import resolve


def table_names(names: Sequence[str], plan: BatchPlan) -> dict[str, str]:
    """Map the batch's columns that are columns of the table to the table's spelling.

    Raises:
        SchemaMismatchError: two columns of the batch can be one column of the table; ``duplicate`` names both.
    """
    by_case: dict[str, list[str]] = {}
    for name in names:
        by_case.setdefault(name.lower(), []).append(name)
    spelled: dict[str, str] = {}
    for name in plan.schema.names:
        same = by_case.get(name.lower(), [])
        if len(same) > 1:
            raise SchemaMismatchError(
                f"{plan.table}: the columns {' and '.join(map(repr, same))} of the batch differ only in case, and both "
                f"can be the table's {name!r}; rename or drop one of them",
                duplicate=tuple(same),
            )
        if same:
            spelled[same[0]] = name
    return spelled


def listing_column(names: Sequence[str], plan: BatchPlan) -> str | None:
    """Name of the batch's column with the list of columns of each row; unresolved if the batch lacks it."""
    if plan.columns_to_update is None:
        return None
    return resolve(plan.columns_to_update, names) or plan.columns_to_update


def dropped_columns(
    names: Sequence[str], spelled: Mapping[str, str], plan: BatchPlan, *, used: Sequence[str] = ()
) -> list[str]:
    """Return the batch's columns to leave out by options: those that the table lacks and nothing uses.

    Args:
        names: columns of the batch.
        spelled: those that are columns of the table.
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
    kept = {*spelled, *used, listing_column(names, plan)}
    free = [name for name in names if name not in kept]
    return free if plan.drop_extra else [name for name in free if name in named.values()]


def renamed(rows: pa.Table, spelled: Mapping[str, str]) -> pa.Table:
    """Rename the columns of rows to the table's spelling."""
    if all(name == column for name, column in spelled.items()):
        return rows
    return rows.rename_columns([spelled.get(name, name) for name in rows.column_names])
