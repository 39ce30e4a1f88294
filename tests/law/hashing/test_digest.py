"""The published hash of rows and digest of batches."""

from __future__ import annotations

import json
import math
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.errors import OptionError
from andes_spark.law.hashing import digest
from andes_spark.law.hashing.digest import Digest
from andes_spark.schema import arrow_types
from andes_spark.schema import types as dt
from andes_spark.schema.conforming import conform
from andes_spark.schema.schema import Schema
from tests.law import reference
from tests.schema import strategies
from tests.schema.one_column import CAST

GOLDEN = Path(__file__).parents[2] / "golden" / "row_hash_1.json"


def hashes(table: pa.Table, schema: Schema, **options: Any) -> list[bytes]:
    op = options.pop("op", pa.array(np.zeros(table.num_rows, np.int8)))
    return [row.tobytes() for row in digest.row_hashes(table, schema, schema.names, op=op, **options)]


def digest_of(rows: Any) -> str:
    total = Digest()
    total.add(rows)
    return total.hexdigest()


def cells(values: list[Any], type_: dt.DataType) -> list[bytes]:
    return [row.tobytes() for row in digest.cells(pa.array(values, arrow_types.to_arrow(type_)), type_)]


with_tables = strategies.schemas.flatmap(lambda s: st.tuples(st.just(s), strategies.tables(s)))


# ---- the format


def test_the_golden_file() -> None:
    golden = json.loads(GOLDEN.read_text())
    schema = Schema.from_json_value(golden["schema"])
    columns = {
        name: pa.array([unfolded(value) for value in values], pa.string()) for name, values in golden["columns"].items()
    }
    table = conform(pa.table(columns), schema, rules=CAST, partial_ok=True).table
    for name, column in nested_columns().items():
        table = table.append_column(schema.to_arrow().field(name), column)
    table = table.select(schema.names)
    op = pa.array(golden["op"], pa.int8())
    for field in schema:
        got = [row.tobytes().hex() for row in digest.cells(table[field.name], field.type)]
        assert got == golden["cells"][field.name], field.name
    rows = digest.row_hashes(table, schema, schema.names, op=op)
    assert [row.tobytes().hex() for row in rows] == golden["hashes"]
    assert digest_of(rows) == golden["digest"]


def unfolded(value: dict[str, Any] | str | None) -> str | None:
    """Long texts are written as what is repeated, and how often."""
    return str(value["text"]) * int(value["times"]) if isinstance(value, dict) else value


def folded(value: str | None) -> Any:
    if value is None or len(value) < 1000:
        return value
    start = value[:2] if value[0] != value[1] else value[0]
    return {"text": start, "times": len(value) // len(start)}


def scalars() -> dict[str, list[str | None]]:
    """Columns of the golden file, as text."""
    return {
        "boolean": ["true", "false", None],
        "byte": ["-128", "127", None],
        "short": ["-32768", "32767", None],
        "integer": ["-2147483648", "2147483647", None],
        "long": ["-9223372036854775808", "9223372036854775807", None],
        "float": ["-0.0", "NaN", None],
        "double": ["0.1", "-Infinity", None],
        "decimal": ["-12345678901234567890.0123456789", "0.0000000001", None],
        "string": ["größer", "", None],
        "long_string": ["x" * 1025, "ab" * 33_000, None],
        "date": ["1969-12-31", "9999-12-31", None],
        "timestamp": ["1969-12-31T23:59:59.999999Z", "2026-11-01T12:00:00+01:00", None],
        "timestamp_ntz": ["0001-01-01T00:00:00", "2026-11-01T12:00:00.000001", None],
    }


def nested_columns() -> dict[str, pa.Array]:
    struct = pa.struct([("a", pa.int64()), ("b", pa.string())])
    return {
        "binary": pa.array([b"\x00\xff", b"", None]),
        "array": pa.array([[1, None, 3], [], None], pa.list_(pa.field("element", pa.int64()))),
        "map": pa.array([[("k", 1), ("j", None)], [], None], pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"a": 1, "b": "x"}, {"a": None, "b": None}, None], struct),
    }


