"""Allow-list of sqlglot's nodes, with the allowed parts and the rule of each."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from andes_spark.schema import types as dt
from andes_spark.schema.names import is_pattern, resolve
from andes_spark.sql import constants, kinds, tree
from andes_spark.sql.arithmetic import OPERATIONS, bind_arithmetic, calculated
from andes_spark.sql.binder import Binder, Rule
from andes_spark.sql.kinds import BOOLEAN, NULL, TEXT, Exact
from andes_spark.sql.patterns import parts_of

_COMPARISONS: dict[type[exp.Expression], tree.Comparison] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
    exp.NullSafeEQ: "<=>",
    exp.NullSafeNEQ: "<=>",
}
_FUNCTIONS: dict[type[exp.Expression], tree.Function] = {
    exp.Length: "length",
    exp.Lower: "lower",
    exp.Upper: "upper",
}
_TYPED = {
    "DATE": constants.day,
    "TIMESTAMPTZ": constants.time,
    "TIMESTAMPLTZ": constants.time,
    "TIMESTAMPNTZ": constants.local_time,
}
_SUFFIXES = frozenset({"TINYINT", "SMALLINT", "BIGINT", "DOUBLE", "DECIMAL"})
_LONGEST_PATTERN = 1_000
# Characters without a special meaning in the literals of any engine.
_ESCAPES = frozenset("!#$&*+,-./:;<=>?@^|~")
_LONGEST_TEXT = 2**31 - 1


def path_of(node: exp.Expression) -> list[str] | None:
    """Return the names of a column and its nested fields, as in the text; None for other nodes."""
    if isinstance(node, exp.Dot):
        above, last = path_of(node.this), node.expression
        return [*above, last.name] if above is not None and isinstance(last, exp.Identifier) else None
    if not isinstance(node, exp.Column):
        return None
    parts = [node.args.get(key) for key in ("catalog", "db", "table", "this")]
    names = [part for part in parts if part is not None]
    return [name.name for name in names] if all(isinstance(name, exp.Identifier) for name in names) else None


def _column(binder: Binder, node: exp.Expression) -> tree.Node:
    parts = path_of(node)
    if parts is None:
        raise binder.unlike(node.this if isinstance(node.this, exp.Star) else node)
    name = binder.names[parts[0]]
    type_, path = binder.types[name], [name]
    for part in parts[1:]:
        fields = {field.name: field.type for field in type_.fields} if isinstance(type_, dt.Struct) else {}
        field = resolve(part, list(fields))
        if field is None:
            raise binder.source.error(f"column {'.'.join(path)!r} has no field {part!r}", column=name)
        if is_pattern(field):
            raise binder.source.error(
                f"column {'.'.join(path)!r} has a field {field!r}, a name that polars reads as a pattern: rename it",
                column=name,
            )
        type_ = fields[field]
        path.append(field)
    return tree.Reference(kinds.kind_of(type_), tuple(path), type_)


def _literal(binder: Binder, node: exp.Expression) -> tree.Node:
    return tree.Value(TEXT, node.name) if node.is_string else constants.number(binder.source, node.name)


def _negative(binder: Binder, node: exp.Expression) -> tree.Node:
    operand = node.this
    if isinstance(operand, exp.Literal) and not operand.is_string:
        return constants.number(binder.source, operand.name, negative=True)
    if type(operand) is exp.TryCast and _type_name(operand) in _SUFFIXES and isinstance(operand.this, exp.Literal):
        return constants.number(binder.source, operand.this.name, negative=True, suffix=_type_name(operand))
    return calculated(binder, node, "-", tree.Value(Exact(0, 0, 0), 0), binder.value(operand))


def _typed(binder: Binder, node: exp.Expression) -> tree.Node:
    """Bind a typed literal, which sqlglot reads as a cast; ``CAST(...)`` itself is another node."""
    read = _TYPED.get(_type_name(node))
    if read is None or not isinstance(node.this, exp.Literal) or not node.this.is_string:
        raise binder.unlike(node)
    return read(binder.source, node.this.name)


def _suffixed(binder: Binder, node: exp.Expression) -> tree.Node:
    """Bind a number with a suffix; ``grammar`` refuses real casts."""
    if _type_name(node) not in _SUFFIXES or not isinstance(node.this, exp.Literal):
        raise binder.unlike(node)
    return constants.number(binder.source, node.this.name, suffix=_type_name(node))


def _type_name(node: exp.Expression) -> str:
    return str(getattr(node.args["to"].this, "name", ""))


def _hex(binder: Binder, node: exp.Expression) -> tree.Node:
    return constants.binary(binder.source, node.name)


def _comparison(binder: Binder, node: exp.Expression) -> tree.Node:
    bound = binder.compare(_COMPARISONS[type(node)], binder.value(node.this), binder.value(node.expression))
    return tree.Not(bound) if isinstance(node, exp.NullSafeNEQ) else bound


def _joined(binder: Binder, node: exp.Expression) -> tree.Node:
    operands: list[tree.Node] = []
    rest = [node]
    while rest:
        part = rest.pop()
        if type(part) is type(node):
            rest += [part.expression, part.this]
        else:
            operands.append(binder.condition(part))
    return tree.And(tuple(operands)) if isinstance(node, exp.And) else tree.Or(tuple(operands))


def _is(binder: Binder, node: exp.Expression) -> tree.Node:
    binder.refuse_bare(node.this)
    if isinstance(node.expression, exp.Null):
        return tree.IsNull(binder.bind(node.this))
    if isinstance(node.expression, exp.Boolean):
        return tree.Compare("<=>", binder.condition(node.this), tree.Value(BOOLEAN, node.expression.this))
    raise binder.unlike(node)


def _in(binder: Binder, node: exp.Expression) -> tree.Node:
    if not node.expressions:
        raise binder.unlike(node)
    operand, *items = binder.alike(binder.value(part) for part in (node.this, *node.expressions))
    values = [element for element in items if isinstance(element, tree.Value) and element.value is not None]
    if not values or isinstance(operand, tree.Value):
        return tree.Or(tuple(binder.compare("=", operand, element) for element in items))
    others = [element for element in items if not isinstance(element, tree.Value)]
    or_null = len(values) + len(others) < len(items)
    is_in = tree.In(operand, tuple(dict.fromkeys(values)), or_null)
    return tree.Or((is_in, *(binder.compare("=", operand, element) for element in others))) if others else is_in


def _between(binder: Binder, node: exp.Expression) -> tree.Node:
    value, low, high = (binder.value(node.args[part]) for part in ("this", "low", "high"))
    return tree.And((binder.compare(">=", value, low), binder.compare("<=", value, high)))


def _escaped(binder: Binder, node: exp.Expression) -> tree.Node:
    escape = node.expression.name
    if type(node.this) is not exp.Like or escape not in _ESCAPES:
        raise binder.unlike(node)
    return _like(binder, node.this, escape)


def _like(binder: Binder, node: exp.Expression, escape: str | None = None) -> tree.Node:
    operand, pattern = binder.alike((binder.value(node.this), binder.value(node.expression)))
    if not isinstance(pattern, tree.Value) or pattern.kind not in (TEXT, NULL):
        raise binder.unlike(node)
    if pattern.value is None:
        return tree.Value(BOOLEAN, None)
    if len(pattern.value) > _LONGEST_PATTERN:
        raise binder.source.error(f"it has a pattern of more than {_LONGEST_PATTERN} characters")
    try:
        parts_of(pattern.value, escape)
    except ValueError as error:
        raise binder.source.error(f"in the pattern of {binder.shown(node)} {error}") from error
    like = tree.Like(operand, pattern.value, escape)
    return tree.Not(like) if node.args.get("negate") else like


def _case(binder: Binder, node: exp.Expression) -> tree.Node:
    branches = node.args["ifs"]
    if node.this is None:
        conditions = [binder.condition(branch.this) for branch in branches]
    else:
        value = binder.value(node.this)
        conditions = [binder.compare("=", value, binder.value(branch.this)) for branch in branches]
    default = node.args.get("default")
    otherwise = tree.Value(NULL, None) if default is None else binder.bind(default)
    chosen = [*(binder.bind(branch.args["true"]) for branch in branches), otherwise]
    *values, last = binder.alike(binder.refuse_nested(bound) for bound in chosen)
    return tree.Case(last.kind, tuple(zip(conditions, values, strict=True)), last)


def _coalesce(binder: Binder, node: exp.Expression) -> tree.Node:
    bound = [binder.bind(part) for part in (node.this, *node.expressions)]
    operands = binder.alike(map(binder.refuse_nested, bound))
    return tree.Coalesce(operands[0].kind, tuple(operands))


def _call(binder: Binder, node: exp.Expression) -> tree.Node:
    function = _FUNCTIONS[type(node)]
    operand = binder.refuse_nested(binder.bind(node.this))
    kind = Exact(0, 0, _LONGEST_TEXT) if function == "length" else TEXT
    if operand.kind == NULL:
        return tree.Value(kind, None)
    if operand.kind != TEXT:
        raise binder.source.error(f"{function}() is for text, not for {kinds.name_of(operand.kind)}")
    if function != "length" and _has_case_changed(operand):
        # Spark rewrites upper(lower(x)) to upper(x), which differs for some letters.
        raise binder.source.unlike(
            f"{function}() of lower() or upper() ({binder.shown(node)})", f"use one of them; {binder.source.way()}"
        )
    return tree.Call(kind, function, operand)


def _has_case_changed(node: tree.Node) -> bool:
    match node:
        case tree.Call(function="lower" | "upper"):
            return True
        case tree.Coalesce(operands=operands):
            return any(map(_has_case_changed, operands))
        case tree.Case(branches=branches, otherwise=otherwise):
            return any(_has_case_changed(value) for value in (otherwise, *(then for _, then in branches)))
    return False


def _parts(*names: str) -> frozenset[str]:
    return frozenset(names)


_PAIR = _parts("this", "expression")
_ONE = _parts("this")

RULES: dict[type[exp.Expression], tuple[frozenset[str], Rule]] = {
    exp.Paren: (_ONE, lambda binder, node: binder.bind(node.this)),
    exp.Column: (_parts("this", "table", "db", "catalog"), _column),
    exp.Dot: (_PAIR, _column),
    exp.Literal: (_parts("this", "is_string"), _literal),
    exp.Neg: (_ONE, _negative),
    exp.HexString: (_ONE, _hex),
    exp.Boolean: (_ONE, lambda binder, node: tree.Value(BOOLEAN, node.this)),
    exp.Null: (_parts(), lambda binder, node: tree.Value(NULL, None)),
    exp.Cast: (_parts("this", "to"), _typed),
    exp.TryCast: (_parts("this", "to"), _suffixed),
    exp.Not: (_ONE, lambda binder, node: tree.Not(binder.condition(node.this))),
    exp.And: (_PAIR, _joined),
    exp.Or: (_PAIR, _joined),
    exp.Is: (_PAIR, _is),
    exp.In: (_parts("this", "expressions"), _in),
    exp.Between: (_parts("this", "low", "high"), _between),
    exp.Like: (_parts("this", "expression", "negate"), _like),
    exp.Escape: (_PAIR, _escaped),
    exp.Case: (_parts("this", "ifs", "default"), _case),
    exp.Coalesce: (_parts("this", "expressions", "is_nvl", "is_null"), _coalesce),
    **dict.fromkeys(_COMPARISONS, (_PAIR, _comparison)),
    **dict.fromkeys(OPERATIONS, (_PAIR, bind_arithmetic)),
    **dict.fromkeys(_FUNCTIONS, (_ONE, _call)),
}


def names_in(node: exp.Expression) -> list[str]:
    """Return the distinct names of columns in a text, as written."""
    names: dict[str, None] = {}
    for part in node.find_all(exp.Column, bfs=False):
        # sqlglot parses a.b.c as a column, with dot nodes around it for deeper fields.
        path: Any = path_of(part)
        if path:
            names[path[0]] = None
    return list(names)
