"""Bounds in Iceberg's encoding are read back by PyIceberg, and are never narrower than the values of a file."""

from __future__ import annotations

import datetime
import json
import math
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.conversions import from_bytes
from pyiceberg.table import StaticTable

from andes_spark import ModTable, Settings
from andes_spark.delta.data_file import FOOTER_TAG, DataFile
from andes_spark.delta.statistics import parse
from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import one_version
from andes_spark.sync.iceberg.avro import avro_name
from andes_spark.sync.iceberg.bounds import encoded_bound, file_metrics

UTC = datetime.UTC
MICROSECOND = datetime.timedelta(microseconds=1)


def micros(time: datetime.datetime) -> int:
    return (time - datetime.datetime(1970, 1, 1, tzinfo=time.tzinfo)) // MICROSECOND


COLUMNS: dict[str, tuple[str, list[Any]]] = {
    "tiny": ("TINYINT", [-128, 0, 127]),
    "small": ("SMALLINT", [-32768, 3]),
    "whole": ("INT", [-(2**31), 2**31 - 1]),
    "large": ("BIGINT", [-(2**63), 2**63 - 1]),
    "single": ("FLOAT", [-1.5, 0.10000000149011612]),
    "double": ("DOUBLE", [-0.1, 1e308]),
    "zero": ("DOUBLE", [0.0, -0.0]),
    "text": ("STRING", ["", "a", "z" * 40, "\U0010ffff" * 33, "é\ud7ff"]),
    "day": ("DATE", [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    "moment": (
        "TIMESTAMP",
        [
            datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
            datetime.datetime(2020, 1, 1, 0, 0, 0, 999, UTC),
        ],
    ),
    "local": ("TIMESTAMP_NTZ", [datetime.datetime(1900, 1, 1, 0, 0, 0, 1), datetime.datetime(2262, 1, 1)]),
    "price": ("DECIMAL(9,2)", [Decimal("-1.28"), Decimal("1.27"), Decimal("9999999.99")]),
    "total": ("DECIMAL(38,3)", [Decimal(f"-{'9' * 30}.999"), Decimal("0.000")]),
}


def plain(value: Any) -> Any:
    """Value as PyIceberg decodes bounds."""
    if isinstance(value, datetime.datetime):
        return micros(value)
    return value.toordinal() - datetime.date(1970, 1, 1).toordinal() if isinstance(value, datetime.date) else value


def test_bounds_hold_all_values_of_a_file(tmp_path: Path) -> None:
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    table = ModTable.create(
        str(tmp_path / "t"), f"id BIGINT, {columns}", primary_key="id",
        settings=Settings(threads=1),
    )  # fmt: skip
    count = max(len(values) for _, values in COLUMNS.values())
    data = {name: [*values, *[None] * (count - len(values))] for name, (_, values) in COLUMNS.items()}
    rows = {"id": list(range(count)), **data}
    table.apply(pa.table(rows, schema=table.schema.to_arrow()), at_least_once=True)
    shown = StaticTable.from_metadata(table.sync_iceberg().metadata)
    (task,) = shown.scan().plan_files()
    file, schema = task.file, shown.schema()
    assert file.record_count == count
    for name, (_, values) in COLUMNS.items():
        field = schema.find_field(name)
        lower = from_bytes(field.field_type, file.lower_bounds[field.field_id])
        assert lower <= min(map(plain, values)), name
        assert file.null_value_counts[field.field_id] == count - len(values)
        assert file.value_counts[field.field_id] == count
        # No text is above 33 times the greatest character.
        upper = file.upper_bounds.get(field.field_id)
        if name != "text":
            assert from_bytes(field.field_type, upper) >= max(map(plain, values)), name
    zero = schema.find_field("zero").field_id
    signs = [math.copysign(1, from_bytes(schema.find_type(zero), data[zero])) for data in bounds_of(file)]
    assert signs == [-1, 1]


def bounds_of(file: Any) -> tuple[dict[int, bytes], dict[int, bytes]]:
    return file.lower_bounds, file.upper_bounds


@pytest.mark.parametrize("footer", [None, "1-00000000"])
def test_fields_of_structs_and_files_of_others(footer: str | None) -> None:
    version = one_version(Schema.from_ddl("id BIGINT, s STRUCT<x: INT, l: ARRAY<INT>>, d DOUBLE")).current
    text = (
        '{"minValues": {"s": {"x": -1, "l": 5}, "d": 0.5}, "maxValues": {"s": {"x": 2}, "d": 1}, "nullCount": {"d": 3}}'
    )
    tags = {} if footer is None else {FOOTER_TAG: footer}
    file = DataFile.from_add({"path": "a", "size": 1, "partitionValues": {}, "stats": text, "tags": tags})
    metrics = {
        name: {pair["key"]: pair["value"] for pair in pairs} for name, pairs in file_metrics(file, version, 7).items()
    }
    # Writers that leave NaN out of a maximum are not trusted; only this library's files have a footer mark.
    upper = {3: struct.pack("<i", 2), **({} if footer is None else {6: struct.pack("<d", 1)})}
    assert metrics == {
        "value_counts": {6: 7},
        "null_value_counts": {6: 3},
        "lower_bounds": {3: struct.pack("<i", -1), 6: struct.pack("<d", 0.5)},
        "upper_bounds": upper,
    }


@pytest.mark.parametrize(
    ("kind", "text", "upper", "data"),
    [
        ("BIGINT", "1", False, b"\x01" + bytes(7)),
        ("SMALLINT", "-1", True, b"\xff\xff\xff\xff"),
        ("BOOLEAN", "true", True, b"\x01"),
        ("STRING", '"ab"', False, b"ab"),
        ("STRING", '"ab"', True, b"ac"),
        ("DECIMAL(9,2)", "1.27", True, b"\x7f"),
        ("DECIMAL(9,2)", "1.28", True, b"\x00\x80"),
        ("DECIMAL(9,2)", "-1.28", False, b"\x80"),
        ("DECIMAL(9,2)", "0", False, b"\x00"),
        ("DOUBLE", "0", True, bytes(8)),
        ("DOUBLE", "0.0", False, bytes(7) + b"\x80"),
        ("DATE", '"1970-01-02"', True, b"\x01\x00\x00\x00"),
        # What is unknown, malformed or out of range is left out.
        ("DOUBLE", '"NaN"', True, None),
        ("DOUBLE", '"Infinity"', True, None),
        ("FLOAT", "1e300", True, None),
        ("INT", str(2**31), True, None),
        ("BIGINT", '"x"', False, None),
        ("BOOLEAN", "1", False, None),
        ("BINARY", '"ab"', False, None),
        ("DECIMAL(3,0)", "1000", True, None),
        ("STRING", json.dumps("\U0010ffff"), True, None),
        ("STRING", "null", False, None),
    ],
)
def test_encodings(kind: str, text: str, upper: bool, data: bytes | None) -> None:
    value = parse('{"a": ' + text + "}")["a"]
    assert encoded_bound(value, Schema.from_ddl(f"a {kind}").field("a").type, upper=upper) == data


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a_1", "a_1"), ("1a", "_1a"), ("a-b", "a_x2Db"), ("é", "_xE9"), ("a.b c", "a_x2Eb_x20c"), ("_", "_")],
)
def test_names_of_avro(name: str, expected: str) -> None:
    assert avro_name(name) == expected