def golden_document() -> dict[str, Any]:
    """What the golden file must hold, computed by the reference."""
    types: dict[str, dt.DataType] = {name: dt.Primitive(name) for name in scalars() if name not in OTHER}
    types |= OTHER
    columns = scalars()
    schema = Schema(tuple(dt.Field(name, types[name]) for name in [*columns, *nested_columns()]))
    flat = conform(pa.table(columns), Schema(schema.fields[: len(columns)]), rules=CAST).table
    values = {name: flat[name].to_pylist() for name in columns}
    values |= {name: column.to_pylist() for name, column in nested_columns().items()}
    op = [0, 1, 2]
    rows = [
        reference.row_hash(operation, [values[name][row] for name in schema.names], [f.type for f in schema])
        for row, operation in enumerate(op)
    ]
    return {
        "schema": schema.to_json_value(),
        "op": op,
        "columns": {name: [folded(value) for value in texts] for name, texts in columns.items()},
        "cells": {f.name: [reference.cell(value, f.type).hex() for value in values[f.name]] for f in schema},
        "hashes": [row.hex() for row in rows],
        "digest": reference.digest(rows),
    }


OTHER: dict[str, dt.DataType] = {
    "long_string": dt.STRING,
    "decimal": dt.Decimal(38, 10),
    "binary": dt.BINARY,
    "array": dt.Array(dt.LONG),
    "map": dt.Map(dt.STRING, dt.LONG),
    "struct": dt.Struct((dt.Field("a", dt.LONG), dt.Field("b", dt.STRING))),
}


def test_the_golden_file_is_what_the_reference_says() -> None:
    assert json.loads(GOLDEN.read_text()) == golden_document()


@pytest.mark.slow
@given(with_tables, st.integers(0, 2))
def test_any_rows_against_the_reference(case: tuple[Schema, pa.Table], op: int) -> None:
    schema, table = case
    types = [field.type for field in schema]
    expected = [
        reference.row_hash(op, list(values), types)
        for values in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]
    ops = pa.array(np.full(table.num_rows, op, np.int8))
    assert hashes(table, schema, op=ops) == expected
    assert digest_of(digest.row_hashes(table, schema, schema.names, op=ops)) == reference.digest(expected)


@pytest.mark.slow
@given(with_tables)
def test_cells_of_any_values_against_the_reference(case: tuple[Schema, pa.Table]) -> None:
    schema, table = case
    for field in schema:
        got = digest.cells(table[field.name], field.type)
        assert got.shape == (table.num_rows, 17)
        assert [row.tobytes() for row in got] == [reference.cell(v, field.type) for v in table[field.name].to_pylist()]


@pytest.mark.slow
@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1023, 1024, 1025, 2048, 65_536, 65_537, 300_000, 70_000_000])
def test_long_values(length: int) -> None:
    text = bytes(np.arange(length, dtype=np.uint32).astype(np.uint8))
    if length > 2_000_000:
        # The reference would take minutes; that long values take no longer than others is the point.
        assert cells([text], dt.BINARY) == cells([text], dt.BINARY)
        assert cells([text], dt.BINARY) != cells([text[:-1] + b"!"], dt.BINARY)
        return
    assert cells([b"a", text, None, b""], dt.BINARY) == [
        reference.cell(value, dt.BINARY) for value in (b"a", text, None, b"")
    ]


def test_lists_structs_and_maps_above_one_piece() -> None:
    wide = dt.Struct(tuple(dt.Field(f"c{i}", dt.INTEGER) for i in range(100)))
    value = {f"c{i}": i for i in range(100)}
    assert cells([value, None], wide) == [reference.cell(v, wide) for v in (value, None)]
    long = dt.Array(dt.INTEGER)
    assert cells([list(range(500)), [1]], long) == [reference.cell(v, long) for v in (list(range(500)), [1])]


# ---- what is equal


@pytest.mark.slow
@given(with_tables, st.randoms(use_true_random=False))
def test_order_does_not_matter(case: tuple[Schema, pa.Table], random: Any) -> None:
    schema, table = case
    order = list(range(table.num_rows))
    random.shuffle(order)
    op = np.arange(table.num_rows).astype(np.int8) % 3
    given_order = digest.row_hashes(table, schema, schema.names, op=pa.array(op))
    other_order = digest.row_hashes(
        table.take(pa.array(order, pa.int64())), schema, schema.names, op=pa.array(op[order])
    )
    assert np.array_equal(given_order[order], other_order)
    assert digest_of(given_order) == digest_of(other_order)


