"""After each kind of change, readers of Iceberg read the table's rows, now and at earlier snapshots."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import OptionError
from tests.iceberg_readers import READERS, assert_shown, by_duckdb, by_pyiceberg, sorted_rows

SETTINGS = Settings(threads=1, compact_bytes=0)
Row = tuple[int, int, str | None, str]


@pytest.fixture(params=[2, 3], ids=["format 2", "format 3"])
def format(request: pytest.FixtureRequest) -> int:
    """A version of Iceberg's specification."""
    version: int = request.param
    return version


def mods(*rows: Row) -> pa.Table:
    names = ("id", "lsn", "region", "op")
    kinds = (pa.int64(), pa.int64(), pa.string(), pa.string())
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)], names=names)


def made(path: Path, **options: Any) -> ModTable:
    arguments = {"primary_key": "id", "sequence_by": "lsn", "settings": SETTINGS, **options}
    return ModTable.create(str(path / "t"), "id BIGINT, lsn BIGINT, region STRING", **arguments)


def send(table: ModTable, lsn: int, *rows: tuple[int, str | None, str], **options: Any) -> None:
    batch = mods(*[(key, lsn, region, op) for key, region, op in rows])
    table.apply(batch, apply_as_deletes="op = 'D'", at_least_once=True, **options)


def upserts(first: int, last: int, region: str | None = "eu") -> list[tuple[int, str | None, str]]:
    return [(key, region, "U") for key in range(first, last)]


@pytest.mark.slow
@pytest.mark.parametrize("partition_by", [(), ("region",)], ids=["plain", "partitioned"])
@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "rewritten"])
def test_every_merge_and_every_earlier_snapshot(
    tmp_path: Path, format: int, partition_by: tuple[str, ...], vectors: bool
) -> None:
    table = made(tmp_path, partition_by=partition_by, deletion_vectors=vectors)
    steps: list[list[tuple[int, str | None, str]]] = [
        upserts(0, 50),
        [*upserts(50, 80, "us"), *upserts(80, 90, None)],
        upserts(10, 20, "us"),
        [(key, None, "D") for key in (0, 11, 49, 55, 1000)],
        [(0, "eu", "U"), (11, "é %/", "U"), (12, None, "D")],
    ]
    snapshots = {}
    for lsn, rows in enumerate(steps, start=1):
        send(table, lsn, *rows)
        result = table.sync_iceberg(format=format)
        assert (result.committed, result.applied, result.pending) == (True, lsn, 0)
        assert_shown(table, result.metadata)
        snapshots[result.applied] = result.snapshot_id
    for version, snapshot_id in snapshots.items():
        assert_shown(table, result.metadata, snapshot_id=snapshot_id, version=version)


def test_an_empty_table(tmp_path: Path, format: int) -> None:
    table = made(tmp_path)
    result = table.sync_iceberg(format=format)
    assert (result.applied, result.files_added) == (0, 0)
    assert_shown(table, result.metadata)


def test_a_compaction(tmp_path: Path, format: int) -> None:
    table = made(tmp_path)
    for lsn in range(1, 8):
        send(table, lsn, *upserts(lsn * 10, lsn * 10 + 15))
    before = table.sync_iceberg(format=format)
    table.compact()
    after = table.sync_iceberg(format=format)
    assert after.committed
    assert after.files_removed > after.files_added > 0
    assert_shown(table, after.metadata)
    assert_shown(table, after.metadata, snapshot_id=before.snapshot_id)


def test_a_restore_brings_deleted_rows_back(tmp_path: Path, format: int) -> None:
    table = made(tmp_path)
    send(table, 1, *upserts(0, 40))
    table.sync_iceberg(format=format)
    send(table, 2, *[(key, None, "D") for key in range(5, 30)], *upserts(30, 45, "us"))
    deleted = table.sync_iceberg(format=format)
    assert deleted.vectors
    table.restore(version=1)
    table.merge()
    restored = table.sync_iceberg(format=format)
    assert_shown(table, restored.metadata)
    assert table.to_arrow().num_rows == 40
    assert_shown(table, restored.metadata, snapshot_id=deleted.snapshot_id, version=2)


def test_a_truncate(tmp_path: Path, format: int) -> None:
    table = made(tmp_path)
    send(table, 1, *upserts(0, 40))
    table.sync_iceberg(format=format)
    table.apply(mods((0, 2, None, "T")), apply_as_truncates="op = 'T'", at_least_once=True)
    assert_shown(table, table.sync_iceberg(format=format).metadata)
    assert table.to_arrow().num_rows == 0


