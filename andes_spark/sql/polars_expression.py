"""The tree of a text as a polars expression, built node by node.

Exact numbers are integers of 64 bits if their range fits, else of 128 bits; decimals are unscaled integers. Days and
microseconds are integers too, so that polars' own rules for decimals and times do not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import and_, or_
from typing import Any

import polars as pl

from andes_spark.schema.names import is_pattern
from andes_spark.sql import tree
from andes_spark.sql.kinds import BINARY, BOOLEAN, DATE, DOUBLE, FLOAT, LOCAL_TIME, NULL, TEXT, TIME, Exact, Kind
from andes_spark.sql.patterns import Wildcard, parts_of

_TYPES: dict[Kind, Any] = {
    BOOLEAN: pl.Boolean,
    TEXT: pl.String,
    BINARY: pl.Binary,
    DATE: pl.Int32,
    TIME: pl.Int64,
    LOCAL_TIME: pl.Int64,
    FLOAT: pl.Float32,
    DOUBLE: pl.Float64,
    NULL: pl.Boolean,
}
_COMPARISONS: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "=": pl.Expr.eq,
    "<>": pl.Expr.ne,
    "<": pl.Expr.lt,
    "<=": pl.Expr.le,
    ">": pl.Expr.gt,
    ">=": pl.Expr.ge,
    "<=>": pl.Expr.eq_missing,
}
_OPERATIONS: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "+": pl.Expr.add,
    "-": pl.Expr.sub,
    "*": pl.Expr.mul,
}
_FUNCTIONS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "length": lambda text: text.str.len_chars().cast(pl.Int64),
    "lower": lambda text: text.str.to_lowercase(),
    "upper": lambda text: text.str.to_uppercase(),
}
_WILDCARDS = {Wildcard.ANY: ".*", Wildcard.ONE: "."}


def polars_expression(node: tree.Node) -> pl.Expr:
    """Build the expression of a node, for columns in this library's Arrow types."""
    match node:
        case tree.Value(kind, value):
            return pl.lit(value, dtype=_type(kind))
        case tree.Reference():
            return _reference(node)
        case tree.As(kind, operand):
            return _as(kind, operand)
        case tree.Arithmetic(kind, operation, left, right):
            return _arithmetic(kind, operation, left, right)
        case tree.Compare(comparison, left, right):
            return _COMPARISONS[comparison](polars_expression(left), polars_expression(right))
        case tree.And(operands):
            return _balanced(and_, [polars_expression(operand) for operand in operands])
        case tree.Or(operands):
            return _balanced(or_, [polars_expression(operand) for operand in operands])
        case tree.Not(operand):
            return polars_expression(operand).not_()
        case tree.IsNull(operand):
            return polars_expression(operand).is_null()
        case tree.In(operand, values, or_null):
            constants = pl.Series([[value.value for value in values]], dtype=pl.List(_type(operand.kind)))
            is_in = polars_expression(operand).is_in(pl.lit(constants))
            return pl.when(is_in).then(True).otherwise(pl.lit(None, pl.Boolean)) if or_null else is_in
        case tree.Like(operand, pattern, escape):
            return _like(polars_expression(operand), parts_of(pattern, escape))
        case tree.Case(_, branches, otherwise):
            return _case(branches, otherwise)
        case tree.Coalesce(_, operands):
            return pl.coalesce([polars_expression(operand) for operand in operands])
        case tree.Call(_, function, operand):
            return _FUNCTIONS[function](polars_expression(operand))


def arrow_expression(node: tree.Node) -> pl.Expr:
    """Build an expression whose values have an Arrow type, which excludes integers of 128 bits."""
    value = polars_expression(node)
    return value.cast(pl.Decimal(38, 0)) if _type(node.kind) == pl.Int128 else value


def _type(kind: Kind) -> Any:
    if isinstance(kind, Exact):
        return pl.Int64 if kind.is_long else pl.Int128
    return _TYPES[kind]


def _reference(node: tree.Reference) -> pl.Expr:
    value = _field(node.path)
    kind = node.kind
    if isinstance(kind, Exact):
        return value.to_physical().cast(_type(kind))
    if kind in (DATE, TIME, LOCAL_TIME):
        return value.to_physical()
    return value


def _field(path: Sequence[str]) -> pl.Expr:
    name = path[0]
    value = pl.col(f"^{pl.escape_regex(name)}$" if is_pattern(name) else name)
    for name in path[1:]:
        # Fields of a NULL struct may have arbitrary values.
        value = pl.when(value.is_not_null()).then(value.struct.field(name))
    return value


def _arithmetic(kind: Kind, operation: str, left: tree.Node, right: tree.Node) -> pl.Expr:
    """Integers have the width of the widest operand, then that of the result; doubles stay doubles."""
    types = [_type(side.kind) for side in (left, right)]
    wide = pl.Int128 if pl.Int128 in types else _type(kind)
    sides = [polars_expression(side).cast(wide) for side in (left, right)]
    return _OPERATIONS[operation](*sides).cast(_type(kind))


def _as(kind: Kind, operand: tree.Node) -> pl.Expr:
    value = polars_expression(operand)
    if isinstance(kind, Exact):
        factor = kind.scale - tree.exact(operand).scale
        wide = value.cast(_type(kind))
        return wide * pl.lit(10**factor, dtype=_type(kind)) if factor else wide
    if not isinstance(operand.kind, Exact) or operand.kind.scale == 0:
        return value.cast(_type(kind))
    # As text it becomes the nearest double, as in Spark; polars divides by a constant by multiplying, and rounds twice.
    return (value.cast(pl.String) + pl.lit(f"e-{operand.kind.scale}")).cast(pl.Float64)


def _balanced(join: Callable[[pl.Expr, pl.Expr], pl.Expr], operands: list[pl.Expr]) -> pl.Expr:
    """Join operands in a balanced tree, to limit the recursion of polars."""
    while len(operands) > 2:
        pairs = [operands[at : at + 2] for at in range(0, len(operands), 2)]
        operands = [reduce(join, pair) for pair in pairs]
    return reduce(join, operands)


def _like(value: pl.Expr, parts: Sequence[str | Wildcard]) -> pl.Expr:
    text = "".join(part for part in parts if isinstance(part, str))
    shape = [part if isinstance(part, Wildcard) else str for part in parts]
    if shape in ([], [str]):
        return value == pl.lit(text)
    if shape == [str, Wildcard.ANY]:
        return value.str.starts_with(text)
    if shape == [Wildcard.ANY, str]:
        return value.str.ends_with(text)
    if shape == [Wildcard.ANY, str, Wildcard.ANY]:
        return value.str.contains(text, literal=True)
    pattern = "".join(_WILDCARDS[part] if isinstance(part, Wildcard) else pl.escape_regex(part) for part in parts)
    return value.str.contains(f"^(?s:{pattern})$")


def _case(branches: Sequence[tuple[tree.Node, tree.Node]], otherwise: tree.Node) -> pl.Expr:
    result = polars_expression(otherwise)
    for when, then in reversed(branches):
        result = pl.when(polars_expression(when)).then(polars_expression(then)).otherwise(result)
    return result