@pytest.mark.slow
@given(with_tables, st.integers(0, 8), st.integers(0, 8))
def test_neither_chunks_nor_slices_matter(case: tuple[Schema, pa.Table], first: int, second: int) -> None:
    schema, table = case
    whole = hashes(table, schema)
    assert hashes(table.combine_chunks(), schema) == whole
    parts = [table.slice(0, first), table.slice(first, second), table.slice(first + second)]
    assert [row_hash for part in parts for row_hash in hashes(part, schema)] == whole
    assert hashes(pa.concat_tables(parts), schema) == whole
    total, split = Digest(), Digest()
    total.add(digest.row_hashes(table, schema, schema.names, op=pa.array(np.zeros(table.num_rows, np.int8))))
    for part in parts:
        one = Digest()
        one.add(digest.row_hashes(part, schema, schema.names, op=pa.array(np.zeros(part.num_rows, np.int8))))
        split.merge(pickle.loads(pickle.dumps(one)))
    assert total == split


def test_wider_integers_and_floats_are_equal() -> None:
    values = [1, -1, 127, -128, None]
    kinds = (dt.BYTE, dt.SHORT, dt.INTEGER, dt.LONG)
    assert len({tuple(cells(values, kind)) for kind in kinds}) == 1
    assert cells([0.5, -1.25, None], dt.FLOAT) == cells([0.5, -1.25, None], dt.DOUBLE)


def test_nans_are_equal_and_so_are_zeros() -> None:
    nans = np.array([0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001], dtype=np.uint64).view(np.float64)
    got = digest.cells(pa.array(nans), dt.DOUBLE)
    assert len({row.tobytes() for row in got}) == 1
    assert cells([math.nan], dt.FLOAT) == [got[0].tobytes()]
    assert cells([0.0], dt.DOUBLE) == cells([-0.0], dt.DOUBLE)
    assert cells([0.0], dt.FLOAT) == cells([-0.0], dt.FLOAT)


def test_the_array_is_left_as_it_was() -> None:
    array = pa.array([-0.0, math.nan])
    digest.cells(array, dt.DOUBLE)
    assert math.copysign(1.0, array[0].as_py()) == -1.0


def test_what_lies_below_a_null_does_not_matter() -> None:
    mask = pa.array([False, True])
    a = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.array([1, 2]).buffers()[1]])
    assert [row.tobytes() for row in digest.cells(a, dt.LONG)] == cells([1, None], dt.LONG)
    struct_type = dt.Struct((dt.Field("a", dt.STRING),))
    struct = pa.StructArray.from_arrays([pa.array(["x", "hidden"])], names=["a"], mask=mask)
    assert [row.tobytes() for row in digest.cells(struct, struct_type)] == cells([{"a": "x"}, None], struct_type)
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array(["x", "hidden"]), mask=mask)
    lists = lists.cast(arrow_types.to_arrow(dt.Array(dt.STRING)))
    assert [row.tobytes() for row in digest.cells(lists, dt.Array(dt.STRING))] == cells(
        [["x"], None], dt.Array(dt.STRING)
    )


# ---- what is different


def test_different_values_have_different_hashes() -> None:
    schema = Schema((dt.Field("a", dt.STRING), dt.Field("b", dt.STRING)))
    rows = [("", ""), ("", None), (None, ""), (None, None), ("ab", ""), ("a", "b"), ("", "ab"), ("b", "a")]
    table = pa.table({"a": [a for a, _ in rows], "b": [b for _, b in rows]})
    distinct = {
        row_hash for op in (0, 1, 2) for row_hash in hashes(table, schema, op=pa.array([op] * len(rows), pa.int8()))
    }
    assert len(distinct) == 3 * len(rows)


def test_nested_values_that_look_alike() -> None:
    lists = dt.Array(dt.Array(dt.LONG))
    assert len(set(cells([[], [[]], [None], [[], []], [[None]], [[1], [2]], [[1, 2]], [[2, 1]], None], lists))) == 9
    maps = dt.Map(dt.STRING, dt.LONG)
    assert len(set(cells([[], [("a", None)], [("a", 0)], [("a", 1), ("b", 2)], [("b", 2), ("a", 1)]], maps))) == 5


def test_decimals_are_normalised_to_the_scale_of_the_table() -> None:
    assert cells([Decimal("1.5")], dt.Decimal(10, 2)) == cells([Decimal("1.50")], dt.Decimal(12, 2))
    narrow = pa.table({"v": pa.array([Decimal("1.5")], pa.decimal128(4, 1))})
    schema = Schema((dt.Field("v", dt.Decimal(10, 2)),))
    wide = pa.table({"v": pa.array([Decimal("1.50")], pa.decimal128(10, 2))})
    assert hashes(conform(narrow, schema).table, schema) == hashes(wide, schema)


