"""Mapping between the types of columns and Arrow types.

``to_arrow`` gives exactly one Arrow type for each type. ``from_arrow`` also takes the other encodings in
which Arrow producers (polars, pandas, DuckDB, files) hand over the same values; ``conform`` converts values
to the type of ``to_arrow``. Types without a lossless counterpart in Spark are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from andes_spark.schema import types as dt

_TO_ARROW: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "short": pa.int16(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}

_FROM_ARROW: dict[pa.DataType, dt.Primitive] = {
    **{arrow: dt.Primitive(name) for name, arrow in _TO_ARROW.items() if not name.startswith("timestamp")},
    pa.large_string(): dt.STRING,
    pa.string_view(): dt.STRING,
    pa.large_binary(): dt.BINARY,
    pa.binary_view(): dt.BINARY,
    pa.date64(): dt.DATE,
    # Unsigned integers become the next wider signed type, as when Spark reads them from Parquet.
    pa.uint8(): dt.SHORT,
    pa.uint16(): dt.INTEGER,
    pa.uint32(): dt.LONG,
}

_REFUSED = (
    (pat.is_null, "void"),
    (pat.is_interval, "interval"),
    (pat.is_duration, "interval"),
    (pat.is_time, "time"),
    (pat.is_float16, "half float"),
    (pat.is_union, "union"),
    (pat.is_run_end_encoded, "run-end encoding"),
)

_MOST_BYTES = 2**31 - 1

# Metadata keys that mark structs as values of Spark types (pyspark.sql.pandas.types).
_MARKED_STRUCTS = ((b"variant", "variant"), (b"geometry", "geospatial"), (b"geography", "geospatial"))


def to_arrow(type_: dt.DataType) -> pa.DataType:
    """Return the Arrow type that this library uses for a type, with the child names of Parquet's own convention."""
    match type_:
        case dt.Primitive(name):
            return _TO_ARROW[name]
        case dt.Decimal(precision, scale):
            return pa.decimal128(precision, scale)
        # Parts of nested values are always nullable in Arrow: below a NULL they have no value, and Arrow's
        # Parquet writer treats that as a NULL. ``conforming.nulls_in_required`` checks nullability instead.
        case dt.Array(element):
            return pa.list_(pa.field("element", to_arrow(element)))
        case dt.Map(key, value):
            return pa.map_(
                pa.field("key", to_arrow(key), nullable=False),
                pa.field("value", to_arrow(value)),
            )
        case dt.Struct(fields):
            return pa.struct([pa.field(field.name, to_arrow(field.type)) for field in fields])


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; text and binary beyond 2 GiB have 64-bit offsets."""
    if column.nbytes > _MOST_BYTES and (pat.is_string(column.type) or pat.is_binary(column.type)):
        column = column.cast(pa.large_string() if pat.is_string(column.type) else pa.large_binary())
    return column.combine_chunks()


def is_counted(kind: pa.DataType) -> bool:
    """Return whether values are stored as integers: integers, dates and timestamps."""
    return bool(pat.is_integer(kind) or pat.is_date32(kind) or pat.is_timestamp(kind))


def as_integers(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return integers, dates (days) or timestamps (microseconds) without NULLs as int64."""
    if pat.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pat.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64, copy=False)
    return values


def field_to_arrow(field: dt.Field) -> pa.Field:
    """Return the Arrow field of a column, without its metadata, which only the schema stores."""
    return pa.field(field.name, to_arrow(field.type), field.nullable)


def fields_from_arrow(fields: Iterable[pa.Field], *, prefix: str = "") -> tuple[dt.Field, ...]:
    """Return columns for Arrow fields, including nullability.

    Raises:
        UnsupportedTableError: a type without a lossless counterpart in Spark; ``feature``, ``column``.
    """
    return tuple(
        dt.Field(field.name, from_arrow(field.type, column=prefix + field.name), field.nullable) for field in fields
    )


def from_arrow(arrow: pa.DataType, *, column: str = "") -> dt.DataType:
    """Return the column type of an Arrow type. A timestamp with a zone is ``timestamp``, without one ``timestamp_ntz``.

    Raises:
        UnsupportedTableError: no lossless counterpart in Spark; ``feature``, ``column``.
    """
    if (primitive := _FROM_ARROW.get(arrow)) is not None:
        return primitive
    if isinstance(arrow, pa.UuidType):
        return dt.STRING
    if pat.is_timestamp(arrow):
        return dt.TIMESTAMP_NTZ if arrow.tz is None else dt.TIMESTAMP
    if pat.is_decimal(arrow):
        return dt.decimal_type(arrow.precision, arrow.scale, column)
    if pat.is_uint64(arrow):
        return dt.Decimal(20, 0)
    if pat.is_fixed_size_binary(arrow):
        return dt.BINARY
    if pat.is_dictionary(arrow):
        return from_arrow(arrow.value_type, column=column)
    if is_any_list(arrow):
        return dt.Array(from_arrow(arrow.value_type, column=f"{column}.element"), arrow.value_field.nullable)
    if pat.is_map(arrow):
        return dt.Map(
            from_arrow(arrow.key_type, column=f"{column}.key"),
            from_arrow(arrow.item_type, column=f"{column}.value"),
            arrow.item_field.nullable,
        )
    if pat.is_struct(arrow):
        return _struct_from_arrow(arrow, column)
    raise _refusal(arrow, column)


def leaf_paths(fields: Iterable[pa.Field], above: str = "") -> Iterator[tuple[str, pa.DataType]]:
    """Yield the dotted path and type of each Parquet column of Arrow fields, in Parquet's order."""
    for field in fields:
        path, kind = above + field.name, field.type
        if pat.is_struct(kind):
            yield from leaf_paths(kind, f"{path}.")
        elif pat.is_map(kind):
            yield from leaf_paths([kind.key_field, kind.item_field], f"{path}.key_value.")
        elif is_any_list(kind):
            yield from leaf_paths([kind.value_field], f"{path}.list.")
        else:
            yield path, kind


def is_any_list(arrow: Any) -> bool:
    """Return whether an Arrow type is a list in any of its five encodings."""
    return bool(
        pat.is_list(arrow)
        or pat.is_large_list(arrow)
        or pat.is_fixed_size_list(arrow)
        or pat.is_list_view(arrow)
        or pat.is_large_list_view(arrow)
    )


def _struct_from_arrow(arrow: pa.StructType, column: str) -> dt.Struct:
    for child in arrow:
        for mark, feature in _MARKED_STRUCTS:
            if child.metadata and child.metadata.get(mark) == b"true":
                raise dt.unsupported(feature, f"the type {mark.decode()}", column)
    return dt.Struct(fields_from_arrow(arrow, prefix=f"{column}."))


def _refusal(arrow: pa.DataType, column: str) -> Exception:
    for is_refused, feature in _REFUSED:
        if is_refused(arrow):
            return dt.unsupported(feature, f"the Arrow type {arrow}", column)
    if isinstance(arrow, pa.BaseExtensionType):
        return dt.unsupported("extension type", f"the Arrow extension type {arrow.extension_name}", column)
    return dt.unsupported("type", f"the Arrow type {arrow}", column)
