"""Interface of the package: a text from parsing to the expressions of the engines."""

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
    """Columns used by a text.

    Attributes:
        columns: names of columns, by the names in the text.
        missing: names in the text without a column.
    """

    columns: Mapping[str, str]
    missing: tuple[str, ...]


def resolved_names(names: Iterable[str], available: Collection[str]) -> Names:
    """Resolve the names of an expression to columns: the exact name, else the only one that differs in case.

    Raises:
        OptionError: several columns differ in case only; ``column``.
    """
    columns = list(available)
    resolution = {name: resolve(name, columns) for name in names}
    resolved = {name: column for name, column in resolution.items() if column is not None}
    return Names(resolved, tuple(name for name, column in resolution.items() if column is None))


@dataclass(frozen=True)
class Bound:
    """An expression over columns of known types.

    Attributes:
        columns: names of the columns used.
    """

    node: tree.Node
    columns: frozenset[str]

    @cached_property
    def spark(self) -> str:
        """The expression as Spark SQL."""
        return spark_sql(self.node)

    @cached_property
    def polars(self) -> pl.Expr:
        """The expression for polars, over columns in this library's Arrow types.

        Decimals are unscaled integers and times are numbers, in the same order as the values.
        """
        return arrow_expression(self.node)


@dataclass(frozen=True)
class SqlText:
    """A parsed SQL expression, before its columns are known.

    Attributes:
        names: names of its columns, as written.
        syntax, tokens: tree and tokens of sqlglot.
    """

    source: Source
    names: tuple[str, ...]
    syntax: Any
    tokens: Any

    @classmethod
    def read(cls, option: str, text: str, *, instead: str = "") -> SqlText:
        """Read a text, cached since feeds send the same text with each batch.

        Args:
            option: name of the option, for messages.
            text: the SQL expression.
            instead: alternative to a text, such as "a polars expression".

        Raises:
            OptionError: not a SQL expression, or one that engines read differently; ``option``, ``value``.
        """
        return _read(Source(option, text, instead))

    def resolve(self, available: Collection[str]) -> Names:
        """Resolve its columns among the available ones; see :func:`resolved_names`."""
        return resolved_names(self.names, available)

    def bind(self, names: Names, types: Mapping[str, dt.DataType | None], *, is_condition: bool = True) -> Bound:
        """Check it by the types of its columns.

        Args:
            names: its columns, none of them missing.
            types: types of at least the columns used; None for a column of NULLs only.
            is_condition: whether it must be a condition instead of any single value.

        Raises:
            OptionError: not a condition, or evaluated differently by engines; ``option``, ``value``.
        """
        used = {column: types[column] for column in names.columns.values()}
        return _bound(self, tuple(names.columns.items()), tuple(used.items()), is_condition)

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
