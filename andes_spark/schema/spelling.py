"""Incoming columns as columns of a table: by exact name, else by case as Spark resolves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from andes_spark.errors import SchemaMismatchError
from andes_spark.schema.differences import refuse_repeated
from andes_spark.schema.names import resolve


def spelled(names: Sequence[str], columns: Sequence[str], table: str) -> dict[str, str]:
    """Map incoming columns that are columns of a table to the table's spelling.

    Args:
        names: incoming columns.
        columns: columns of the table.
        table: name of the table, for messages.

    Raises:
        SchemaMismatchError: two incoming columns can be one column of the table; ``duplicate`` names both.
    """
    refuse_repeated(names)
    by_case: dict[str, list[str]] = {}
    for name in names:
        by_case.setdefault(name.lower(), []).append(name)
    spelling: dict[str, str] = {}
    for name in columns:
        same = by_case.get(name.lower(), [])
        if len(same) > 1:
            raise SchemaMismatchError(
                f"{table}: the columns {' and '.join(map(repr, same))} of the batch differ only in case, and both can "
                f"be the table's {name!r}; rename or drop one of them",
                duplicate=tuple(same),
            )
        if same:
            spelling[same[0]] = name
    return spelling


def renamed(rows: pa.Table, spelling: Mapping[str, str]) -> pa.Table:
    """Rename the columns of rows to the table's spelling."""
    if all(name == column for name, column in spelling.items()):
        return rows
    return rows.rename_columns([spelling.get(name, name) for name in rows.column_names])


def known_field(name: str, known: pa.Schema) -> pa.Field | None:
    """Return the column of a table that an incoming column is; None if the table lacks it.

    Raises:
        OptionError: several columns of the table differ in case only; ``column``.
    """
    column = resolve(name, known.names)
    return None if column is None else known.field(column)