def test_added_widened_and_dropped_columns(tmp_path: Path, format: int) -> None:
    table = ModTable.create(
        str(tmp_path / "t"), "id BIGINT, lsn BIGINT, n INT, gone STRING", primary_key="id", sequence_by="lsn",
        settings=SETTINGS,
    )  # fmt: skip
    table.apply(pa.table({"id": [1, 2], "lsn": [1, 1], "n": pa.array([1, 2], pa.int32()), "gone": ["a", "b"]}))
    first = table.sync_iceberg(format=format)
    schema = table.schema.to_arrow()
    table.alter.add_column("note", "STRING", comment="free text")
    table.alter.widen("n", "BIGINT")
    table.alter.drop_column("gone")
    table.apply(pa.table({"id": [2, 3], "lsn": [2, 2], "n": [2**40, 3], "note": ["x", None]}))
    second = table.sync_iceberg(format=format)
    assert_shown(table, second.metadata)
    for reader in READERS.values():
        rows = reader(second.metadata, snapshot_id=first.snapshot_id)
        assert sorted_rows(rows, table, schema) == sorted_rows(table.to_arrow(version=1), table, schema)


def test_pending_mods_are_not_shown(tmp_path: Path) -> None:
    table = made(tmp_path)
    send(table, 1, *upserts(0, 5))
    send(table, 2, *upserts(5, 9), merge=False)
    result = table.sync_iceberg()
    assert (result.applied, result.pending) == (1, 1)
    assert by_pyiceberg(result.metadata).num_rows == 5
    assert "1 version not merged yet" in repr(result)
    table.merge()
    assert_shown(table, table.sync_iceberg().metadata)


TYPES = {
    "flag": ("BOOLEAN", [True, False, None]),
    "tiny": ("TINYINT", [-128, 127, None]),
    "small": ("SMALLINT", [-32768, 32767, None]),
    "whole": ("INT", [-(2**31), 2**31 - 1, None]),
    "large": ("BIGINT", [-(2**63), 2**63 - 1, None]),
    "single": ("FLOAT", [-0.0, 1.5, None]),
    "double": ("DOUBLE", [float("inf"), 0.1, None]),
    "text": ("STRING", ["", "é\U0001f600" * 30, None]),
    "bytes": ("BINARY", [b"", b"\x00\xff", None]),
    "day": ("DATE", [datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None]),
    "moment": (
        "TIMESTAMP",
        [
            datetime.datetime(1969, 12, 31, 23, 59, 59, 999999, datetime.UTC),
            datetime.datetime(2026, 1, 1, 1, 2, 3, 4, datetime.UTC),
            None,
        ],
    ),
    "local": ("TIMESTAMP_NTZ", [datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999), None]),
    "price": ("DECIMAL(9,2)", [Decimal("-9999999.99"), Decimal("0.01"), None]),
    "total": ("DECIMAL(38,10)", [Decimal(f"{'9' * 28}.{'9' * 10}"), Decimal("-0.0000000001"), None]),
    "list": ("ARRAY<STRUCT<a: INT, b: STRING>>", [[], [{"a": 1, "b": None}, None], [None]]),
    "pairs": ("MAP<STRING, ARRAY<BIGINT>>", [[], [("k", [1, None]), ("l", None)], None]),
    "nested": ("STRUCT<x: STRUCT<y: DATE, z: DECIMAL(5,1)>, w: BOOLEAN>", [
        {"x": {"y": datetime.date(2020, 2, 29), "z": Decimal("-1.5")}, "w": True}, {"x": None, "w": None}, None,
    ]),
}  # fmt: skip


def test_every_type(tmp_path: Path, format: int) -> None:
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
    table = ModTable.create(str(tmp_path / "t"), f"id BIGINT, {columns}", primary_key="id", settings=SETTINGS)
    arrow = table.schema.to_arrow()
    for number in (1, 2):
        values = {name: values for name, (_, values) in TYPES.items()}
        table.apply(pa.table({"id": [number, number + 1, number + 2], **values}, schema=arrow), at_least_once=True)
    assert_shown(table, table.sync_iceberg(format=format).metadata)


def test_a_null_list_of_structs_is_stored_as_null(tmp_path: Path) -> None:
    table = ModTable.create(str(tmp_path / "t"), "id BIGINT, l ARRAY<STRUCT<a: INT>>", primary_key="id")
    table.apply(pa.table({"id": [1, 2], "l": [None, []]}, schema=table.schema.to_arrow()), at_least_once=True)
    metadata = table.sync_iceberg().metadata
    assert sorted_rows(by_duckdb(metadata), table) == [{"id": 1, "l": None}, {"id": 2, "l": []}]
    # PyIceberg 0.12 builds lists of structs anew without their NULLs, whoever wrote the file.
    assert sorted_rows(by_pyiceberg(metadata), table)[0] == {"id": 1, "l": []}


