"""Names, types and limits of Glue: what it cannot hold is named before a request changes anything."""

from __future__ import annotations

import pytest

from andes_spark.errors import OptionError, UnsupportedTableError
from andes_spark.schema.schema import Schema
from andes_spark.sync.glue import limits
from andes_spark.sync.glue.columns import DELTA_TYPES, ICEBERG_TYPES, hive_type
from andes_spark.sync.glue.names import GlueName
from tests.glue_double import RefusedError, check


@pytest.mark.parametrize(
    ("ddl", "delta", "iceberg"),
    [
        ("BOOLEAN", "boolean", "boolean"),
        ("TINYINT", "tinyint", "int"),
        ("SMALLINT", "smallint", "int"),
        ("INT", "int", "int"),
        ("BIGINT", "bigint", "bigint"),
        ("FLOAT", "float", "float"),
        ("DOUBLE", "double", "double"),
        ("DECIMAL(38,9)", "decimal(38,9)", "decimal(38,9)"),
        ("STRING", "string", "string"),
        ("BINARY", "binary", "binary"),
        ("DATE", "date", "date"),
        ("TIMESTAMP", "timestamp", "timestamp"),
        ("TIMESTAMP_NTZ", "timestamp", "timestamp"),
        ("ARRAY<TIMESTAMP_NTZ>", "array<timestamp>", "array<timestamp>"),
        ("MAP<STRING, ARRAY<TINYINT>>", "map<string,array<tinyint>>", "map<string,array<int>>"),
        ("STRUCT<a: STRUCT<b_1: SMALLINT>>", "struct<a:struct<b_1:smallint>>", "struct<a:struct<b_1:int>>"),
    ],
)
def test_types_have_the_form_of_hive(ddl, delta, iceberg):
    (field,) = Schema.from_ddl(f"a {ddl}")
    assert hive_type(field.type, DELTA_TYPES, "a") == delta
    assert hive_type(field.type, ICEBERG_TYPES, "a") == iceberg


@pytest.mark.parametrize("name", ["a b", "a:b", "a,b", "a>b", "a-b", "a.b"])
def test_a_part_of_a_struct_that_cannot_be_written_is_named(name):
    (field,) = Schema.from_ddl(f"a ARRAY<STRUCT<`{name}`: INT>>")
    with pytest.raises(UnsupportedTableError, match="cannot hold") as caught:
        hive_type(field.type, DELTA_TYPES, "a")
    assert (caught.value.column, caught.value.feature) == (f"a.element.{name}", "glue: name")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("orders", "not a database and a table"),
        ("a.b.c", "not a database and a table"),
        (".b", "not a database and a table"),
        ("Sales.orders", 'write "sales" for "Sales"'),
        ("sales.ORDERS", 'write "orders" for "ORDERS"'),
        (f"sales.{'o' * 256}", "256 characters"),
        ("sales.or/ders", "cannot be the name"),
        ("sales.or\nders", "cannot be the name"),
    ],
)
def test_names_that_glue_would_change_are_refused(text, problem):
    with pytest.raises(OptionError, match=problem) as caught:
        GlueName.parse(text)
    assert caught.value.option == "name"


def test_names_of_the_greatest_length_are_taken():
    name = GlueName.parse(f"{'d' * 255}.{'t' * 255}")
    assert str(name) == f"{'d' * 255}.{'t' * 255}"


def table_input(*, location="s3://lake/orders", description="", parameter="", **column):
    column = {"Name": "a", "Type": "int", **column}
    return {
        "Name": "orders",
        "Description": description,
        "Parameters": {"andes.columns": parameter},
        "StorageDescriptor": {"Columns": [column], "Location": location},
    }


LIMITS = {
    "comment": (lambda size: table_input(Comment="x" * size), limits.MOST_COMMENT, "glue: comment length"),
    "name": (lambda size: table_input(Name="x" * size), 255, "glue: name length"),
    "type": (lambda size: table_input(Type="x" * size), limits.MOST_TYPE, "glue: type length"),
    "parameter": (lambda size: table_input(parameter="x" * size), limits.MOST_VALUE, "glue: parameter andes.columns"),
    "location": (lambda size: table_input(location="x" * size), limits.MOST_LOCATION, "path"),
    "description": (lambda size: table_input(description="x" * size), limits.MOST_DESCRIPTION, "comment"),
}


@pytest.mark.parametrize(("made", "most", "subject"), LIMITS.values(), ids=LIMITS)
def test_limits_are_those_of_the_api(made, most, subject):
    request = {"DatabaseName": "sales", "TableInput": made(most)}
    limits.check_limits(made(most))
    check("CreateTable", request)
    with pytest.raises((UnsupportedTableError, OptionError)) as caught:
        limits.check_limits(made(most + 1))
    assert subject in (getattr(caught.value, "feature", None), getattr(caught.value, "option", None))
    with pytest.raises(RefusedError):
        check("CreateTable", {**request, "TableInput": made(most + 1)})


@pytest.mark.parametrize("text", ["two\nlines", "a\x00b", "bell\x07"])
def test_control_characters_are_refused_where_the_api_refuses_them(text):
    made = table_input(Comment=text)
    with pytest.raises(UnsupportedTableError, match="line break or a control character"):
        limits.check_limits(made)
    with pytest.raises(RefusedError):
        check("CreateTable", {"DatabaseName": "sales", "TableInput": made})


def test_line_breaks_in_the_comment_of_the_table_and_all_of_unicode_are_taken():
    made = table_input(description="two\nlines", Comment="naïve 𠮷田", Name="größe")
    limits.check_limits(made)
    check("CreateTable", {"DatabaseName": "sales", "TableInput": made})
