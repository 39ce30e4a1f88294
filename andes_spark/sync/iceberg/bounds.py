"""Counts and bounds of a data file in Iceberg's encoding, from the statistics of the Delta log.

Encoding: Iceberg's specification, appendix D, "Binary single-value serialization". Bounds are never narrower than the
values in the file; those of other writers may be wider, and unknown ones are left out.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from decimal import Decimal as Number
from typing import Any

from andes_spark.delta.bounds import bound_reader
from andes_spark.delta.data_file import DataFile
from andes_spark.schema.types import DataType, Decimal, Primitive
from andes_spark.schema.versions import SchemaVersion
from andes_spark.sync.iceberg.schemas import leaf_nodes

Pairs = list[dict[str, Any]]

_FORMATS = {
    "byte": "<i",
    "short": "<i",
    "integer": "<i",
    "date": "<i",
    "long": "<q",
    "timestamp": "<q",
    "timestamp_ntz": "<q",
    "float": "<f",
    "double": "<d",
}


def file_metrics(file: DataFile, version: SchemaVersion, records: int) -> dict[str, Pairs]:
    """Return the counts and bounds of a manifest entry, as lists of pairs of field id and value.

    Args:
        file: the data file.
        version: schema of the table.
        records: number of rows in the file, deleted ones included.
    """
    statistics = file.stats
    values: Pairs = []
    nulls: Pairs = []
    lower: Pairs = []
    upper: Pairs = []
    for path, node in leaf_nodes(version.nodes):
        null_count = _member(statistics.get("nullCount"), path)
        if type(null_count) is int:
            values.append({"key": node.field_id, "value": records})
            nulls.append({"key": node.field_id, "value": null_count})
        for pairs, kind, is_upper in ((lower, "minValues", False), (upper, "maxValues", True)):
            # Other writers leave NaN out of a maximum, which some readers hold to be the greatest number.
            if is_upper and file.footer is None and node.field.type in (Primitive("float"), Primitive("double")):
                continue
            data = encoded_bound(_member(statistics.get(kind), path), node.field.type, upper=is_upper)
            if data is not None:
                pairs.append({"key": node.field_id, "value": data})
    return {"value_counts": values, "null_value_counts": nulls, "lower_bounds": lower, "upper_bounds": upper}


def encoded_bound(value: Any, type_: DataType, *, upper: bool) -> bytes | None:
    """Encode a bound of Delta's statistics; None if it is unknown, or the type has none.

    Args:
        value: parsed JSON value of the bound.
        type_: type of the column.
        upper: whether it is the upper one.
    """
    if isinstance(type_, Primitive) and type_.name in ("float", "double", "boolean"):
        return _encoded_plain(value, type_.name, upper=upper)
    reader = bound_reader(type_)
    bound = None if reader is None else reader(value, upper)
    return None if bound is None else _encoded(bound, type_)


def _encoded(bound: int | str, type_: DataType) -> bytes | None:
    if isinstance(bound, str):
        return bound.encode("utf-8")
    if isinstance(type_, Decimal):
        # The sign needs a bit as well; readers refuse more bytes than the type has.
        size = (bound if bound >= 0 else ~bound).bit_length() // 8 + 1
        return bound.to_bytes(size, "big", signed=True) if abs(bound) < 10**type_.precision else None
    assert isinstance(type_, Primitive)
    try:
        return struct.pack(_FORMATS[type_.name], bound)
    except struct.error:
        return None


def _encoded_plain(value: Any, name: str, *, upper: bool) -> bytes | None:
    if name == "boolean":
        return bytes([value]) if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | Number | float):
        return None
    number = float(value)
    if math.isnan(number):
        return None
    if number == 0:
        # Iceberg orders -0.0 below 0.0, Parquet's writers do not.
        number = 0.0 if upper else -0.0
    try:
        return struct.pack(_FORMATS[name], number)
    except OverflowError:
        return None


def _member(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