def test_absent_differs_from_null_and_from_zero() -> None:
    schema = Schema((dt.Field("id", dt.LONG), dt.Field("v", dt.LONG)))
    table = pa.table({"id": [1, 1, 1], "v": [0, None, 7]})
    full = hashes(table, schema)
    partial = hashes(table, schema, present={"v": np.array([True, True, False])})
    assert full[:2] == partial[:2]
    assert len({*full, partial[2]}) == 4
    without = hashes(table.select(["id"]), schema)
    assert without == [partial[2]] * 3
    types: list[dt.DataType] = [dt.LONG, dt.LONG]
    assert partial[2] == reference.row_hash(0, [1, reference.ABSENT], types)


def test_the_order_of_columns_matters() -> None:
    schema = Schema((dt.Field("a", dt.LONG), dt.Field("b", dt.LONG)))
    table = pa.table({"a": [1], "b": [2]})
    op = pa.array([0], pa.int8())
    one = digest.row_hashes(table, schema, ["a", "b"], op=op)
    other = digest.row_hashes(table, schema, ["b", "a"], op=op)
    assert not np.array_equal(one, other)


# ---- digests


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=12), st.integers(0, 12))
def test_a_digest_is_a_sum(words: list[tuple[int, int]], cut: int) -> None:
    rows = np.array(words, dtype=np.uint64).reshape(-1, 2)
    total = Digest()
    total.add(rows)
    assert total.total == sum(low | high << 64 for low, high in words) % (1 << 128)
    total.subtract(rows[:cut])
    rest = Digest()
    rest.add(rows[cut:])
    assert total == rest
    assert total.hexdigest() == rest.hexdigest()


def test_the_number_of_rows_counts() -> None:
    zero = np.zeros((1, 2), dtype=np.uint64)
    empty, one = Digest(), Digest()
    one.add(zero)
    assert empty.total == one.total
    assert empty.hexdigest() != one.hexdigest()
    assert one.hexdigest().startswith("andes1:")
    assert len(one.hexdigest()) == len("andes1:") + 32
    with pytest.raises(OptionError, match="1 rows out of a digest of 0"):
        empty.subtract(zero)


# ---- what is refused


def test_rows_that_were_not_conformed() -> None:
    schema = Schema((dt.Field("v", dt.LONG),))
    with pytest.raises(OptionError, match="'v'") as caught:
        hashes(pa.table({"v": pa.array([1], pa.int32())}), schema)
    assert caught.value.column == "v"
    with pytest.raises(OptionError, match="conform them"):
        digest.cells(pa.array([1], pa.timestamp("ns")), dt.TIMESTAMP_NTZ)
    with pytest.raises(OptionError, match="no column 'w'"):
        digest.row_hashes(pa.table({"v": [1]}), schema, ["w"], op=pa.array([0], pa.int8()))


def test_operations_must_be_one_byte_each_and_as_many_as_rows() -> None:
    schema = Schema((dt.Field("v", dt.LONG),))
    for op in (pa.array([0, 0], pa.int8()), pa.array([0], pa.int64()), pa.array([None], pa.int8())):
        with pytest.raises(OptionError, match="operation"):
            hashes(pa.table({"v": [1]}), schema, op=op)


def test_no_rows() -> None:
    schema = Schema((dt.Field("v", dt.Array(dt.STRING)), dt.Field("w", dt.LONG)))
    assert hashes(schema.to_arrow().empty_table(), schema) == []
    assert digest.cells(pa.array([], pa.string()), dt.STRING).shape == (0, 17)
    assert digest.cells(pa.chunked_array([], pa.string()), dt.STRING).shape == (0, 17)


def test_many_rows_in_groups() -> None:
    rows = 3 * 8192 + 17
    numbers = np.arange(rows)
    table = pa.table({"id": numbers, "s": pc.cast(pa.array(numbers), pa.string())})
    schema = Schema((dt.Field("id", dt.LONG), dt.Field("s", dt.STRING)))
    row_hashes = hashes(table, schema)
    assert len(set(row_hashes)) == rows
    types: list[dt.DataType] = [dt.LONG, dt.STRING]
    for row in (0, 8191, 8192, rows - 1):
        assert row_hashes[row] == reference.row_hash(0, [row, str(row)], types)
