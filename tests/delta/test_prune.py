"""Pruning: files without wanted keys go, a file that holds one never does."""

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

from andes_spark.delta import actions, partition_values, prune
from andes_spark.delta import statistics as stats
from andes_spark.delta.log import DataFile
from andes_spark.schema.schema import Schema

UTC = datetime.UTC
SCHEMA = Schema.from_ddl(
    "b TINYINT, l BIGINT, s STRING, dt DATE, ts TIMESTAMP, ntz TIMESTAMP_NTZ, d DECIMAL(9,2), "
    "dd DECIMAL(38,10), bin BINARY, bo BOOLEAN"
)
NAIVE = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "b": st.integers(-128, 127),
    "l": st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1)),
    "s": st.text(alphabet=st.sampled_from("ab\x7fé\U0001f600\U0010ffff"), min_size=1, max_size=40),
    "dt": st.dates(),
    "ts": NAIVE.map(lambda time: time.replace(tzinfo=UTC)),
    "ntz": NAIVE,
    "d": st.integers(-(10**9) + 1, 10**9 - 1).map(lambda n: Decimal(f"{n}E-2")),
    "dd": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}E-10")),
    "bin": st.binary(min_size=1, max_size=3),
    "bo": st.booleans(),
}
PARTITIONS = [name for name in VALUES if name != "bin"]


def arrow(name: str, values: list[Any]) -> pa.Array:
    return pa.array(values, SCHEMA.to_arrow().field(name).type)


def written(path: str, columns: dict[str, list[Any]], partition: str | None = None) -> DataFile:
    """A file with real footers, described as this library describes it."""
    table = pa.table({name: arrow(name, values) for name, values in columns.items()})
    values = {}
    if partition is not None:
        values[partition] = partition_values.partition_value(columns[partition][0], SCHEMA.field(partition).type)
        table = table.drop_columns([partition])
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=2)
    footer = pq.read_metadata(io.BytesIO(sink.getvalue()))
    action = actions.add(
        path,
        size=1,
        modified_ms=1,
        statistics=stats.statistics(footer, table.schema),
        partition_values=values,
    )
    return DataFile.from_add(action["add"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[dict[str, list[Any]]], list[str]]:
    names = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3, unique=True))
    rows = st.tuples(*(VALUES[name] for name in names))
    files = draw(st.lists(st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=4))
    columns = [{name: [row[i] for row in file] for i, name in enumerate(names)} for file in files]
    return columns, names


@given(tables(), st.data())
def test_a_file_that_holds_a_key_is_never_pruned(table, data):
    contents, names = table
    partition = data.draw(st.sampled_from([None, *(name for name in names if name in PARTITIONS)]))
    if partition is not None:
        if len(names) == 1:
            return
        for columns in contents:
            columns[partition] = [columns[partition][0]] * len(columns[partition])
    files = [written(f"f{i}", columns, partition) for i, columns in enumerate(contents)]
    held = [row for columns in contents for row in zip(*columns.values(), strict=True)]
    strangers = st.tuples(*(VALUES[name] for name in names))
    expected = data.draw(st.lists(st.one_of(st.sampled_from(held), strangers), min_size=1, max_size=6))
    keys = pa.table({name: arrow(name, [row[i] for row in expected]) for i, name in enumerate(names)})
    kept = {files[at].path for at in prune.candidates(files, SCHEMA, [partition] if partition else [], keys)}
    for file, columns in zip(files, contents, strict=True):
        if set(zip(*columns.values(), strict=True)) & set(expected):
            assert file.path in kept


def test_the_values_of_each_key_column_are_compared_one_by_one():
    files = [ranged("a", 0, 9, "b"), ranged("b", 20, 29, "b"), ranged("c", 40, 49, "b"), ranged("d", 12, 18, "b")]
    keys = {"l": [1, 2, 3], "b": [25, 5, 15]}
    assert paths(keys, files) == "abd"
    keys = {"l": [1, 2, 3], "b": [25, 5, 5]}
    assert paths(keys, files) == "ab"


def ranged(path: str, low: Any, high: Any, column: str = "l") -> DataFile:
    text = json.dumps({"numRecords": 1, "minValues": {column: low}, "maxValues": {column: high}})
    return DataFile.from_add({"path": path, "size": 1, "stats": text})


FILES = [
    ranged("a", 0, 9),
    ranged("b", 10, 19),
    ranged("c", 20, 29),
    DataFile.from_add({"path": "d", "size": 1}),
]


def paths(keys: dict[str, Any], files: list[DataFile] = FILES, partitions: list[str] | None = None) -> str:
    table = pa.table({name: arrow(name, values) for name, values in keys.items()})
    return "".join(files[at].path for at in prune.candidates(files, SCHEMA, partitions or [], table))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], ""),
        ([5], "ad"),
        ([25, 3], "acd"),
        ([9, 10], "abd"),
        ([-1], "d"),
        ([30, -1], "d"),
        ([2**63 - 1, -(2**63)], "d"),
        ([7, 7, 7], "ad"),
    ],
)
def test_ranges_between_keys_are_left_out(keys, expected):
    assert paths({"l": keys}) == expected


def test_one_sided_bounds():
    files = [ranged("a", None, 9), ranged("b", 10, None), ranged("c", None, None)]
    assert paths({"l": [3]}, files) == "ac"
    assert paths({"l": [30]}, files) == "bc"


def test_each_column_of_a_composite_key_must_overlap():
    text = '{"minValues":{"l":0,"s":"a"},"maxValues":{"l":9,"s":"f"}}'
    files = [DataFile.from_add({"path": "a", "size": 1, "stats": text})]
    assert paths({"l": [1], "s": ["c"]}, files) == "a"
    assert paths({"l": [1], "s": ["z"]}, files) == ""
    assert paths({"l": [11], "s": ["c"]}, files) == ""


def test_columns_without_an_order_keep_all():
    assert paths({"bin": [b"x"], "bo": [True]}) == "abcd"


def test_partition_values():
    files = [
        DataFile.from_add({"path": path, "size": 1, "partitionValues": {"ts": text}})
        for path, text in [
            ("a", "2024-01-01T00:00:00.000000Z"),
            ("b", "2024-01-02T00:00:00.000000Z"),
            ("c", "2024-01-02 00:00:00"),
            ("d", None),
            ("e", ""),
            ("f", "nonsense"),
        ]
    ]
    expected = [datetime.datetime(2024, 1, 2, tzinfo=UTC)]
    # Without a zone, null, empty and unreadable are unknown.
    assert paths({"ts": expected}, files, ["ts"]) == "bcdef"


def test_keys_in_other_encodings():
    column = pa.array(["b", "b", "a"]).dictionary_encode()
    files = [ranged("a", "a", "a", "s"), ranged("b", "c", "d", "s")]
    candidates = prune.candidates(files, SCHEMA, [], pa.table({"s": column}))
    assert candidates == [0]


def test_decimals_sliced_out_of_a_larger_column():
    column = pa.array([Decimal("1.00"), Decimal("5.00"), Decimal("-3.25")], pa.decimal128(9, 2))
    files = [ranged("a", -4, -3, "d"), ranged("b", 0, 2, "d"), ranged("c", 4, 6, "d")]
    table = pa.table({"d": pa.chunked_array([column.slice(1, 1), column.slice(2)])})
    assert prune.candidates(files, SCHEMA, [], table) == [0, 2]
