"""Parsing of a text with sqlglot, and checks of its tokens.

sqlglot accepts more than Spark does, and its tree does not show the spelling (comments, names of functions, ``::``).
Spellings that engines read differently are refused here; meanings that differ are refused by ``binder``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.spark import Spark
from sqlglot.errors import SqlglotError

from andes_spark.sql.refusal import Source, shortened

FUNCTIONS = frozenset({"char_length", "character_length", "coalesce", "ifnull", "length", "lower", "nvl", "upper"})
"""Functions with the same result in both engines, also for NULL and non-ASCII text."""

MOST_TERMS = 250
"""Limit for the stack and the planning time of engines."""
MOST_LEVELS = 24
"""Limit of nesting, for the recursion of sqlglot."""
MOST_OPERATIONS = 50

_WORDS = frozenset(
    {"and", "or", "not", "in", "between", "like", "escape", "case", "when", "then", "else", "is", "from"}
)
_UNLIKE_CALLS = {"over": "a window", "select": "a query"}
_NAME = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?:l|s|y|d|bd)?", re.I)
_TERMS = frozenset({TokenType.AND, TokenType.OR, TokenType.NOT, TokenType.CASE, TokenType.WHEN, TokenType.L_PAREN})
_OPERATIONS = frozenset({TokenType.PLUS, TokenType.DASH, TokenType.STAR})
_OPENING = frozenset({TokenType.L_PAREN, TokenType.CASE})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.END})
_QUOTED = frozenset({TokenType.STRING, TokenType.IDENTIFIER})


class _Conditions(Spark):
    """Spark's SQL with the strings of standard SQL: in single quotes, with ``''`` as the escaped quote."""

    class Tokenizer(Spark.Tokenizer):
        QUOTES = ["'"]  # noqa: RUF012
        STRING_ESCAPES = ["'"]  # noqa: RUF012
        IDENTIFIERS = ["`"]  # noqa: RUF012


_DIALECT = _Conditions()


def parse(source: Source) -> tuple[exp.Expression, Sequence[Token]]:
    """Parse a text; return its tree and its tokens.

    Raises:
        OptionError: not a SQL expression, a spelling that engines read differently, or too long.
    """
    if "\\" in source.text:
        raise source.error(
            f"a backslash escapes the next character to Spark and is a character to others; {source.way()}"
        )
    try:
        tokens = _DIALECT.tokenize(source.text)
        _check_words(source, tokens)
        _check_size(source, tokens)
        trees = _DIALECT.parser().parse(tokens, source.text)
    except SqlglotError as error:
        raise source.error(f"{shortened(source.text)!r} is not a SQL expression: {_reason(error)}") from error
    except RecursionError as error:
        raise too_deep(source) from error
    expressions = [tree for tree in trees if isinstance(tree, exp.Expression)]
    if not expressions:
        raise source.error("the text is empty: give a SQL expression, or leave the option out")
    if len(trees) > 1:
        raise source.error(
            f"{shortened(source.text)!r} has a semicolon: give one SQL expression, joined by AND or OR if it has parts"
        )
    return expressions[0], tokens


def too_deep(source: Source) -> Exception:
    """Return the error for a text nested too deeply, to be raised by the caller."""
    return source.error(f"it is nested too deep, more than {MOST_LEVELS} levels; {source.way()}")


def _check_words(source: Source, tokens: Sequence[Token]) -> None:
    unlike: list[str] = []
    for at, token in enumerate(tokens):
        written = source.text[token.start : token.end + 1]
        before = tokens[at - 1] if at else None
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        if token.comments:
            unlike.append("a comment")
        if token.token_type in _QUOTED:
            if token.token_type is TokenType.STRING and before and before.token_type is TokenType.STRING:
                unlike.append("two texts in a row")
            is_function = token.token_type is TokenType.IDENTIFIER and _calls(after)
        else:
            if '"' in written:
                raise source.error(
                    "a double quote means a string to Spark and a column to others; use single quotes for strings "
                    "and backticks for columns"
                )
            unlike += _unlike_word(token, written)
            if written.lower() == "unknown" and _is_is(tokens[max(at - 2, 0) : at]):
                raise source.unlike("IS UNKNOWN", "write IS NULL")
            is_function = bool(_NAME.fullmatch(written)) and written.lower() not in _WORDS and _calls(after)
        if is_function and (token.text.lower() not in FUNCTIONS or token.token_type in _QUOTED or _is_dot(before)):
            unlike.append(_UNLIKE_CALLS.get(token.text.lower(), f"{token.text}()"))
    if unlike:
        allowed = ", ".join(sorted(FUNCTIONS))
        calls = any(refused_word.endswith("()") for refused_word in unlike)
        raise source.unlike(
            ", ".join(dict.fromkeys(unlike)), f"the functions are {allowed}; {source.way()}" if calls else ""
        )


def _unlike_word(token: Token, written: str) -> list[str]:
    if token.token_type is TokenType.DCOLON and written == "::":
        return ["a cast"]
    if token.token_type is TokenType.SELECT:
        return ["a query"]
    if token.token_type is TokenType.HEX_STRING and not written.lower().startswith("x'"):
        return ["a number with letters"]
    if written[:1].isdigit() and not _NUMBER.fullmatch(written):
        return ["a number with letters"]
    return []


def _calls(after: Token | None) -> bool:
    return after is not None and after.token_type is TokenType.L_PAREN


def _is_is(before: Sequence[Token]) -> bool:
    """Return whether IS or IS NOT stand before a word."""
    kinds = [token.token_type for token in before]
    return kinds[-1:] == [TokenType.IS] or kinds == [TokenType.IS, TokenType.NOT]


def _is_dot(before: Token | None) -> bool:
    return before is not None and before.token_type is TokenType.DOT


def _check_size(source: Source, tokens: Sequence[Token]) -> None:
    kinds = [token.token_type for token in tokens]
    terms = sum(kind in _TERMS for kind in kinds)
    if terms > MOST_TERMS:
        raise source.error(
            f"{terms} ANDs, ORs, NOTs and parentheses are more than the {MOST_TERMS} that a text may have; "
            "use IN for many values of a column"
        )
    operations = sum(kind in _OPERATIONS for kind in kinds)
    if operations > MOST_OPERATIONS and _chained(kinds) > MOST_OPERATIONS:
        raise source.error(f"it adds and multiplies more than {MOST_OPERATIONS} values; compute a column first")
    level = 0
    for at, kind in enumerate(kinds):
        level += (kind in _OPENING) - (kind in _CLOSING)
        if level > MOST_LEVELS or kinds[at : at + MOST_LEVELS] == [TokenType.NOT] * MOST_LEVELS:
            raise too_deep(source)


def _chained(kinds: Sequence[TokenType]) -> int:
    """Count arithmetic operators, without the signs of negative numbers in a list."""
    pairs = zip([TokenType.COMMA, *kinds], kinds, strict=False)
    return sum(kind in _OPERATIONS and before not in (TokenType.COMMA, TokenType.L_PAREN) for before, kind in pairs)


def _reason(error: SqlglotError) -> str:
    errors = getattr(error, "errors", None)
    if not errors:
        return str(error).splitlines()[0]
    first = errors[0]
    description = re.sub(r"<class '[\w.]+\.(\w+)'>", r"\1", str(first["description"]))
    return f"{description}, at character {first['col']} of line {first['line']}"
