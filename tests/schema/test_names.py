"""Which names and roles of columns are accepted, and that all problems are told at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from andes_spark.errors import OptionError
from andes_spark.schema import names
from andes_spark.schema.schema import Schema
from andes_spark.schema.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    LONG,
    STRING,
    TIMESTAMP,
    Array,
    DataType,
    Decimal,
    Field,
    Map,
    Struct,
)


def schema(**types: DataType) -> Schema:
    return Schema(tuple(Field(name, type_) for name, type_ in types.items()))


def problems(
    columns: Schema,
    key: Sequence[str] = ("id",),
    *,
    sequence_by: Sequence[str] = (),
    partition_by: Sequence[str] = (),
) -> tuple[str, ...]:
    with pytest.raises(OptionError) as caught:
        names.validate_columns(columns, key, sequence_by=sequence_by, partition_by=partition_by)
    assert all(problem in caught.value.message for problem in caught.value.fields["problems"])
    texts: tuple[str, ...] = caught.value.fields["problems"]
    return texts


def test_key_columns_become_not_null_and_nothing_else_changes() -> None:
    columns = Schema((Field("id", LONG), Field("at", TIMESTAMP), Field("v", STRING, True, {"comment": "x"})))
    checked = names.validate_columns(columns, ["id"], sequence_by=["at"])
    assert [field.nullable for field in checked] == [False, True, True]
    assert checked.fields[1:] == columns.fields[1:]


@pytest.mark.parametrize(
    "name",
    [
        "a.b",
        "it's",
        'say"so',
        "back`tick",
        "100%",
        "größe",
        "名前",
        "select",
        "table",
        "a/b",
        "a\\b",
        "a:b",
        "-",
        "_x",
    ],
)
def test_names_that_look_dangerous_work(name: str) -> None:
    columns = Schema((Field(name, LONG), Field("v", Struct((Field(name, LONG),)))))
    assert names.validate_columns(columns, [name], sequence_by=[name]).names == (name, "v")


@pytest.mark.parametrize("character", list(" ,;{}()\n\t="))
def test_characters_that_delta_refuses(character: str) -> None:
    name = f"a{character}b"
    nested = Array(Map(STRING, Struct((Field(name, LONG),))))
    messages = problems(Schema((Field("id", LONG), Field(name, LONG), Field("n", nested))))
    assert len(messages) == 2
    assert all(repr(name) in problem and "Delta refuses" in problem for problem in messages)
    assert "in 'n.element.value'" in messages[1]


@pytest.mark.parametrize("name", ["", "a\x00b", "a\rb", "a\ud800"])
def test_empty_names_and_control_characters(name: str) -> None:
    assert len(problems(schema(**{"id": LONG, name: LONG}))) == 1


@pytest.mark.parametrize("name", ["_andes_op", "_ANDES_x", "_change_type", "_Commit_Version", "_commit_timestamp"])
def test_reserved_names(name: str) -> None:
    assert repr(name) in problems(schema(**{"id": LONG, name: LONG}))[0]


def test_reserved_names_are_free_inside_structs() -> None:
    names.validate_columns(schema(id=LONG, s=Struct((Field("_change_type", LONG),))), ["id"])


def test_columns_that_differ_only_in_case() -> None:
    assert problems(schema(id=LONG, Total=LONG, total=LONG)) == ("'Total' and 'total' differ only in case",)
    nested = Struct((Field("a", LONG), Field("A", LONG)))
    assert problems(schema(id=LONG, s=nested)) == ("'a' and 'A' differ only in case (in 's')",)


def test_columns_twice() -> None:
    assert problems(Schema((Field("id", LONG), Field("v", LONG), Field("v", LONG)))) == ("'v' is there 2 times",)


def test_no_columns_no_key() -> None:
    assert len(problems(Schema(()), ())) == 2


@pytest.mark.parametrize("type_", [FLOAT, DOUBLE, Array(LONG), Map(STRING, LONG), Struct((Field("a", LONG),))])
def test_types_that_are_neither_key_nor_sequence(type_: DataType) -> None:
    columns = schema(id=type_, seq=type_, v=LONG)
    messages = problems(columns, ["id"], sequence_by=["seq"])
    assert [problem.split(",")[0] for problem in messages] == [
        "primary_key names 'id'",
        "sequence_by names 'seq'",
    ]


@pytest.mark.parametrize("type_", [LONG, STRING, BINARY, DATE, TIMESTAMP, Decimal(38, 10), BOOLEAN])
def test_types_of_keys(type_: DataType) -> None:
    names.validate_columns(schema(id=type_, v=LONG), ["id"])


def test_boolean_is_no_sequence() -> None:
    assert "boolean" in problems(schema(id=LONG, seq=BOOLEAN), sequence_by=["seq"])[0]


def test_partition_columns() -> None:
    columns = schema(id=LONG, day=DATE, raw=BINARY, s=Struct((Field("a", LONG),)))
    names.validate_columns(columns, ["id"], partition_by=["day"])
    messages = problems(columns, partition_by=["raw", "s", "day", "day", "no"])
    assert len(messages) == 4
    assert problems(schema(id=LONG), partition_by=["id"])[0].startswith("partition_by names every column")


def test_names_that_do_not_exist_hint_at_the_right_case() -> None:
    assert problems(schema(id=LONG), ["ID"])[0].endswith("did you mean 'id'?")
    assert problems(schema(id=LONG), ["key"])[0].endswith("the columns are 'id'")


def test_one_string_is_not_a_list_of_names() -> None:
    assert problems(schema(id=LONG, lsn=LONG), "id", sequence_by="lsn", partition_by="id") == (
        "primary_key must be a list of names, ['id'] and not 'id'",
        "sequence_by must be a list of names, ['lsn'] and not 'lsn'",
        "partition_by must be a list of names, ['id'] and not 'id'",
    )


def test_what_no_file_can_hold() -> None:
    assert "Parquet" in problems(schema(id=LONG, s=Array(Struct(()))))[0]
    assert "key of a map" in problems(schema(id=LONG, m=Map(Array(Map(LONG, LONG)), LONG)))[0]


def test_everything_wrong_is_told_at_once() -> None:
    columns = schema(**{"a b": DOUBLE, "_andes_x": LONG, "v": LONG, "V": LONG})
    messages = problems(columns, ["a b", "a b", "nope"], sequence_by=["gone"], partition_by=["v", "v"])
    assert len(messages) == 8


@pytest.mark.parametrize(
    "name",
    [
        "_metadata",
        "_TMP_metadata_row_index",
        "__delta_internal_is_row_deleted",
        "__delta_internal_row_index",
        "__START_AT",
        "__END_AT",
        "_row-id-col-1234",
        "_row-commit-version-col-1",
        "_change_type",
        "_commit_version",
        "_commit_timestamp",
    ],
)
def test_columns_that_other_readers_add_are_refused(name):
    assert names.reserved_problem(name) is not None
    with pytest.raises(OptionError, match="belong"):
        names.validate_columns(Schema.from_ddl(f"k INT, `{name}` INT"), ["k"])


@pytest.mark.parametrize("name", ["filename", "file_row_number", "metadata", "_file", "_pos", "path", "start_at"])
def test_other_names_are_free(name):
    names.validate_columns(Schema.from_ddl(f"k INT, `{name}` INT, s STRUCT<_metadata: INT>"), ["k"])
