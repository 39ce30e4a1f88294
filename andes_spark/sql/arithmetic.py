"""Arithmetic of a text: exact for whole numbers and decimals, IEEE 754 for doubles."""

from __future__ import annotations

from sqlglot import exp

from andes_spark.sql import kinds, tree
from andes_spark.sql.binder import Binder
from andes_spark.sql.kinds import NULL, Exact

OPERATIONS: dict[type[exp.Expression], tree.Operation] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*"}


def bind_arithmetic(binder: Binder, node: exp.Expression) -> tree.Node:
    """Bind a sum, a difference or a product."""
    # A loop over the left operands, since long chains are deep trees.
    chain = [node]
    while type(chain[-1].this) in OPERATIONS:
        chain.append(chain[-1].this)
    result = binder.value(chain[-1].this)
    for link in reversed(chain):
        result = calculated(binder, link, OPERATIONS[type(link)], result, binder.value(link.expression))
    return result


def calculated(
    binder: Binder, node: exp.Expression, operation: tree.Operation, left: tree.Node, right: tree.Node
) -> tree.Node:
    """Bind an operation on two values.

    Raises:
        OptionError: values other than numbers; exact numbers whose result may have more than 38 digits.
    """
    for side in (left, right):
        if not kinds.is_number(side.kind) and side.kind != NULL:
            raise binder.source.unlike(
                f"arithmetic on {kinds.name_of(side.kind)} ({binder.shown(node)})",
                f"+ - * are for numbers; {binder.source.way()}",
            )
    kind = kinds.common((left.kind, right.kind))
    assert kind is not None
    if NULL in (left.kind, right.kind):
        return tree.Value(kind, None)
    if not isinstance(kind, Exact):
        return tree.Arithmetic(kind, operation, binder.convert(left, kind), binder.convert(right, kind))
    return _exactly(binder, node, operation, left, right)


def _exactly(
    binder: Binder, node: exp.Expression, operation: tree.Operation, left: tree.Node, right: tree.Node
) -> tree.Node:
    one, other = tree.exact(left), tree.exact(right)
    if operation == "*":
        scale, room = one.scale + other.scale, one.digits + other.digits + 1
        ends = [a * b for a in (one.low, one.high) for b in (other.low, other.high)]
    else:
        scale = max(one.scale, other.scale)
        one, other = one.with_scale(scale), other.with_scale(scale)
        # Each with a range of its own, which a common one would widen.
        left, right = binder.convert(left, one), binder.convert(right, other)
        room = max(one.digits, other.digits) + 1
        ends = [one.low + other.low, one.high + other.high]
        if operation == "-":
            ends = [one.low - other.high, one.high - other.low]
    kind = Exact(scale, min(ends), max(ends))
    # Spark makes room for the largest result of the operands' digits, and rounds decimals where there is none.
    if not kind.fits() or (scale and room > kinds.MAX_DIGITS):
        raise binder.source.unlike(
            f"arithmetic with results of more than {kinds.MAX_DIGITS} digits ({binder.shown(node)})",
            f"it overflows or is rounded; {binder.source.way()}",
        )
    return tree.Arithmetic(kind, operation, left, right)
