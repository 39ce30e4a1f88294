"""Statistics from Parquet footers, in Delta's form."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.delta import statistics as stats
from andes_spark.errors import OptionError
from andes_spark.schema.schema import Schema

LAST = "\U0010ffff"


def of(table: pa.Table, indexed: Any = None, *, group: int = 10**6, **options: Any) -> dict[str, Any]:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group)
    footer = pq.read_metadata(io.BytesIO(sink.getvalue()))
    return stats.statistics(footer, table.schema, indexed, **options)


def column(values: list[Any], kind: pa.DataType, **options: Any) -> tuple[Any, Any, Any]:
    statistics = of(pa.table({"c": pa.array(values, kind)}), **options)
    return tuple(statistics[name].get("c") for name in ("minValues", "maxValues", "nullCount"))


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([3, None, -1], pa.int8(), (-1, 3, 1)),
        ([2**63 - 1, -(2**63)], pa.int64(), (-(2**63), 2**63 - 1, 0)),
        ([None, None], pa.int64(), (None, None, 2)),
        (["b", "ä", None], pa.string(), ("b", "ä", 1)),
        ([True, None], pa.bool_(), (None, None, 1)),
        ([b"a", b"b"], pa.binary(), (None, None, 0)),
        ([0, -1], pa.date32(), ("1969-12-31", "1970-01-01", 0)),
        ([-719163, 5], pa.date32(), (None, "1970-01-06", 0)),
        ([-1, 1_999], pa.timestamp("us", "UTC"), ("1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00.001Z", 0)),
        ([-1, 1_999], pa.timestamp("us"), ("1969-12-31T23:59:59.999", "1970-01-01T00:00:00.001", 0)),
        ([2**62], pa.timestamp("us"), (None, None, 0)),
        ([1.5, -2.5], pa.float64(), (-2.5, None, 0)),
        ([float("nan"), 1.5], pa.float64(), (1.5, None, 0)),
        ([float("-inf"), float("nan")], pa.float32(), (None, None, 0)),
        ([Decimal("1.50"), Decimal("-0.01")], pa.decimal128(9, 2), (Decimal("-0.01"), Decimal("1.50"), 0)),
        (
            [Decimal("12345678901234567890123456789012345.678")],
            pa.decimal128(38, 3),
            (*[Decimal("12345678901234567890123456789012345.678")] * 2, 0),
        ),
    ],
)
def test_each_type(values, kind, expected):
    assert column(values, kind) == expected


def test_maxima_of_floats_known_to_hold_no_nan():
    assert column([1.5, None, -2.5], pa.float64(), nan_free={("c",)}) == (-2.5, 1.5, 1)


def test_decimals_stay_exact_in_json():
    statistics = of(pa.table({"c": pa.array([Decimal("98765432109876543210.10")], pa.decimal128(38, 2))}))
    assert '"minValues":{"c":98765432109876543210.10}' in stats.dumps(statistics)


def test_characters_stand_in_json_as_they_are():
    statistics = of(pa.table({"n\U00020bb7": ["\U00020bb7\x01", "é" * 40]}))
    text = stats.dumps(statistics)
    assert '"n\U00020bb7":"\U00020bb7\\u0001"' in text
    assert f'"{"é" * 32}{LAST}"' not in text, "not the greatest"
    assert (
        stats.dumps({"maxValues": {"c": stats.truncate_max("é" * 40)}}) == f'{{"maxValues":{{"c":"{"é" * 32}{LAST}"}}}}'
    )
    wide = stats.to_wide_bounds('{"minValues":{"c":"\\ud842\\udfb7","d":"\\ud842"}}', num_records=1, deleted=0)
    assert wide == '{"minValues":{"c":"\U00020bb7","d":"\\ud842"},"tightBounds":false}', "half a character has no bytes"


def test_several_row_groups():
    table = pa.table({"k": [5, 1, None, 9], "s": ["a", None, "z", "b"]})
    statistics = of(table, group=1)
    assert statistics == {
        "numRecords": 4,
        "minValues": {"k": 1, "s": "a"},
        "maxValues": {"k": 9, "s": "z"},
        "nullCount": {"k": 1, "s": 1},
        "tightBounds": True,
    }


def test_a_group_without_bounds_leaves_the_column_without():
    # Parquet keeps no bounds of values above 4 KiB.
    assert of(pa.table({"s": ["a", "x" * 5000]}), group=1)["minValues"] == {}


def test_an_empty_file():
    statistics = of(pa.table({"k": pa.array([], pa.int64())}))
    assert (statistics["numRecords"], statistics["minValues"]) == (0, {})


def test_nested_columns_and_names_with_dots():
    struct = pa.struct([("x", pa.int32()), ("a.b", pa.string()), ("l", pa.list_(pa.int32()))])
    table = pa.table(
        {
            "s": pa.array([{"x": 1, "a.b": "q", "l": [1]}, None], struct),
            "s.x": [7, 8],
            "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
            "l": [[1], None],
        }
    )
    statistics = of(table)
    assert statistics["minValues"] == {"s": {"x": 1, "a.b": "q"}, "s.x": 7}
    assert statistics["nullCount"] == {"s": {"x": 1, "a.b": 1}, "s.x": 0}
    assert of(table, {("s", "x")})["maxValues"] == {"s": {"x": 1}}
    assert stats.footer_columns(table.schema) == ["s.x", "s.a.b", "s.x"]


def test_columns_that_may_hold_nan_get_no_footer_statistics():
    schema = pa.schema([("k", pa.int64()), ("f", pa.float32()), ("s", pa.struct([("d", pa.float64())]))])
    assert stats.footer_columns(schema) == ["k"]
    assert stats.footer_columns(schema, {("f",)}) == ["k", "f"]


def test_another_schema_than_the_files_is_a_mistake():
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    with pytest.raises(ValueError, match="2 columns for a file of 1"):
        stats.statistics(pq.read_metadata(sink), pa.schema([("a", pa.int64()), ("b", pa.int64())]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 32, "a" * 32),
        ("a" * 33, "a" * 32 + "\x7f"),
        ("a" * 32 + "\x7fb", "a" * 32 + LAST),
        ("a" * 32 + LAST + "b", "a" * 32 + LAST + "\x7f"),
        ("a" * 32 + LAST, "a" * 32 + LAST),
        # A character of two UTF-16 units is not cut through.
        ("a" * 31 + "\U0001f600" + "b", "a" * 31 + "\U0001f600" + "\x7f"),
        (LAST * 40, None),
        (LAST * 20, LAST * 20),
        ("é" * 40, "é" * 32 + LAST),
    ],
)
def test_maxima_are_cut_as_delta_cuts_them(text, expected):
    assert stats.truncate_max(text) == expected


@given(st.text(alphabet=st.sampled_from("a\x7f\x80é\ue000\U0001f600" + LAST), min_size=20, max_size=80))
def test_a_cut_maximum_is_never_below(text):
    cut = stats.truncate_max(text)
    assert cut is None or (cut.encode() >= text.encode() and len(cut) <= len(text) + 1)
    assert text.startswith(stats.truncate_min(text))


SCHEMA = Schema.from_ddl("a BIGINT, s STRUCT<x: INT, y: STRUCT<z: INT, `w.v`: INT>>, B INT, p DATE, `q``r` INT")


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ({}, {("a",), ("s", "x"), ("s", "y", "z"), ("s", "y", "w.v"), ("B",), ("q`r",)}),
        ({"delta.dataSkippingNumIndexedCols": "2"}, {("a",), ("s", "x")}),
        ({"delta.dataSkippingNumIndexedCols": "0"}, set()),
        (
            {"delta.dataSkippingNumIndexedCols": "-1"},
            {("a",), ("s", "x"), ("s", "y", "z"), ("s", "y", "w.v"), ("B",), ("q`r",)},
        ),
        ({"delta.dataSkippingStatsColumns": "A, b ,`q``r`"}, {("a",), ("B",), ("q`r",)}),
        ({"delta.dataSkippingStatsColumns": "s.y"}, {("s", "y", "z"), ("s", "y", "w.v")}),
        ({"delta.dataSkippingStatsColumns": "`s`.y.`w.v`"}, {("s", "y", "w.v")}),
        ({"delta.dataSkippingStatsColumns": ""}, set()),
    ],
)
def test_indexed_columns(configuration, expected):
    assert stats.indexed_columns(SCHEMA, ["p"], configuration) == expected


@pytest.mark.parametrize(
    "configuration",
    [{"delta.dataSkippingStatsColumns": "a b`"}, {"delta.dataSkippingNumIndexedCols": "many"}],
)
def test_a_malformed_property(configuration):
    with pytest.raises(OptionError):
        stats.indexed_columns(SCHEMA, [], configuration)


def test_wide_bounds_change_nothing_else():
    text = '{"numRecords":3,"minValues":{"d":1.10,"x":1E-7,"b":12345678901234567890.5},"nullCount":{"d":3}}'
    wide = stats.to_wide_bounds(text, num_records=3, deleted=0)
    assert wide == text[:-1] + ',"tightBounds":false}'
    assert stats.to_wide_bounds(wide, num_records=3, deleted=1) == wide


def test_wide_bounds_keep_all_null_columns_so():
    text = '{"numRecords":5,"nullCount":{"a":3,"b":2,"s":{"c":3,"d":0}},"tightBounds":true}'
    statistics = json.loads(stats.to_wide_bounds(text, num_records=5, deleted=2))
    assert statistics == {
        "numRecords": 5,
        "nullCount": {"a": 5, "b": 2, "s": {"c": 5, "d": 0}},
        "tightBounds": False,
    }


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_wide_bounds_without_statistics(text):
    assert stats.to_wide_bounds(text, num_records=7, deleted=0) == '{"numRecords":7,"tightBounds":false}'


@pytest.mark.parametrize("text", [None, "", "{", "[]", "7", "[" * 10**5, '{"a":' + "9" * 5000 + "}"])
def test_unreadable_statistics_are_unknown(text):
    assert stats.parse(text) == {}
