"""Maps that hold a key twice are found, however deep they lie."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.law.map_keys import repeated_map_keys
from andes_spark.schema.schema import Schema

PAIRS = st.one_of(st.none(), st.lists(st.tuples(st.sampled_from("ab\U00020bb7"), st.integers(0, 1)), max_size=3))
NESTED = st.one_of(st.none(), st.lists(st.one_of(st.none(), st.fixed_dictionaries({"x": PAIRS})), max_size=2))
OUTER = st.one_of(st.none(), st.lists(st.tuples(st.integers(0, 2), PAIRS), max_size=2))
SCHEMA = Schema.from_ddl(
    "m MAP<STRING, INT>, n ARRAY<STRUCT<x: MAP<STRING, INT>>>, o MAP<INT, MAP<STRING, INT>>, i INT"
)


def twice(pairs: list[tuple[Any, Any]] | None) -> bool:
    return pairs is not None and len({key for key, _ in pairs}) < len(pairs)


@given(st.lists(st.tuples(PAIRS, NESTED, OUTER), max_size=5), st.data())
def test_repeated_keys_are_found_at_any_depth(rows, data):
    columns = [
        pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), SCHEMA.to_arrow(), strict=False)
    ]
    if not rows:
        return
    first = data.draw(st.integers(0, len(rows)))
    table = pa.table(columns, names=["m", "n", "o"]).slice(first)
    expected = {
        "m": [twice(m) for m, _, _ in rows],
        "n": [any(part is not None and twice(part["x"]) for part in n or ()) for _, n, _ in rows],
        "o": [twice(o) or any(twice(inner) for _, inner in o or ()) for _, _, o in rows],
    }
    masks = {name: mask.tolist() for name, mask in repeated_map_keys(table, SCHEMA).items()}
    assert masks == {name: mask[first:] for name, mask in expected.items() if any(mask[first:])}


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("DOUBLE", 0.0, -0.0),
        ("DOUBLE", float("nan"), float("nan")),
        ("STRUCT<a: INT, b: ARRAY<STRING>>", {"a": 1, "b": ["x"]}, {"a": 1, "b": ["x"]}),
        ("BINARY", b"", b""),
    ],
)
def test_keys_that_are_equal_to_engines(kind, one, two):
    schema = Schema.from_ddl(f"m MAP<{kind}, INT>")
    table = pa.table([pa.array([[(one, 1)], [(one, 1), (two, 2)]], schema.to_arrow().field("m").type)], names=["m"])
    assert repeated_map_keys(table, schema)["m"].tolist() == [False, True]


def test_what_lies_below_a_null_does_not_count():
    kind = SCHEMA.to_arrow().field("m").type
    keys, values = pa.array(["a", "a", "b"]), pa.array([1, 2, 3], pa.int32())
    column = pa.MapArray.from_arrays([0, 2, 3], keys, values, type=kind, mask=pa.array([True, False]))
    assert repeated_map_keys(pa.table({"m": column}), SCHEMA) == {}
