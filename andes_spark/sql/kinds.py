"""Kinds of values in a text, and the common kind of several values.

Whole numbers and decimals are one kind, exact numbers. The range of each expression follows from the types of its
columns, so that arithmetic is exact, or refused if the result may have more than 38 digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from andes_spark.schema import types as dt

MAX_DIGITS = dt.MAX_DECIMAL_PRECISION
_LONG = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Plain:
    """A kind without parameters; ``name`` is its name in messages."""

    name: str


@dataclass(frozen=True)
class Exact:
    """Whole numbers and decimals: an integer from ``low`` to ``high``, divided by ten to the power of ``scale``."""

    scale: int
    low: int
    high: int

    name = "number"

    @property
    def digits(self) -> int:
        """Precision of the narrowest decimal with the range."""
        return max(len(str(max(abs(self.low), abs(self.high)))), self.scale, 1)

    @property
    def is_long(self) -> bool:
        """Whether the values are whole numbers of 64 bits: BIGINT to Spark and Int64 to polars."""
        return self.scale == 0 and self.low in _LONG and self.high in _LONG

    def with_scale(self, scale: int) -> Exact:
        """Return the same values with more digits after the point."""
        factor = 10 ** (scale - self.scale)
        return Exact(scale, self.low * factor, self.high * factor)

    def fits(self) -> bool:
        """Return whether every value fits the largest decimal."""
        return self.digits <= MAX_DIGITS


@dataclass(frozen=True)
class Nested:
    """Structs, arrays and maps, which support fields and NULL checks only."""

    type: dt.DataType

    @property
    def name(self) -> str:
        """The name of the type in SQL."""
        return dt.simple_string(self.type)


Kind: TypeAlias = Plain | Exact | Nested

NULL = Plain("NULL")
BOOLEAN = Plain("boolean")
TEXT = Plain("text")
BINARY = Plain("binary")
DATE = Plain("date")
TIME = Plain("time")
LOCAL_TIME = Plain("time without zone")
FLOAT = Plain("number with 32 bits")
DOUBLE = Plain("number with 64 bits")

_INTEGER_BITS = {"byte": 8, "short": 16, "integer": 32, "long": 64}
_PLAIN = {
    "boolean": BOOLEAN,
    "string": TEXT,
    "binary": BINARY,
    "date": DATE,
    "timestamp": TIME,
    "timestamp_ntz": LOCAL_TIME,
    "float": FLOAT,
    "double": DOUBLE,
}


def kind_of(type_: dt.DataType | None) -> Kind:
    """Return the kind of a column's values; a column without a type has NULLs only."""
    match type_:
        case None:
            return NULL
        case dt.Primitive(name) if name in _INTEGER_BITS:
            half = 2 ** (_INTEGER_BITS[name] - 1)
            return Exact(0, -half, half - 1)
        case dt.Primitive(name):
            return _PLAIN[name]
        case dt.Decimal(precision, scale):
            return Exact(scale, 1 - 10**precision, 10**precision - 1)
        case _:
            return Nested(type_)


def name_of(kind: Kind) -> str:
    """Return the name of a kind in messages."""
    return "number" if is_number(kind) else kind.name


def is_number(kind: Kind) -> bool:
    """Return whether values are exact numbers or doubles."""
    return isinstance(kind, Exact) or kind in (FLOAT, DOUBLE)


def common(kinds: Iterable[Kind]) -> Kind | None:
    """Return the common kind of values of several kinds, NULL if all are NULL; None without a common kind.

    The result can be a range of exact numbers that does not fit a decimal.
    """
    result: Kind = NULL
    for kind in kinds:
        if kind in (NULL, result):
            continue
        if result == NULL:
            result = kind
        elif isinstance(kind, Exact) and isinstance(result, Exact):
            scale = max(kind.scale, result.scale)
            one, other = kind.with_scale(scale), result.with_scale(scale)
            result = Exact(scale, min(one.low, other.low), max(one.high, other.high))
        elif is_number(kind) and is_number(result):
            result = DOUBLE
        else:
            return None
    return result
