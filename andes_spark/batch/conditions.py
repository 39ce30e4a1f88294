"""Operation conditions for Arrow data: which row is an upsert, a delete or a truncate.

A condition is a SQL expression that polars evaluates, or a polars expression. Spark DataFrames have their
conditions answered by Spark instead; what follows from the answers is the same function for both. FLOAT columns are
compared as doubles, as Spark does by its default: polars would round a literal to the column's type.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.batch.row_wise import check_row_wise
from andes_spark.batch.sql_text import check_sql
from andes_spark.batch.sql_types import check_types, with_doubles
from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.law.rows import UNKNOWN_OP
from andes_spark.model.mod import OP, OnNull, Op
from andes_spark.model.options import ApplyOptions
from andes_spark.schema.names import resolve

FLAGS = {
    "apply_as_upserts": "_andes_is_upsert",
    "apply_as_deletes": "_andes_is_delete",
    "apply_as_truncates": "_andes_is_truncate",
}
"""Columns with the answers of the conditions, by option."""

_NULL = 2
_DECIMAL_DIGITS = 38


@dataclass(frozen=True)
class Conditions:
    """Conditions of one apply, as polars expressions.

    Attributes:
        upserts, deletes, truncates: None where the option was not given.
        on_null: what a row is for which a condition is NULL.
        texts: options that were given as SQL text.
    """

    upserts: pl.Expr | None
    deletes: pl.Expr | None
    truncates: pl.Expr | None
    on_null: OnNull
    texts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, options: ApplyOptions) -> Conditions:
        """Read the conditions of an apply.

        Raises:
            OptionError: a text that is no SQL expression, or holds a double quote; another type.
        """
        return cls(
            _expression("apply_as_upserts", options.apply_as_upserts),
            _expression("apply_as_deletes", options.apply_as_deletes),
            _expression("apply_as_truncates", options.apply_as_truncates),
            options.on_null_operation,
            frozenset(option for option in FLAGS if isinstance(getattr(options, option), str)),
        )

    def columns(self) -> set[str]:
        """Names of the columns that the conditions use."""
        given = [each for each in (self.upserts, self.deletes, self.truncates) if each is not None]
        return {name for each in given for name in each.meta.root_names()}

    def evaluate(self, table: pa.Table) -> pa.Array:
        """The operation of each row, int8: one of ``Op``, or ``UNKNOWN_OP``.

        Raises:
            SchemaMismatchError: a condition uses a column that the batch lacks.
            OptionError: a condition cannot be evaluated on these types, or is no condition.
        """
        used = self.columns()
        names = {name: resolve(name, table.column_names) for name in sorted(used)}
        missing = [name for name, column in names.items() if column is None]
        if missing:
            raise SchemaMismatchError(
                f"the conditions use columns that the batch lacks: {missing}", missing=tuple(missing)
            )
        # Column by column: for a whole table polars wakes its threads, which takes longer than 100 rows do.
        columns = {name: series(name, table[column]) for name, column in names.items()}
        frame = pl.DataFrame(columns) if used else pl.DataFrame(height=table.num_rows)
        for option in self.texts:
            check_types(option, getattr(self, option.removeprefix("apply_as_")), frame.schema)
        codes = combine(
            _codes(frame, self.upserts, "apply_as_upserts", table.num_rows),
            _codes(frame, self.deletes, "apply_as_deletes", table.num_rows),
            _codes(frame, self.truncates, "apply_as_truncates", table.num_rows),
            on_null=self.on_null,
            rows=table.num_rows,
        )
        return pa.array(codes)


Codes = npt.NDArray[np.int8]


def combine(
    upserts: Codes | None,
    deletes: Codes | None,
    truncates: Codes | None,
    *,
    on_null: OnNull,
    rows: int,
) -> Codes:
    """Operations from conditions given as 0 (false), 1 (true), 2 (NULL); None for one that was not given.

    With ``upserts`` exactly one condition must be true. Without, a row that meets none is an upsert, and one
    that meets both others is unknown.
    """
    result = np.full(rows, Op.UPSERT if upserts is None else UNKNOWN_OP, np.int8)
    hits = np.zeros(rows, np.int8)
    null = np.zeros(rows, np.bool_)
    for op, codes in ((Op.UPSERT, upserts), (Op.DELETE, deletes), (Op.TRUNCATE, truncates)):
        if codes is not None:
            result[codes == 1] = op
            hits += codes == 1
            null |= codes == _NULL
    result[hits > 1] = UNKNOWN_OP
    result[null] = UNKNOWN_OP if on_null == "quarantine" else Op.UPSERT
    return result


def with_operations(rows: pa.Table, on_null: OnNull) -> pa.Table:
    """``_andes_op`` in place of the answers of conditions, those of the columns :data:`FLAGS` that are there."""
    given = [name for name in FLAGS.values() if name in rows.column_names]
    codes = [_coded(rows[name]) if name in given else None for name in FLAGS.values()]
    operations = combine(*codes, on_null=on_null, rows=rows.num_rows)
    return rows.drop_columns(given).append_column(OP, pa.array(operations))


def _expression(option: str, given: Any) -> pl.Expr | None:
    if given is None or isinstance(given, pl.Expr):
        return given if given is None else check_row_wise(option, given)
    if not isinstance(given, str):
        raise OptionError(
            f"{option}: give a SQL expression or a polars expression, not {type(given).__name__}; a Spark Column "
            "goes with a Spark DataFrame",
            option=option,
        )
    return parsed(option, given)


@lru_cache(maxsize=64)
def parsed(option: str, given: str) -> pl.Expr:
    """A SQL expression as polars has it; read once, since a feed sends it with each of its batches.

    Raises:
        OptionError: no SQL expression, one that engines read differently, or that looks at several rows.
    """
    check_sql(option, given)
    try:
        return check_row_wise(option, pl.sql_expr(given))
    except (pl.exceptions.SQLInterfaceError, pl.exceptions.SQLSyntaxError) as error:
        raise OptionError(f"{option}: {given!r} is not a SQL expression: {error}", option=option) from error


def series(name: str, column: pa.ChunkedArray) -> pl.Series:
    """A column as conditions see it.

    Raises:
        OptionError: polars has no such type; ``column``.
    """
    kind = column.type
    try:
        if pa.types.is_decimal256(kind):  # at which polars panics
            column = column.cast(pa.decimal128(_DECIMAL_DIGITS, kind.scale))
        return pl.Series(name, with_doubles(column))
    except (pl.exceptions.PolarsError, pa.ArrowInvalid, ValueError) as error:
        raise OptionError(
            f"the conditions use {name!r}, a column of {kind}, which they cannot: {error}; convert it first",
            column=name,
        ) from error


def _codes(frame: pl.DataFrame, expression: pl.Expr | None, option: str, rows: int) -> Codes | None:
    if expression is None:
        return None
    try:
        values = frame.select(expression.alias("_andes_condition"))["_andes_condition"]
    except pl.exceptions.PolarsError as error:
        raise OptionError(f"{option}: it cannot be evaluated on this batch: {error}", option=option) from error
    if values.dtype != pl.Boolean:
        raise OptionError(f"{option}: it gives {values.dtype}, not a condition", option=option)
    if values.len() not in (1, rows):
        raise OptionError(f"{option}: it gives {values.len()} values for {rows} rows", option=option)
    if values.len() == 1 and rows != 1:
        values = values.new_from_index(0, rows)
    return values.to_numpy().astype(np.int8) if not values.null_count() else _coded(values.to_arrow())


def _coded(answers: pa.Array | pa.ChunkedArray) -> Codes:
    codes: Codes = answers.fill_null(False).to_numpy(zero_copy_only=False).astype(np.int8)
    if answers.null_count:
        codes[answers.is_null().to_numpy(zero_copy_only=False)] = _NULL
    return codes
