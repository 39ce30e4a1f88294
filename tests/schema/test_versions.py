"""Rows of one schema read as those of another: columns are known by field ids, at every depth."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import SchemaVersion, adapted, first_ids, one_version, sources, with_field_ids

OLD = SchemaVersion(
    0,
    Schema.from_ddl(
        "id BIGINT, a INT, b STRING, s STRUCT<x: INT, gone: STRING>, l ARRAY<STRUCT<x: INT>>, "
        "m MAP<STRING, ARRAY<INT>>, d DECIMAL(5,2)"
    ),
    (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14),
)
NEW = SchemaVersion(
    1,
    Schema.from_ddl(
        "added STRING, id BIGINT, text STRING, a BIGINT, s STRUCT<more: ARRAY<INT>, x: BIGINT>, "
        "l ARRAY<STRUCT<x: BIGINT, y: STRING>>, m MAP<STRING, ARRAY<BIGINT>>, d DECIMAL(9,2)"
    ),
    (15, 1, 3, 2, 4, 16, 17, 5, 7, 8, 9, 18, 10, 11, 12, 13, 14),
)
ROWS: list[dict[str, Any]] = [
    {
        "id": 1,
        "a": 5,
        "b": "x",
        "s": {"x": 7, "gone": "g"},
        "l": [{"x": 1}, None, {"x": None}],
        "m": [("k", [1, None])],
    },
    {"id": 2, "a": None, "b": None, "s": None, "l": None, "m": None},
    {"id": 3, "a": 6, "b": "y", "s": {"x": None, "gone": None}, "l": [], "m": [("k", None), ("q", [])]},
    {"id": 4, "a": 7, "b": "z", "s": {"x": 8, "gone": "h"}, "l": [{"x": 4}], "m": []},
]


def adapted_row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "added": None,
        "id": row["id"],
        "text": row["b"],
        "a": row["a"],
        "s": None if row["s"] is None else {"more": None, "x": row["s"]["x"]},
        "l": None if row["l"] is None else [None if e is None else {"x": e["x"], "y": None} for e in row["l"]],
        "m": row["m"],
        "d": None,
    }


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_added_widened_renamed_and_dropped_at_every_depth(first: int) -> None:
    whole = pa.Table.from_pylist([{**row, "d": None} for row in ROWS], schema=OLD.schema.to_arrow())
    chunked = pa.concat_tables([whole.slice(first), whole.slice(0, 2), whole.slice(2, 0)])
    expected = [adapted_row(row) for row in (*ROWS[first:], *ROWS[:2])]
    columns = adapted(chunked, OLD, NEW, NEW.schema.names)
    table = pa.table(columns)
    table.validate(full=True)
    assert table.schema.types == NEW.schema.to_arrow().types
    assert table.to_pylist() == expected


def test_equal_columns_are_not_copied() -> None:
    table = pa.Table.from_pylist([{"id": 1}], schema=OLD.schema.to_arrow())
    assert adapted(table, OLD, NEW, ["id"])["id"] is not None
    assert adapted(table, OLD, OLD, OLD.schema.names)["l"].chunk(0).buffers()[1] == table["l"].chunk(0).buffers()[1]


def test_names_in_a_file_are_found_by_field_id() -> None:
    assert sources(OLD, NEW, ["text", "added", "a"]) == {"text": "b", "added": None, "a": "a"}


def test_a_name_that_was_given_again_is_another_column() -> None:
    readded = SchemaVersion(2, Schema.from_ddl("id BIGINT, b STRING"), (1, 99))
    table = pa.Table.from_pylist([{"id": 1, "b": "old"}], schema=OLD.schema.to_arrow())
    assert adapted(table, OLD, readded, ["b"])["b"].to_pylist() == [None]


def test_field_ids_are_in_files_at_every_depth(tmp_path) -> None:
    assert first_ids(OLD.schema) == OLD.field_ids
    version = one_version(OLD.schema).current
    schema = with_field_ids(version, OLD.schema.to_arrow().append(pa.field("_andes_op", pa.int8())))
    rows = [{**row, "d": None, "_andes_op": 0} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "f.parquet")
    stored = pq.read_schema(tmp_path / "f.parquet")

    def ids(field: pa.Field) -> list[int]:
        own = (field.metadata or {}).get(b"PARQUET:field_id")
        kind = field.type
        children: list[pa.Field] = []
        if pa.types.is_struct(kind):
            children = list(kind)
        elif pa.types.is_map(kind):
            children = [kind.key_field, kind.item_field]
        elif pa.types.is_list(kind):
            children = [kind.value_field]
        return [*([int(own)] if own else []), *(one for child in children for one in ids(child))]

    assert [one for field in stored for one in ids(field)] == list(OLD.field_ids)
