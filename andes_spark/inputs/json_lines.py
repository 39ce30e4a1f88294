"""JSON lines as rows, with exact values; among the forms are those that ``andes table read --output json`` writes.

============================  ==========================================================
integer, boolean, string      themselves
decimal                       a number, or a string with all of its scale
float, double                 a number, NaN, Infinity or -Infinity, these three with or without quotes
date, timestamp               ISO 8601; ``timestamp`` with a zone, ``timestamp_ntz`` without
binary                        a string in Base64
array, struct                 an array, an object
map                           an object, or an array of pairs of key and value
============================  ==========================================================
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from andes_spark.inputs.columns import Columns, has_text, is_zoned
from andes_spark.inputs.locations import WRONG, InputFile
from andes_spark.model.values import shown

_FINER = re.compile(r"[.,]\d{7}")
_BETWEEN = re.compile(r"\s*[{:,]?\s*")
_LONGEST_INTEGER = 40
_LONGEST_NAMED = 100
_KINDS = {list: "array", dict: "object", str: "string", bool: "boolean", int: "whole number"}


def read(file: InputFile, columns: Columns) -> pa.Table:
    """Read a file with one JSON object per line into memory; its columns are the fields of all lines.

    Args:
        file: in UTF-8.
        columns: columns of the table, whose types values are read as; those to be cast are read as text only if one
            of their values does not fit.

    Raises:
        SchemaMismatchError: a value does not fit its column; ``path``, ``column``.
        FileDamagedError: a line is not a JSON object.
    """
    with file.reading("JSON lines"):
        lines = [(number, line) for number, line in enumerate(file.lines(), start=1) if line.strip()]
        rows = [_object(line, number) for number, line in lines]
        names = dict.fromkeys(name for row in rows for name in row)
        return pa.table({name: _Column(name, lines, rows, file).array(columns) for name in names})


def parsed(value: Any, type_: pa.DataType) -> Any:
    """Convert a JSON value to the Python value for an Arrow type.

    Raises:
        ValueError, TypeError, ArithmeticError: the value does not fit the type.
    """
    if value is None:
        return None
    if pa.types.is_list(type_):
        return [parsed(element, type_.value_type) for element in _a(list, value)]
    if pa.types.is_map(type_):
        items = value.items() if isinstance(value, dict) else map(_pair, _a(list, value))
        return [(parsed(key, type_.key_type), parsed(map_value, type_.item_type)) for key, map_value in items]
    if pa.types.is_struct(type_):
        fields = {field.name: field.type for field in type_}
        unknown = sorted(set(_a(dict, value)) - set(fields))
        if unknown:
            raise ValueError(f"unknown fields {unknown}")
        return {name: parsed(value.get(name), field_type) for name, field_type in fields.items()}
    return _parsed_leaf(value, type_)


def _parsed_leaf(value: Any, type_: pa.DataType) -> Any:
    if pa.types.is_timestamp(type_):
        moment = _moment(value)
        if moment.tzinfo is None and type_.tz is not None:
            raise ValueError(f"{value!r} has no time zone; give time_zone for times without one")
        if moment.tzinfo is not None and type_.tz is None:
            raise ValueError(f"{value!r} must have no time zone")
        return moment
    if pa.types.is_date(type_):
        return datetime.date.fromisoformat(_a(str, value))
    if pa.types.is_binary(type_):
        return base64.b64decode(_a(str, value), validate=True)
    if pa.types.is_string(type_):
        return _a(str, value)
    if isinstance(value, bool) != pa.types.is_boolean(type_):
        raise TypeError(f"{_named(value)} is no {type_}")
    if pa.types.is_decimal(type_):
        return Decimal(value)
    if pa.types.is_floating(type_):
        return _parsed_float(value, type_)
    return _a(bool if pa.types.is_boolean(type_) else int, value)


def _pair(value: Any) -> list[Any]:
    pair: list[Any] = _a(list, value)
    if len(pair) != 2:
        raise ValueError(f"{_named(pair)} is no pair of key and value")
    return pair


def _moment(value: Any) -> datetime.datetime:
    if _FINER.search(_a(str, value)):
        raise ValueError(f"{value!r} is finer than a microsecond")
    return datetime.datetime.fromisoformat(value)


def _parsed_float(value: Any, type_: pa.DataType) -> float:
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        raise TypeError(f"{value!r} is no {type_}")
    number = float(value)
    if isinstance(value, float):
        return number  # NaN and the infinities without quotes
    # Python and Arrow turn numbers that are too large into infinities.
    if not isinstance(value, str) and not math.isfinite(pa.scalar(number, type_).as_py()):
        raise ValueError(f"{value} is too large for {type_}")
    return number


def _a(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{_named(value)} is no {_KINDS[kind]}")
    return value


def _named(value: Any) -> str:
    """Text of a JSON value for messages."""
    text = str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_NAMED else text[:_LONGEST_NAMED] + "..."


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_float=Decimal, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number}: not a JSON object")
    return row


def _once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(fields)
    if len(row) < len(fields):
        raise ValueError("a field stands twice in one object")
    return row


@dataclass(frozen=True)
class _Column:
    """Values of one column of a file.

    Attributes:
        name: the column.
        lines: lines of the file that are not empty, with their numbers.
        rows: values of each line, by column.
        file: the file.
    """

    name: str
    lines: Sequence[tuple[int, bytes]]
    rows: Sequence[Mapping[str, Any]]
    file: InputFile

    @property
    def values(self) -> Iterator[Any]:
        return (row.get(self.name) for row in self.rows)

    def array(self, columns: Columns) -> pa.Array:
        """Convert the values to the type of the table's column, or to text for a cast."""
        field = columns.named(self.name)
        if field is None:
            return self._inferred()
        try:
            if columns.takes_local_times(field):
                return self._times(columns)
            return pa.array([parsed(value, field.type) for value in self.values], field.type)
        except WRONG as error:
            if not has_text(field.type):
                raise self.file.unusable_value(f"column {self.name!r}: {error}", self.name, field.type) from error
            if not columns.may_be_text(field):
                raise self.file.wrong_value(f"column {self.name!r}: {error}", self.name) from error
        if pa.types.is_string(field.type):
            return pa.array(self._texts(), pa.string())
        pairs = zip(self.values, self._texts(), strict=True)
        return pa.array([_text_to_cast(value, text, field.type, columns) for value, text in pairs], pa.string())

    def _inferred(self) -> pa.Array:
        values = [float(value) if isinstance(value, Decimal) else value for value in self.values]
        try:
            return pa.array(values)
        except WRONG:
            # As Spark infers them: the type of different types is text.
            return pa.array(self._texts(), pa.string())

    def _texts(self) -> list[str | None]:
        """Values as text: strings themselves, others as they are written in the file."""
        return [
            value if value is None or isinstance(value, str) else _written(line)[self.name]
            for value, (_, line) in zip(self.values, self.lines, strict=True)
        ]

    def _times(self, columns: Columns) -> pa.Array:
        moments = [None if value is None else _moment(value) for value in self.values]
        local, zoned = (
            [moment if moment is not None and (moment.tzinfo is not None) == with_zone else None for moment in moments]
            for with_zone in (False, True)
        )
        return columns.in_zone(pa.array(local, pa.timestamp("us")), pa.array(zoned, pa.timestamp("us", "UTC")))


