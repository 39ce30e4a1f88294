"""Rows, keys and columns of mods, case by case."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from andes_spark.errors import OptionError, SchemaMismatchError, UnsupportedTableError
from andes_spark.feeds import wal2json
from andes_spark.schema.schema import Schema
from tests.feeds.feed_lines import (
    ROW,
    SCHEMA,
    change,
    decode,
    delete,
    insert,
    mod,
    transaction,
    typed,
    update,
    without,
)


class TestRows:
    def test_an_insert_is_a_full_row(self):
        assert decode(transaction("0/A", insert(ROW))) == [mod("I", 10, 0, **typed(ROW))]

    def test_an_update_is_a_full_row_without_what_it_was(self):
        lines = transaction("0/A", update(ROW | {"name": None}, ROW))
        assert decode(lines) == [mod("U", 10, 0, **typed(ROW | {"name": None}))]

    def test_a_delete_carries_the_key_only(self):
        assert decode(transaction("0/A", delete(ROW))) == [mod("D", 10, 0, id=1)]

    def test_a_truncate_carries_its_sequence_only(self):
        lines = transaction("0/A", change("T"), insert(ROW))
        assert decode(lines) == [mod("T", 10, 0), mod("I", 10, 1, **typed(ROW))]

    def test_null_and_empty_string_stay_apart(self):
        lines = transaction("0/A", insert(ROW | {"name": "", "big": None}))
        assert decode(lines) == [mod("I", 10, 0, **typed(ROW | {"name": "", "big": None}))]

    def test_a_value_left_out_is_an_absent_column_of_a_partial_mod(self):
        lines = transaction("0/A", update(without(ROW, "big"), ROW))
        carried = ["id", "name", "amount", "lsn", "ordinal"]
        assert decode(lines) == [mod("U", 10, 0, carried, **typed(without(ROW, "big")))]

    def test_a_key_stored_out_of_line_is_left_out_too(self):
        lines = transaction("0/A", update({"name": "x"}, {"id": 1}))
        assert decode(lines) == [mod("U", 10, 0, ["id", "name", "lsn", "ordinal"], id=1, name="x")]

    def test_bytes_and_strings_are_both_lines(self):
        lines = transaction("0/A", insert(ROW))
        assert decode([line.encode() for line in lines]) == decode(lines)

    def test_numbers_keep_all_digits(self):
        line = transaction("0/A", insert(ROW))
        line[1] = line[1].replace("1.5", "-12345678901234.5678")
        (row,) = decode(line)
        assert row["amount"] == Decimal("-12345678901234.5678")

    def test_nothing_but_empty_lines_decodes_to_nothing(self):
        assert decode(["\n", "", b"\n"]) == []

    def test_the_columns_of_mods(self):
        (batch,) = wal2json.decode(transaction("0/A", insert(ROW)), SCHEMA, table="public.t", primary_key=["id"])
        element = pa.field("element", pa.string(), nullable=False)
        assert batch.schema == pa.schema(
            [
                ("id", pa.int64()),
                ("name", pa.string()),
                ("amount", pa.decimal128(18, 4)),
                ("big", pa.string()),
                pa.field("lsn", pa.int64(), nullable=False),
                pa.field("ordinal", pa.int32(), nullable=False),
                pa.field("op", pa.string(), nullable=False),
                ("columns_to_update", pa.list_(element)),
            ]
        )


class TestKeyChange:
    def test_is_a_delete_and_a_full_upsert_at_one_sequence(self):
        lines = transaction("0/A", update(ROW | {"id": 2}, ROW))
        assert decode(lines) == [mod("D", 10, 0, id=1), mod("U", 10, 0, **typed(ROW | {"id": 2}))]

    def test_takes_what_was_left_out_from_the_old_row(self):
        new = {"id": 2, "name": None, "amount": 1.5}
        lines = transaction("0/A", update(new, ROW))
        assert decode(lines) == [
            mod("D", 10, 0, id=1),
            mod("U", 10, 0, **typed(ROW | {"id": 2, "name": None})),
        ]

    def test_refuses_by_name_a_row_that_stays_incomplete(self):
        lines = transaction("0/A", update(without(ROW | {"id": 2}, "big"), {"id": 1}))
        with pytest.raises(UnsupportedTableError, match=r"REPLICA IDENTITY FULL on public\.t") as caught:
            decode(lines)
        error = caught.value
        assert (error.column, error.keys, error.lsn, error.line) == ("big", (("2",),), 10, 2)

    def test_a_swap_in_one_transaction_keeps_both_rows(self):
        one, other = ROW | {"id": 1, "name": "one"}, ROW | {"id": 2, "name": "other"}
        lines = transaction(
            "0/A",
            update(one | {"id": -1}, one),
            update(other | {"id": 1}, other),
            update(one | {"id": 2}, one | {"id": -1}),
        )
        assert [(m["op"], m["id"], m["ordinal"], m["name"]) for m in decode(lines)] == [
            ("D", 1, 0, None),
            ("U", -1, 0, "one"),
            ("D", 2, 1, None),
            ("U", 1, 1, "other"),
            ("D", -1, 2, None),
            ("U", 2, 2, "one"),
        ]

    def test_of_one_part_of_a_composite_key(self):
        lines = transaction("0/A", update(ROW | {"name": "x"}, ROW))
        first, second = decode(lines, primary_key=["id", "name"])
        assert (first["op"], first["id"], first["name"]) == ("D", 1, "Zoë")
        assert (second["op"], second["id"], second["name"]) == ("U", 1, "x")

    def test_is_none_where_only_the_printed_form_changes(self):
        old, new = ROW | {"amount": "1.50"}, ROW | {"amount": "1.5"}
        (only,) = decode(transaction("0/A", update(new, old)), primary_key=["amount"])
        assert (only["op"], only["amount"]) == ("U", Decimal("1.5"))
        assert len(decode(transaction("0/A", update(new, old | {"amount": "1.51"})), primary_key=["amount"])) == 2

    @pytest.mark.parametrize("action", ["U", "D"])
    def test_without_the_old_key_is_refused(self, action):
        record = change(action, columns=[], identity=[{"name": "name", "value": "x"}])
        with pytest.raises(UnsupportedTableError, match=r"REPLICA IDENTITY FULL on public\.t") as caught:
            decode(transaction("0/A", record))
        assert caught.value.column == "id"


class TestColumns:
    def test_all_differences_are_told_at_once(self):
        row = without(ROW, "name", "big") | {"new": 1, "newer": 2}
        with pytest.raises(SchemaMismatchError) as caught:
            decode(transaction("0/A", insert(row)))
        assert (caught.value.missing, caught.value.extra) == (("name", "big"), ("new", "newer"))

    def test_an_update_with_an_unknown_column_is_refused(self):
        with pytest.raises(SchemaMismatchError) as caught:
            decode(transaction("0/A", update(ROW | {"new": 1}, ROW)))
        assert (caught.value.missing, caught.value.extra) == ((), ("new",))

    @pytest.mark.parametrize(
        ("column", "value"), [("amount", "infinity"), ("amount", 1.00001), ("id", "x"), ("name", True)]
    )
    def test_a_value_that_does_not_fit_is_named(self, column, value):
        rows = [insert(ROW | {"id": 5}), insert(ROW | {"id": 6} | {column: value})]
        with pytest.raises(SchemaMismatchError, match=f"column '{column}'") as caught:
            decode(transaction("0/A", *rows))
        error = caught.value
        assert (error.column, error.lsn, error.line) == (column, 10, 3)
        assert error.keys == ((str(value if column == "id" else 6),),)

    def test_the_sequence_columns_of_the_table_are_not_looked_for(self):
        schema = wal2json.table_schema(SCHEMA)
        assert schema.names == ("id", "name", "amount", "big", "lsn", "ordinal")
        assert [field.nullable for field in schema][-2:] == [False, False]
        assert wal2json.table_schema(schema) == schema
        lines = transaction("0/A", insert(ROW))
        assert decode(lines, schema) == decode(lines)

    def test_added_columns_can_be_renamed(self):
        schema = Schema.from_arrow(pa.schema([("id", pa.int64()), ("op", pa.string())]))
        lines = transaction("0/A", update({"id": 1}, {"id": 1, "op": "x"}))
        with pytest.raises(OptionError, match="ModColumns") as caught:
            decode(lines, schema)
        assert caught.value.column == "op"
        names = wal2json.ModColumns(op="_op", lsn="_lsn", ordinal="_ordinal", columns_to_update="_carried")
        (row,) = decode(lines, schema, options=wal2json.DecodeOptions(columns=names))
        carried = ["id", "_lsn", "_ordinal"]
        assert row == {"id": 1, "op": None, "_lsn": 10, "_ordinal": 0, "_op": "U", "_carried": carried}

    def test_added_columns_must_differ(self):
        with pytest.raises(OptionError, match="differ from each other"):
            wal2json.table_schema(SCHEMA, columns=wal2json.ModColumns(lsn="ordinal"))

    @pytest.mark.parametrize("primary_key", ["id", [], ["nothing"], ["lsn"]])
    def test_a_key_that_is_none_is_refused(self, primary_key):
        with pytest.raises(OptionError, match="primary_key must list"):
            decode([], primary_key=primary_key)

    def test_a_key_that_is_not_that_of_the_source_is_refused(self):
        lines = transaction("0/A", insert(ROW, pk=[{"name": "id"}]))
        assert len(decode(lines)) == 1
        with pytest.raises(OptionError, match=r"line 2 of the change feed says \['id'\]"):
            decode(lines, primary_key=["id", "name"])

    def test_nested_columns_are_refused(self):
        schema = Schema.from_arrow(pa.schema([("id", pa.int64()), ("tags", pa.list_(pa.string()))]))
        with pytest.raises(UnsupportedTableError, match="make it a string") as caught:
            decode([], schema)
        assert caught.value.column == "tags"

    @pytest.mark.parametrize("table", ["t", "a.b.c", ".t", ("t",), ""])
    def test_a_table_needs_two_names(self, table):
        with pytest.raises(OptionError, match=r"schema\.table"):
            decode([], table=table)

    def test_names_with_dots_are_a_pair(self):
        record = insert(ROW) | {"schema": "my.s", "table": 't"x'}
        assert len(decode(transaction("0/A", record), table=("my.s", 't"x'))) == 1

    def test_an_unknown_choice_is_refused(self):
        with pytest.raises(OptionError, match="unfinished"):
            wal2json.DecodeOptions(unfinished="skip")  # type: ignore[arg-type]
