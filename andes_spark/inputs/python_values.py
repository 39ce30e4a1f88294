"""Rows as dicts: Python values in the types of the table's columns, if they fit without conversion."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.errors import OptionError
from andes_spark.schema.schema import Schema
from andes_spark.schema.spelling import known_field

Fits = Callable[[Any], bool]

_MISSING = ("NaTType", "NAType")  # of pandas, which is not imported for them


def table_of_dicts(rows: Sequence[Mapping[str, Any]], schema: Schema | None, *, option: str) -> pa.Table:
    """Convert rows to a table; a missing column of a row is NULL, and an empty list has all columns of the table.

    Args:
        rows: column values by name.
        schema: columns of the table; values that do not fit them get the type that Arrow infers.
        option: name of the argument with the rows, for messages.

    Raises:
        OptionError: a name is not text, or the values of a column have no common type.
    """
    known = pa.schema([]) if schema is None else schema.to_arrow()
    names = dict.fromkeys(name for row in rows for name in row) if rows else dict.fromkeys(known.names)
    for name in names:
        if not isinstance(name, str):
            raise OptionError(f"{option}: the keys of dicts are names of columns, and {name!r} is none", option=option)
    return pa.table({name: _column(name, [row.get(name) for row in rows], known, option) for name in names})


def _column(name: str, values: list[Any], known: pa.Schema, option: str) -> pa.Array:
    values = [None if type(value).__name__ in _MISSING else value for value in values]
    if any(getattr(value, "nanosecond", 0) for value in values):
        raise OptionError(
            f"{option}: the times of {name!r} are finer than a microsecond; round them", option=option, column=name
        )
    field = known_field(name, known)
    if field is not None:
        type_ = field.type
        fits = _fits(type_)
        if all(value is None or fits(value) for value in values):
            try:
                return pa.array(values, type_)
            except (pa.ArrowException, ValueError, TypeError, OverflowError):
                pass  # too large for the type: the inferred type is refused later, in the comparison with the table
    try:
        return _inferred(values)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise OptionError(
            f"{option}: the values of {name!r} have no type in common: {error}", option=option, column=name
        ) from error


def _inferred(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except OverflowError:
        if not all(value is None or isinstance(value, int) for value in values):
            raise
        # Integers of more than 64 bits: their column, if it is narrower, is named in the comparison with the table.
        return pa.array([None if value is None else Decimal(value) for value in values])


def _fits(type_: pa.DataType) -> Fits:
    """Return a test whether Arrow stores a value in the type without conversion."""
    if pat.is_list(type_):
        element = _or_none(_fits(type_.value_type))
        return lambda value: isinstance(value, list | tuple) and all(map(element, value))
    if pat.is_map(type_):
        fits_key, fits_value = _fits(type_.key_type), _or_none(_fits(type_.item_type))
        return lambda value: (
            isinstance(value, list)
            and all(
                isinstance(pair, tuple) and len(pair) == 2 and fits_key(pair[0]) and fits_value(pair[1])
                for pair in value
            )
        )
    if pat.is_struct(type_):
        fields = {field.name: _or_none(_fits(field.type)) for field in type_}
        return lambda value: (
            isinstance(value, Mapping) and all(name in fields and fields[name](inner) for name, inner in value.items())
        )
    return _fits_leaf(type_)


def _or_none(fits: Fits) -> Fits:
    return lambda value: value is None or fits(value)


def _fits_leaf(type_: pa.DataType) -> Fits:
    if pat.is_timestamp(type_):
        zoned = type_.tz is not None
        return lambda value: isinstance(value, datetime.datetime) and (value.tzinfo is not None) == zoned
    if pat.is_date(type_):
        return lambda value: isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    kinds: tuple[type, ...] = {
        "bool": (bool, np.bool_),
        "string": (str,),
        "binary": (bytes,),
        "float": (float, int, np.floating),
        "double": (float, int, np.floating),
    }.get(str(type_), (Decimal, int) if pat.is_decimal(type_) else (int, np.integer))
    numbers = not pat.is_boolean(type_)
    return lambda value: isinstance(value, kinds) and not (numbers and isinstance(value, bool))
