"""Types in conditions: values of one kind are compared, since engines convert others each in its own way.

A decimal against a text is compared as numbers by Spark and as texts by polars; a time against a date depends on the
time zone of Spark's session; a boolean against a text is read as one there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import polars as pl
import pyarrow as pa

from andes_spark.errors import OptionError

_COMPARISONS = frozenset({"Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq", "EqValidity", "NotEqValidity"})
_KINDS: dict[Any, str] = {pl.String: "text", pl.Boolean: "boolean", pl.Date: "date", pl.Binary: "binary"}


def check_types(option: str, expression: pl.Expr, schema: Mapping[str, Any]) -> None:
    """Refuse comparisons of values of different kinds.

    Args:
        option: that the condition is of.
        expression: a text as polars parsed it.
        schema: polars' types of the columns that it uses.

    Raises:
        OptionError: it has one; the message names both kinds.
    """
    try:
        found = _mixed(expression.meta.serialize(format="json"), tuple(schema.items()))
    except RecursionError as error:
        raise OptionError(f"{option}: it is nested too deep; compute a column first", option=option) from error
    if found is not None:
        raise OptionError(
            f"{option}: it compares {found}, which engines convert in different ways; write the value as one of the "
            "column's type, or give a Spark Column with a Spark DataFrame and a polars expression with all else",
            option=option,
        )


def types_of(schema: pa.Schema) -> Mapping[str, Any]:
    """Polars' types of columns as conditions see them."""
    empty = pa.table({field.name: with_doubles(pa.chunked_array([], field.type)) for field in schema})
    frame = pl.from_arrow(empty)
    assert isinstance(frame, pl.DataFrame)
    return frame.schema


def with_doubles(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with doubles in place of floats, those of its fields included."""
    wide = _doubles(column.type)
    return column if wide == column.type else column.cast(wide)


def _doubles(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return pa.float64()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_doubles(field.type)) for field in kind])
    return kind


@lru_cache(maxsize=256)
def _mixed(tree: str, columns: tuple[tuple[str, Any], ...]) -> str | None:
    """The kinds of the first comparison of values of different kinds; read once for each text and types."""
    empty = pl.LazyFrame(schema=dict(columns))
    for sides in _compared(json.loads(tree)):
        kinds = sorted({kind for side in sides for kind in _kinds(side, empty)})
        if len(kinds) > 1:
            return " with ".join(kinds)
    return None


def _compared(node: Any) -> Iterator[list[Any]]:
    """Expressions that are compared with each other, or of which one is chosen."""
    if isinstance(node, list):
        for each in node:
            yield from _compared(each)
    if not isinstance(node, dict):
        return
    for name, body in node.items():
        if name == "BinaryExpr" and body["op"] in _COMPARISONS:
            yield [body["left"], body["right"]]
        elif name == "Ternary":
            yield [body["truthy"], body["falsy"]]
        elif name == "Function" and (body["function"] == "Coalesce" or _is_membership(body["function"])):
            yield body["input"]
        yield from _compared(body)


def _is_membership(function: Any) -> bool:
    inner = function.get("Boolean") if isinstance(function, dict) else None
    name = next(iter(inner)) if isinstance(inner, dict) else inner
    return name in ("IsIn", "IsBetween")


def _kinds(node: Any, empty: pl.LazyFrame) -> Iterator[str]:
    """The kind of an expression; none for NULL."""
    expression = pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")
    try:
        dtype: Any = empty.select(expression.alias("_andes_side")).collect_schema()["_andes_side"]
    except pl.exceptions.PolarsError:
        return  # the evaluation of the whole says what is wrong
    if isinstance(dtype, pl.List):  # the values of IN
        dtype = dtype.inner
    if isinstance(dtype, pl.Datetime):
        yield "time without zone" if dtype.time_zone is None else "time"
    elif dtype.is_numeric():
        yield "number"
    elif dtype in _KINDS:
        yield _KINDS[dtype]
