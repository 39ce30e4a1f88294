"""Check that polars expressions are row-wise: only these are independent of how rows are cut into parts.

The expression is read in polars' serialized form. Nodes that are known to be row-wise pass; all others are refused
by polars' name for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from andes_spark.errors import OptionError

# Kinds of nodes, and the places of the expressions below them.
_NODES = {
    "Alias": (0,),
    "KeepName": (None,),
    "BinaryExpr": ("left", "right"),
    "Cast": ("expr",),
    "Ternary": ("predicate", "truthy", "falsy"),
    "Eval": ("expr",),
    "Function": ("input",),
}
_LEAVES = frozenset({"Column", "Literal", "Field"})
# Families of functions on one value, with exceptions.
_FAMILIES = {
    "StringExpr": {"ConcatVertical"},
    "BinaryExpr": set(),
    "TemporalExpr": set(),
    "ListExpr": set(),
    "ArrayExpr": {"Explode"},
    "StructExpr": set(),
    "Trigonometry": set(),
    "Sql": set(),
    "Pow": set(),
    "Boolean": {"Any", "All", "IsUnique", "IsDuplicated", "IsFirstDistinct", "IsLastDistinct", "HasNulls", "IsEmpty"},
}
_FUNCTIONS = frozenset(
    {"Abs", "Ceil", "Clip", "Coalesce", "Exp", "FillNull", "Floor", "Log", "Log1p", "MaxHorizontal", "MinHorizontal"}
    | {"Negate", "Round", "RoundSF", "Sign", "SumHorizontal", "MeanHorizontal", "AsStruct", "Replace", "ReplaceStrict"}
)


def check_row_wise(option: str, expression: pl.Expr) -> pl.Expr:
    """Refuse aggregates, windows, random values and other expressions that are not row-wise.

    Raises:
        OptionError: the expression is not row-wise.
    """
    try:
        tree = json.loads(expression.meta.serialize(format="json"))
        names = sorted(set(_across(tree)))
    except (pl.exceptions.ComputeError, ValueError, RecursionError):
        return expression  # not serializable (a Python function, or too deep): accepted unchecked
    if names:
        raise OptionError(
            f"{option}: a condition is about one row, and this one looks at several, or may ({', '.join(names)}): "
            "compute a column first, and use that",
            option=option,
        )
    return expression


def _across(node: Any) -> Iterator[str]:
    """Names of nodes that are not row-wise."""
    if not isinstance(node, dict):
        yield str(node)
        return
    for kind, body in node.items():
        if kind in _LEAVES:
            continue
        if kind not in _NODES:
            yield kind
            continue
        if kind == "Function" and not _is_row_wise(body["function"]):
            yield _name(body["function"])
        for place in _NODES[kind]:
            below = body if place is None else body[place]
            for child in below if isinstance(below, list) else [below]:
                yield from _across(child)


def _is_row_wise(function: Any) -> bool:
    if isinstance(function, str):
        return function in _FUNCTIONS
    family, member = next(iter(function.items()))
    if family in _FAMILIES:
        return _name(member) not in _FAMILIES[family]
    return family in _FUNCTIONS


def _name(function: Any) -> str:
    """Innermost name of a function, without its options."""
    if isinstance(function, str):
        return function
    family, member = next(iter(function.items()))
    return _name(member) if family in _FAMILIES and isinstance(member, str | dict) else str(family)
