"""The schema as Spark's JSON, which Delta stores, and what is refused in it."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from pyspark.sql import types as spark

from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.schema import types as dt
from andes_spark.schema.schema import Schema
from tests.schema import strategies

EVERY_TYPE = spark.StructType(
    [
        spark.StructField("boolean", spark.BooleanType(), False),
        spark.StructField("byte", spark.ByteType()),
        spark.StructField("short", spark.ShortType()),
        spark.StructField("integer", spark.IntegerType()),
        spark.StructField("long", spark.LongType(), True, {"comment": "größer", "n": 1, "l": [1.5, None]}),
        spark.StructField("float", spark.FloatType()),
        spark.StructField("double", spark.DoubleType()),
        spark.StructField("decimal", spark.DecimalType(38, 18)),
        spark.StructField("string", spark.StringType()),
        spark.StructField("binary", spark.BinaryType()),
        spark.StructField("date", spark.DateType()),
        spark.StructField("timestamp", spark.TimestampType()),
        spark.StructField("timestamp_ntz", spark.TimestampNTZType()),
        spark.StructField("array", spark.ArrayType(spark.ArrayType(spark.LongType(), False))),
        spark.StructField("map", spark.MapType(spark.StringType(), spark.DecimalType(5, 2), False)),
        spark.StructField(
            "struct",
            spark.StructType([spark.StructField("a", spark.DateType(), False, {"comment": "inner"})]),
        ),
    ]
)

# As Spark 4.2 writes it in the JVM, and so Delta as schemaString: its order of keys, nothing escaped in vain.
DELTA_TEXT = (
    '{"type":"struct","fields":['
    '{"name":"id","type":"long","nullable":false,"metadata":{"comment":"é \\"q\\""}},'
    '{"name":"s","type":{"type":"struct","fields":['
    '{"name":"a","type":{"type":"array","elementType":"integer","containsNull":true},'
    '"nullable":true,"metadata":{}}]},"nullable":true,"metadata":{}},'
    '{"name":"m","type":{"type":"map","keyType":"string","valueType":"decimal(10,2)",'
    '"valueContainsNull":false},"nullable":true,"metadata":{}}]}'
)


def test_every_type_of_spark_there_and_back() -> None:
    schema = Schema.from_json(EVERY_TYPE.json())
    assert schema.to_json_value() == EVERY_TYPE.jsonValue()
    assert spark.StructType.fromJson(json.loads(schema.to_json())) == EVERY_TYPE
    assert [dt.simple_string(field.type) for field in schema] == [
        field.dataType.simpleString() for field in EVERY_TYPE.fields
    ]
    assert schema.field("long").comment == "größer"
    assert schema.field("byte").comment is None


def test_the_text_is_delta_s_own() -> None:
    assert Schema.from_json(DELTA_TEXT).to_json() == DELTA_TEXT


@pytest.mark.slow
@given(strategies.schemas)
def test_any_schema_there_and_back(schema: Schema) -> None:
    assert Schema.from_json(schema.to_json()) == schema
    assert Schema.from_json(schema.to_json().encode()) == schema
    assert spark.StructType.fromJson(json.loads(schema.to_json())).jsonValue() == schema.to_json_value()
    assert pickle.loads(pickle.dumps(schema)) == schema
    assert hash(Schema.from_json(schema.to_json())) == hash(schema)


@pytest.mark.parametrize(
    ("type_", "feature"),
    [
        (spark.NullType(), "void"),
        (spark.CalendarIntervalType(), "interval"),
        (spark.DayTimeIntervalType(), "interval"),
        (spark.YearMonthIntervalType(), "interval"),
        (spark.VariantType(), "variant"),
        (spark.TimeType(), "time"),
        (spark.StringType("UTF8_LCASE"), "collation"),
        (spark.StringType("UNICODE_CI"), "collation"),
    ],
)
def test_types_that_are_refused_by_name(type_: spark.DataType, feature: str) -> None:
    nested = spark.ArrayType(spark.StructType([spark.StructField("inner", type_)]))
    for spark_schema, column in (
        (spark.StructType([spark.StructField("v", type_)]), "v"),
        (spark.StructType([spark.StructField("v", nested)]), "v.element.inner"),
    ):
        with pytest.raises(UnsupportedTableError) as caught:
            Schema.from_json(spark_schema.json())
        assert (caught.value.feature, caught.value.column) == (feature, column)
        assert repr(column) in caught.value.message


def test_collated_elements_are_refused_too() -> None:
    collated = spark.MapType(spark.StringType("UTF8_LCASE"), spark.ArrayType(spark.StringType("UNICODE")))
    with pytest.raises(UnsupportedTableError, match="collation"):
        Schema.from_json(spark.StructType([spark.StructField("v", collated)]).json())


@pytest.mark.parametrize(
    ("type_", "feature"),
    [
        ("string collate UTF8_LCASE", "collation"),
        ("decimal(39,0)", "decimal"),
        ("decimal(5,-2)", "decimal"),
        ("decimal(5,6)", "decimal"),
        ("geometry(4326)", "geospatial"),
        ("widget", "type"),
        ({"type": "udt", "class": "org.example.Point"}, "user-defined type"),
        ({"type": "set"}, "type"),
    ],
)
def test_other_json_that_is_refused_by_name(type_: Any, feature: str) -> None:
    value = {"type": "struct", "fields": [{"name": "v", "type": type_, "nullable": True, "metadata": {}}]}
    with pytest.raises(UnsupportedTableError) as caught:
        Schema.from_json_value(value)
    assert (caught.value.feature, caught.value.column) == (feature, "v")


def test_char_and_varchar_hidden_in_metadata() -> None:
    field = {"name": "v", "type": "string", "metadata": {"__CHAR_VARCHAR_TYPE_STRING": "varchar(10)"}}
    plain = Schema.from_json_value({"type": "struct", "fields": [{"name": "v", "type": "string"}]})
    assert Schema.from_json_value({"type": "struct", "fields": [field]}) == plain
    for type_ in (spark.CharType(5), spark.VarcharType(5)):
        assert Schema.from_json(spark.StructType([spark.StructField("v", type_)]).json()) == plain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "[]",
        "null",
        '"long"',
        '{"type":"struct"}',
        '{"type":"struct","fields":{}}',
        '{"type":"struct","fields":[1]}',
        '{"type":"struct","fields":[{"type":"long"}]}',
        '{"type":"struct","fields":[{"name":"a"}]}',
        '{"type":"struct","fields":[{"name":"a","type":"long","nullable":1}]}',
        '{"type":"struct","fields":[{"name":"a","type":"long","metadata":[1]}]}',
        '{"type":"struct","fields":[{"name":"a","type":{"type":"array","elementType":"long"}}]}',
        "[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_schema(text: str | bytes) -> None:
    with pytest.raises(OptionError):
        Schema.from_json(text)


def test_types_nested_too_deep() -> None:
    type_: Any = "long"
    for _ in range(100):
        type_ = {"type": "array", "elementType": type_, "containsNull": True}
    with pytest.raises(UnsupportedTableError) as caught:
        Schema.from_json_value({"type": "struct", "fields": [{"name": "v", "type": type_}]})
    assert caught.value.feature == "nesting"


def test_types_that_cannot_be_made() -> None:
    for precision, scale in ((0, 0), (39, 0), (5, 6), (5, -1)):
        with pytest.raises(OptionError, match="decimal"):
            dt.Decimal(precision, scale)
    with pytest.raises(OptionError, match="bigint"):
        dt.Primitive("bigint")


def test_columns_by_name() -> None:
    schema = Schema((dt.Field("a", dt.LONG), dt.Field("b", dt.STRING, True, {"comment": "x"})))
    assert schema.names == ("a", "b")
    assert len(schema) == 2
    assert "a" in schema
    assert "A" not in schema
    assert schema.select(["b", "a"]).names == ("b", "a")
    assert schema.with_required(["b"]).field("b") == dt.Field("b", dt.STRING, False, {"comment": "x"})
    for use in (schema.field, lambda name: schema.select([name]), lambda name: schema.with_required([name])):
        with pytest.raises(OptionError, match="'A'") as caught:
            use("A")
        assert caught.value.column == "A"