def _written(line: bytes) -> dict[str, str]:
    """Values of a line that is a JSON object, as they are written."""
    text = line.decode(json.detect_encoding(line), "surrogatepass")
    decoder, values = json.JSONDecoder(), {}
    at = _next_token(text, 0)
    while text[at] == '"':
        name, at = decoder.raw_decode(text, at)
        start = _next_token(text, at)
        _, at = decoder.raw_decode(text, start)
        values[name] = text[start:at]
        at = _next_token(text, at)
    return values


def _next_token(text: str, at: int) -> int:
    """Position of the next name or value of a JSON object, or of its end."""
    between = _BETWEEN.match(text, at)
    return at if between is None else between.end()


def _text_to_cast(value: Any, text: str | None, kind: pa.DataType, columns: Columns) -> str | None:
    """Convert a value to a text that a cast reads as the same value, if it fits the column's type."""
    if value is None:
        return None
    kinds = [kind, pa.timestamp("us")] if columns.time_zone is not None and is_zoned(kind) else [kind]
    if pa.types.is_integer(kind) and isinstance(value, Decimal) and value.adjusted() < _LONGEST_INTEGER:
        value = int(value) if value == int(value) else value
    for candidate in kinds:
        try:
            fitting = shown(pa.scalar(parsed(value, candidate), candidate).as_py())
        except WRONG:
            continue
        return fitting if isinstance(fitting, str) else json.dumps(fitting)
    return text
