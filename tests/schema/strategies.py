"""Hypothesis strategies for types, schemas, and rows of them."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from andes_spark.schema import arrow_types
from andes_spark.schema import types as dt
from andes_spark.schema.schema import Schema

PRIMITIVES = (
    dt.BOOLEAN,
    dt.BYTE,
    dt.SHORT,
    dt.INTEGER,
    dt.LONG,
    dt.FLOAT,
    dt.DOUBLE,
    dt.STRING,
    dt.BINARY,
    dt.DATE,
    dt.TIMESTAMP,
    dt.TIMESTAMP_NTZ,
)
BITS = {dt.BYTE: 8, dt.SHORT: 16, dt.INTEGER: 32, dt.LONG: 64}

decimals = st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: dt.Decimal(p, s)))
scalars: st.SearchStrategy[dt.DataType] = st.one_of(st.sampled_from(PRIMITIVES), decimals)
any_name = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
comments = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


def fields_of(types: st.SearchStrategy[dt.DataType], names: st.SearchStrategy[str]) -> Any:
    field = st.builds(
        dt.Field,
        names,
        types,
        st.booleans(),
        st.one_of(st.just({}), comments.map(lambda text: {"comment": text})),
    )
    return st.lists(field, min_size=1, max_size=4, unique_by=lambda f: f.name).map(tuple)


def types_with(names: st.SearchStrategy[str]) -> st.SearchStrategy[dt.DataType]:
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.builds(dt.Array, inner, st.booleans()),
            st.builds(dt.Map, scalars, inner, st.booleans()),
            st.builds(dt.Struct, fields_of(inner, names)),
        ),
        max_leaves=5,
    )


types = types_with(any_name)
schemas: st.SearchStrategy[Schema] = fields_of(types, any_name).map(Schema)


def values(type_: dt.DataType) -> st.SearchStrategy[Any]:
    """Values of a type as Python objects that pyarrow takes; never None at the top."""
    match type_:
        case dt.Decimal(precision, scale):
            limit = 10**precision - 1
            return st.integers(-limit, limit).map(lambda n: decimal.Decimal(f"{n}E-{scale}"))
        case dt.Array(element, contains_null):
            return st.lists(nullable(element, contains_null), max_size=3)
        case dt.Map(key, value, value_contains_null):
            return st.lists(st.tuples(values(key), nullable(value, value_contains_null)), max_size=3)
        case dt.Struct(fields):
            return st.fixed_dictionaries({f.name: nullable(f.type, f.nullable) for f in fields})
    if type_ in BITS:
        half = 1 << (BITS[type_] - 1)
        return st.integers(-half, half - 1)
    plain: dict[dt.DataType, st.SearchStrategy[Any]] = {
        dt.BOOLEAN: st.booleans(),
        dt.FLOAT: st.floats(width=32),
        dt.DOUBLE: st.floats(),
        dt.STRING: st.text(max_size=40),
        dt.BINARY: st.binary(max_size=40),
        dt.DATE: st.dates(),
        dt.TIMESTAMP: st.datetimes().map(lambda t: t.replace(tzinfo=datetime.UTC)),
        dt.TIMESTAMP_NTZ: st.datetimes(),
    }
    return plain[type_]


def nullable(type_: dt.DataType, allowed: bool) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values(type_)) if allowed else values(type_)


@st.composite
def tables(draw: st.DrawFn, schema: Schema, *, max_rows: int = 8) -> pa.Table:
    """Rows of a schema in this library's Arrow types, in chunks, from slices with offsets."""
    rows = draw(st.integers(0, max_rows))
    columns = []
    for field in schema:
        column = draw(st.lists(nullable(field.type, field.nullable), min_size=rows, max_size=rows))
        columns.append(chunked(draw, column, arrow_types.to_arrow(field.type)))
    return pa.Table.from_arrays(columns, schema=schema.to_arrow())


def chunked(draw: st.DrawFn, column: list[Any], arrow: pa.DataType) -> pa.ChunkedArray:
    """The values in chunks, each a slice out of the middle of a longer array."""
    cut = draw(st.integers(0, len(column)))
    before = draw(st.integers(0, len(column)))
    chunks = []
    for part in (column[:cut], column[cut:]):
        padded = pa.array([*column[:before], *part, *column[:1]], arrow)
        chunks.append(padded.slice(before, len(part)))
    return pa.chunked_array(chunks, type=arrow)
