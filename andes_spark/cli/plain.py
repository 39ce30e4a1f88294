"""Exact conversion of values to JSON.

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

JSON lines that are applied or loaded have the same forms, see ``inputs.json_lines``.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa

from andes_spark.model.documents import Document, encode
from andes_spark.model.values import python_rows, shown

_CHUNK_ROWS = 10_000


def plain(value: Any) -> Any:
    """Convert a value of Python, of a result or of a document of the log to JSON types; see the module."""
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float | Decimal | datetime.date | bytes):
        return shown(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(plain(key)): plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(element) for element in value]
    if isinstance(value, Document):
        return msgspec.json.decode(encode(value))
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return str(value)


def to_json(content: Any) -> str:
    """Format a value as one line of JSON; see ``plain``."""
    return json.dumps(plain(content), ensure_ascii=False, separators=(", ", ": "), allow_nan=False)


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as dicts for ``plain``, converted in batches."""
    for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
        yield from python_rows(pa.Table.from_batches([batch]))
