"""Values of ``tie_break_by``, for Arrow data; Spark evaluates them for DataFrames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from andes_spark.batch.condition import Condition, condition_of, missing_from
from andes_spark.batch.ties import TIE
from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.schema.names import resolve

_OPTION = "tie_break_by"


@dataclass(frozen=True)
class TieBreak:
    """Columns or expressions of a batch, the most significant first.

    Attributes:
        values: names of columns, SQL texts or polars expressions.
    """

    values: tuple[Any, ...] = ()

    def columns(self, names: Sequence[str]) -> set[str | None]:
        """Return the used columns among ``names``, the columns of a batch."""
        return {
            column
            for value in self.values
            for column in (
                [resolve(value, names)]
                if _is_column(value, names)
                else _condition(value).columns(names).columns.values()
            )
        }

    def evaluate(self, table: pa.Table) -> pa.Table:
        """Append a column to the table for each value, named :data:`TIE` and its number.

        Raises:
            SchemaMismatchError: the batch lacks a used column; ``missing``.
            OptionError: an expression that cannot be evaluated, or gives values without an order.
        """
        names = table.column_names
        for number, value in enumerate(self.values):
            column = table[resolve(value, names)] if _is_column(value, names) else _evaluated(value, table)
            kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
            if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
                raise OptionError(f"{_OPTION}: {value!r} is {kind}, which has no order", option=_OPTION)
            table = table.append_column(f"{TIE}{number}", column.cast(kind))
        return table


def _is_column(value: Any, names: Sequence[str]) -> bool:
    return isinstance(value, str) and resolve(value, names) is not None


def _condition(value: Any) -> Condition:
    condition = condition_of(_OPTION, value)
    if condition is None:
        raise OptionError(f"{_OPTION}: None is no column", option=_OPTION)
    return condition


def _evaluated(value: Any, table: pa.Table) -> pa.ChunkedArray:
    condition = _condition(value)
    missing = missing_from([condition], table.column_names)
    if missing:
        raise SchemaMismatchError(f"{_OPTION} uses columns that the batch lacks: {list(missing)}", missing=missing)
    return pa.chunked_array([condition.values(table).to_arrow()])
