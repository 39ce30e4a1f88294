"""The tree of a text as Spark SQL, with explicit conversions and parentheses.

The result does not depend on the version, ANSI mode, or the session's time zone, case sensitivity and rules for
literals.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from andes_spark.schema import types as dt
from andes_spark.sql import tree
from andes_spark.sql.kinds import BINARY, BOOLEAN, DATE, DOUBLE, FLOAT, LOCAL_TIME, NULL, TEXT, TIME, Exact, Kind
from andes_spark.sql.patterns import Wildcard, parts_of

_TYPES = {
    BOOLEAN: "BOOLEAN",
    TEXT: "STRING",
    BINARY: "BINARY",
    DATE: "DATE",
    TIME: "TIMESTAMP_LTZ",
    LOCAL_TIME: "TIMESTAMP_NTZ",
    FLOAT: "FLOAT",
    DOUBLE: "DOUBLE",
}
_EPOCH = datetime(1970, 1, 1)
_LAST_OF_16_BITS = "\uffff"
_WILDCARDS = {Wildcard.ANY: ".*", Wildcard.ONE: "."}


def spark_sql(node: tree.Node) -> str:
    """Write a node as Spark SQL."""
    match node:
        case tree.Value():
            return _value(node)
        case tree.Reference(kind, path, type_):
            return _reference(kind, ".".join("`" + name.replace("`", "``") + "`" for name in path), type_)
        case tree.As(kind, operand):
            same = kind != DOUBLE and _type(operand.kind) == _type(kind)
            return spark_sql(operand) if same else f"CAST({spark_sql(operand)} AS {_type(kind)})"
        case tree.Arithmetic(kind, operation, left, right):
            return _arithmetic(kind, operation, left, right)
        case tree.Compare(comparison, left, right):
            return f"({spark_sql(left)} {comparison} {spark_sql(right)})"
        case tree.And(operands):
            return "(" + " AND ".join(map(spark_sql, operands)) + ")"
        case tree.Or(operands):
            return "(" + " OR ".join(map(spark_sql, operands)) + ")"
        case tree.Not(operand):
            return f"(NOT {spark_sql(operand)})"
        case tree.IsNull(operand):
            return f"({spark_sql(operand)} IS NULL)"
        case tree.In(operand, values, or_null):
            null = ", NULL" if or_null else ""
            return f"({spark_sql(operand)} IN ({', '.join(map(_value, values))}{null}))"
        case tree.Like(operand, pattern, escape):
            return f"({spark_sql(operand)} {_like(pattern, escape)})"
        case tree.Case(_, branches, otherwise):
            whens = " ".join(f"WHEN {spark_sql(when)} THEN {spark_sql(then)}" for when, then in branches)
            return f"(CASE {whens} ELSE {spark_sql(otherwise)} END)"
        case tree.Coalesce(_, operands):
            return f"coalesce({', '.join(map(spark_sql, operands))})"
        case tree.Call(_, function, operand):
            call = f"{function}({spark_sql(operand)})"
            return f"CAST({call} AS BIGINT)" if function == "length" else call


def _type(kind: Kind) -> str:
    if isinstance(kind, Exact):
        return "BIGINT" if kind.is_long else f"DECIMAL({kind.digits},{kind.scale})"
    return _TYPES[kind]  # type: ignore[index]  # nested values are never converted


def _reference(kind: Kind, name: str, type_: dt.DataType | None) -> str:
    """Write a column; whole numbers are widened, since arithmetic on narrow types overflows."""
    return f"CAST({name} AS BIGINT)" if isinstance(kind, Exact) and kind.is_long and type_ != dt.LONG else name


def _arithmetic(kind: Kind, operation: str, left: tree.Node, right: tree.Node) -> str:
    if isinstance(kind, Exact) and not all(exact.is_long for exact in (kind, tree.exact(left), tree.exact(right))):
        # Operands are cast to decimals, and the result to the precision of its range.
        sides = f" {operation} ".join(_decimal(side) for side in (left, right))
        return f"CAST({sides} AS {_type(kind)})"
    return f"({spark_sql(left)} {operation} {spark_sql(right)})"


def _decimal(node: tree.Node) -> str:
    kind = tree.exact(node)
    return f"CAST({spark_sql(node)} AS DECIMAL({kind.digits},{kind.scale}))"


def _value(value: tree.Value) -> str:
    kind, content = value.kind, value.value
    if kind == NULL:
        return "NULL"
    if content is None:
        return f"CAST(NULL AS {_type(kind)})"
    if isinstance(kind, Exact):
        return _exact(kind, content)
    if kind == BOOLEAN:
        return "TRUE" if content else "FALSE"
    if kind == TEXT:
        return _text(content)
    if kind == BINARY:
        return f"X'{content.hex()}'"
    if kind == DATE:
        return f"DATE '{(_EPOCH + timedelta(days=content)).date().isoformat()}'"
    if kind == DOUBLE:
        return f"({content!r}D)"
    moment = (_EPOCH + timedelta(microseconds=content)).isoformat(" ", "microseconds")
    return f"TIMESTAMP_LTZ '{moment}Z'" if kind == TIME else f"TIMESTAMP_NTZ '{moment}'"


def _exact(kind: Exact, unscaled: int) -> str:
    if kind.is_long:
        return f"({unscaled}L)"
    digits = str(abs(unscaled)).rjust(kind.scale + 1, "0")
    whole, fraction = digits[: len(digits) - kind.scale], digits[len(digits) - kind.scale :]
    sign = "-" if unscaled < 0 else ""
    point = "." if fraction else ""
    return f"CAST('{sign}{whole}{point}{fraction}' AS {_type(kind)})"


def _like(pattern: str, escape: str | None) -> str:
    """Write a pattern; as a regular expression if it has characters beyond 16 bits, which Spark 3.5 never finds."""
    if pattern.isascii() or max(pattern) <= _LAST_OF_16_BITS:
        return f"LIKE {_text(pattern)}" + (f" ESCAPE '{escape}'" if escape else "")
    parts = (_WILDCARDS[part] if isinstance(part, Wildcard) else _quoted(part) for part in parts_of(pattern, escape))
    regex = rf"\A(?s:{''.join(parts)})\z"
    return f"RLIKE CAST(X'{regex.encode().hex()}' AS STRING)"


def _quoted(text: str) -> str:
    """Write a text as a regular expression of Java, in which a letter after a backslash may have a meaning."""
    return "".join(rf"\{c}" if c.isascii() and not c.isalnum() else c for c in text)


def _text(content: str) -> str:
    """Write a string; as bytes if its characters depend on the version or settings of Spark."""
    if "'" in content:
        return f"CAST(X'{content.encode().hex()}' AS STRING)"
    return f"'{content}'"
