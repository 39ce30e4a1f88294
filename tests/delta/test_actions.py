"""Actions as Delta's log carries them; paths and partition values."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andes_spark.delta import actions, partition_values, paths
from andes_spark.delta.log import DataFile, create_entry, parse_commit
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import LogDamagedError, OptionError, UnsupportedTableError
from andes_spark.schema.schema import Schema
from andes_spark.storage.memory import MemoryStorage

UTC = datetime.UTC
VECTOR = VectorDescriptor("i", "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", None, 44, 6)


def type_of(ddl: str) -> Any:
    return Schema.from_ddl(f"c {ddl}").field("c").type


def file_of(**add: Any) -> DataFile:
    return DataFile.from_add({"path": "a%20b.parquet", "partitionValues": {"p": None}, "size": 9, **add})


def test_an_entry_is_created_once():
    storage = MemoryStorage()
    entry = [actions.txn("app", 1)]
    for later in (entry, [actions.txn("app", 2)]):
        stands = create_entry(storage, 7, later)
        assert stands is not None
        assert (stands.version, stands.txns) == (7, {"app": 1})
    assert storage.get("_delta_log/00000000000000000007.json") == b'{"txn":{"appId":"app","version":1}}\n'


def test_an_entry_has_one_action_a_line_whatever_it_says():
    odd = actions.commit_info("MERGE", timestamp_ms=5, commit_id="c\n\u2028", parameters={"a": ["x\r\n"], "b": "t"})
    storage = MemoryStorage()
    create_entry(storage, 1, [odd, actions.txn("é", 1)])
    data = storage.get(paths.entry_path(1))
    assert data.count(b"\n") == 2
    commit = parse_commit(1, data)
    assert commit.commit_id == "c\n\u2028"
    assert commit.txns == {"é": 1}
    assert odd["commitInfo"]["operationParameters"] == {"a": '["x\\r\\n"]', "b": "t"}
    assert odd["commitInfo"]["isBlindAppend"] is False


def test_an_add():
    value = actions.add(
        "p=1/a b%.parquet",
        size=3,
        modified_ms=4,
        statistics={"numRecords": 2, "minValues": {"d": Decimal("1.10")}},
        partition_values={"p": "1"},
    )["add"]
    assert value == {
        "path": "p=1/a%20b%25.parquet",
        "partitionValues": {"p": "1"},
        "size": 3,
        "modificationTime": 4,
        "dataChange": True,
        "stats": '{"numRecords":2,"minValues":{"d":1.10}}',
    }


def test_a_new_vector_keeps_the_rest():
    file = file_of(
        stats='{"numRecords":9,"minValues":{"d":1.10},"tightBounds":true}',
        tags={"t": "1"},
        modificationTime=1,
        dataChange=False,
        someday={"new": 1},
    )
    value = actions.add_with_vector(file, VECTOR)["add"]
    assert value == {
        **file.add,
        "dataChange": True,
        "stats": '{"numRecords":9,"minValues":{"d":1.10},"tightBounds":false}',
        "deletionVector": VECTOR.to_json(),
    }
    assert "deletionVector" not in file.add


def test_a_file_without_statistics_needs_its_number_of_rows():
    with pytest.raises(OptionError, match="numRecords"):
        actions.add_with_vector(file_of(), VECTOR)
    value = actions.add_with_vector(file_of(), VECTOR, num_records=8)["add"]
    assert json.loads(value["stats"]) == {"numRecords": 8, "tightBounds": False}


@pytest.mark.parametrize(
    ("rows", "footer", "old"),
    [(5, None, None), (9, 8, None), (9, None, {**VECTOR.to_json(), "cardinality": 7})],
)
def test_impossible_vectors_are_refused(rows, footer, old):
    file = file_of(stats=json.dumps({"numRecords": rows}), deletionVector=old)
    with pytest.raises(LogDamagedError) as failure:
        actions.add_with_vector(file, VECTOR, num_records=footer)
    assert failure.value.path == "a%20b.parquet"


def test_a_remove_names_the_file_with_its_vector():
    file = file_of(stats='{"numRecords":9}', tags={"t": "1"}, deletionVector=VECTOR.to_json(), modificationTime=3)
    assert actions.remove(file, timestamp_ms=5, data_change=False)["remove"] == {
        "path": "a%20b.parquet",
        "deletionTimestamp": 5,
        "dataChange": False,
        "extendedFileMetadata": True,
        "partitionValues": {"p": None},
        "size": 9,
        "stats": '{"numRecords":9}',
        "tags": {"t": "1"},
        "deletionVector": VECTOR.to_json(),
    }


def test_the_protocol_lists_what_delta_lists():
    assert actions.protocol(timestamp_ntz=True)["protocol"] == {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors", "timestampNtz"],
        "writerFeatures": ["deletionVectors", "timestampNtz", "appendOnly", "invariants"],
    }
    assert actions.protocol(deletion_vectors=False)["protocol"]["readerFeatures"] == []


SEGMENT = st.text(
    alphabet=st.characters(exclude_characters="/\\", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8
).filter(lambda text: text not in (".", ".."))


@given(st.lists(SEGMENT, min_size=1, max_size=3).map("/".join))
def test_paths_round_trip(path):
    encoded = paths.encode_path(path)
    assert not set(encoded) & set(' \xa0\u2028"<>\\^`{|}?#:')
    assert paths.decode_path(encoded) == path


def test_paths_are_encoded_as_java_does():
    # Delta's VACUUM compares texts: ``new URI(null, null, path, null).toString()`` in Java gives the right sides.
    for path, encoded in {
        "p=é%3A/x y.parquet": "p=é%253A/x%20y.parquet",
        "p=日本\U0001f600/a'(b)*!~;,&+$@.parquet": "p=日本\U0001f600/a'(b)*!~;,&+$@.parquet",
        "p=\xa0\u3000\u2028\x85/x": "p=%C2%A0%E3%80%80%E2%80%A8%C2%85/x",
        'p=`^|<>[]{}"/x': "p=%60%5E%7C%3C%3E%5B%5D%7B%7D%22/x",
    }.items():
        assert paths.encode_path(path) == encoded
        assert paths.decode_path(encoded) == path


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        ("p=a%20b%252F/x.parquet", "p=a b%2F/x.parquet"),
        ("ü/x+y.parquet", "ü/x+y.parquet"),
        ("./a.parquet", "a.parquet"),
        ("p=a:b/x", None),
        ("s3://bucket/x", None),
        ("/abs/x", None),
    ],
)
def test_paths_of_others(path, decoded):
    if decoded is not None:
        assert paths.decode_path(path) == decoded
        return
    with pytest.raises(UnsupportedTableError) as failure:
        paths.decode_path(path)
    assert failure.value.feature == "absolutePaths"


@pytest.mark.parametrize("path", ["", "../x", "a/%2E%2E/x", "%ff", "./"])
def test_paths_that_are_none(path):
    with pytest.raises(LogDamagedError):
        paths.decode_path(path)


@pytest.mark.parametrize(
    ("value", "ddl", "text"),
    [
        (None, "INT", None),
        (-7, "TINYINT", "-7"),
        (2**63 - 1, "BIGINT", "9223372036854775807"),
        (True, "BOOLEAN", "true"),
        ("a/é ", "STRING", "a/é "),
        (datetime.date(1, 1, 1), "DATE", "0001-01-01"),
        (datetime.datetime(1, 1, 1, tzinfo=UTC), "TIMESTAMP", "0001-01-01T00:00:00.000000Z"),
        (datetime.datetime(2024, 2, 29, 1, 2, 3, 4, UTC), "TIMESTAMP", "2024-02-29T01:02:03.000004Z"),
        (datetime.datetime(2024, 2, 29, 1, 2, 3, 4), "TIMESTAMP_NTZ", "2024-02-29 01:02:03.000004"),
        (datetime.datetime(2024, 2, 29), "TIMESTAMP_NTZ", "2024-02-29 00:00:00"),
        (Decimal("1.5"), "DECIMAL(10,2)", "1.50"),
        (Decimal("0E-10"), "DECIMAL(38,10)", "0.0000000000"),
        (
            Decimal("12345678901234567890123456789012345678"),
            "DECIMAL(38,0)",
            "1" + "2345678901" * 3 + "2345678",
        ),
        (0.1, "DOUBLE", "0.1"),
        (float("inf"), "FLOAT", "Infinity"),
        (float("-inf"), "FLOAT", "-Infinity"),
    ],
)
def test_partition_values_both_ways(value, ddl, text):
    assert partition_values.partition_value(value, type_of(ddl)) == text
    assert partition_values.parse_partition_value(text, type_of(ddl)) == value


def test_nan_as_a_partition_value():
    assert partition_values.partition_value(float("nan"), type_of("DOUBLE")) == "NaN"
    assert str(partition_values.parse_partition_value("NaN", type_of("DOUBLE"))) == "nan"


def test_a_timestamp_of_another_zone_is_written_in_utc():
    east = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    value = datetime.datetime(2024, 1, 1, tzinfo=east)
    assert partition_values.partition_value(value, type_of("TIMESTAMP")) == "2023-12-31T18:30:00.000000Z"


@pytest.mark.parametrize(
    ("text", "ddl", "value"),
    [
        ("", "STRING", None),
        ("", "INT", None),
        ("TRUE", "BOOLEAN", True),
        ("1.0E300", "DOUBLE", 1e300),
        ("2024-01-01 00:00:00.5", "TIMESTAMP_NTZ", datetime.datetime(2024, 1, 1, 0, 0, 0, 500000)),
        ("2024-01-01T02:00:00+02:00", "TIMESTAMP", datetime.datetime(2024, 1, 1, tzinfo=UTC)),
    ],
)
def test_partition_values_of_others(text, ddl, value):
    assert partition_values.parse_partition_value(text, type_of(ddl)) == value


@pytest.mark.parametrize(
    ("text", "ddl"),
    [("x", "INT"), ("x", "DATE"), ("1..2", "DECIMAL(9,2)"), ("yes", "BOOLEAN"), ("x", "DOUBLE")],
)
def test_partition_values_that_are_none(text, ddl):
    with pytest.raises(LogDamagedError):
        partition_values.parse_partition_value(text, type_of(ddl))


def test_a_timestamp_without_a_zone_is_refused():
    with pytest.raises(UnsupportedTableError, match="time zone"):
        partition_values.parse_partition_value("2024-01-01 00:00:00", type_of("TIMESTAMP"))


def test_an_empty_string_is_no_partition_value():
    with pytest.raises(OptionError, match="NULL"):
        partition_values.partition_value("", type_of("STRING"))


@pytest.mark.parametrize("ddl", ["BINARY", "ARRAY<INT>", "STRUCT<x: INT>"])
def test_types_that_cannot_partition(ddl):
    with pytest.raises(UnsupportedTableError):
        partition_values.partition_value(b"x", type_of(ddl))
    with pytest.raises(UnsupportedTableError):
        partition_values.parse_partition_value("x", type_of(ddl))
