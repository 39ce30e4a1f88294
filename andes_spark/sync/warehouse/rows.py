"""Rows as CSV for COPY: values as text that the database reads back exactly, or an error that names them."""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from andes_spark.errors import SchemaMismatchError
from andes_spark.sync.warehouse.columns import TargetColumn

_ROWS = 1 << 16
"""Rows of a piece at most."""
_NUL = "\0"
_HAS_NUL = "contains the character NUL"
_FIRST, _LAST = datetime.date(1, 1, 1), datetime.date(9999, 12, 31)


def csv_pieces(
    batches: Iterable[pa.RecordBatch], columns: Sequence[TargetColumn], target: str, *, extra: Sequence[str] = ()
) -> Iterator[bytes]:
    """Yield the rows of batches as CSV, in pieces; memory is that of a batch.

    NULL is an empty value without quotes, and an empty text one with quotes.

    Args:
        batches: batches with the columns, by name.
        columns: columns of the target, in order.
        target: name of the target, for messages.
        extra: more columns of text, after those.

    Raises:
        SchemaMismatchError: a value that the database cannot hold; ``column``, ``value``.
    """
    options = pa.csv.WriteOptions(include_header=False, quoting_style="needed")
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            part = batch.slice(start, _ROWS)
            texts = [_text(part.column(column.name), column, target) for column in columns]
            texts += [part.column(name) for name in extra]
            names = [str(place) for place in range(len(texts))]
            buffer = io.BytesIO()
            pa.csv.write_csv(pa.RecordBatch.from_arrays(texts, names), buffer, options)
            yield buffer.getvalue()


def _text(values: pa.Array, column: TargetColumn, target: str) -> pa.Array:
    """Return a column in a form whose CSV is the database's text of the values."""
    kind = values.type
    if column.form == "json":
        return pa.array(_documents(values, column, target), pa.string())
    if column.form == "binary":
        digits = pl.Series(values.cast(pa.large_binary())).bin.encode("hex")
        return ("\\x" + digits).to_arrow().cast(pa.large_string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _without_nul(values, column, target)
    if pa.types.is_decimal(kind):
        return values.cast(pa.string())
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        _check_years(values, column, target)
        return values.cast(pa.string())
    return values


def _without_nul(values: pa.Array, column: TargetColumn, target: str) -> pa.Array:
    has_nul = pc.match_substring(values, _NUL)
    if pc.any(has_nul).as_py():
        text = values.filter(has_nul)[0].as_py()
        _refuse(target, column, text, _HAS_NUL)
    return values


def _check_years(values: pa.Array, column: TargetColumn, target: str) -> None:
    """Refuse times outside of the years 1 to 9999: what is beyond has no common text."""
    first: Any = pa.scalar(_FIRST, pa.date32())
    last: Any = pa.scalar(_LAST, pa.date32())
    days = values.cast(pa.date32(), safe=False) if pa.types.is_timestamp(values.type) else values
    outside = pc.or_(pc.less(days, first), pc.greater(days, last))
    if pc.any(outside).as_py():
        number = values.filter(outside).view(pa.int32() if pa.types.is_date32(values.type) else pa.int64())[0].as_py()
        unit = "days" if pa.types.is_date32(values.type) else values.type.unit
        _refuse(target, column, f"{number} {unit} after 1970", "is outside of the years 1 to 9999")


def _refuse(target: str, column: TargetColumn, value: Any, problem: str) -> NoReturn:
    raise SchemaMismatchError(
        f"{target}: column {column.name}: the value {str(value)[:100]!r} {problem}, and {column.type} cannot hold it; "
        "nothing was delivered",
        column=column.name,
        value=value,
    )


def _documents(values: pa.Array, column: TargetColumn, target: str) -> Iterator[str | None]:
    for scalar in values:
        try:
            value = scalar.as_py()
        except (OverflowError, ValueError):
            _refuse(target, column, scalar, "is outside of the years 1 to 9999")
        plain = _plain(value, values.type, column, target)
        yield None if value is None else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any, kind: pa.DataType, column: TargetColumn, target: str) -> Any:
    """Return a nested value as JSON has it: a map with keys of text is an object, others a list of pairs."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _plain(value[field.name], field.type, column, target) for field in kind}
    if pa.types.is_map(kind):
        pairs = [
            (_plain(k, kind.key_type, column, target), _plain(v, kind.item_type, column, target)) for k, v in value
        ]
        is_text = pa.types.is_string(kind.key_type) or pa.types.is_large_string(kind.key_type)
        return dict(pairs) if is_text else [{"key": k, "value": v} for k, v in pairs]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_plain(element, kind.value_type, column, target) for element in value]
    return _plain_leaf(value, column, target)


def _plain_leaf(value: Any, column: TargetColumn, target: str) -> Any:
    match value:
        case str() if _NUL in value:
            _refuse(target, column, value, _HAS_NUL)
        case bytes():
            return base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            _refuse(target, column, value, "is not a number of JSON")
        case decimal.Decimal():
            return str(value)
        case datetime.date():
            return value.isoformat()
    return value
