"""One condition over the rows of an Arrow table: SQL text, or a polars expression.

A text is checked by the types of its columns and translated to an expression. An expression of polars is used as it is,
but must be row-wise; its FLOAT columns are converted to doubles, since polars would round a number compared with them
to the column's type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.batch.row_wise import check_row_wise
from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.model.options import TEXT, require
from andes_spark.schema import arrow_types
from andes_spark.schema import types as dt
from andes_spark.sql import tree
from andes_spark.sql.text import Bound, Names, SqlText, resolved_names

# Arrow types that tables lack, with a type for their values.
_WIDER: dict[pa.DataType, dt.DataType | None] = {
    pa.null(): None,
    pa.uint8(): dt.SHORT,
    pa.uint16(): dt.INTEGER,
    pa.uint32(): dt.LONG,
    pa.uint64(): dt.Decimal(20, 0),
    pa.float16(): dt.FLOAT,
}


class Condition(Protocol):
    """A condition or value, evaluated for each row."""

    def columns(self, available: Collection[str]) -> Names:
        """Find the used columns among the available ones."""

    def form(self, schema: pa.Schema) -> tree.Node | pl.Expr:
        """Return its tree or expression, for file skipping; all used columns must exist."""

    def answers(self, rows: pa.Table) -> pl.Series:
        """Evaluate to true, false or NULL for each row; all used columns must exist."""

    def values(self, rows: pa.Table) -> pl.Series:
        """Evaluate to a value of any type for each row; all used columns must exist."""


def condition_of(option: str, condition: Any) -> Condition | None:
    """Read the condition of an option; None for None.

    Raises:
        OptionError: a text that cannot be used, an expression that looks at several rows, another type.
    """
    if condition is None:
        return None
    if isinstance(condition, pl.Expr):
        return _Expression(option, check_row_wise(option, condition))
    if isinstance(condition, str):
        require(option, condition, TEXT)
        return _Text(SqlText.read(option, condition, instead="a polars expression in Python"))
    kind = type(condition)
    advice = "; a Spark Column goes with a Spark DataFrame" if kind.__module__.startswith("pyspark.") else ""
    raise OptionError(
        f"{option}: give a SQL expression or a polars expression, not {kind.__name__}{advice}", option=option
    )


@dataclass(frozen=True)
class _Text:
    text: SqlText

    def columns(self, available: Collection[str]) -> Names:
        return self.text.resolve(available)

    def form(self, schema: pa.Schema) -> tree.Node:
        return self._bound(schema, self.columns(schema.names), is_condition=True).node

    def answers(self, rows: pa.Table) -> pl.Series:
        return _as_answers(self.text.source.option, self._evaluated(rows, is_condition=True))

    def values(self, rows: pa.Table) -> pl.Series:
        return self._evaluated(rows, is_condition=False)

    def _evaluated(self, rows: pa.Table, *, is_condition: bool) -> pl.Series:
        names = self.columns(rows.column_names)
        expression = self._bound(rows.schema, names, is_condition=is_condition).polars
        option = self.text.source.option
        columns = {name: _own_type(option, name, rows[name]) for name in dict.fromkeys(names.columns.values())}
        return _evaluated(option, columns, expression, rows.num_rows)

    def _bound(self, schema: pa.Schema, names: Names, *, is_condition: bool) -> Bound:
        option = self.text.source.option
        types = {name: _type_of(option, schema.field(name)) for name in names.columns.values()}
        return self.text.bind(names, types, is_condition=is_condition)


@dataclass(frozen=True)
class _Expression:
    option: str
    expression: pl.Expr

    def columns(self, available: Collection[str]) -> Names:
        return resolved_names(self.expression.meta.root_names(), available)

    def form(self, schema: pa.Schema) -> pl.Expr:
        return self.expression

    def answers(self, rows: pa.Table) -> pl.Series:
        return _as_answers(self.option, self.values(rows))

    def values(self, rows: pa.Table) -> pl.Series:
        names = self.columns(rows.column_names).columns
        columns = {name: _with_doubles(self.option, column, rows[column]) for name, column in names.items()}
        return _evaluated(self.option, columns, self.expression, rows.num_rows)


def _evaluated(option: str, columns: dict[str, pa.ChunkedArray], expression: pl.Expr, rows: int) -> pl.Series:
    # Column by column: for a whole table polars would start its threads.
    series = {name: _series(option, name, column) for name, column in columns.items()}
    frame = pl.DataFrame(series) if series else pl.DataFrame(height=rows)
    try:
        values = frame.select(expression.alias("_andes_value"))["_andes_value"]
    except pl.exceptions.PolarsError as error:
        raise OptionError(f"{option}: it cannot be evaluated on these rows: {error}", option=option) from error
    if values.len() == 1 and rows != 1:
        return values.new_from_index(0, rows)
    if values.len() != rows:
        raise OptionError(f"{option}: it gives {values.len()} values for {rows} rows", option=option)
    return values


def _as_answers(option: str, values: pl.Series) -> pl.Series:
    if values.dtype != pl.Boolean:
        raise OptionError(f"{option}: it gives {values.dtype}, not a condition", option=option)
    return values


def _type_of(option: str, field: pa.Field) -> dt.DataType | None:
    arrow = field.type.value_type if pat.is_dictionary(field.type) else field.type
    if arrow in _WIDER:
        return _WIDER[arrow]
    if pat.is_decimal256(arrow) and 0 <= arrow.scale <= dt.MAX_DECIMAL_PRECISION:
        return dt.Decimal(min(arrow.precision, dt.MAX_DECIMAL_PRECISION), arrow.scale)
    try:
        return arrow_types.from_arrow(arrow, column=field.name)
    except UnsupportedTableError as error:
        raise _unusable(option, field.name, field.type, error) from error


def _own_type(option: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert a column to the Arrow type that this library uses for its type."""
    type_ = _type_of(option, pa.field(name, column.type))
    if type_ is None:
        return column
    arrow = arrow_types.to_arrow(type_)
    try:
        return column if column.type == arrow else column.cast(arrow)
    except pa.ArrowException as error:
        raise _unusable(option, name, column.type, error) from error


def _with_doubles(option: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert floats of a column to doubles, those of its fields included."""
    wide = _doubles(column.type)
    if pat.is_decimal256(column.type):  # polars panics on these
        wide = pa.decimal128(dt.MAX_DECIMAL_PRECISION, column.type.scale)
    try:
        return column if wide == column.type else column.cast(wide)
    except pa.ArrowException as error:
        raise _unusable(option, name, column.type, error) from error


def _doubles(kind: pa.DataType) -> pa.DataType:
    if pat.is_float32(kind) or pat.is_float16(kind):
        return pa.float64()
    if pat.is_struct(kind):
        return pa.struct([field.with_type(_doubles(field.type)) for field in kind])
    return kind


def _series(option: str, name: str, column: pa.ChunkedArray) -> pl.Series:
    try:
        return pl.Series(name, column)
    except (pl.exceptions.PolarsError, pa.ArrowException, ValueError) as error:
        raise _unusable(option, name, column.type, error) from error


def _unusable(option: str, name: str, kind: pa.DataType, error: BaseException) -> OptionError:
    return OptionError(
        f"{option}: it uses {name!r}, a column of {kind}, which a condition cannot: {error}; convert it first",
        option=option,
        column=name,
    )


def missing_from(conditions: Iterable[Condition], available: Collection[str]) -> tuple[str, ...]:
    """Return sorted names of columns that conditions use and the batch lacks."""
    return tuple(sorted({name for condition in conditions for name in condition.columns(available).missing}))
