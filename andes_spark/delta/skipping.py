"""Selection of the files that can hold rows for a condition, by statistics and partition values alone.

Conservative: every file is kept for anything but comparisons of a column with values, joined by AND and OR, and for
a column without bounds. A file with a matching row is never left out.
"""

from __future__ import annotations

import decimal
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.delta.data_file import DataFile
from andes_spark.delta.files import Files
from andes_spark.delta.ranges import Ranges
from andes_spark.schema.arrow_types import to_arrow
from andes_spark.schema.schema import DataType, Schema
from andes_spark.sql import tree
from andes_spark.sql.polars_expression import polars_expression

Flags = npt.NDArray[np.bool_]

_MIRRORED = {"Eq": "Eq", "Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
_MIRRORED_SIGNS: dict[str, str] = {"=": "=", "<=>": "<=>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_REACHES: dict[str, tuple[tree.Comparison | None, tree.Comparison | None]] = {
    "=": ("<=", ">="),
    "<=>": ("<=", ">="),
    "<": ("<", None),
    "<=": ("<=", None),
    ">": (None, ">"),
    ">=": (None, ">="),
}
"""Comparisons of a file's least and greatest value with a constant, by the comparison of a row's value with it."""
_DIGITS = decimal.Context(prec=100)
_MOST_VALUES = 1_000
"""Maximum number of values of an IN; for more, only the least and the greatest are compared."""


def may_hold(
    files: Files | Sequence[DataFile],
    schema: Schema,
    partition_columns: Sequence[str],
    condition: tree.Node | pl.Expr,
) -> Flags:
    """Return, for each file, whether it may hold a row for which the condition is true.

    Args:
        files: files of the table.
        schema: schema of the table.
        partition_columns: its partition columns.
        condition: over columns of the table, the tree of a SQL text or an expression of polars.
    """
    bounds = _Bounds(files if isinstance(files, Files) else Files.of(files), schema, partition_columns)
    try:
        flags = _of_text(condition, bounds) if not isinstance(condition, pl.Expr) else _of_expression(condition, bounds)
    except (RecursionError, pl.exceptions.PolarsError):
        flags = bounds.all_files()
    return flags


def _of_expression(condition: pl.Expr, bounds: _Bounds) -> Flags:
    return _Skipping(bounds).flags(json.loads(condition.meta.serialize(format="json")))


class _Bounds:
    """The least and greatest values of files in the columns that a condition uses, read once each."""

    def __init__(self, files: Files, schema: Schema, partition_columns: Sequence[str]) -> None:
        self._files = files
        self._schema = schema
        self._partition_columns = partition_columns
        self._columns: dict[str, tuple[pl.Series, pl.Series] | None] = {}

    def of(self, name: str) -> tuple[pl.Series, pl.Series] | None:
        """Bounds of a column, None if no file has any."""
        if name not in self._columns:
            type_ = self._schema.field(name).type
            ranges = self._files.ranges(name, type_, partition=name in self._partition_columns)
            self._columns[name] = None if ranges is None else _series(ranges, type_)
        return self._columns[name]

    def all_files(self) -> Flags:
        """Flags that keep every file."""
        return np.ones(len(self._files), np.bool_)


def _of_text(node: tree.Node, bounds: _Bounds) -> Flags:
    """Whether each file may hold a row for which a node of a text's tree is true."""
    match node:
        case tree.And(operands):
            return _joined(np.logical_and, operands, bounds)
        case tree.Or(operands):
            return _joined(np.logical_or, operands, bounds)
        case tree.Compare(comparison, tree.Value() as left, right):
            return _of_values(_MIRRORED_SIGNS.get(comparison, ""), right, [left], bounds)
        case tree.Compare(comparison, left, tree.Value() as right):
            return _of_values(comparison, left, [right], bounds)
        case tree.In(operand, values):
            if len(values) <= _MOST_VALUES:
                return _of_values("=", operand, values, bounds)
            ordered = sorted(values, key=lambda value: value.value)
            least = _of_values(">=", operand, ordered[:1], bounds)
            return least & _of_values("<=", operand, ordered[-1:], bounds)
    return bounds.all_files()


def _joined(join: np.ufunc, operands: Sequence[tree.Node], bounds: _Bounds) -> Flags:
    flags: Flags = join.reduce([_of_text(operand, bounds) for operand in operands])
    return flags


def _of_values(comparison: str, side: tree.Node, values: Sequence[tree.Value], bounds: _Bounds) -> Flags:
    """Whether each file may hold a value of a column that compares so with one of some constants."""
    column = side
    while isinstance(column, tree.As):  # wider numbers, in the same order
        column = column.operand
    if not isinstance(column, tree.Reference) or len(column.path) > 1 or comparison not in _REACHES or not values:
        return bounds.all_files()
    name = column.path[0]
    ranges = bounds.of(name)
    if ranges is None or any(value.value is None for value in values):
        return bounds.all_files()
    frames = [pl.DataFrame({name: bound}) for bound in ranges]
    flags = ~bounds.all_files()
    for value in values:
        reached = bounds.all_files()
        for frame, sign in zip(frames, _REACHES[comparison], strict=True):
            if sign is not None:
                answers = frame.select(polars_expression(tree.Compare(sign, side, value)).alias("answer"))["answer"]
                reached &= answers.fill_null(True).to_numpy().astype(np.bool_)
        flags |= reached
    return flags


class _Skipping:
    """Evaluation of the nodes of an expression that polars serialized."""

    def __init__(self, bounds: _Bounds) -> None:
        self._bounds = bounds

    def flags(self, node: Any) -> Flags:
        """Whether each file may hold a row for which a node of the condition is true."""
        name, body = next(iter(node.items())) if isinstance(node, dict) and len(node) == 1 else ("", None)
        if name == "BinaryExpr":
            return self._binary(body)
        if name == "Function":
            return self._function(body)
        return self._all()

    def _binary(self, body: Any) -> Flags:
        operator = body["op"]
        if operator == "And":
            return self.flags(body["left"]) & self.flags(body["right"])
        if operator == "Or":
            return self.flags(body["left"]) | self.flags(body["right"])
        return self._comparison(operator, body["left"], body["right"])

    def _function(self, body: Any) -> Flags:
        function, inputs = body["function"], body["input"]
        inner = next(iter(function.values())) if isinstance(function, dict) else None
        if isinstance(inner, dict) and inner.get("IsIn") == {"nulls_equal": False} and len(inputs) == 2:
            return self._membership(*inputs)
        if isinstance(inner, dict) and "IsBetween" in inner and len(inputs) == 3:
            value, least, greatest = inputs
            return self._comparison("GtEq", value, least) & self._comparison("LtEq", value, greatest)
        return self._all()

    def _comparison(self, operator: str, left: Any, right: Any) -> Flags:
        if "Column" in right:
            left, right, operator = right, left, _MIRRORED.get(operator, "")
        if operator not in _MIRRORED or "Column" not in left or not _is_constant(right):
            return self._all()
        bounds = self._bounds.of(left["Column"])
        if bounds is None:
            return self._all()
        flags = self._all()
        if operator in ("Eq", "Lt", "LtEq"):
            flags &= _answers(bounds[0], _binary("Lt" if operator == "Lt" else "LtEq", {"Column": "bound"}, right))
        if operator in ("Eq", "Gt", "GtEq"):
            flags &= _answers(bounds[1], _binary("Gt" if operator == "Gt" else "GtEq", {"Column": "bound"}, right))
        return flags

    def _membership(self, column: Any, values: Any) -> Flags:
        bounds = self._bounds.of(column["Column"]) if "Column" in column and _is_constant(values) else None
        if bounds is None:
            return self._all()
        listed = pl.select(_expression(values).alias("values"))["values"]
        listed = listed.explode() if isinstance(listed.dtype, pl.List) else listed
        listed = listed.drop_nulls().unique()
        if len(listed) > _MOST_VALUES:
            return _reaches(bounds, listed.min(), listed.max(), listed.dtype)
        flags = ~self._all()
        for value in listed:
            flags |= _reaches(bounds, value, value, listed.dtype)
        return flags

    def _all(self) -> Flags:
        return self._bounds.all_files()


def _binary(operator: str, left: Any, right: Any) -> Any:
    return {"BinaryExpr": {"left": left, "op": operator, "right": right}}


def _is_constant(node: Any) -> bool:
    """Whether an expression is a value that is not NULL."""
    return isinstance(node, dict) and set(node) == {"Literal"}


def _expression(node: Any) -> pl.Expr:
    return pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")


def _answers(bound: pl.Series, comparison: Any) -> Flags:
    """A comparison of each file's bound; true where there is no bound."""
    answers = pl.DataFrame({"bound": bound}).select(_expression(comparison).alias("answer"))["answer"]
    return answers.fill_null(True).to_numpy().astype(np.bool_)


def _reaches(bounds: tuple[pl.Series, pl.Series], least: Any, greatest: Any, dtype: Any) -> Flags:
    """Whether each file's range overlaps the range of two values."""
    frame = pl.DataFrame({"low": bounds[0], "high": bounds[1]})
    low, high = pl.lit(least, dtype=dtype), pl.lit(greatest, dtype=dtype)
    answers = frame.select(
        ((pl.col("low") <= high).fill_null(True) & (pl.col("high") >= low).fill_null(True)).alias("answer")
    )
    return answers["answer"].to_numpy().astype(np.bool_)


def _series(ranges: Ranges, type_: DataType) -> tuple[pl.Series, pl.Series] | None:
    """Least and greatest values of files, in the type of the rows; None if a value is not of that type."""
    kind = to_arrow(type_)
    try:
        return pl.Series(_values(ranges.low, kind)), pl.Series(_values(ranges.high, kind))
    except (pa.ArrowInvalid, OverflowError, ValueError):
        return None


def _values(bounds: pl.Series, kind: pa.DataType) -> pa.Array:
    if pat.is_decimal(kind):
        numbers = [
            None if bound is None else decimal.Decimal(int(bound)).scaleb(-kind.scale, _DIGITS)
            for bound in bounds.to_list()
        ]
        return pa.array(numbers, kind)
    values = bounds.to_arrow()
    if pat.is_date(kind):
        return values.cast(pa.int32()).view(kind)
    return values.view(kind) if pat.is_timestamp(kind) else values.cast(kind)
