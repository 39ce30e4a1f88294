"""Which polars expressions look at one row at a time: only those mean the same however rows are cut into parts.

The expression is read as polars writes it down. What is known to look at one row passes; all else is refused by the
name that polars has for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from andes_spark.errors import OptionError

# Kinds of nodes, and where the expressions below them stand.
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
# Families of functions on one value, but for those that are listed with them.
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
    """Refuse aggregates, windows and whatever else looks at several rows, or at chance.

    Raises:
        OptionError: it has one.
    """
    try:
        tree = json.loads(expression.meta.serialize(format="json"))
        found = sorted(set(_across(tree)))
    except (pl.exceptions.ComputeError, ValueError, RecursionError):
        return expression  # a function of Python, or too deep to be written down: it is taken at its word
    if found:
        raise OptionError(
            f"{option}: a condition is about one row, and this one looks at several, or may ({', '.join(found)}): "
            "compute a column first, and use that",
            option=option,
        )
    return expression


def _across(node: Any) -> Iterator[str]:
    """What looks at several rows, by polars' names."""
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
            for each in below if isinstance(below, list) else [below]:
                yield from _across(each)


def _is_row_wise(function: Any) -> bool:
    if isinstance(function, str):
        return function in _FUNCTIONS
    family, member = next(iter(function.items()))
    if family in _FAMILIES:
        return _name(member) not in _FAMILIES[family]
    return family in _FUNCTIONS


def _name(function: Any) -> str:
    """The innermost name of a function that does not merely hold its options."""
    if isinstance(function, str):
        return function
    family, member = next(iter(function.items()))
    return _name(member) if family in _FAMILIES and isinstance(member, str | dict) else str(family)
