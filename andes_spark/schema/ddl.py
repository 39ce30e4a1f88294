"""Spark's DDL for columns, read and written without a JVM.

The grammar is that of ``colDefinitionList`` and ``complexColTypeList`` in Spark's ``SqlBaseParser.g4``, limited
to types, NOT NULL and comments:

    columns  column ("," column)*
    column   name ":"? type ("NOT" "NULL" | "COMMENT" text)*
    type     word | "TIMESTAMP" ("WITHOUT" | "WITH" "LOCAL") "TIME" "ZONE"
             | decimal [ "(" digits [ "," digits ] ")" ]
             | "ARRAY" "<" type ">" | "MAP" "<" type "," type ">" | "STRUCT" "<" [ columns ] ">"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from andes_spark.errors import OptionError
from andes_spark.schema import types as dt

_WORDS = {
    "boolean": dt.BOOLEAN,
    "tinyint": dt.BYTE,
    "byte": dt.BYTE,
    "smallint": dt.SHORT,
    "short": dt.SHORT,
    "int": dt.INTEGER,
    "integer": dt.INTEGER,
    "bigint": dt.LONG,
    "long": dt.LONG,
    "float": dt.FLOAT,
    "real": dt.FLOAT,
    "double": dt.DOUBLE,
    "string": dt.STRING,
    "binary": dt.BINARY,
    "date": dt.DATE,
    "timestamp": dt.TIMESTAMP,
    "timestamp_ltz": dt.TIMESTAMP,
    "timestamp_ntz": dt.TIMESTAMP_NTZ,
}
_ZONES = (
    (["without", "time", "zone"], dt.TIMESTAMP_NTZ),
    (["with", "local", "time", "zone"], dt.TIMESTAMP),
)
_DECIMALS = ("decimal", "dec", "numeric")
_TEXTS = ("char", "character", "varchar")
"""Types read as STRING: only Spark enforces their length, and files do not store it."""
_REFUSED_TYPES = {
    "interval": "interval",
    "variant": "variant",
    "void": "void",
    "null": "void",
    "time": "time",
    "geometry": "geospatial",
    "geography": "geospatial",
}
_REFUSED_CLAUSES = {"default": "default value", "generated": "generated column", "collate": "collation"}

_TOKEN = re.compile(
    r"(?P<space>\s+|--[^\n]*|/\*.*?\*/)"
    r"|(?P<quoted>`(?:[^`]|``)*`)"
    r"|(?P<raw>[rR](?:'[^']*'|\"[^\"]*\"))"
    r"|(?P<text>'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\")"
    r"|(?P<word>\w+)"
    r"|(?P<sign>[<>(),:])",
    re.DOTALL,
)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Spark's SparkParserUtils.unescapeSQLString.
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([01][0-7]{2})|(.))", re.DOTALL)
_ESCAPED = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}
_TO_ESCAPE = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def parse_columns(text: str) -> tuple[dt.Field, ...]:
    """Read a list of columns as in ``CREATE TABLE``, without the parentheses around it.

    Raises:
        OptionError: a syntax error; ``position`` is its character offset, from 0.
        UnsupportedTableError: a type or clause that this release does not handle; ``feature``, ``column``.
    """
    parser = _Parser(text)
    fields = parser.columns("", 0)
    parser.expect_end()
    return fields


def write_columns(fields: Sequence[dt.Field]) -> str:
    """Write columns as DDL that ``parse_columns`` and Spark read.

    Metadata other than comments and the nullability of elements and map values have no DDL and are left out.
    """
    return ", ".join(_column_text(field, " ") for field in fields)


def quoted(name: str) -> str:
    """Quote a name for Spark SQL with backticks if needed."""
    return name if _PLAIN_NAME.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def _column_text(field: dt.Field, separator: str) -> str:
    text = quoted(field.name) + separator + _type_text(field.type)
    if not field.nullable:
        text += " NOT NULL"
    if field.comment is not None:
        text += f" COMMENT '{''.join(map(_escaped, field.comment))}'"
    return text


def _escaped(character: str) -> str:
    if character in _TO_ESCAPE:
        return _TO_ESCAPE[character]
    return character if character.isprintable() or ord(character) > 0xFFFF else f"\\u{ord(character):04x}"


def _type_text(type_: dt.DataType) -> str:
    match type_:
        case dt.Array(element):
            return f"ARRAY<{_type_text(element)}>"
        case dt.Map(key, value):
            return f"MAP<{_type_text(key)}, {_type_text(value)}>"
        case dt.Struct(fields):
            return f"STRUCT<{', '.join(_column_text(field, ': ') for field in fields)}>"
    return dt.simple_string(type_).upper()


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            unclosed = text[position] in "`'\""
            _fail("an opening quote is never closed" if unclosed else "unexpected character", text, position)
        if match.lastgroup != "space":
            tokens.append(_Token(str(match.lastgroup), match.group(), position))
        position = match.end()
    tokens.append(_Token("end", "", len(text)))
    return tokens


def _fail(problem: str, text: str, position: int) -> NoReturn:
    next_text = repr(text[position : position + 20]) if position < len(text) else "the end"
    raise OptionError(f"the DDL cannot be read: {problem} at character {position}: {next_text}", position=position)


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0

    def columns(self, prefix: str, depth: int) -> tuple[dt.Field, ...]:
        fields = [self._column(prefix, depth)]
        while self._take_sign(","):
            fields.append(self._column(prefix, depth))
        return tuple(fields)

    def expect_end(self) -> None:
        if self._peek().kind != "end":
            self._refuse("expected a comma or the end")

    def _column(self, prefix: str, depth: int) -> dt.Field:
        name = self._name()
        column = prefix + name
        self._take_sign(":")
        type_ = self._type(column, depth)
        nullable, comment = True, None
        while self._peek().kind == "word":
            if nullable and self._take_word("not"):
                if not self._take_word("null"):
                    self._refuse("expected NULL after NOT")
                nullable = False
            elif comment is None and self._take_word("comment"):
                comment = self._comment()
            else:
                self._refuse_clause(column)
        return dt.Field(name, type_, nullable, {} if comment is None else {"comment": comment})

    def _name(self) -> str:
        token = self._peek()
        if token.kind == "quoted" and len(token.text) > 2:
            self._next += 1
            return token.text[1:-1].replace("``", "`")
        if token.kind == "word" and not token.text.isdecimal():
            self._next += 1
            return token.text
        self._refuse("expected a column name (in backticks if it holds more than letters, digits and _)")

    def _comment(self) -> str:
        if self._peek().kind not in ("text", "raw"):
            self._refuse("expected a comment in quotes")
        comment = ""
        while (token := self._peek()).kind in ("text", "raw"):
            self._next += 1
            quote = token.text[0]
            if token.kind == "raw":
                comment += token.text[2:-1]
            else:
                comment += _ESCAPE.sub(_unescaped, token.text[1:-1].replace(quote * 2, "\\" + quote))
        return comment

    def _type(self, column: str, depth: int) -> dt.DataType:
        if depth > dt.MAX_DEPTH:
            raise dt.unsupported("nesting", f"types nested deeper than {dt.MAX_DEPTH}", column)
        token = self._peek()
        word = token.text.lower() if token.kind == "word" else ""
        if not word:
            self._refuse("expected a type")
        self._next += 1
        if word in _WORDS:
            return self._zoned(_WORDS[word]) if word == "timestamp" else _WORDS[word]
        if word in _DECIMALS:
            return self._decimal(column)
        if word in _TEXTS:
            return self._text_of_length()
        if word in ("array", "map", "struct"):
            return self._nested(word, column, depth + 1)
        if word in _REFUSED_TYPES:
            raise dt.unsupported(_REFUSED_TYPES[word], f"the type {token.text.upper()}", column)
        _fail("no such type", self._text, token.position)

    def _zoned(self, timestamp: dt.Primitive) -> dt.Primitive:
        for words, type_ in _ZONES:
            if [token.text.lower() for token in self._tokens[self._next :][: len(words)]] == words:
                self._next += len(words)
                return type_
        return timestamp

    def _nested(self, word: str, column: str, depth: int) -> dt.DataType:
        self._expect_sign("<")
        result: dt.DataType
        if word == "array":
            result = dt.Array(self._type(f"{column}.element", depth))
        elif word == "map":
            key = self._type(f"{column}.key", depth)
            self._expect_sign(",")
            result = dt.Map(key, self._type(f"{column}.value", depth))
        elif self._take_sign(">"):
            return dt.Struct(())
        else:
            result = dt.Struct(self.columns(f"{column}.", depth))
        self._expect_sign(">")
        return result

    def _decimal(self, column: str) -> dt.Decimal:
        precision, scale = 10, 0
        if self._take_sign("("):
            precision = self._digits()
            if self._take_sign(","):
                scale = self._digits()
            self._expect_sign(")")
        return dt.decimal_type(precision, scale, column)

    def _text_of_length(self) -> dt.Primitive:
        self._expect_sign("(")
        self._digits()
        self._expect_sign(")")
        return dt.STRING

    def _digits(self) -> int:
        token = self._peek()
        if not re.fullmatch("[0-9]{1,9}", token.text):
            self._refuse("expected a number of digits")
        self._next += 1
        return int(token.text)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take_word(self, word: str) -> bool:
        return self._take("word", word)

    def _take_sign(self, sign: str) -> bool:
        return self._take("sign", sign)

    def _take(self, kind: str, text: str) -> bool:
        token = self._peek()
        matches = token.kind == kind and token.text.lower() == text
        self._next += matches
        return matches

    def _expect_sign(self, sign: str) -> None:
        if not self._take_sign(sign):
            self._refuse(f"expected {sign!r}")

    def _refuse_clause(self, column: str) -> NoReturn:
        word = self._peek().text
        if feature := _REFUSED_CLAUSES.get(word.lower()):
            raise dt.unsupported(feature, f"the clause {word.upper()}", column)
        self._refuse("expected NOT NULL, COMMENT or a comma")

    def _refuse(self, problem: str) -> NoReturn:
        _fail(problem, self._text, self._peek().position)


def _unescaped(match: re.Match[str]) -> str:
    four, eight, octal, character = match.groups()
    if octal:
        return chr(int(octal, 8))
    if four or eight:
        code = int(four or eight, 16)
        return chr(code) if code <= 0x10FFFF else match.group()
    return _ESCAPED.get(character, character)
