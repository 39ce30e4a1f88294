"""Arrow types for the types of columns, and back."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given

from andes_spark.errors import UnsupportedTableError
from andes_spark.schema import arrow_types
from andes_spark.schema import types as dt
from andes_spark.schema.schema import Schema
from tests.schema import strategies

EXACT = [
    (dt.BOOLEAN, pa.bool_()),
    (dt.BYTE, pa.int8()),
    (dt.SHORT, pa.int16()),
    (dt.INTEGER, pa.int32()),
    (dt.LONG, pa.int64()),
    (dt.FLOAT, pa.float32()),
    (dt.DOUBLE, pa.float64()),
    (dt.STRING, pa.string()),
    (dt.BINARY, pa.binary()),
    (dt.DATE, pa.date32()),
    (dt.TIMESTAMP, pa.timestamp("us", "UTC")),
    (dt.TIMESTAMP_NTZ, pa.timestamp("us")),
    (dt.Decimal(38, 18), pa.decimal128(38, 18)),
    (dt.Array(dt.LONG), pa.list_(pa.field("element", pa.int64()))),
    (dt.Map(dt.STRING, dt.LONG), pa.map_(pa.string(), pa.int64())),
    (
        dt.Struct((dt.Field("a", dt.LONG), dt.Field("b", dt.STRING))),
        pa.struct([pa.field("a", pa.int64()), pa.field("b", pa.string())]),
    ),
]


@pytest.mark.parametrize(("type_", "arrow"), EXACT, ids=str)
def test_each_type_has_one_arrow_type(type_: dt.DataType, arrow: pa.DataType) -> None:
    assert arrow_types.to_arrow(type_).equals(arrow, check_metadata=True)
    assert arrow_types.from_arrow(arrow) == type_


@pytest.mark.parametrize(
    ("arrow", "type_"),
    [
        (pa.large_string(), dt.STRING),
        (pa.string_view(), dt.STRING),
        (pa.large_binary(), dt.BINARY),
        (pa.binary_view(), dt.BINARY),
        (pa.binary(16), dt.BINARY),
        (pa.date64(), dt.DATE),
        (pa.timestamp("ns"), dt.TIMESTAMP_NTZ),
        (pa.timestamp("s", "America/New_York"), dt.TIMESTAMP),
        (pa.decimal32(5, 2), dt.Decimal(5, 2)),
        (pa.decimal64(18, 2), dt.Decimal(18, 2)),
        (pa.decimal256(38, 2), dt.Decimal(38, 2)),
        (pa.dictionary(pa.int32(), pa.large_string()), dt.STRING),
        (pa.dictionary(pa.uint8(), pa.int16()), dt.SHORT),
        (pa.large_list(pa.string_view()), dt.Array(dt.STRING)),
        (pa.list_(pa.int8(), 3), dt.Array(dt.BYTE)),
        (pa.list_view(pa.int8()), dt.Array(dt.BYTE)),
        (pa.large_list_view(pa.int8()), dt.Array(dt.BYTE)),
        (pa.map_(pa.large_string(), pa.int8(), keys_sorted=True), dt.Map(dt.STRING, dt.BYTE)),
    ],
    ids=str,
)
def test_other_encodings(arrow: pa.DataType, type_: dt.DataType) -> None:
    assert arrow_types.from_arrow(arrow) == type_


VARIANT = pa.struct([pa.field("value", pa.binary()), pa.field("metadata", pa.binary(), metadata={b"variant": b"true"})])


@pytest.mark.parametrize(
    ("arrow", "feature"),
    [
        (pa.null(), "void"),
        (pa.month_day_nano_interval(), "interval"),
        (pa.duration("us"), "interval"),
        (pa.time32("ms"), "time"),
        (pa.time64("us"), "time"),
        (pa.float16(), "half float"),
        (pa.decimal256(39, 0), "decimal"),
        (pa.decimal128(5, -2), "decimal"),
        (pa.decimal128(2, 3), "decimal"),
        (pa.sparse_union([pa.field("a", pa.int8())]), "union"),
        (pa.run_end_encoded(pa.int32(), pa.string()), "run-end encoding"),
        (pa.bool8(), "extension type"),
        (VARIANT, "variant"),
        (pa.dictionary(pa.int8(), pa.duration("s")), "interval"),
    ],
    ids=str,
)
def test_types_without_a_counterpart_are_refused_by_name(arrow: pa.DataType, feature: str) -> None:
    for schema, column in (
        (pa.schema({"v": arrow}), "v"),
        (pa.schema({"v": pa.map_(pa.string(), pa.list_(pa.struct({"a": arrow})))}), "v.value.element.a"),
    ):
        with pytest.raises(UnsupportedTableError) as caught:
            Schema.from_arrow(schema)
        assert (caught.value.feature, caught.value.column) == (feature, column)


def test_unsigned_numbers_and_uuids_take_the_type_that_holds_them_all() -> None:
    arrow = pa.schema({"a": pa.uint8(), "b": pa.uint16(), "c": pa.uint32(), "d": pa.uint64(), "e": pa.uuid()})
    assert Schema.from_arrow(arrow).to_ddl() == "a SMALLINT, b INT, c BIGINT, d DECIMAL(20,0), e STRING"


@given(strategies.schemas)
def test_any_schema_there_and_back(schema: Schema) -> None:
    # Comments are the schema's business; Arrow carries names, types and nullability.
    back = Schema.from_arrow(schema.to_arrow())
    assert back.to_arrow().equals(schema.to_arrow(), check_metadata=True)
    assert [(f.name, f.nullable) for f in back] == [(f.name, f.nullable) for f in schema]
    assert [dt.simple_string(f.type) for f in back] == [dt.simple_string(f.type) for f in schema]


def test_parts_of_nested_values_are_nullable_in_arrow_since_a_null_has_none() -> None:
    assert arrow_types.to_arrow(dt.Array(dt.LONG, False)) == arrow_types.to_arrow(dt.Array(dt.LONG))
    required = dt.Struct((dt.Field("a", dt.LONG, False),))
    assert arrow_types.to_arrow(required) == pa.struct([pa.field("a", pa.int64())])
