"""Rows as they come become rows of the table, or every difference is told."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.errors import SchemaMismatchError
from andes_spark.schema import arrow_types
from andes_spark.schema import types as dt
from andes_spark.schema.casts import CastRules
from andes_spark.schema.conforming import conform, nulls_in_required
from andes_spark.schema.differences import differences
from andes_spark.schema.schema import Schema
from tests.schema import strategies
from tests.schema.one_column import CAST, POINT, one


def conformed(values: Any, arrow: pa.DataType, target: dt.DataType, *, cast: bool = False) -> list[Any]:
    """Values of the one column after conforming; they must all have fitted, in any cut of the input."""
    results: list[list[Any]] = []
    whole = pa.array(values, arrow)
    padded = pa.array([*values, *values, *values], arrow).slice(len(values), len(values))
    for column in (whole, padded, pa.chunked_array([whole.slice(0, 1), whole.slice(1)])):
        result = conform(pa.table({"v": column}), one(target), rules=CastRules(cast))
        result.table.validate(full=True)
        assert not result.failed
        assert result.table.schema.field("v").type == arrow_types.to_arrow(target)
        results.append(result.table["v"].to_pylist())
    assert repr(results[0]) == repr(results[1]) == repr(results[2])
    return results[0]


def refused(table: pa.Table, expected: Schema, **options: Any) -> SchemaMismatchError:
    with pytest.raises(SchemaMismatchError) as caught:
        conform(table, expected, **options)
    return caught.value


# ---- names


def test_all_differences_are_told_at_once() -> None:
    target = Schema((dt.Field("id", dt.LONG), dt.Field("a", dt.LONG), dt.Field("b", dt.STRING), dt.Field("c", POINT)))
    table = pa.table({"ID": [1], "a": ["x"], "c": [{"x": 1}], "extra": [1]})
    error = refused(table, target)
    assert error.missing == ("id", "b")
    assert error.extra == ("ID", "extra")
    assert error.wrong_type == {
        "a": ("string", "bigint"),
        "c": ("struct<x:bigint>", "struct<x:bigint,y:double>"),
    }
    for word in ("'id'", "'b'", "'ID'", "'extra'", "'a' is string, not bigint"):
        assert word in error.message


def test_a_column_given_twice() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["v", "v"])
    assert refused(table, one(dt.LONG)).duplicate == ("v",)


def test_columns_come_in_the_order_of_the_table() -> None:
    target = Schema((dt.Field("a", dt.LONG), dt.Field("b", dt.LONG)))
    assert conform(pa.table({"b": [2], "a": [1]}), target).table.to_pylist() == [{"a": 1, "b": 2}]


def test_partial_rows_may_lack_columns_but_not_required_ones() -> None:
    target = Schema((dt.Field("id", dt.LONG), dt.Field("lsn", dt.LONG), dt.Field("a", dt.LONG), dt.Field("b", dt.LONG)))
    table = pa.table({"b": [1], "id": [1]})
    error = refused(table, target, partial_ok=True, required=("id", "lsn"))
    assert error.missing == ("lsn",)
    result = conform(table, target, partial_ok=True, required=("id",))
    assert result.table.column_names == ["id", "b"]


def test_right_columns_are_not_copied() -> None:
    table = pa.table({"v": pa.array(["a", "b"])})
    column = conform(table, one(dt.STRING)).table["v"]
    assert column.chunk(0).buffers()[2].address == table["v"].chunk(0).buffers()[2].address


def test_no_rows() -> None:
    target = one(dt.Array(POINT))
    assert conform(pa.table({"v": pa.array([], pa.null())}), target).table.num_rows == 0
    assert conform(pa.table({"v": pa.chunked_array([], pa.large_list(pa.null()))}), target).table.num_rows == 0


# ---- types


@pytest.mark.parametrize("source", strategies.PRIMITIVES)
@pytest.mark.parametrize("target", strategies.PRIMITIVES)
def test_which_primitives_widen_by_themselves(source: dt.Primitive, target: dt.Primitive) -> None:
    wider = {
        "byte": {"short", "integer", "long", "double"},
        "short": {"integer", "long", "double"},
        "integer": {"long", "double"},
        "float": {"double"},
    }
    fits = not differences(one(source).to_arrow(), one(target))
    assert fits == (source == target or target.name in wider.get(source.name, set()))


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        (dt.BYTE, dt.Decimal(3, 0), True),
        (dt.BYTE, dt.Decimal(3, 1), False),
        (dt.SHORT, dt.Decimal(7, 2), True),
        (dt.INTEGER, dt.Decimal(11, 1), True),
        (dt.INTEGER, dt.Decimal(9, 0), False),
        (dt.LONG, dt.Decimal(19, 0), True),
        (dt.LONG, dt.Decimal(20, 2), False),
        (dt.Decimal(10, 2), dt.Decimal(12, 4), True),
        (dt.Decimal(10, 2), dt.Decimal(12, 5), False),
        (dt.Decimal(10, 2), dt.Decimal(38, 1), False),
        (dt.Decimal(10, 0), dt.LONG, False),
        (dt.Decimal(10, 2), dt.DOUBLE, False),
        (dt.DOUBLE, dt.Decimal(38, 10), False),
    ],
)
def test_which_decimals_widen_by_themselves(source: dt.DataType, target: dt.DataType, fits: bool) -> None:
    assert bool(differences(one(source).to_arrow(), one(target))) != fits
    if fits:
        assert conformed([1, None], arrow_types.to_arrow(source), target) == [1, None]


@pytest.mark.parametrize("arrow", [pa.float16(), pa.duration("s"), pa.time64("us")])
def test_types_without_a_counterpart_are_named(arrow: pa.DataType) -> None:
    error = refused(pa.table({"v": pa.array([], arrow)}), one(dt.LONG), rules=CAST)
    assert error.wrong_type == {"v": (str(arrow), "bigint")}


@pytest.mark.parametrize(
    ("arrow", "target", "values"),
    [
        (pa.large_string(), dt.STRING, ["é", None, ""]),
        (pa.string_view(), dt.STRING, ["a rather long string", None, "b"]),
        (pa.dictionary(pa.int8(), pa.string()), dt.STRING, ["a", None, "a"]),
        (pa.dictionary(pa.uint32(), pa.large_string()), dt.STRING, ["a", None, "b"]),
        (pa.dictionary(pa.int8(), pa.int16()), dt.LONG, [1, None, 1]),
        (pa.uint8(), dt.SHORT, [255, None]),
        (pa.uint8(), dt.BYTE, [127, None]),
        (pa.uint32(), dt.INTEGER, [2**31 - 1, None]),
        (pa.uint32(), dt.LONG, [2**32 - 1, None]),
        (pa.uint64(), dt.LONG, [2**63 - 1, None]),
        (pa.uint64(), dt.Decimal(20, 0), [Decimal(2**64 - 1), None]),
        (pa.large_binary(), dt.BINARY, [b"a", None, b""]),
        (pa.binary_view(), dt.BINARY, [b"a", None, b""]),
        (pa.binary(2), dt.BINARY, [b"ab", None, b"cd"]),
        (pa.decimal32(5, 2), dt.Decimal(5, 2), [Decimal("1.25"), None]),
        (pa.decimal256(5, 2), dt.Decimal(7, 3), [Decimal("1.25"), None]),
        (pa.date64(), dt.DATE, [datetime.date(2026, 11, 1), None]),
        (pa.null(), dt.Decimal(5, 2), [None, None]),
        (pa.null(), dt.Map(dt.STRING, POINT), [None, None]),
        (pa.list_(pa.int32()), dt.Array(dt.LONG), [[1], None, [], [2, None]]),
        (pa.large_list(pa.large_string()), dt.Array(dt.STRING), [["a"], None, [], ["b", None]]),
        (pa.list_view(pa.int64()), dt.Array(dt.LONG), [[1], None, [], [2, None]]),
        (pa.large_list_view(pa.int8()), dt.Array(dt.LONG, False), [[1], None, [], [2, 3]]),
        (pa.list_(pa.int64(), 2), dt.Array(dt.LONG), [[1, 2], None, [3, None]]),
        (pa.list_(pa.null()), dt.Array(POINT), [[None], None, []]),
        (pa.list_(pa.list_(pa.int8())), dt.Array(dt.Array(dt.DOUBLE)), [[[1], None], None, [[], [2.0]]]),
        (
            pa.map_(pa.large_string(), pa.list_(pa.int8())),
            dt.Map(dt.STRING, dt.Array(dt.LONG)),
            [[("a", [1]), ("b", None)], None, [], [("c", [])]],
        ),
    ],
    ids=str,
)
def test_other_encodings_of_the_same_values(arrow: pa.DataType, target: dt.DataType, values: list[Any]) -> None:
    assert conformed(values, arrow, target) == values


def test_struct_fields_are_matched_by_name_and_widened() -> None:
    arrow = pa.struct([("y", pa.float32()), ("x", pa.int32())])
    values = [{"y": 0.5, "x": 1}, None, {"y": None, "x": None}]
    assert conformed(values, arrow, POINT) == [{"x": 1, "y": 0.5}, None, {"x": None, "y": None}]
    for other in (pa.struct([("x", pa.int64())]), pa.struct([("x", pa.int64()), ("Y", pa.float64())])):
        assert "v" in refused(pa.table({"v": pa.array([], other)}), one(POINT), rules=CAST).fields["wrong_type"]


# ---- times


def test_timestamps_of_any_zone_and_unit_become_microseconds_of_utc() -> None:
    moment = datetime.datetime(2026, 11, 1, 10, 20, 30, tzinfo=datetime.UTC)
    for unit in ("s", "ms", "us", "ns"):
        for zone in ("UTC", "Europe/Berlin", "+05:30"):
            assert conformed([moment, None], pa.timestamp(unit, zone), dt.TIMESTAMP) == [moment, None]
        naive = moment.replace(tzinfo=None)
        assert conformed([naive, None], pa.timestamp(unit), dt.TIMESTAMP_NTZ) == [naive, None]


@pytest.mark.parametrize("cast", [False, True])
def test_moments_and_wall_clock_times_never_mix(cast: bool) -> None:
    aware, naive = pa.timestamp("us", "UTC"), pa.timestamp("us")
    assert refused(pa.table({"v": pa.array([], naive)}), one(dt.TIMESTAMP), rules=CastRules(cast)).wrong_type
    assert refused(pa.table({"v": pa.array([], aware)}), one(dt.TIMESTAMP_NTZ), rules=CastRules(cast)).wrong_type
    assert refused(pa.table({"v": pa.array([], pa.date32())}), one(dt.TIMESTAMP), rules=CastRules(cast)).wrong_type


@pytest.mark.parametrize("arrow", [pa.timestamp("ns", "UTC"), pa.timestamp("ns")])
def test_nanoseconds_that_would_be_lost(arrow: pa.DataType) -> None:
    target = one(dt.TIMESTAMP if arrow.tz else dt.TIMESTAMP_NTZ)
    table = pa.table({"v": pa.array([1000, 1001, None, 2002], arrow)})
    error = refused(table, target)
    assert "2 values that it cannot hold exactly" in error.message
    assert "row 1" in error.message
    result = conform(table, target, rules=CAST)
    assert result.failed["v"].tolist() == [False, True, False, True]
    assert result.table["v"].cast(pa.int64()).to_pylist() == [1, None, None, None]


def test_unsigned_numbers_that_are_too_large() -> None:
    table = pa.table({"v": pa.array([1, 2**63, None], pa.uint64())})
    assert "1 values that it cannot hold exactly (the first in row 1)" in refused(table, one(dt.LONG)).message
    result = conform(table, one(dt.LONG), rules=CAST)
    assert (result.failed["v"].tolist(), result.table["v"].to_pylist()) == ([False, True, False], [1, None, None])
    assert refused(table, one(dt.INTEGER)).wrong_type == {"v": ("decimal(20,0)", "int")}


def test_uuids_become_their_text() -> None:
    ids = [uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"), None]
    storage = pa.array([identifier and identifier.bytes for identifier in ids], pa.binary(16))
    table = pa.table({"v": pa.ExtensionArray.from_storage(pa.uuid(), storage)})
    assert conform(table, one(dt.STRING)).table["v"].to_pylist() == ["00112233-4455-6677-8899-aabbccddeeff", None]
    nested = pa.table({"v": pa.ListArray.from_arrays(pa.array([0, 2]), table["v"].combine_chunks())})
    assert conform(nested, one(dt.Array(dt.STRING))).table["v"].to_pylist() == [[str(ids[0]), None]]


def test_seconds_out_of_range_and_dates_with_a_time() -> None:
    table = pa.table({"v": pa.array([0, 2**60], pa.timestamp("s"))})
    assert conform(table, one(dt.TIMESTAMP_NTZ), rules=CAST).failed["v"].tolist() == [False, True]
    table = pa.table({"v": pa.array([86_400_000, 1], pa.date64())})
    assert refused(table, one(dt.DATE)).wrong_type


# ---- properties


@pytest.mark.slow
@given(strategies.schemas.flatmap(lambda s: st.tuples(st.just(s), strategies.tables(s))))
def test_rows_of_the_table_itself_are_unchanged(case: tuple[Schema, pa.Table]) -> None:
    schema, table = case
    result = conform(table, schema)
    assert result.table.schema.equals(schema.to_arrow())
    assert repr(result.table.to_pylist()) == repr(table.to_pylist())
    assert not result.failed
    assert nulls_in_required(result.table, schema) == {}


def loosened(type_: pa.DataType) -> pa.DataType:
    """The same values in other encodings, as polars hands them over."""
    if pa.types.is_string(type_):
        return pa.large_string()
    if pa.types.is_binary(type_):
        return pa.large_binary()
    if pa.types.is_timestamp(type_) and type_.tz:
        return pa.timestamp("us", "Asia/Kathmandu")
    if pa.types.is_list(type_):
        return pa.large_list(loosened(type_.value_type))
    if pa.types.is_map(type_):
        return pa.map_(loosened(type_.key_type), loosened(type_.item_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, loosened(field.type)) for field in type_])
    return type_


@pytest.mark.slow
@given(strategies.schemas.flatmap(lambda s: st.tuples(st.just(s), strategies.tables(s))))
def test_other_encodings_of_any_rows_come_back(case: tuple[Schema, pa.Table]) -> None:
    schema, table = case
    loose = pa.schema([(field.name, loosened(field.type)) for field in table.schema])
    given_table = pa.Table.from_arrays([table[i].cast(f.type) for i, f in enumerate(loose)], schema=loose)
    result = conform(given_table, schema)
    result.table.validate(full=True)
    assert repr(result.table.to_pylist()) == repr(table.to_pylist())


# ---- NULLs


def test_nulls_where_none_may_be() -> None:
    schema = Schema(
        (
            dt.Field("id", dt.LONG, False),
            dt.Field("free", dt.LONG),
            dt.Field("list", dt.Array(dt.LONG, False)),
            dt.Field("map", dt.Map(dt.STRING, dt.Struct((dt.Field("a", dt.LONG, False),)))),
        )
    )
    rows: list[dict[str, Any]] = [
        {"id": 1, "free": None, "list": [1], "map": [("k", None)]},
        {"id": None, "free": 1, "list": None, "map": None},
        {"id": 3, "free": 1, "list": [1, None], "map": []},
        {"id": 4, "free": 1, "list": [], "map": [("k", {"a": 1}), ("l", {"a": None})]},
    ]
    given_schema = Schema(tuple(dt.Field(f.name, f.type) for f in schema)).to_arrow()
    table = pa.table({n: pa.array([r[n] for r in rows], given_schema.field(n).type) for n in schema.names})
    masks = nulls_in_required(conform(table, schema).table, schema)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {
        "id": [1],
        "list": [2],
        "map": [3],
    }


def test_nulls_in_a_partial_table_and_over_chunks() -> None:
    schema = Schema((dt.Field("id", dt.LONG, False), dt.Field("v", dt.LONG, False)))
    table = pa.table({"v": pa.chunked_array([[1], [None], [2, None]])})
    assert nulls_in_required(table, schema)["v"].tolist() == [False, True, False, True]
