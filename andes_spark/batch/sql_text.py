"""Conditions as SQL text: what Spark, polars and the next engine read alike, and nothing else.

A text is for the same rows in the same table whichever engine looks at them, so one that engines read differently is
refused on every path: ``concat`` of a NULL is NULL to Spark and text to polars, ``IS NOT TRUE`` of a NULL is true
there and NULL here, ``round(2.5)`` is 3 there and 2 here, ``substr`` counts from 0 or from the end in its own way, an
array's first element is number 0 there and 1 here, times depend on the time zone of Spark's session, and arithmetic
that overflows or divides by zero is an error, NULL or another number, by Spark's version and settings and by the width
of the column.
"""

from __future__ import annotations

import re

from andes_spark.errors import OptionError
from andes_spark.model.options import TEXT, require

FUNCTIONS = frozenset({"coalesce", "lower", "upper"})
"""Functions that give the same, NULL and text beyond ASCII included; tests/spark/test_conditions.py compares them."""

# Texts in quotes and names in backticks say nothing of syntax.
_QUOTED = re.compile(r"'[^']*'|`[^`]*`")
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_NUMBER = re.compile(r"(?<![\w.])(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?!\w)", re.I)
# A sign where a value begins is part of a number.
_SIGN = re.compile(r"(^|[(,=<>]|\b(?:and|or|not|between|then|else|when|case)\b)(\s*)-\s*(?=0)", re.I)
_TERM = re.compile(r"\b(?:and|or|not|case|when)\b|\(", re.I)
_MOST_TERMS = 250
"""Of more, nested as deep as they are many, types cannot be looked at; at 2,500 polars does not come to an end."""
_WORDS = frozenset({"and", "or", "not", "in", "between", "like", "case", "when", "then", "else", "is"})
_UNLIKE = (
    (re.compile(r"\bis\s+(?:not\s+)?(?:true|false|unknown)\b", re.I), "IS [NOT] TRUE"),
    (re.compile(r"\b(?:i|r)like\b|\bregexp\b|\bsimilar\s+to\b", re.I), "a pattern other than LIKE"),
    (re.compile(r"\b(?:timestamp\w*|interval|extract|at\s+time\s+zone)\b(?=\s*[('])", re.I), "a time or an interval"),
    (re.compile(r"\bselect\b", re.I), "a query"),
    (re.compile(r"\bover\b(?=\s*\()", re.I), "a window"),
    (re.compile(r"::"), "a cast"),
    (re.compile(r"[-+*/%]"), "arithmetic"),
    (re.compile(r"[\[\]{}]"), "an element of an array or a map"),
    (re.compile(r"(?<!\w)\d[\w.]*[a-z_]", re.I), "a number with letters"),
    (re.compile(r"''\s+''"), "two texts in a row"),
    (re.compile(r"\bcurrent_\w+|\blocaltime\w*", re.I), "the clock"),
    (re.compile(r"\bxor\b", re.I), "XOR"),
    (re.compile(r"\|\||->|[~^&|#@$;]"), "an operator that is not one of = <> < > <= >="),
)


def check_sql(option: str, text: str) -> None:
    """Refuse a text that engines read differently.

    Raises:
        OptionError: ``option``, ``value``; the message names what it is, and the way around it.
    """
    require(option, text, TEXT)
    if '"' in text:
        raise OptionError(
            f"{option}: a double quote means a string to Spark and a column to others; use single quotes for "
            "strings and backticks for columns",
            option=option,
            value=text,
        )
    if "\\" in text:
        raise OptionError(
            f"{option}: a backslash escapes the next character to Spark and is a character to others; give a "
            "Spark Column or a polars expression instead",
            option=option,
            value=text,
        )
    syntax = _SIGN.sub(r"\1\2", _NUMBER.sub("0", _QUOTED.sub(lambda found: found[0][0] * 2, text)))
    terms = len(_TERM.findall(syntax))
    if terms > _MOST_TERMS:
        raise OptionError(
            f"{option}: {terms} ANDs, ORs, NOTs and parentheses are more than the {_MOST_TERMS} that a text may have; "
            "use IN for many values of a column",
            option=option,
            value=text,
        )
    unlike = [name for pattern, name in _UNLIKE if pattern.search(syntax)]
    calls = {found[1] for found in _CALL.finditer(syntax) if found[1].lower() not in _WORDS | FUNCTIONS}
    unlike += [f"{name}()" for name in sorted(calls)]
    if unlike:
        raise OptionError(
            f"{option}: {', '.join(unlike)} in {text!r} is not the same to every engine. A text may have comparisons, "
            "numbers, AND, OR, NOT, IN, BETWEEN, LIKE, IS NULL, CASE and the functions "
            f"{', '.join(sorted(FUNCTIONS))}; for more give a Spark Column with a Spark DataFrame and a polars "
            "expression with all else, or compute a column first",
            option=option,
            value=text,
        )
