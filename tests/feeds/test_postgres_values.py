"""Types and printed values of PostgreSQL."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.errors import UnsupportedTableError
from andes_spark.feeds import postgres_values as values
from andes_spark.schema import schema as sc

INSTANT = pa.timestamp("us", "UTC")
LOCAL = pa.timestamp("us")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smallint", "short"),
        ("integer", "integer"),
        ("bigint", "long"),
        ("oid", "long"),
        ("real", "float"),
        ("double precision", "double"),
        ("boolean", "boolean"),
        ("bytea", "binary"),
        ("date", "date"),
        ("timestamp with time zone", "timestamp"),
        ("timestamp(0) with time zone", "timestamp"),
        ("timestamp without time zone", "timestamp_ntz"),
        ("timestamp(3) without time zone", "timestamp_ntz"),
        ("text", "string"),
        ("character varying(12)", "string"),
        ("uuid", "string"),
        ("jsonb", "string"),
        ("numeric(5,2)[]", "string"),
        ("timestamp with time zone[]", "string"),
        ("public.mood", "string"),
        ("interval", "string"),
    ],
)
def test_types(name, expected):
    assert values.column_type(name, column="c") == sc.Primitive(expected)


def test_numeric_is_a_decimal():
    assert values.column_type("numeric(18,4)", column="c") == sc.Decimal(18, 4)
    assert values.column_type("numeric(38,0)", column="c") == sc.Decimal(38, 0)


@pytest.mark.parametrize("name", ["numeric", "numeric(39,1)", "numeric(5,-2)", "numeric(2,5)"])
def test_a_numeric_that_no_decimal_holds_is_refused(name):
    with pytest.raises(UnsupportedTableError) as caught:
        values.column_type(name, column="price")
    assert (caught.value.feature, caught.value.column) == ("numeric", "price")


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        (pa.int16(), "-32768", -32768),
        (pa.int64(), "9223372036854775807", 2**63 - 1),
        (pa.float32(), "0.1", 0.10000000149011612),
        (pa.float64(), "1e+20", 1e20),
        (pa.float64(), "5e-324", 5e-324),
        (pa.decimal128(38, 18), "-1234567890.000000000000000001", Decimal("-1234567890.000000000000000001")),
        (pa.decimal128(18, 4), "7", Decimal("7.0000")),
        (pa.bool_(), True, True),
        (pa.string(), "", ""),
        (pa.binary(), "", b""),
        (pa.binary(), "00ff", b"\x00\xff"),
        (pa.date32(), "0001-01-01", date(1, 1, 1)),
        (LOCAL, "2026-11-01 10:20:30.1", datetime(2026, 11, 1, 10, 20, 30, 100000)),
        (INSTANT, "2026-11-01 10:20:30+01", datetime(2026, 11, 1, 9, 20, 30, tzinfo=UTC)),
        (INSTANT, "2026-11-01 10:20:30.000001-03:30", datetime(2026, 11, 1, 13, 50, 30, 1, tzinfo=UTC)),
        (INSTANT, "1890-01-01 00:00:00+00:53:28", datetime(1889, 12, 31, 23, 6, 32, tzinfo=UTC)),
    ],
)
def test_values(type_, text, expected):
    column = values.to_column([None, text], type_)
    assert column.type == type_
    assert column.to_pylist() == [None, expected]


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (pa.int32(), "2147483648"),
        (pa.int64(), "1.5"),
        (pa.int64(), ""),
        (pa.decimal128(18, 4), "1.00001"),
        (pa.decimal128(5, 2), "1000.00"),
        (pa.date32(), "infinity"),
        (pa.date32(), "0044-01-01 BC"),
        (INSTANT, "infinity"),
        (INSTANT, "-infinity"),
        (INSTANT, "0044-01-01 10:00:00+00:53:28 BC"),
        (INSTANT, "10000-01-01 00:00:00+00"),
        (INSTANT, "2026-11-01 10:20:30"),
        (LOCAL, "2026-11-01 10:20:30+01"),
        (pa.binary(), "\\303"),
        (pa.bool_(), "t"),
        (pa.string(), True),
        (pa.int64(), True),
    ],
)
def test_what_does_not_fit_is_found(type_, text):
    with pytest.raises((ValueError, TypeError)):
        values.to_column([None, text], type_)
    assert values.find_bad([None, None, text], type_) == 2
    assert values.find_bad([None], type_) is None


@given(st.lists(st.none() | st.decimals(-(10**14) + 1, 10**14 - 1, places=4, allow_nan=False), min_size=1))
def test_decimals_are_exact(numbers):
    printed = [None if number is None else format(number, "f") for number in numbers]
    assert values.to_column(printed, pa.decimal128(18, 4)).to_pylist() == numbers


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_are_exact(numbers):
    parsed = values.to_column([repr(number) for number in numbers], pa.float64()).to_pylist()
    assert parsed == numbers
    assert [math.copysign(1, number) for number in parsed] == [math.copysign(1, number) for number in numbers]


@given(st.lists(st.datetimes(), min_size=1))
def test_time_stamps_are_exact(moments):
    printed = [moment.isoformat(" ") for moment in moments]
    assert values.to_column(printed, LOCAL).to_pylist() == moments
    zoned = values.to_column([f"{text}+00" for text in printed], INSTANT).to_pylist()
    assert zoned == [moment.replace(tzinfo=UTC) for moment in moments]


@given(st.lists(st.binary(), min_size=1))
def test_bytes_are_exact(rows):
    assert values.to_column([row.hex() for row in rows], pa.binary()).to_pylist() == rows
