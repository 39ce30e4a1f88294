"""Spark's DDL is read and written without a JVM."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import types as spark

from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.schema import ddl
from andes_spark.schema import types as dt
from andes_spark.schema.schema import Schema
from tests.schema import strategies


def only(text: str) -> dt.DataType:
    """The type of the one column, which is nullable and has no comment."""
    (field,) = Schema.from_ddl(f"v {text}")
    assert field == dt.Field("v", field.type)
    return field.type


def test_an_example_with_everything() -> None:
    text = """order_id BIGINT NOT NULL COMMENT 'the key', -- of the source
        `odd.``name` Decimal(10,2), s STRUCT<a: INT NOT NULL, b ARRAY<STRING> COMMENT "it's">,
        /* old */ m map<string,timestamp_ntz> comment 'x' not null"""
    struct = dt.Struct(
        (dt.Field("a", dt.INTEGER, False), dt.Field("b", dt.Array(dt.STRING), True, {"comment": "it's"}))
    )
    assert Schema.from_ddl(text) == Schema(
        (
            dt.Field("order_id", dt.LONG, False, {"comment": "the key"}),
            dt.Field("odd.`name", dt.Decimal(10, 2)),
            dt.Field("s", struct),
            dt.Field("m", dt.Map(dt.STRING, dt.TIMESTAMP_NTZ), False, {"comment": "x"}),
        )
    )


@pytest.mark.parametrize(
    ("words", "type_"),
    [
        ("boolean BOOLEAN", spark.BooleanType()),
        ("TINYINT byte", spark.ByteType()),
        ("SMALLINT Short", spark.ShortType()),
        ("INT INTEGER int", spark.IntegerType()),
        ("BIGINT LONG", spark.LongType()),
        ("FLOAT REAL", spark.FloatType()),
        ("DOUBLE", spark.DoubleType()),
        ("STRING", spark.StringType()),
        ("BINARY", spark.BinaryType()),
        ("DATE", spark.DateType()),
        ("TIMESTAMP TIMESTAMP_LTZ", spark.TimestampType()),
        ("TIMESTAMP_NTZ", spark.TimestampNTZType()),
        ("DECIMAL DEC NUMERIC decimal(10) decimal(10,0)", spark.DecimalType(10, 0)),
        ("NUMERIC(38,38)", spark.DecimalType(38, 38)),
        ("ARRAY<INT>", spark.ArrayType(spark.IntegerType())),
        ("MAP<STRING,ARRAY<INT>>", spark.MapType(spark.StringType(), spark.ArrayType(spark.IntegerType()))),
        ("STRUCT<a:INT>", spark.StructType([spark.StructField("a", spark.IntegerType())])),
    ],
)
def test_the_words_of_spark_for_each_type(words: str, type_: spark.DataType) -> None:
    for word in words.split(" "):
        assert dt.type_to_json(only(word)) == type_.jsonValue()
        assert dt.simple_string(only(word)) == type_.simpleString()


def test_spaces_between_all_tokens() -> None:
    assert only("DECIMAL ( 10 , 2 )") == dt.Decimal(10, 2)
    nested = only("MAP < STRING , ARRAY < STRUCT < a : INT , b INT > > >")
    assert nested == only("MAP<STRING,ARRAY<STRUCT<a:INT,b:INT>>>")
    assert only("STRUCT<>") == dt.Struct(())


def test_timestamps_in_words() -> None:
    assert only("timestamp without TIME zone") == dt.TIMESTAMP_NTZ
    assert only("TIMESTAMP WITH LOCAL TIME ZONE") == dt.TIMESTAMP
    assert Schema.from_ddl("a TIMESTAMP, without TIMESTAMP").names == ("a", "without")


def test_names_that_look_like_words_of_the_language() -> None:
    assert Schema.from_ddl(
        "comment STRING COMMENT 'c', not INT NOT NULL, array ARRAY<INT>, größe INT, 1a INT"
    ).names == (
        "comment",
        "not",
        "array",
        "größe",
        "1a",
    )


@pytest.mark.parametrize(
    ("literal", "comment"),
    [
        (r"'a\'b'", "a'b"),
        ("'a''b'", "a'b"),
        ('"a""b\'c"', "a\"b'c"),
        (r"'tab\tline\nback\\slash'", "tab\tline\nback\\slash"),
        (r"'\u00e9\U0001F600\101'", "é😀A"),
        (r"'\%\_\q\0'", "\\%\\_q\0"),
        ("''", ""),
        (r"r'a\n'", r"a\n"),
        ("'a' \"b\"  R'c'", "abc"),
        ("'a, b) `c`'", "a, b) `c`"),
    ],
)
def test_comments(literal: str, comment: str) -> None:
    assert Schema.from_ddl(f"v INT COMMENT {literal}").fields[0].comment == comment


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "column name"),
        ("  ", 2, "column name"),
        ("id", 2, "expected a type at character 2: the end"),
        ("id BIGINTT", 3, "no such type"),
        ("id BIGINT v", 10, "NOT NULL, COMMENT or a comma"),
        ("id BIGINT,", 10, "column name"),
        ("id BIGINT NOT", 13, "expected NULL"),
        ("id BIGINT NOT NULL NOT NULL", 19, "comma"),
        ("id BIGINT COMMENT x", 18, "comment in quotes"),
        ("id BIGINT COMMENT 'x", 18, "never closed"),
        ("`id BIGINT", 0, "never closed"),
        ("`` BIGINT", 0, "column name"),
        ("12 BIGINT", 0, "column name"),
        ("a-b BIGINT", 1, "unexpected character"),
        ("id DECIMAL(x)", 11, "number of digits"),
        ("id DECIMAL(10", 13, "')'"),
        ("a ARRAY<INT", 11, "'>'"),
        ("a ARRAY", 7, "'<'"),
        ("a MAP<INT>", 9, "','"),
        ("a INT) USING delta", 5, "comma or the end"),
    ],
)
def test_errors_say_where(text: str, position: int, words: str) -> None:
    with pytest.raises(OptionError) as caught:
        Schema.from_ddl(text)
    assert caught.value.position == position
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "feature", "column"),
    [
        ("v INTERVAL DAY TO SECOND", "interval", "v"),
        ("v VARIANT", "variant", "v"),
        ("v VOID", "void", "v"),
        ("v TIME(6)", "time", "v"),
        ("v STRING COLLATE UTF8_LCASE", "collation", "v"),
        ("v INT DEFAULT 1", "default value", "v"),
        ("v INT GENERATED ALWAYS AS (a)", "generated column", "v"),
        ("v DECIMAL(39,1)", "decimal", "v"),
        ("v DECIMAL(5,6)", "decimal", "v"),
        ("v MAP<STRING, STRUCT<a: ARRAY<VARIANT>>>", "variant", "v.value.a.element"),
        ("v " + "ARRAY<" * 100 + "INT" + ">" * 100, "nesting", "v" + ".element" * 65),
    ],
)
def test_what_is_not_supported_is_named(text: str, feature: str, column: str) -> None:
    with pytest.raises(UnsupportedTableError) as caught:
        Schema.from_ddl(text)
    assert (caught.value.feature, caught.value.column) == (feature, column)


def as_ddl_holds_it(type_: dt.DataType) -> dt.DataType:
    """DDL cannot say that elements or values are never null."""
    match type_:
        case dt.Array(element):
            return dt.Array(as_ddl_holds_it(element))
        case dt.Map(key, value):
            return dt.Map(as_ddl_holds_it(key), as_ddl_holds_it(value))
        case dt.Struct(fields):
            return dt.Struct(tuple(map(field_as_ddl_holds_it, fields)))
    return type_


def field_as_ddl_holds_it(field: dt.Field) -> dt.Field:
    return dt.Field(field.name, as_ddl_holds_it(field.type), field.nullable, field.metadata)


@pytest.mark.slow
@given(strategies.schemas)
def test_what_is_written_is_read_back(schema: Schema) -> None:
    expected = Schema(tuple(map(field_as_ddl_holds_it, schema)))
    assert Schema.from_ddl(schema.to_ddl()) == expected
    assert Schema.from_ddl(expected.to_ddl()).to_json() == expected.to_json()


@given(st.text(st.sampled_from("aB1_ ,:<>()`'\"\\\n-*/é\x00") | st.characters(), max_size=30))
def test_any_text_is_read_or_refused_by_the_library(text: str) -> None:
    try:
        fields: Any = ddl.parse_columns(text)
    except (OptionError, UnsupportedTableError):
        return
    assert fields


def test_how_it_is_written() -> None:
    text = "id BIGINT NOT NULL COMMENT 'it\\'s', `a b` STRUCT<x: INT NOT NULL>, m MAP<STRING, DECIMAL(5,2)>"
    assert Schema.from_ddl(text).to_ddl() == text
    assert ddl.quoted("a`b") == "`a``b`"


def test_text_of_a_length_is_a_string() -> None:
    assert ddl.parse_columns("v VARCHAR(10), c CHAR(3) NOT NULL, x CHARACTER(4)") == ddl.parse_columns(
        "v STRING, c STRING NOT NULL, x STRING"
    )
    with pytest.raises(OptionError, match="expected"):
        ddl.parse_columns("v VARCHAR")
