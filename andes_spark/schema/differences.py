"""How columns differ from those of a table, by names and types alone: nothing is read, and all is told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.types as pat

from andes_spark.errors import SchemaMismatchError, UnsupportedTableError
from andes_spark.schema import arrow_types, casts
from andes_spark.schema import types as dt
from andes_spark.schema.schema import Schema


@dataclass(frozen=True)
class Differences:
    """How columns differ from those of a table; false if they do not.

    Attributes:
        missing: columns of the table that were not given.
        extra: columns that the table does not have.
        wrong_type: column -> (given type, type of the table).
        duplicate: columns given more than once.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    wrong_type: Mapping[str, tuple[str, str]]
    duplicate: tuple[str, ...] = ()

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
        raise SchemaMismatchError(
            f"the columns do not fit the table: {'; '.join(parts)}; "
            "select and convert them first (only what loses nothing is widened by itself)",
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
    cast: bool = False,
) -> Differences:
    """Compare columns by exact name and by type; nullability is a matter of rows, not of types.

    Args:
        given: what came.
        wanted: the columns of the table.
        partial_ok: columns of the table may be missing, except those of ``required``.
        required: keys and sequences: never missing, never cast.
        cast: types that ``casts.can_try`` are no difference either, except for ``required``.
    """
    counts = Counter(given.names)
    wrong: dict[str, tuple[str, str]] = {}
    for field in wanted:
        if counts[field.name] != 1:
            continue
        arrow = given.field(field.name).type
        if not _fits(arrow, field.type, cast and field.name not in required):
            wrong[field.name] = (shown_type(arrow), dt.simple_string(field.type))
    return Differences(
        missing=tuple(
            name for name in wanted.names if name not in counts and not (partial_ok and name not in required)
        ),
        extra=tuple(name for name in counts if name not in wanted),
        wrong_type=wrong,
        duplicate=tuple(name for name, count in counts.items() if count > 1),
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


def _fits(given: pa.DataType, wanted: dt.DataType, cast: bool) -> bool:
    """Whether values of an Arrow type can become ``wanted``, as far as the types tell."""
    if pat.is_null(given):
        return True
    if pat.is_dictionary(given):
        return _fits(given.value_type, wanted, cast)
    match wanted:
        case dt.Array(element):
            return arrow_types.is_any_list(given) and _fits(given.value_type, element, cast)
        case dt.Map(key, value):
            return pat.is_map(given) and _fits(given.key_type, key, cast) and _fits(given.item_type, value, cast)
        case dt.Struct(fields):
            if not pat.is_struct(given) or sorted(f.name for f in given) != sorted(f.name for f in fields):
                return False
            return all(_fits(given.field(f.name).type, f.type, cast) for f in fields)
    try:
        source = arrow_types.from_arrow(given)
    except UnsupportedTableError:
        return False
    return casts.widens(source, wanted) or (cast and casts.can_try(source, wanted))
