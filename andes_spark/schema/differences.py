"""How columns differ from those of a table, by names and types alone: nothing is read, and all is told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.types as pat

from andes_spark.errors import SchemaMismatchError, UnsupportedTableError
from andes_spark.schema import arrow_types, casts
from andes_spark.schema import types as dt
from andes_spark.schema.casts import NO_CASTS, CastRules
from andes_spark.schema.schema import Schema


@dataclass(frozen=True)
class Differences:
    """How columns differ from those of a table; false if they do not.

    Attributes:
        missing: columns of the table that were not given.
        extra: columns that the table does not have.
        wrong_type: column -> (given type, type of the table).
        duplicate: columns given more than once.
        zoneless: those of the wrong types that lack nothing but a time zone.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    wrong_type: Mapping[str, tuple[str, str]]
    duplicate: tuple[str, ...] = ()
    zoneless: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.wrong_type or self.duplicate)

    def raise_if_any(self) -> None:
        """Raise what was found.

        Raises:
            SchemaMismatchError: ``missing``, ``extra``, ``wrong_type``, ``duplicate``.
        """
        if not self:
            return
        parts = [
            f"{label} {', '.join(map(repr, names))}"
            for label, names in (
                ("missing", self.missing),
                ("not in the table", self.extra),
                ("given more than once", self.duplicate),
            )
            if names
        ]
        parts += [f"{name!r} is {given}, not {wanted}" for name, (given, wanted) in self.wrong_type.items()]
        advice = "select and convert them first (only what loses nothing is widened by itself)"
        if self.zoneless:
            advice = (
                f"the times in {', '.join(map(repr, self.zoneless))} have no time zone, and the table's are moments: "
                f'say their zone by time_zone, such as "UTC"; {advice}'
            )
        raise SchemaMismatchError(
            f"the columns do not fit the table: {'; '.join(parts)}; {advice}",
            missing=self.missing,
            extra=self.extra,
            wrong_type=dict(self.wrong_type),
            duplicate=self.duplicate,
        )


def differences(
    given: pa.Schema,
    wanted: Schema,
    *,
    partial_ok: bool = False,
    required: Collection[str] = (),
    rules: CastRules = NO_CASTS,
) -> Differences:
    """Compare columns by exact name and by type; nullability is a matter of rows, not of types.

    Args:
        given: what came.
        wanted: the columns of the table.
        partial_ok: columns of the table may be missing, except those of ``required``.
        required: keys and sequences: never missing.
        rules: casts that are no difference either.
    """
    counts = Counter(given.names)
    wrong: dict[str, tuple[str, str]] = {}
    for field in wanted:
        if counts[field.name] != 1:
            continue
        arrow = given.field(field.name).type
        if not _fits(arrow, field.type, rules):
            wrong[field.name] = (shown_type(arrow), dt.simple_string(field.type))
    return Differences(
        missing=tuple(
            name for name in wanted.names if name not in counts and not (partial_ok and name not in required)
        ),
        extra=tuple(name for name in counts if name not in wanted),
        wrong_type=wrong,
        duplicate=tuple(name for name, count in counts.items() if count > 1),
        zoneless=tuple(
            name
            for name in wrong
            if _fits(given.field(name).type, wanted.field(name).type, replace(rules, time_zone="UTC"))
        ),
    )


def refuse_repeated(names: Sequence[str]) -> None:
    """Refuse columns that are given more than once, before anything looks for one by its name."""
    Differences((), (), {}, tuple(name for name, count in Counter(names).items() if count > 1)).raise_if_any()


def shown_type(arrow: pa.DataType) -> str:
    """A given type in Spark's words where it has some; else, and where the unit matters, in Arrow's."""
    try:
        type_ = arrow_types.from_arrow(arrow)
    except UnsupportedTableError:
        return str(arrow)
    return str(arrow) if pat.is_timestamp(arrow) else dt.simple_string(type_)


def _fits(given: pa.DataType, wanted: dt.DataType, rules: CastRules) -> bool:
    """Whether values of an Arrow type can become ``wanted``, as far as the types tell."""
    if pat.is_null(given):
        return True
    if pat.is_dictionary(given):
        return _fits(given.value_type, wanted, rules)
    match wanted:
        case dt.Array(element):
            return arrow_types.is_any_list(given) and _fits(given.value_type, element, rules)
        case dt.Map(key, value):
            return pat.is_map(given) and _fits(given.key_type, key, rules) and _fits(given.item_type, value, rules)
        case dt.Struct(fields):
            if not pat.is_struct(given) or sorted(f.name for f in given) != sorted(f.name for f in fields):
                return False
            return all(_fits(given.field(f.name).type, f.type, rules) for f in fields)
    try:
        source = arrow_types.from_arrow(given)
    except UnsupportedTableError:
        return False
    if casts.widens(source, wanted) or rules.allow(source, wanted):
        return True
    return casts.is_unsigned_of_width(given, wanted)
