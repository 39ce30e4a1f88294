"""Which files of a table can hold rows that a condition keeps, by statistics and partition values alone.

Conservative: what the condition says beyond comparisons of a column with values, joined by AND and OR, keeps every
file, and so does a column without bounds. A file with a row that the condition keeps is never left out.
"""

from __future__ import annotations

import decimal
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.delta.bounds import ColumnRange
from andes_spark.delta.prune import file_ranges
from andes_spark.delta.state import DataFile
from andes_spark.schema.arrow_types import to_arrow
from andes_spark.schema.schema import DataType, Schema

Flags = npt.NDArray[np.bool_]

_MIRRORED = {"Eq": "Eq", "Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
_DIGITS = decimal.Context(prec=100)
_MOST_VALUES = 1_000
"""Values of an IN; of more, only the least and the greatest are looked at."""


def may_hold(
    files: Sequence[DataFile], schema: Schema, partition_columns: Sequence[str], condition: pl.Expr
) -> list[bool]:
    """For each file, whether it may hold a row for which the condition is true.

    Args:
        files: of the table.
        schema: of the table.
        partition_columns: its partition columns.
        condition: over columns of the table.
    """
    try:
        tree = json.loads(condition.meta.serialize(format="json"))
        flags = _Skipping(files, schema, partition_columns).flags(tree)
    except (RecursionError, pl.exceptions.PolarsError):
        return [True] * len(files)
    return [bool(flag) for flag in flags]


class _Skipping:
    """The bounds of the columns that a condition uses, read once each."""

    def __init__(self, files: Sequence[DataFile], schema: Schema, partition_columns: Sequence[str]) -> None:
        self._files = files
        self._schema = schema
        self._partition_columns = partition_columns
        self._bounds: dict[str, tuple[pl.Series, pl.Series] | None] = {}

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
        return self._comparison(operator, body["left"], body["right"], _binary)

    def _function(self, body: Any) -> Flags:
        function, inputs = body["function"], body["input"]
        kind, inner = next(iter(function.items())) if isinstance(function, dict) else (function, None)
        if kind == "Sql" and isinstance(inner, dict) and "Binary" in inner and len(inputs) == 2:
            return self._comparison(inner["Binary"], inputs[0], inputs[1], _sql_binary)
        if isinstance(inner, dict) and inner.get("IsIn") == {"nulls_equal": False} and len(inputs) == 2:
            return self._membership(*inputs)
        if isinstance(inner, dict) and "IsBetween" in inner and len(inputs) == 3:
            value, least, greatest = inputs
            return self._comparison("GtEq", value, least, _binary) & self._comparison("LtEq", value, greatest, _binary)
        return self._all()

    def _comparison(self, operator: str, left: Any, right: Any, build: Callable[[str, Any, Any], Any]) -> Flags:
        if "Column" in right:
            left, right, operator = right, left, _MIRRORED.get(operator, "")
        if operator not in _MIRRORED or "Column" not in left or not _is_constant(right):
            return self._all()
        bounds = self._bounds_of(left["Column"])
        if bounds is None:
            return self._all()
        flags = self._all()
        if operator in ("Eq", "Lt", "LtEq"):
            flags &= _answers(bounds[0], build("Lt" if operator == "Lt" else "LtEq", {"Column": "bound"}, right))
        if operator in ("Eq", "Gt", "GtEq"):
            flags &= _answers(bounds[1], build("Gt" if operator == "Gt" else "GtEq", {"Column": "bound"}, right))
        return flags

    def _membership(self, column: Any, values: Any) -> Flags:
        bounds = self._bounds_of(column["Column"]) if "Column" in column and _is_constant(values) else None
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

    def _bounds_of(self, name: str) -> tuple[pl.Series, pl.Series] | None:
        if name not in self._bounds:
            type_ = self._schema.field(name).type
            ranges = file_ranges(self._files, name, type_, self._partition_columns)
            self._bounds[name] = None if ranges is None else _series(ranges, type_)
        return self._bounds[name]

    def _all(self) -> Flags:
        return np.ones(len(self._files), np.bool_)


def _binary(operator: str, left: Any, right: Any) -> Any:
    return {"BinaryExpr": {"left": left, "op": operator, "right": right}}


def _sql_binary(operator: str, left: Any, right: Any) -> Any:
    return {"Function": {"input": [left, right], "function": {"Sql": {"Binary": operator}}}}


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
    """Whether each file's range has something in common with the range of two values."""
    frame = pl.DataFrame({"low": bounds[0], "high": bounds[1]})
    low, high = pl.lit(least, dtype=dtype), pl.lit(greatest, dtype=dtype)
    answers = frame.select(
        ((pl.col("low") <= high).fill_null(True) & (pl.col("high") >= low).fill_null(True)).alias("answer")
    )
    return answers["answer"].to_numpy().astype(np.bool_)


def _series(ranges: Sequence[ColumnRange], type_: DataType) -> tuple[pl.Series, pl.Series] | None:
    """Least and greatest values of files, of the type that rows have; None where they are none of that type."""
    kind = to_arrow(type_)
    try:
        low, high = (pl.Series(_values([bounds[side] for bounds in ranges], kind)) for side in (0, 1))
    except (pa.ArrowInvalid, OverflowError, ValueError):
        return None
    return None if low.null_count() == high.null_count() == len(ranges) else (low, high)


def _values(bounds: Sequence[int | str | None], kind: pa.DataType) -> pa.Array:
    if pat.is_decimal(kind):
        numbers = [
            None if bound is None else decimal.Decimal(int(bound)).scaleb(-kind.scale, _DIGITS) for bound in bounds
        ]
        return pa.array(numbers, kind)
    if pat.is_date(kind):
        return pa.array(bounds, pa.int32()).view(kind)
    if pat.is_timestamp(kind):
        return pa.array(bounds, pa.int64()).view(kind)
    return pa.array(bounds, kind)
