"""The files of a table: field ids, sort order and partition columns are what they are said to be."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from andes_spark import ModTable, Settings
from andes_spark.storage.memory import MemoryStorage

SCHEMA = pa.schema(
    [
        ("note", pa.string()),
        ("tags", pa.map_(pa.string(), pa.list_(pa.int32()))),
        ("seq", pa.timestamp("us", "UTC")),
        ("name", pa.string()),
        ("number", pa.decimal128(12, 2)),
        ("part", pa.string()),
    ]
)


def rows(first: int, count: int) -> pa.Table:
    numbers = [(7 * n) % 1000 for n in range(first, first + count)]
    columns = {
        "note": [f"note {n}" for n in numbers],
        "tags": [[("a", [n])] for n in numbers],
        "seq": [1_700_000_000_000_000 + first] * count,
        "name": [f"\U00020bb7é{n % 10}" for n in numbers],
        "number": [Decimal(n) for n in numbers],
        "part": [None if n % 5 == 0 else f"p{n % 5}" for n in numbers],
    }
    return pa.table(columns, schema=SCHEMA)


@pytest.fixture(scope="module")
def storage() -> MemoryStorage:
    storage = MemoryStorage()
    table = ModTable.create(
        storage,
        SCHEMA,
        primary_key=["name", "number"],
        sequence_by=["seq"],
        partition_by=["part"],
        data=rows(0, 300),
        settings=Settings(compact_bytes=0),
    )
    table.apply(rows(250, 100))
    table.apply(rows(100, 40).select(["name", "number", "seq"]), apply_as_deletes="true")
    truncate = dict.fromkeys(SCHEMA.names) | {"seq": 5}
    table.apply(pa.Table.from_pylist([truncate], schema=SCHEMA), apply_as_truncates="true")
    return storage


def files(storage: MemoryStorage, kind: str) -> list[pq.ParquetFile]:
    paths = [info.path for info in storage.list() if info.path.startswith(kind) and info.path.endswith(".parquet")]
    assert paths
    return [pq.ParquetFile(pa.BufferReader(storage.get(path))) for path in paths]


@pytest.mark.parametrize("kind", ["part-", "_andes/mods", "_andes/tombstones"])
def test_rows_are_in_the_order_that_the_footer_tells(storage, kind):
    for file in files(storage, kind):
        table = file.read()
        names = [
            file.schema.column(sorting.column_index).path for sorting in file.metadata.row_group(0).sorting_columns
        ]
        assert names == (["name", "number", "seq"] if kind == "_andes/mods" else ["name", "number"])
        order = [(name, "ascending", "at_start") for name in names]
        positions = pc.sort_indices(table, sort_keys=order)
        assert table.take(positions).select(names) == table.select(names)


@pytest.mark.parametrize("kind", ["part-", "_andes/mods"])
def test_every_column_has_its_field_id_and_key_and_sequence_their_statistics(storage, kind):
    for file in files(storage, kind):
        schema = file.schema_arrow
        ids = {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in schema}
        expected = {"note": 1, "tags": 2, "seq": 6, "name": 7, "number": 8, "part": 9}
        assert ids == expected | ({"_andes_op": 2_000_000_001} if kind == "_andes/mods" else {})
        group = file.metadata.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
        narrow = [chunk for chunk in columns if chunk.path_in_schema in ("name", "number", "seq")]
        assert len(narrow) == 3
        assert all(
            chunk.statistics is not None and chunk.has_column_index and chunk.has_offset_index for chunk in narrow
        )


def test_partition_columns_are_in_the_files(storage):
    for file in files(storage, "part-"):
        assert len(set(file.read(columns=["part"])["part"].to_pylist())) == 1


def test_every_file_of_the_base_says_that_its_calendar_is_gregorian(storage: MemoryStorage) -> None:
    """Without this property Spark 3.5 refuses to read dates before 1582 and times before 1900."""
    properties = [file.metadata.metadata or {} for file in files(storage, "part-")]
    assert properties
    assert {file_properties.get(b"org.apache.spark.version") for file_properties in properties} == {b"3.5.0"}
