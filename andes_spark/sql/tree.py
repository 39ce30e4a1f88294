"""The typed tree of a text: each node has a kind, and operands have the kinds required by their node.

Conversions are explicit nodes (:class:`As`), so that the writers of the tree need no rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from andes_spark.schema import types as dt
from andes_spark.sql.kinds import BOOLEAN, Exact, Kind

Comparison = Literal["=", "<>", "<", "<=", ">", ">=", "<=>"]
Operation = Literal["+", "-", "*"]
Function = Literal["length", "lower", "upper"]


@dataclass(frozen=True)
class Value:
    """A constant of some kind.

    Attributes:
        value: str, bool, bytes or float, depending on the kind; the unscaled integer of an exact number; days or
            microseconds since 1970; None for NULL.
    """

    kind: Kind
    value: Any


@dataclass(frozen=True)
class Reference:
    """A column, or a field within structs.

    Attributes:
        path: names of the column and the nested fields.
        type: type of the last one; None for a column of NULLs only.
    """

    kind: Kind
    path: tuple[str, ...]
    type: dt.DataType | None


@dataclass(frozen=True)
class As:
    """Conversion of a number to another kind: a larger scale, or a double."""

    kind: Kind
    operand: Node


@dataclass(frozen=True)
class Arithmetic:
    """A sum or a difference of two values of one kind and scale, or a product."""

    kind: Kind
    operation: Operation
    left: Node
    right: Node


@dataclass(frozen=True)
class Compare:
    """A comparison of two values of one kind."""

    comparison: Comparison
    left: Node
    right: Node

    kind = BOOLEAN


@dataclass(frozen=True)
class And:
    """Conditions joined by AND."""

    operands: tuple[Node, ...]

    kind = BOOLEAN


@dataclass(frozen=True)
class Or:
    """Conditions joined by OR."""

    operands: tuple[Node, ...]

    kind = BOOLEAN


@dataclass(frozen=True)
class Not:
    """The opposite of a condition; NULL stays NULL."""

    operand: Node

    kind = BOOLEAN


@dataclass(frozen=True)
class IsNull:
    """Whether a value is NULL."""

    operand: Node

    kind = BOOLEAN


@dataclass(frozen=True)
class In:
    """Whether a value is one of several constants of its kind, at least one.

    Attributes:
        or_null: whether NULL is among the constants, so that the result is NULL without a match.
    """

    operand: Node
    values: tuple[Value, ...]
    or_null: bool

    kind = BOOLEAN


@dataclass(frozen=True)
class Like:
    """Whether a text matches a pattern of LIKE.

    Attributes:
        escape: escape character before ``%`` and ``_``; None for none.
    """

    operand: Node
    pattern: str
    escape: str | None

    kind = BOOLEAN


@dataclass(frozen=True)
class Case:
    """The value of the first true condition, else the default."""

    kind: Kind
    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node


@dataclass(frozen=True)
class Coalesce:
    """The first value that is not NULL."""

    kind: Kind
    operands: tuple[Node, ...]


@dataclass(frozen=True)
class Call:
    """A function of one text."""

    kind: Kind
    function: Function
    operand: Node


Node: TypeAlias = (
    Value | Reference | As | Arithmetic | Compare | And | Or | Not | IsNull | In | Like | Case | Coalesce | Call
)


def exact(node: Node) -> Exact:
    """Return the kind of a node of exact numbers."""
    assert isinstance(node.kind, Exact)
    return node.kind
