"""The order of tokens in a text.

sqlglot accepts more than SQL, and drops some tokens: a plus before a value, a comma before a parenthesis, the name in
``name . 5``, an AND missing from BETWEEN. A text is accepted only if values and operators alternate and all values
are in its tree, so that nothing was dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import Token, TokenType, exp

from andes_spark.sql.refusal import Source, shortened

_SIGNS = {
    TokenType.STRING: "s",
    TokenType.NUMBER: "0",
    TokenType.HEX_STRING: "s",
    TokenType.NULL: "c",
    TokenType.TRUE: "c",
    TokenType.FALSE: "c",
    TokenType.L_PAREN: "(",
    TokenType.R_PAREN: ")",
    TokenType.COMMA: ",",
    TokenType.DOT: ".",
    TokenType.DASH: "-",
    TokenType.NOT: "!",
    TokenType.IN: "i",
    TokenType.ESCAPE: "e",
    TokenType.IS: "I",
    TokenType.DISTINCT: "D",
    TokenType.FROM: "F",
    TokenType.CASE: "C",
    TokenType.WHEN: "W",
    TokenType.THEN: "T",
    TokenType.ELSE: "L",
    TokenType.END: "E",
    **dict.fromkeys((TokenType.BETWEEN, TokenType.LIKE), "l"),
    **dict.fromkeys((TokenType.AND, TokenType.OR, TokenType.PLUS, TokenType.STAR), "o"),
    **dict.fromkeys((TokenType.EQ, TokenType.NEQ, TokenType.NULLSAFE_EQ), "o"),
    **dict.fromkeys((TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE), "o"),
}
"""Letter of each allowed token; ``n`` for names."""

_TYPES = frozenset({TokenType.DATE, TokenType.TIMESTAMPTZ, TokenType.TIMESTAMPLTZ, TokenType.TIMESTAMPNTZ})
_NAME = re.compile(r"[^\W\d]\w*")

# Sequences of tokens that are replaced by one letter: NOT IN, IS DISTINCT FROM, IS NOT NULL, LIKE x ESCAPE y, a.b, .5.
_MERGED = (
    (re.compile(r"!(?=[il])"), ""),
    (re.compile(r"I!?DF"), "o"),
    (re.compile(r"I!?c"), "p"),
    (re.compile(r"ses"), "s"),
    (re.compile(r"n(?:\.n)+"), "n"),
    (re.compile(r"(?<![ns0c)Ep.])\.0"), "0"),
)
# Names, but for those of functions, and constants.
_VALUES = re.compile(r"n(?!\()|[s0]")
_VALUE = r"(?:[-!(]|n\(|CW?)*[ns0c][)pE]*"
_ORDER = re.compile(rf"{_VALUE}(?:(?:[ol,WTL-]|i\(){_VALUE})*")


def check_order(source: Source, tokens: Sequence[Token], syntax: exp.Expression) -> None:
    """Refuse a text if values and operators do not alternate, or if a value is not in its tree.

    Raises:
        OptionError: ``option``, ``value``.
    """
    letters = "".join(_letter(source, tokens, at) for at in range(len(tokens)))
    values = len(_VALUES.findall(letters))
    for pattern, letter in _MERGED:
        letters = pattern.sub(letter, letters)
    if not _ORDER.fullmatch(letters) or values != _values_in(syntax):
        raise source.error(
            f"{shortened(source.text)!r} is not a SQL expression: values and operators do not take turns"
        )


def _values_in(syntax: exp.Expression) -> int:
    """Count names and constants in a tree, without those that sqlglot adds for the suffix of a number."""
    nodes = syntax.find_all(exp.Identifier, exp.Literal, exp.HexString)
    return sum(not isinstance(node.parent, exp.DataTypeParam) for node in nodes)


def _letter(source: Source, tokens: Sequence[Token], at: int) -> str:
    token = tokens[at]
    written = source.text[token.start : token.end + 1]
    if at and written[:1].isdigit() and token.token_type is not TokenType.NUMBER:
        return ""  # the suffix of a number, which sqlglot converts to a cast
    if at and tokens[at - 1].token_type is TokenType.DOT and _NAME.fullmatch(written):
        return "n"
    if token.token_type in _TYPES and at + 1 < len(tokens) and tokens[at + 1].token_type is TokenType.STRING:
        return ""
    if token.token_type is TokenType.NUMBER and at and tokens[at - 1].token_type is TokenType.DOT:
        # Spark reads one number only without a space.
        return "0" if tokens[at - 1].end + 1 == token.start else "?"
    if token.token_type in _SIGNS:
        return _SIGNS[token.token_type]
    return "n" if token.token_type is TokenType.IDENTIFIER or _NAME.fullmatch(written) else "?"
