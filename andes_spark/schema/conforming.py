"""Conversion of incoming rows to the columns of the table: matched by name, widened, or cast on request.

``differences`` compares types only; ``conform`` converts the values. Both report all problems at once. Without
casts a batch fails as a whole; with casts single values can fail and are reported by row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from andes_spark.errors import SchemaMismatchError
from andes_spark.schema import arrow_types, casts, nested
from andes_spark.schema import types as dt
from andes_spark.schema.casts import NO_CASTS, CastRules, Mask, to_mask
from andes_spark.schema.differences import Differences, differences, shown_type
from andes_spark.schema.schema import Schema

# Largest size of a chunk of strings that is converted from 64-bit to 32-bit offsets; larger ones are split.
_CHUNK_BYTES = 1 << 30
_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


@dataclass(frozen=True)
class Conformed:
    """Rows in the columns of the table.

    Attributes:
        table: the rows in their original order, with the Arrow types and the column order of the schema.
        failed: mask of the rows whose value could not be cast and is NULL instead, by column.
    """

    table: pa.Table
    failed: Mapping[str, Mask]


def conform(
    table: pa.Table,
    schema: Schema,
    *,
    partial_ok: bool = False,
    required: Collection[str] = (),
    rules: CastRules = NO_CASTS,
) -> Conformed:
    """Convert rows to the columns of the table; the arguments are those of ``differences``.

    Optional columns that are missing stay missing. NULLs in NOT NULL columns are kept: ``nulls_in_required``
    finds them. Columns of the right type are not copied.

    Raises:
        SchemaMismatchError: as ``Differences.raise_if_any``; also for a timestamp finer than microseconds, or
            another value that does not fit although its type is accepted, in a column that is not cast.
    """
    differences(table.schema, schema, partial_ok=partial_ok, required=required, rules=rules).raise_if_any()
    columns: dict[str, pa.ChunkedArray] = {}
    failed: dict[str, Mask] = {}
    lossy: dict[str, tuple[str, str]] = {}
    present = schema.select(name for name in schema.names if name in table.schema.names)
    for field in present:
        column = table.column(field.name)
        _check_text(column, field.name)
        columns[field.name], bad = _convert_chunks(column, field.type, rules)
        if not bad.any():
            continue
        # Local times that the named zone does not have are bad mods, like failed casts.
        if rules.cast or (rules.time_zone is not None and _has_zoneless(column.type)):
            failed[field.name] = bad
        else:
            lossy[field.name] = (
                f"{shown_type(column.type)} with {int(bad.sum())} values that it cannot hold exactly (the first in "
                f"row {int(bad.argmax())})",
                dt.simple_string(field.type),
            )
    Differences((), (), lossy).raise_if_any()
    # NOT NULL columns may still contain NULLs here; an Arrow table accepts them.
    rows = pa.Table.from_arrays(list(columns.values()), schema=present.to_arrow())
    return Conformed(rows, failed)


def _check_text(column: pa.ChunkedArray, name: str) -> None:
    """Refuse strings that are not valid UTF-8, since readers cannot decode them."""
    leaves = (kind for _, kind in arrow_types.leaf_paths([pa.field("", column.type)]))
    if pat.is_primitive(column.type) or not any(map(_is_text, leaves)):
        return
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise SchemaMismatchError(
            f"column {name!r} holds bytes that are no UTF-8 text ({error}): decode it where the rows come from, or "
            "make the column binary",
            wrong_type={name: ("string with bytes that are no UTF-8", "string")},
            column=name,
        ) from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pat.is_string(kind) or pat.is_large_string(kind) or pat.is_string_view(kind))


def nulls_in_required(table: pa.Table, schema: Schema) -> dict[str, Mask]:
    """Find NULLs where the schema allows none, nested ones included.

    Args:
        table: rows converted by ``conform``; columns of the schema may be missing.
        schema: the columns of the table.

    Returns:
        Mask of the rows with such NULLs, for each column that has any.
    """
    nulls: dict[str, Mask] = {}
    for field in (field for field in schema if field.name in table.schema.names):
        column = table.column(field.name)
        if not pat.is_nested(column.type) and (field.nullable or not column.null_count):
            continue
        chunks = [_forbidden_nulls(chunk, field.type, field.nullable) for chunk in column.chunks]
        if any(chunk.any() for chunk in chunks):
            nulls[field.name] = np.concatenate(chunks)
    return nulls


def _convert_chunks(column: pa.ChunkedArray, target: dt.DataType, rules: CastRules) -> tuple[pa.ChunkedArray, Mask]:
    arrow_type = arrow_types.to_arrow(target)
    if column.type == arrow_type:
        return column, np.zeros(len(column), dtype=np.bool_)
    converted = [_convert(part, target, rules) for chunk in column.chunks for part in _cut(chunk)]
    masks = [np.zeros(len(array), np.bool_) if bad is None else bad for array, bad in converted]
    return (
        pa.chunked_array([array for array, _ in converted], type=arrow_type),
        np.concatenate([np.zeros(0, dtype=np.bool_), *masks]),
    )


def _cut(array: pa.Array) -> list[pa.Array]:
    """Split an array into parts whose characters fit 32-bit offsets."""
    if array.type in _VIEWS:
        array = array.cast(_VIEWS[array.type])
    if not (pat.is_large_string(array.type) or pat.is_large_binary(array.type)) or len(array) < 2:
        return [array]
    if (pc.sum(pc.binary_length(array)).as_py() or 0) <= _CHUNK_BYTES:
        return [array]
    half = len(array) // 2
    return [*_cut(array.slice(0, half)), *_cut(array.slice(half))]


def _convert(array: pa.Array, target: dt.DataType, rules: CastRules) -> tuple[pa.Array, Mask | None]:
    """Convert values to ``target``; return the result and a mask of failed values, None if none failed."""
    arrow_type = arrow_types.to_arrow(target)
    if array.type == arrow_type:
        return array, None
    if pat.is_null(array.type):
        return pa.nulls(len(array), arrow_type), None
    if pat.is_dictionary(array.type):
        return _convert(array.dictionary_decode(), target, rules)
    match target:
        case dt.Array(element):
            offsets, elements = nested.list_parts(array)
            values, bad = _convert(elements, element, rules)
            return _rebuild(array, arrow_type, offsets, [values]), _any_if(bad, offsets)
        case dt.Map():
            return _convert_map(array, target, rules)
        case dt.Struct():
            return _convert_struct(array, target, rules)
    return _convert_scalar(array, target, rules)


def _convert_map(array: pa.MapArray, target: dt.Map, rules: CastRules) -> tuple[pa.Array, Mask | None]:
    offsets, keys, values = nested.map_parts(array)
    keys, bad_keys = _convert(keys, target.key, rules)
    values, bad_values = _convert(values, target.value, rules)
    bad = _either(_any_if(bad_keys, offsets), _any_if(bad_values, offsets))
    null: Mask | None = None
    if bad is not None:
        # A failed key would be a NULL key, on which Arrow aborts: maps with failed keys become NULL.
        null = bad | to_mask(array.is_null())
        lengths = np.diff(offsets)
        kept = pa.array(np.repeat(~null, lengths))
        keys, values = keys.filter(kept), values.filter(kept)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(null, 0, lengths))])
        bad = bad & to_mask(array.is_valid())
    arrow_type = arrow_types.to_arrow(target)
    entries = pa.StructArray.from_arrays([keys, values], fields=[arrow_type.key_field, arrow_type.item_field])
    return _rebuild(array, arrow_type, offsets, [entries], null), bad


def _convert_struct(array: pa.StructArray, target: dt.Struct, rules: CastRules) -> tuple[pa.Array, Mask | None]:
    children: list[pa.Array] = []
    bad: Mask | None = None
    for field in target.fields:
        index = array.type.get_field_index(field.name)
        if index < 0:
            children.append(pa.nulls(len(array), arrow_types.to_arrow(field.type)))
            continue
        child, failed = _convert(array.field(index), field.type, rules)
        children.append(child)
        bad = _either(bad, failed)
    if bad is not None and array.null_count:
        # Children of a NULL struct may have arbitrary values.
        bad = bad & to_mask(array.is_valid())
    return _rebuild(array, arrow_types.to_arrow(target), None, children), bad


def _convert_scalar(array: pa.Array, target: dt.DataType, rules: CastRules) -> tuple[pa.Array, Mask | None]:
    source = arrow_types.from_arrow(array.type)
    plain = arrow_types.to_arrow(source)
    bad: Mask | None = None
    if array.type != plain:
        array, bad = _plain(array, plain)
    if source == target:
        return array, bad
    if casts.widens(source, target):
        return casts.widen(array, target), bad
    array, failed = casts.try_cast(array, source, target, rules.time_zone)
    return array, _either(bad, failed)


def _plain(array: pa.Array, plain: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """Convert values to another encoding of the same type; only times can lose precision."""
    if isinstance(array.type, pa.UuidType):
        return _uuid_text(array.storage), None
    try:
        return array.cast(plain), None
    except pa.ArrowInvalid:
        if not (pat.is_timestamp(array.type) or pat.is_date64(array.type)):
            raise
    coarse = array.cast(plain, safe=False)
    bad = to_mask(pc.not_equal(coarse.cast(array.type, safe=False), array))
    return pc.if_else(pa.array(bad), pa.scalar(None, plain), coarse), bad


def _uuid_text(array: pa.Array) -> pa.Array:
    """Convert UUIDs of 16 bytes to their text of 36 characters."""
    texts = [None if value is None else str(UUID(bytes=value)) for value in array.to_pylist()]
    return pa.array(texts, pa.string())


def _has_zoneless(kind: pa.DataType) -> bool:
    return any(pat.is_timestamp(leaf) and leaf.tz is None for _, leaf in arrow_types.leaf_paths([pa.field("", kind)]))


def _either(left: Mask | None, right: Mask | None) -> Mask | None:
    if left is None or right is None:
        return right if left is None else left
    return left | right


def _any_if(bad: Mask | None, offsets: nested.Offsets) -> Mask | None:
    return None if bad is None else nested.any_per_row(bad, offsets)


def _rebuild(
    array: pa.Array,
    target: pa.DataType,
    offsets: nested.Offsets | None,
    children: Sequence[pa.Array],
    null: Mask | None = None,
) -> pa.Array:
    """Rebuild a nested array with new children; ``null`` replaces its own NULLs."""
    if null is None and array.null_count:
        null = to_mask(array.is_null())
    validity = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little").tobytes())
    buffers = [validity] if offsets is None else [validity, pa.py_buffer(_narrow(offsets).tobytes())]
    return pa.Array.from_buffers(target, len(array), buffers, children=list(children))


def _narrow(offsets: nested.Offsets) -> npt.NDArray[np.int32]:
    if offsets[-1] > np.iinfo(np.int32).max:
        raise SchemaMismatchError(
            f"{offsets[-1]} list elements in one chunk are too many: hand the rows over in smaller chunks"
        )
    return offsets.astype(np.int32)


def _forbidden_nulls(array: pa.Array, type_: dt.DataType, nullable: bool) -> Mask:
    """Find the rows with a NULL that the type does not allow, in an array of the table's Arrow type."""
    bad = np.zeros(len(array), dtype=np.bool_)
    match type_:
        case dt.Array(element, contains_null):
            offsets, elements = nested.list_parts(array)
            bad |= nested.any_per_row(_forbidden_nulls(elements, element, contains_null), offsets)
        case dt.Map(key, value, value_contains_null):
            offsets, keys, values = nested.map_parts(array)
            inner = _forbidden_nulls(keys, key, False) | _forbidden_nulls(values, value, value_contains_null)
            bad |= nested.any_per_row(inner, offsets)
        case dt.Struct(fields):
            for index, field in enumerate(fields):
                bad |= _forbidden_nulls(array.field(index), field.type, field.nullable)
    if array.null_count:
        null = to_mask(array.is_null())
        bad = (bad & ~null) if nullable else (bad | null)
    return bad
