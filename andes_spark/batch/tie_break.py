"""Values that order mods of one key at one sequence, for Arrow data; Spark evaluates its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.batch.conditions import parsed, series
from andes_spark.batch.row_wise import check_row_wise
from andes_spark.batch.sql_types import check_types
from andes_spark.batch.ties import TIE
from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.schema.names import resolve

_OPTION = "tie_break_by"


@dataclass(frozen=True)
class TieBreak:
    """Columns or expressions of a batch, the most significant first.

    Attributes:
        given: names of columns, SQL texts or polars expressions.
    """

    given: tuple[Any, ...] = ()

    def columns(self, names: Sequence[str]) -> set[str | None]:
        """Columns of a batch that are used, of those named ``names``."""
        return {
            resolve(root, names)
            for each in self.given
            for root in ([each] if _is_column(each, names) else _expression(each).meta.root_names())
        }

    def evaluate(self, table: pa.Table) -> pa.Table:
        """The table with a column :data:`TIE` and a number for each value.

        Raises:
            SchemaMismatchError: a column that the batch lacks is used; ``missing``.
            OptionError: an expression that cannot be evaluated, or gives values without an order.
        """
        names = table.column_names
        for number, each in enumerate(self.given):
            column = table[resolve(each, names)] if _is_column(each, names) else _evaluated(each, table)
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
                raise OptionError(f"{_OPTION}: {each!r} is {kind}, which has no order", option=_OPTION)
            table = table.append_column(f"{TIE}{number}", column.cast(kind))
        return table


def _is_column(given: Any, names: Sequence[str]) -> bool:
    return isinstance(given, str) and resolve(given, names) is not None


def _expression(given: Any) -> pl.Expr:
    if isinstance(given, str):
        return parsed(_OPTION, given)
    if isinstance(given, pl.Expr):
        return check_row_wise(_OPTION, given)
    raise OptionError(
        f"{_OPTION}: give names of columns, SQL expressions or polars expressions, not {type(given).__name__}; a "
        "Spark Column goes with a Spark DataFrame",
        option=_OPTION,
    )


def _evaluated(given: Any, table: pa.Table) -> pa.ChunkedArray:
    expression = _expression(given)
    roots = {root: resolve(root, table.column_names) for root in expression.meta.root_names()}
    missing = sorted(root for root, name in roots.items() if name is None)
    if missing:
        raise SchemaMismatchError(f"{_OPTION} uses columns that the batch lacks: {missing}", missing=tuple(missing))
    frame = pl.DataFrame({root: series(root, table[name]) for root, name in roots.items()})
    if isinstance(given, str):
        check_types(_OPTION, expression, frame.schema)
    try:
        values = frame.select(expression.alias(TIE))[TIE]
    except pl.exceptions.PolarsError as error:
        raise OptionError(f"{_OPTION}: it cannot be evaluated on this batch: {error}", option=_OPTION) from error
    if values.len() != table.num_rows:
        raise OptionError(f"{_OPTION}: it gives {values.len()} values for {table.num_rows} rows", option=_OPTION)
    return pa.chunked_array([values.to_arrow()])
