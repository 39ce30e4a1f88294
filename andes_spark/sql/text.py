"""A text from its reading to what engines evaluate. This is the part of the room that others use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from andes_spark.schema import types as dt
from andes_spark.schema.names import resolve
from andes_spark.sql import tree
from andes_spark.sql.polars_expression import arrow_expression
from andes_spark.sql.refusal import Source
from andes_spark.sql.spark_sql import spark_sql

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Names:
    """Columns that a text uses.

    Attributes:
        found: names of columns, by those in the text.
        missing: names in the text that no column has.
    """

    found: Mapping[str, str]
    missing: tuple[str, ...]


def resolved_names(names: Iterable[str], available: Collection[str]) -> Names:
    """Columns by names as an expression writes them: as they are, else by the only one that differs in case.

    Raises:
        OptionError: several columns differ in case only; ``column``.
    """
    columns = list(available)
    resolution = {name: resolve(name, columns) for name in names}
    found = {name: column for name, column in resolution.items() if column is not None}
    return Names(found, tuple(name for name, column in resolution.items() if column is None))


@dataclass(frozen=True)
class Bound:
    """A condition over columns of certain types.

    Attributes:
        columns: names of those that it uses.
    """

    node: tree.Node
    columns: frozenset[str]

    @cached_property
    def spark(self) -> str:
        """As Spark SQL."""
        return spark_sql(self.node)

    @cached_property
    def polars(self) -> pl.Expr:
        """As a polars expression, for columns in the Arrow types that this library has for their types.

        A decimal is given without its point, a time as a number: their order is right.
        """
        return arrow_expression(self.node)


@dataclass(frozen=True)
class SqlText:
    """A SQL expression that is written as one may be; of its columns nothing is known yet.

    Attributes:
        names: of its columns, as it writes them.
        syntax, tokens: as sqlglot reads it.
    """

    source: Source
    names: tuple[str, ...]
    syntax: Any
    tokens: Any

    @classmethod
    def read(cls, option: str, text: str, *, instead: str = "") -> SqlText:
        """Read a text; once, since a feed sends the same with each of its batches.

        Args:
            option: that the text was given to, for messages.
            text: the SQL expression.
            instead: what the caller can give in place of a text, such as "a polars expression".

        Raises:
            OptionError: no SQL expression, or one that engines read differently; ``option``, ``value``.
        """
        return _read(Source(option, text, instead))

    def resolve(self, available: Collection[str]) -> Names:
        """Find its columns among those that are there; see :func:`resolved_names`."""
        return resolved_names(self.names, available)

    def bind(self, names: Names, types: Mapping[str, dt.DataType | None], *, is_condition: bool = True) -> Bound:
        """Judge it by the types of its columns.

        Args:
            names: its columns, none of them missing.
            types: of the columns, at least those that it uses; None for one that holds nothing but NULL.
            is_condition: whether it must be one; else it may give any single value.

        Raises:
            OptionError: what engines do differently, or what is no condition; ``option``, ``value``.
        """
        used = {column: types[column] for column in names.found.values()}
        return _bound(self, tuple(names.found.items()), tuple(used.items()), is_condition)

    def __hash__(self) -> int:
        return hash(self.source)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SqlText) and self.source == other.source


@lru_cache(maxsize=64)
def _read(source: Source) -> SqlText:
    from andes_spark.sql.grammar import parse
    from andes_spark.sql.rules import names_in

    syntax, tokens = parse(source)
    return SqlText(source, tuple(names_in(syntax)), syntax, tokens)


@lru_cache(maxsize=256)
def _bound(
    text: SqlText,
    names: tuple[tuple[str, str], ...],
    types: tuple[tuple[str, dt.DataType | None], ...],
    is_condition: bool,
) -> Bound:
    from andes_spark.sql.binder import Binder
    from andes_spark.sql.grammar import too_deep
    from andes_spark.sql.order import check_order
    from andes_spark.sql.rules import RULES

    binder = Binder(text.source, dict(types), dict(names), RULES)
    try:
        node = binder.condition(text.syntax) if is_condition else binder.single(text.syntax)
    except RecursionError as error:
        raise too_deep(text.source) from error
    # Last, since all else is refused by its name.
    check_order(text.source, text.tokens, text.syntax)
    return Bound(node, frozenset(dict(types)))