@pytest.mark.parametrize("reader", READERS)
def test_a_part_that_is_never_null_of_a_column_that_may_be(tmp_path: Path, reader: str) -> None:
    columns = "id BIGINT, s STRUCT<a: INT NOT NULL, b: INT>, l ARRAY<STRUCT<c: INT NOT NULL>>"
    table = ModTable.create(str(tmp_path / "t"), columns, primary_key="id", settings=SETTINGS)
    rows = {"id": [1, 2], "s": [{"a": 1, "b": None}, None], "l": [[{"c": 1}], []]}
    table.apply(pa.table(rows, schema=table.schema.to_arrow()), at_least_once=True)
    metadata = table.sync_iceberg().metadata
    assert_shown(table, metadata)
    for condition, keys in (("s.a IS NULL", [2]), ("s.a IS NOT NULL", [1]), ("s.a = 1", [1])):
        assert READERS[reader](metadata, row_filter=condition)["id"].to_pylist() == keys


PARTITIONS: dict[str, list[Any]] = {
    "STRING": ["a b/é%=", "z", None],
    "INT": [-1, 7, None],
    "TINYINT": [-1, 7, None],
    "BOOLEAN": [True, False, None],
    "DATE": [datetime.date(1969, 12, 31), datetime.date(2020, 1, 1), None],
    "TIMESTAMP": [datetime.datetime(1969, 12, 31, 23, 59, 59, 5, datetime.UTC), None],
    "TIMESTAMP_NTZ": [datetime.datetime(2026, 3, 29, 2, 30, 0, 5), None],
    "DECIMAL(12,3)": [Decimal("-1.500"), Decimal("999999999.999"), None],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARTITIONS)
def test_partitions_of_every_type(tmp_path: Path, format: int, kind: str) -> None:
    values = PARTITIONS[kind]
    table = ModTable.create(
        str(tmp_path / "t"), f"id BIGINT, `1-é` {kind}", primary_key="id", partition_by="1-é", settings=SETTINGS
    )
    keys = list(range(len(values)))
    arrow = table.schema.to_arrow()
    table.apply(pa.table({"id": keys, "1-é": values}, schema=arrow), at_least_once=True)
    table.sync_iceberg(format=format)
    # The second synchronization writes entries anew that it read.
    table.apply(pa.table({"id": keys, "1-é": values[::-1]}, schema=arrow), at_least_once=True)
    assert_shown(table, table.sync_iceberg(format=format).metadata)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "condition", ["id < 12", "id = 57", "id >= 90", "region = 'us'", "region IS NULL", "price > 4.50", "price <= -3.25"]
)
def test_filters_skip_no_rows(tmp_path: Path, format: int, reader: str, condition: str) -> None:
    table = ModTable.create(
        str(tmp_path / "t"), "id BIGINT, region STRING, price DECIMAL(9,2)", primary_key="id", settings=SETTINGS
    )
    for start in (0, 30, 60):
        keys = list(range(start, start + 40))
        rows = {
            "id": keys,
            "region": [None if key % 7 == 0 else "eu" if key < 50 else "us" for key in keys],
            "price": [Decimal(key - 50).scaleb(-1) for key in keys],
        }
        table.apply(pa.table(rows, schema=table.schema.to_arrow()), at_least_once=True)
    rows = READERS[reader](table.sync_iceberg(format=format).metadata, row_filter=condition)
    expected = table.to_arrow(filter=condition)
    assert sorted_rows(rows, table) == sorted_rows(expected, table)


def test_the_folder_leads_duckdb_to_the_newest(tmp_path: Path) -> None:
    table = made(tmp_path)
    for lsn in (1, 2):
        send(table, lsn, *upserts(0, lsn * 10))
        table.sync_iceberg()
    rows = by_duckdb(f"{table.url}/_andes/iceberg")
    assert sorted_rows(rows, table) == sorted_rows(table.to_arrow(), table)


@pytest.mark.parametrize("other", [1, 4, "2", True])
def test_other_formats_are_refused(tmp_path: Path, other: Any) -> None:
    with pytest.raises(OptionError) as refusal:
        made(tmp_path).sync_iceberg(format=other)
    assert refusal.value.option == "format"
