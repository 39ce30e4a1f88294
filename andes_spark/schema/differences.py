"""Differences between incoming columns and those of a table, by name and type; all are reported at once."""

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
    """Differences between incoming columns and those of a table; false if there are none.

    Attributes:
        missing: required columns of the table that are absent.
        extra: columns that are not in the table.
        wrong_type: column -> (incoming type, type of the table).
        duplicate: columns that occur more than once.
        zoneless: columns in ``wrong_type`` that only lack a time zone.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    wrong_type: Mapping[str, tuple[str, str]]
    duplicate: tuple[str, ...] = ()
    zoneless: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.wrong_type or self.duplicate)

    def raise_if_any(self) -> None:
        """Raise an error if there are differences.

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
        parts += [f"{name!r} is {actual}, not {expected}" for name, (actual, expected) in self.wrong_type.items()]
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
    incoming: pa.Schema,
    schema: Schema,
    *,
    partial_ok: bool = False,
    required: Collection[str] = (),
    rules: CastRules = NO_CASTS,
) -> Differences:
    """Compare columns by exact name and by type; nullability is checked with the rows.

    Args:
        incoming: schema of the batch.
        schema: columns of the table.
        partial_ok: whether columns of the table may be missing, except those of ``required``.
        required: key and sequence columns, which must be present.
        rules: casts that are accepted in addition to widening.
    """
    counts = Counter(incoming.names)
    wrong: dict[str, tuple[str, str]] = {}
    for field in schema:
        if counts[field.name] != 1:
            continue
        arrow = incoming.field(field.name).type
        if not _fits(arrow, field.type, rules):
            wrong[field.name] = (shown_type(arrow), dt.simple_string(field.type))
    return Differences(
        missing=tuple(
            name for name in schema.names if name not in counts and not (partial_ok and name not in required)
        ),
        extra=tuple(name for name in counts if name not in schema),
        wrong_type=wrong,
        duplicate=tuple(name for name, count in counts.items() if count > 1),
        zoneless=tuple(
            name
            for name in wrong
            if _fits(incoming.field(name).type, schema.field(name).type, replace(rules, time_zone="UTC"))
        ),
    )


def refuse_repeated(names: Sequence[str]) -> None:
    """Refuse duplicate column names, before columns are looked up by name."""
    Differences((), (), {}, tuple(name for name, count in Counter(names).items() if count > 1)).raise_if_any()


def shown_type(arrow: pa.DataType) -> str:
    """Return the name of an Arrow type for messages: Spark's name, or Arrow's if Spark has none or the unit matters."""
    try:
        type_ = arrow_types.from_arrow(arrow)
    except UnsupportedTableError:
        return str(arrow)
    return str(arrow) if pat.is_timestamp(arrow) else dt.simple_string(type_)


def _fits(arrow: pa.DataType, target: dt.DataType, rules: CastRules) -> bool:
    """Return whether values of an Arrow type can be converted to ``target``, judged by the types."""
    if pat.is_null(arrow):
        return True
    if pat.is_dictionary(arrow):
        return _fits(arrow.value_type, target, rules)
    match target:
        case dt.Array(element):
            return arrow_types.is_any_list(arrow) and _fits(arrow.value_type, element, rules)
        case dt.Map(key, value):
            return pat.is_map(arrow) and _fits(arrow.key_type, key, rules) and _fits(arrow.item_type, value, rules)
        case dt.Struct(fields):
            if not pat.is_struct(arrow):
                return False
            names = Counter(f.name for f in arrow)
            lacking = [f for f in fields if f.name not in names]
            if len(fields) - len(lacking) != names.total() or not all(rules.fill and f.nullable for f in lacking):
                return False
            return all(_fits(arrow.field(f.name).type, f.type, rules) for f in fields if f.name in names)
    try:
        source = arrow_types.from_arrow(arrow)
    except UnsupportedTableError:
        return False
    if casts.widens(source, target) or rules.allow(source, target):
        return True
    return casts.is_unsigned_of_width(arrow, target)
