"""Values as JSON and back: exact for every type."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given

from andes_spark.cli.plain import plain, to_json
from andes_spark.errors import SchemaMismatchError
from andes_spark.inputs.json_lines import parsed
from andes_spark.model.manifest import Counts
from andes_spark.model.mod import BatchId, Op
from andes_spark.schema.schema import Schema

UTC = datetime.UTC
EVERY = Schema.from_ddl(
    "l BIGINT, d DECIMAL(38, 10), f DOUBLE, b BOOLEAN, s STRING, x BINARY, t TIMESTAMP, n TIMESTAMP_NTZ, day DATE, "
    "a ARRAY<DECIMAL(5, 2)>, m MAP<DATE, BINARY>, st STRUCT<a: INT, b: ARRAY<STRING>>"
).to_arrow()
ROW = {
    "l": -(2**63),
    "d": Decimal("-1234567890123456789012345678.0000000001"),
    "f": 0.1,
    "b": True,
    "s": 'a "b"\n\u2028 \U0001f600',
    "x": b"\x00\xff",
    "t": datetime.datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    "n": datetime.datetime(1, 1, 1),
    "day": datetime.date(9999, 12, 31),
    "a": [Decimal("1.50"), None],
    "m": [(datetime.date(2026, 1, 1), b"z")],
    "st": {"a": None, "b": []},
}


def there_and_back(value, type_):
    return parsed(json.loads(to_json(value), parse_float=Decimal), type_)


def test_every_type_comes_back():
    for name, value in ROW.items():
        assert there_and_back(value, EVERY.field(name).type) == value
        assert there_and_back(None, EVERY.field(name).type) is None


def test_how_values_look():
    assert plain(ROW["d"]) == "-1234567890123456789012345678.0000000001"
    assert plain(Decimal("1E+3")) == "1000"
    assert plain(ROW["t"]) == "2026-01-02T03:04:05.000006Z"
    assert plain(ROW["n"]) == "0001-01-01T00:00:00"
    assert plain(ROW["x"]) == "AP8="
    assert [plain(value) for value in (float("nan"), float("inf"), float("-inf"))] == ["NaN", "Infinity", "-Infinity"]
    assert plain(ROW["m"]) == [["2026-01-01", "eg=="]]
    assert plain(Op.DELETE) == 1
    assert plain(BatchId("s", "1")) == {"source": "s", "id": "1"}
    assert plain(Counts(received=2)) == {"received": 2}
    assert plain(SchemaMismatchError("why")) == "why"


@given(...)
def test_doubles_come_back(value: float):
    decoded = there_and_back(value, pa.float64())
    assert decoded == value or (decoded != decoded and value != value)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("1e400", pa.float64()),
        ("1e39", pa.float32()),
        ('"1.5"', pa.float64()),
        ("1.5", pa.int64()),
        ("true", pa.int64()),
        ("1", pa.bool_()),
        ("1", pa.string()),
        ('"2026-01-01T00:00:00"', pa.timestamp("us", tz="UTC")),
        ('"2026-01-01T00:00:00Z"', pa.timestamp("us")),
        ('"2026-02-30"', pa.date32()),
        ('"?"', pa.binary()),
        ('{"a": 1}', pa.list_(pa.int64())),
        ('{"b": 1}', pa.struct([("a", pa.int64())])),
    ],
)
def test_what_is_no_value_of_the_type_is_refused(text, type_):
    with pytest.raises((ValueError, TypeError, ArithmeticError)):
        parsed(json.loads(text, parse_float=Decimal), type_)
