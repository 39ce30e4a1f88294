"""Values as JSON knows them, exactly.

============================  ==========================================================
integer, boolean, string      themselves
decimal                       a string with all of its scale
float, double                 the shortest number that gives the same double back; NaN and
                              the infinities are the strings NaN, Infinity, -Infinity
date, timestamp               ISO 8601; ``timestamp`` in UTC with a Z, ``timestamp_ntz`` without
binary                        a string in Base64
array, struct                 an array, an object
map                           an array of pairs of key and value
============================  ==========================================================

``andes table apply`` and ``create --data`` read the same forms from JSON lines.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa

from andes_spark.model.documents import Document, encode
from andes_spark.model.values import python_rows, shown

_FINER = re.compile(r"[.,]\d{7}")
_CHUNK_ROWS = 10_000


def plain(value: Any) -> Any:
    """A value of Python, of a result or of a document of the log, as JSON knows it; see the module."""
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float | Decimal | datetime.date | bytes):
        return shown(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, Document):
        return msgspec.json.decode(encode(value))
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return str(value)


def parsed(value: Any, type_: pa.DataType) -> Any:
    """What ``plain`` made of a value of an Arrow type, undone.

    Raises:
        ValueError, TypeError, ArithmeticError: it is no value of the type.
    """
    if value is None:
        return None
    if pa.types.is_list(type_):
        return [parsed(each, type_.value_type) for each in _a(list, value)]
    if pa.types.is_map(type_):
        items = value.items() if isinstance(value, dict) else _a(list, value)
        return [(parsed(key, type_.key_type), parsed(each, type_.item_type)) for key, each in items]
    if pa.types.is_struct(type_):
        fields = {field.name: field.type for field in type_}
        unknown = sorted(set(_a(dict, value)) - set(fields))
        if unknown:
            raise ValueError(f"unknown fields {unknown}")
        return {name: parsed(value.get(name), each) for name, each in fields.items()}
    return _parsed_leaf(value, type_)


def _parsed_leaf(value: Any, type_: pa.DataType) -> Any:
    if pa.types.is_timestamp(type_):
        if _FINER.search(_a(str, value)):
            raise ValueError(f"{value!r} is finer than a microsecond")
        moment = datetime.datetime.fromisoformat(value)
        if (moment.tzinfo is None) != (type_.tz is None):
            raise ValueError(f"{value!r} {'needs a' if type_.tz else 'must have no'} time zone")
        return moment
    if pa.types.is_date(type_):
        return datetime.date.fromisoformat(_a(str, value))
    if pa.types.is_binary(type_):
        return base64.b64decode(_a(str, value), validate=True)
    if pa.types.is_string(type_):
        return _a(str, value)
    if isinstance(value, bool) != pa.types.is_boolean(type_):
        raise TypeError(f"{value!r} is no {type_}")
    if pa.types.is_decimal(type_):
        return Decimal(value)
    if pa.types.is_floating(type_):
        return _parsed_float(value, type_)
    return _a(bool if pa.types.is_boolean(type_) else int, value)


def _parsed_float(value: Any, type_: pa.DataType) -> float:
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        raise TypeError(f"{value!r} is no {type_}")
    number = float(value)
    # What is too large becomes an infinity, in Python and in Arrow.
    if not isinstance(value, str) and not math.isfinite(pa.scalar(number, type_).as_py()):
        raise ValueError(f"{value} is too large for {type_}")
    return number


def _a(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table, as objects whose values ``plain`` takes; a few thousand at a time become Python."""
    for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
        yield from python_rows(pa.Table.from_batches([batch]))
