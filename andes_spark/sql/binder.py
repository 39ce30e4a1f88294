"""Conversion of a parsed text to a typed tree: operands are checked and converted to common kinds, or refused.

The allowed nodes and their rules are in ``rules``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlglot import exp

from andes_spark.schema import types as dt
from andes_spark.sql import constants, kinds, tree
from andes_spark.sql.kinds import BOOLEAN, DOUBLE, NULL, TEXT, Exact, Kind, Nested
from andes_spark.sql.refusal import Source, shortened

_UNLIKE: tuple[tuple[tuple[type[exp.Expression], ...], str, str], ...] = (
    ((exp.Div, exp.IntDiv, exp.Mod), "a division", "by zero it is an error, NULL or infinity: multiply, or "),
    ((exp.ILike, exp.RegexpLike, exp.SimilarTo, exp.Any, exp.All), "a pattern other than LIKE", ""),
    ((exp.Bracket,), "an element of an array or a map", ""),
    ((exp.Cast, exp.TryCast), "a cast", ""),
    ((exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime, exp.Localtimestamp), "the clock", ""),
    ((exp.Interval, exp.AtTimeZone), "an interval or a zone", "write times as TIMESTAMP '2026-01-31 12:00:00Z', or "),
    ((exp.Select, exp.Subquery, exp.Exists), "a query", ""),
    ((exp.Window,), "a window", ""),
    ((exp.Concat,), "two texts in a row", "write them as one, or "),
    ((exp.Parameter, exp.Placeholder), "a parameter", "write its value, or "),
    ((exp.Star,), "a star", "name columns, or "),
)
_ALLOWED = (
    "a text may have columns, numbers, strings, TRUE, FALSE, NULL, DATE, TIMESTAMP and TIMESTAMP_NTZ with a string, "
    "+ - *, = <> < <= > >= <=>, AND, OR, NOT, IN, BETWEEN, LIKE, IS NULL, IS TRUE, CASE, coalesce, length, lower and "
    "upper"
)


@dataclass(frozen=True)
class Binder:
    """Binder of the nodes of one text.

    Attributes:
        source: the text, for messages.
        types: types of the columns by name; None for a column of NULLs only.
        names: names of the columns, by the names in the text.
        rules: allowed parts and rule of each kind of node.
    """

    source: Source
    types: Mapping[str, dt.DataType | None]
    names: Mapping[str, str]
    rules: Mapping[type[exp.Expression], tuple[frozenset[str], Rule]]

    def condition(self, node: exp.Expression) -> tree.Node:
        """Bind a condition: the whole text, or an operand of AND, OR, NOT and CASE.

        Raises:
            OptionError: an unsupported expression, or a value other than true or false.
        """
        bound = self.bind(node)
        if bound.kind == NULL and node.parent is not None and isinstance(bound, tree.Value | tree.Reference):
            return tree.Value(BOOLEAN, None)
        if bound.kind != BOOLEAN:
            raise self.source.error(f"it gives {kinds.name_of(bound.kind)} ({self.shown(node)}), not a condition")
        return bound

    def single(self, node: exp.Expression) -> tree.Node:
        """Bind a single value of any kind except NULL; raises as ``bind``."""
        bound = self.refuse_nested(self.bind(node))
        if bound.kind == NULL:
            raise self.source.error(f"it gives NULL ({self.shown(node)}), which has no order")
        return bound

    def bind(self, node: Any) -> tree.Node:
        """Bind any expression.

        Raises:
            OptionError: an unsupported expression, or values without a common kind.
        """
        rule = self.rules.get(type(node))
        if rule is None:
            raise self.unlike(node)
        parts, bound = rule
        if any(name not in parts and part not in (None, False, []) for name, part in node.args.items()):
            raise self.unlike(node)
        return bound(self, node)

    def value(self, node: exp.Expression) -> tree.Node:
        """Bind an operand of an operator; raises as ``bind``."""
        self.refuse_bare(node)
        return self.refuse_nested(self.bind(node))

    def refuse_bare(self, node: exp.Expression) -> None:
        """Refuse a condition as an operand, unless it is in parentheses."""
        if isinstance(node, exp.Predicate | exp.Connector | exp.Not | exp.Escape):
            raise self.source.unlike(
                f"{self.shown(node)} beside an operator", "engines read the order differently: put it in parentheses"
            )

    def refuse_nested(self, bound: tree.Node) -> tree.Node:
        """Refuse a nested value as an operand."""
        if not isinstance(bound.kind, Nested):
            return bound
        assert isinstance(bound, tree.Reference)
        name = ".".join(bound.path)
        raise self.source.error(
            f"it uses {name!r}, a column of {bound.kind.name}, which a text cannot compare; convert it first, or use "
            "IS NULL, or fields of a struct",
            column=name,
        )

    def alike(self, nodes: Iterable[tree.Node]) -> list[tree.Node]:
        """Convert values to their common kind.

        Raises:
            OptionError: no common kind.
        """
        nodes = list(nodes)
        kind = kinds.common(node.kind for node in nodes)
        if kind is None:
            words = sorted({kinds.name_of(node.kind) for node in nodes if node.kind != NULL})
            raise self.source.error(
                f"it compares {' with '.join(words)}, which engines convert in different ways; write the value as one "
                f"of the column's type{self._typed(nodes)}, or {self.source.way()}"
            )
        return [self.convert(node, kind) for node in nodes]

    def _typed(self, nodes: Iterable[tree.Node]) -> str:
        """Return how a text that stands beside days or times is written as one of them; empty for other kinds."""
        texts = [node.value for node in nodes if isinstance(node, tree.Value) and node.kind == TEXT]
        literals = [constants.literal(node.kind, text) for node in nodes for text in texts[:1]]
        return next((f", such as {literal}" for literal in literals if literal is not None), "")

    def convert(self, node: tree.Node, kind: Kind) -> tree.Node:
        """Convert a value to the common kind of several values.

        Raises:
            OptionError: too many digits for a decimal.
        """
        if node.kind == kind:
            return node
        if node.kind == NULL:
            return tree.Value(kind, None)
        if not isinstance(node.kind, Exact):
            return tree.As(kind, node)
        if isinstance(kind, Exact):
            return self._scaled(node, node.kind, kind)
        return self._doubled(node, node.kind)

    def _scaled(self, node: tree.Node, own: Exact, kind: Exact) -> tree.Node:
        if not kind.fits():
            raise self.source.error(
                f"it has numbers of {kind.digits} digits side by side, {kind.scale} of them after the point, and "
                f"decimals have {kinds.MAX_DIGITS}; {self.source.way()}"
            )
        if isinstance(node, tree.Value):
            return tree.Value(kind, None if node.value is None else node.value * 10 ** (kind.scale - own.scale))
        return tree.As(kind, node)

    def _doubled(self, node: tree.Node, own: Exact) -> tree.Node:
        if isinstance(node, tree.Value):
            # Python divides integers to the nearest double, as Spark reads a decimal.
            return tree.Value(DOUBLE, None if node.value is None else node.value / 10**own.scale)
        return tree.As(DOUBLE, node)

    def compare(self, comparison: tree.Comparison, left: tree.Node, right: tree.Node) -> tree.Node:
        """Bind a comparison of two values; raises as ``alike``."""
        one, other = self.alike((left, right))
        if one.kind == NULL:
            one, other = tree.Value(BOOLEAN, None), tree.Value(BOOLEAN, None)
        return tree.Compare(comparison, one, other)

    def unlike(self, node: Any) -> Exception:
        """Return the error for an unsupported node, to be raised by the caller."""
        for classes, construct, advice in _UNLIKE:
            if isinstance(node, classes):
                return self.source.unlike(f"{construct} ({self.shown(node)})", advice and advice + self.source.way())
        return self.source.unlike(self.shown(node), f"{_ALLOWED}; {self.source.way()}")

    def shown(self, node: Any) -> str:
        """Format a part of the text for messages."""
        return shortened(node.sql(dialect="spark") if isinstance(node, exp.Expression) else str(node))


Rule: TypeAlias = Callable[[Binder, Any], tree.Node]
