"""Values that order mods of one key at one sequence, for Arrow data; Spark evaluates its own."""

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
        given: names of columns, SQL texts or polars expressions.
    """

    given: tuple[Any, ...] = ()

    def columns(self, names: Sequence[str]) -> set[str | None]:
        """Columns of a batch that are used, of those named ``names``."""
        return {
            column
            for each in self.given
            for column in (
                [resolve(each, names)] if _is_column(each, names) else _value(each).columns(names).found.values()
            )
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


def _value(given: Any) -> Condition:
    value = condition_of(_OPTION, given)
    if value is None:
        raise OptionError(f"{_OPTION}: None is no column", option=_OPTION)
    return value


def _evaluated(given: Any, table: pa.Table) -> pa.ChunkedArray:
    value = _value(given)
    missing = missing_from([value], table.column_names)
    if missing:
        raise SchemaMismatchError(f"{_OPTION} uses columns that the batch lacks: {list(missing)}", missing=missing)
    return pa.chunked_array([value.values(table).to_arrow()])
