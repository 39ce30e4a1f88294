"""Casts of columns, of strings above all: what is read, what fails its row, what is not offered."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.schema import arrow_types
from andes_spark.schema import types as dt
from andes_spark.schema.casts import CastRules, cast_rules
from andes_spark.schema.conforming import conform
from andes_spark.schema.differences import differences
from tests.schema import strategies
from tests.schema.one_column import CAST, POINT, one


def cast_of(values: list[Any], source: dt.DataType, target: dt.DataType) -> list[Any]:
    """Cast values, '!' for those that failed."""
    table = pa.table({"v": pa.array(values, arrow_types.to_arrow(source))})
    assert differences(table.schema, one(target))
    assert not differences(table.schema, one(target), rules=CAST, required=["v"])
    result = conform(table, one(target), rules=CAST)
    result.table.validate(full=True)
    failed = result.failed.get("v", np.zeros(len(values), np.bool_))
    out = result.table["v"].to_pylist()
    assert all(value is None for value, bad in zip(out, failed, strict=True) if bad)
    return ["!" if bad else value for value, bad in zip(out, failed, strict=True)]


LONG_MAX = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("7", dt.LONG, 7),
        ("-007", dt.LONG, -7),
        (str(LONG_MAX), dt.LONG, LONG_MAX),
        (str(-LONG_MAX - 1), dt.LONG, -LONG_MAX - 1),
        (str(LONG_MAX + 1), dt.LONG, "!"),
        ("9" * 90, dt.LONG, "!"),
        ("0" * 90 + "1", dt.LONG, 1),
        ("127", dt.BYTE, 127),
        ("128", dt.BYTE, "!"),
        *((text, dt.LONG, "!") for text in ("", " 1", "1 ", "+1", "1.0", "1e3", "0x1F", "one", "١", "1_000")),
        ("1.5", dt.Decimal(5, 2), Decimal("1.50")),
        ("-999.99000", dt.Decimal(5, 2), Decimal("-999.99")),
        ("1000", dt.Decimal(5, 2), "!"),
        ("1.005", dt.Decimal(5, 2), "!"),
        ("9" * 38, dt.Decimal(38, 0), Decimal("9" * 38)),
        ("0." + "9" * 38, dt.Decimal(38, 38), Decimal("0." + "9" * 38)),
        *((text, dt.Decimal(5, 2), "!") for text in ("1e2", ".5", "5.", "NaN", "1,5", "")),
        ("0.1", dt.DOUBLE, 0.1),
        ("-1.5e-7", dt.DOUBLE, -1.5e-7),
        ("Infinity", dt.DOUBLE, math.inf),
        ("-Infinity", dt.FLOAT, -math.inf),
        ("1e38", dt.FLOAT, float(np.float32(1e38))),
        ("1e39", dt.FLOAT, "!"),
        ("1e999", dt.DOUBLE, "!"),
        *((text, dt.DOUBLE, "!") for text in ("inf", "nan", "1.", "0x1p3", "")),
        ("true", dt.BOOLEAN, True),
        ("false", dt.BOOLEAN, False),
        *((text, dt.BOOLEAN, "!") for text in ("True", "t", "1", "")),
        ("2024-02-29", dt.DATE, datetime.date(2024, 2, 29)),
        ("0001-01-01", dt.DATE, datetime.date(1, 1, 1)),
        ("9999-12-31", dt.DATE, datetime.date(9999, 12, 31)),
        *((text, dt.DATE, "!") for text in ("2023-02-29", "2026-2-1", "0000-01-01", "2026-13-01", "20260101")),
    ],
)
def test_strings_are_read_strictly(text: str, target: dt.DataType, expected: Any) -> None:
    assert cast_of([text, None], dt.STRING, target) == [expected, None]


UTC_NOON = datetime.datetime(2026, 11, 1, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01T12:00:00Z", UTC_NOON),
        ("2026-11-01 12:00:00+00", UTC_NOON),
        ("2026-11-01T17:30:00+05:30", UTC_NOON),
        ("2026-11-01T04:00:00-0800", UTC_NOON),
        ("2026-11-01T12:00:00.5Z", UTC_NOON + datetime.timedelta(milliseconds=500)),
        ("2026-11-01T12:00:00.000001000Z", UTC_NOON + datetime.timedelta(microseconds=1)),
        ("2026-11-01T12:00:00.0000001Z", "!"),
        ("2026-11-01T12:00:00", "!"),
        ("2026-11-01T24:00:00Z", "!"),
        ("2026-11-01T12:60:00Z", "!"),
        ("2026-02-30T12:00:00Z", "!"),
        ("2026-11-01T12:00:00+19:00", "!"),
        ("2026-11-01", "!"),
        ("", "!"),
    ],
)
def test_moments_need_a_zone(text: str, expected: Any) -> None:
    assert cast_of([text, None], dt.STRING, dt.TIMESTAMP) == [expected, None]


@pytest.mark.slow
@given(st.datetimes(min_value=datetime.datetime(1, 1, 2), max_value=datetime.datetime(9999, 12, 30)))
def test_every_moment_survives_its_iso_text(moment: datetime.datetime) -> None:
    assert cast_of([moment.isoformat()], dt.STRING, dt.TIMESTAMP_NTZ) == [moment]
    aware = moment.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-3, minutes=-30)))
    assert cast_of([aware.isoformat(" ")], dt.STRING, dt.TIMESTAMP) == [aware]
    assert cast_of([moment.isoformat() + "Z"], dt.STRING, dt.TIMESTAMP_NTZ) == ["!"]


@pytest.mark.parametrize(
    ("source", "target", "values", "expected"),
    [
        (dt.LONG, dt.BYTE, [127, -128, 128, -129, None], [127, -128, "!", "!", None]),
        (dt.LONG, dt.DOUBLE, [2**53, 2**53 + 1, LONG_MAX, -(2**63)], [2.0**53, "!", "!", -(2.0**63)]),
        (dt.INTEGER, dt.FLOAT, [16777216, 16777217], [16777216.0, "!"]),
        (dt.LONG, dt.Decimal(5, 2), [999, -999, 1000], [Decimal(999), Decimal(-999), "!"]),
        (dt.DOUBLE, dt.LONG, [1.0, -0.0, 1.5, math.nan, math.inf, 2.0**63], [1, 0, "!", "!", "!", "!"]),
        (dt.FLOAT, dt.BYTE, [127.0, 128.0], [127, "!"]),
        (dt.DOUBLE, dt.FLOAT, [0.5, 0.1, 1e300, math.inf], [0.5, "!", "!", math.inf]),
        (dt.Decimal(5, 2), dt.BYTE, [Decimal("100.00"), Decimal("1.50"), Decimal("200")], [100, "!", "!"]),
        (dt.Decimal(38, 0), dt.LONG, [Decimal(LONG_MAX), Decimal(LONG_MAX + 1)], [LONG_MAX, "!"]),
        (
            dt.Decimal(5, 2),
            dt.Decimal(3, 1),
            [Decimal("1.50"), Decimal("1.55"), 100],
            [Decimal("1.5"), "!", "!"],
        ),
        (
            dt.DOUBLE,
            dt.Decimal(10, 2),
            [19.99, 0.1, 0.125, -0.0, 1e8, 12345678.91, math.nan, math.inf, 1e300, 1e-7],
            [Decimal("19.99"), Decimal("0.10"), "!", 0, "!", Decimal("12345678.91"), "!", "!", "!", "!"],
        ),
        (dt.DOUBLE, dt.Decimal(38, 10), [1e20, 1e-7], [Decimal("1e20"), Decimal("1e-7")]),
        (dt.FLOAT, dt.Decimal(5, 2), [0.1, 19.99], [Decimal("0.10"), Decimal("19.99")]),
        (dt.LONG, dt.STRING, [-1, None], ["-1", None]),
        (dt.BOOLEAN, dt.STRING, [True, False], ["true", "false"]),
        (dt.Decimal(5, 2), dt.STRING, [Decimal("1.5"), Decimal("-0.05"), 0], ["1.50", "-0.05", "0.00"]),
        (dt.Decimal(38, 38), dt.STRING, [Decimal("1E-38")], ["0." + "0" * 37 + "1"]),
    ],
)
def test_numbers_change_only_if_they_fit(
    source: dt.DataType, target: dt.DataType, values: list[Any], expected: list[Any]
) -> None:
    assert cast_of(values, source, target) == expected


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (dt.DOUBLE, dt.STRING),
        (dt.Decimal(10, 2), dt.DOUBLE),
        (dt.DATE, dt.STRING),
        (dt.STRING, dt.BINARY),
        (dt.BOOLEAN, dt.LONG),
        (dt.LONG, dt.TIMESTAMP),
        (dt.TIMESTAMP, dt.DATE),
        (dt.DATE, dt.TIMESTAMP_NTZ),
    ],
)
def test_casts_that_are_not_offered(source: dt.DataType, target: dt.DataType) -> None:
    assert differences(one(source).to_arrow(), one(target), rules=CAST).wrong_type


@pytest.mark.slow
@given(strategies.decimals.flatmap(lambda t: st.tuples(st.just(t), st.lists(strategies.values(t), max_size=5))))
def test_decimals_survive_their_text(case: tuple[dt.Decimal, list[Decimal]]) -> None:
    type_, values = case
    texts = cast_of([*values], type_, dt.STRING)
    assert texts == [f"{value:f}" for value in values]
    assert cast_of(texts, dt.STRING, type_) == values


def test_casts_inside_nested_values_fail_the_row() -> None:
    arrow = pa.list_(pa.struct([("x", pa.string()), ("y", pa.float32())]))
    rows = [[{"x": "1", "y": 0.5}], None, [], [{"x": "2", "y": None}, {"x": "two", "y": None}], [None]]
    result = conform(pa.table({"v": pa.array(rows, arrow)}), one(dt.Array(POINT)), rules=CAST)
    assert result.failed["v"].tolist() == [False, False, False, True, False]
    assert result.table["v"].to_pylist()[:3] == [[{"x": 1, "y": 0.5}], None, []]


def test_a_map_whose_key_fails_is_null() -> None:
    rows = [[("1", "2")], [("x", "2")], None, [("1", "y")]]
    table = pa.table({"v": pa.array(rows, pa.map_(pa.string(), pa.string()))})
    result = conform(table, one(dt.Map(dt.LONG, dt.LONG)), rules=CAST)
    result.table.validate(full=True)
    assert result.failed["v"].tolist() == [False, True, False, True]
    assert result.table["v"].to_pylist() == [[(1, 2)], None, None, None]


def test_what_lies_below_a_null_does_not_fail() -> None:
    child = pa.array(["1", "x"])
    struct = pa.StructArray.from_arrays([child], names=["a"], mask=pa.array([False, True]))
    expected = dt.Struct((dt.Field("a", dt.LONG),))
    result = conform(pa.table({"v": struct}), one(expected), rules=CAST)
    assert not result.failed
    assert result.table["v"].to_pylist() == [{"a": 1}, None]
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), child, mask=pa.array([False, True]))
    result = conform(pa.table({"v": lists}), one(dt.Array(dt.LONG)), rules=CAST)
    assert not result.failed
    assert result.table["v"].to_pylist() == [[1], None]


def at(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts)  # type: ignore[arg-type, misc]


def test_midnight_is_a_date_and_no_other_time_is() -> None:
    times = [at(2026, 11, 1), at(2026, 11, 1, 0, 0, 0, 1), at(1, 1, 1), at(1969, 12, 31), at(1969, 12, 31, 23), None]
    days = [datetime.date(2026, 11, 1), "!", datetime.date(1, 1, 1), datetime.date(1969, 12, 31), "!", None]
    assert cast_of(times, dt.TIMESTAMP_NTZ, dt.DATE) == days


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=4))
def test_decimals_of_fifteen_digits_survive_as_doubles(value: Decimal) -> None:
    assert cast_of([float(value)], dt.DOUBLE, dt.Decimal(14, 4)) == [value]


LISBON = CastRules(time_zone="Europe/Lisbon")


def test_times_without_a_zone_get_the_one_that_is_named() -> None:
    times = [at(2026, 7, 1, 12), at(2026, 10, 25, 1, 30), at(2026, 3, 29, 1, 30), None, at(2026, 1, 1)]
    table = pa.table({"v": pa.array(times, pa.timestamp("ns"))})
    error = differences(table.schema, one(dt.TIMESTAMP))
    assert error.zoneless == ("v",)
    with pytest.raises(SchemaMismatchError, match=r"'v' have no time zone, .* by time_zone"):
        error.raise_if_any()
    result = conform(table, one(dt.TIMESTAMP), rules=LISBON)
    # 01:30 is there twice on the last Sunday of October, and not at all on that of March.
    assert result.failed["v"].tolist() == [False, True, True, False, False]
    utc = datetime.UTC
    assert result.table["v"].to_pylist() == [
        at(2026, 7, 1, 11).replace(tzinfo=utc), None, None, None, at(2026, 1, 1).replace(tzinfo=utc)
    ]  # fmt: skip
    # Times that have a zone keep theirs.
    aware = pa.table({"v": pa.array([at(2026, 7, 1, 12).replace(tzinfo=utc)], pa.timestamp("s", "Asia/Tokyo"))})
    assert conform(aware, one(dt.TIMESTAMP), rules=LISBON).table["v"].to_pylist() == [
        at(2026, 7, 1, 12).replace(tzinfo=utc)
    ]


def test_texts_without_a_zone_get_the_one_that_is_named_too() -> None:
    texts = ["2026-07-01 12:00:00", "2026-07-01T12:00:00.5Z", "2026-10-25 01:30:00", "noon", None]
    table = pa.table({"v": texts})
    assert conform(table, one(dt.TIMESTAMP), rules=CAST).failed["v"].tolist() == [True, False, True, True, False]
    result = conform(table, one(dt.TIMESTAMP), rules=CastRules(cast=True, time_zone="Europe/Lisbon"))
    assert result.failed["v"].tolist() == [False, False, True, True, False]
    assert [value and value.isoformat() for value in result.table["v"].to_pylist()[:2]] == [
        "2026-07-01T11:00:00+00:00",
        "2026-07-01T12:00:00.500000+00:00",
    ]


@pytest.mark.parametrize(
    ("name", "known"), [("UTC", True), ("+02:00", True), ("Asia/Tokyo", True), ("Nowhere/X", False)]
)
def test_names_of_zones(name: str, known: bool) -> None:
    if known:
        assert cast_rules(False, name).time_zone == name
        return
    with pytest.raises(OptionError) as caught:
        cast_rules(False, name)
    assert caught.value.option == "time_zone"


def test_times_within_nested_values_get_the_zone() -> None:
    lists = pa.table({"v": pa.array([[at(2026, 7, 1, 12)], [at(2026, 3, 29, 1, 30)]], pa.list_(pa.timestamp("us")))})
    result = conform(lists, one(dt.Array(dt.TIMESTAMP)), rules=LISBON)
    assert result.failed["v"].tolist() == [False, True]
