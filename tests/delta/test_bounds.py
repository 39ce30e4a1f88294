"""KeyRange: no value of a file lies outside, whoever wrote its statistics."""

from __future__ import annotations

import datetime
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
from andes_spark.delta.bounds import column_range
from andes_spark.delta.log import DataFile
from andes_spark.schema.schema import Schema

LAST = "\U0010ffff"
EPOCH = datetime.datetime(1970, 1, 1)


def file_of(low: str, high: str) -> DataFile:
    text = f'{{"numRecords":1,"minValues":{{"c":{low}}},"maxValues":{{"c":{high}}}}}'
    return DataFile.from_add({"path": "f", "size": 1, "stats": text})


def read(ddl: str, low: str, high: str | None = None) -> tuple[Any, Any]:
    return column_range(
        file_of(low, low if high is None else high).stats, "c", Schema.from_ddl(f"c {ddl}").field("c").type
    )


@pytest.mark.parametrize(
    ("ddl", "low", "high", "expected"),
    [
        ("BIGINT", "-5", "9223372036854775807", (-5, 2**63 - 1)),
        ("INT", "true", "1.0", (None, None)),
        ("INT", "null", '"7"', (None, None)),
        ("DATE", '"1970-01-02"', '"9999-12-31"', (1, 2932896)),
        ("DATE", '"-0001-01-01"', '"+10000-01-01"', (None, None)),
        ("STRING", '"a"', '"ab"', ("a", "ac")),
        ("STRING", '""', '""', ("", None)),
        ("STRING", '"a"', json.dumps("a" + LAST * 2), ("a", "b")),
        ("STRING", '"a"', json.dumps("a\ud7ff"), ("a", "a\ue000")),
        ("STRING", '"\\ud800"', '"a\\udfff"', (None, None)),
        ("DECIMAL(10,2)", "1.5", "10", (150, 1000)),
        ("DECIMAL(10,2)", "-1.5E-1", "1E3", (-15, 100000)),
        ("DECIMAL(10,2)", "0.123", "0.123", (11, 13)),
        ("DECIMAL(38,0)", "1e999999999", "-1e-999999999", (None, 0)),
        ("TIMESTAMP", '"1970-01-01T00:00:00.001Z"', '"1970-01-01T00:00:00.001Z"', (0, 2000)),
        ("TIMESTAMP", '"1970-01-01T00:00:00.001"', '"+10000-01-01T00:00:00.000Z"', (None, None)),
        ("TIMESTAMP_NTZ", '"1970-01-01T00:00:00.001"', '"1970-01-01 00:00:00"', (0, 1000)),
        # An offset may have lost its seconds (local mean time).
        (
            "TIMESTAMP",
            '"1970-01-01T01:00:00.000+01:00"',
            '"1970-01-01T01:00:00.000+01:00"',
            (-60_001_000, 60_001_000),
        ),
        ("BINARY", '"a"', '"a"', (None, None)),
        ("DOUBLE", "1.0", "1.0", (None, None)),
        ("ARRAY<INT>", "1", "1", (None, None)),
    ],
)
def test_each_type(ddl, low, high, expected):
    assert read(ddl, low, high) == expected


def test_what_is_missing_is_unknown():
    type_ = Schema.from_ddl("c INT").field("c").type
    for text in (None, "{}", '{"minValues":7,"maxValues":{}}', "nonsense"):
        assert column_range(DataFile.from_add({"path": "f", "size": 1, "stats": text}).stats, "c", type_) == (
            None,
            None,
        )


@given(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(0, 38))
def test_decimals_that_went_through_doubles_stay_within(unscaled, scale):
    exact = f"{'-' if unscaled < 0 else ''}{abs(unscaled)}E-{scale}"
    rounded = repr(float(exact))
    for text in (exact, rounded):
        low, high = read(f"DECIMAL(38,{scale})", text)
        assert low <= unscaled <= high


@given(st.integers(-(10**14), 10**14), st.integers(0, 14))
def test_decimals_of_few_digits_are_exact_even_through_doubles(unscaled, scale):
    text = repr(float(f"{unscaled}E-{scale}"))
    assert read(f"DECIMAL(15,{scale})", text) == (unscaled, unscaled)


TEXTS = st.text(alphabet=st.sampled_from("ab\x7f\x80é\ud7ff\ue000\U0001f600" + LAST), max_size=70)
TIMES = st.integers(-(10**15), 10**15)
COLUMNS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "TINYINT": (st.integers(-128, 127), lambda value: value),
    "BIGINT": (st.integers(-(2**63), 2**63 - 1), lambda value: value),
    "STRING": (TEXTS, lambda value: value),
    "DATE": (
        st.dates(),
        lambda value: value.toordinal() - EPOCH.toordinal(),
    ),
    "TIMESTAMP": (TIMES, lambda value: value),
    "TIMESTAMP_NTZ": (TIMES, lambda value: value),
    "DECIMAL(38,7)": (
        st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}E-7")),
        lambda value: _unscaled(value),
    ),
    "DECIMAL(9,2)": (
        st.integers(-(10**9) + 1, 10**9 - 1).map(lambda n: Decimal(f"{n}E-2")),
        lambda v: _unscaled(v),
    ),
}


def _unscaled(value: Decimal) -> int:
    sign, digits, _ = value.as_tuple()
    return int("".join(map(str, digits))) * (-1 if sign else 1)


@pytest.mark.slow
@pytest.mark.parametrize("ddl", COLUMNS)
def test_every_written_value_is_within_the_bounds_read_back(ddl):
    strategy, comparable = COLUMNS[ddl]
    schema = Schema.from_ddl(f"c {ddl}")

    @given(st.lists(st.none() | strategy, min_size=1, max_size=5))
    def check(values: list[Any]) -> None:
        table = pa.table([pa.array(values, schema.to_arrow().field(0).type)], schema=schema.to_arrow())
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=2)
        statistics = stats.statistics(pq.read_metadata(io.BytesIO(sink.getvalue())), table.schema)
        file = DataFile.from_add({"path": "f", "size": 1, "stats": stats.dumps(statistics)})
        low, high = column_range(file.stats, "c", schema.field("c").type)
        for value in values:
            if value is not None:
                assert low is None or low <= comparable(value)
                assert high is None or comparable(value) <= high

    check()
