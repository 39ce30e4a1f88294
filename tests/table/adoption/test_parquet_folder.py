"""Folders of Parquet files become tables in place, or are refused by name and stay as they are."""

from __future__ import annotations

import datetime
import io
import itertools
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark.delta.log import load_state
from andes_spark.errors import (
    AndesError,
    BadModsError,
    DuplicateKeyError,
    FileDamagedError,
    OptionError,
    SchemaMismatchError,
    StorageError,
    TableExistsError,
    UnsupportedTableError,
)
from andes_spark.model.manifest import manifest_path
from andes_spark.schema.schema import Schema
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of
from tests.foreign_tables import NULL_FOLDER, parquet_bytes, write_folder
from tests.table.adoption.test_convert import KEYS, ROWS, SHOWN, by_delta_rs, contents, goes_on, refused, rows, shown
from tests.table.test_crashes import FailingStorage

UTC = datetime.UTC
ROW = pa.table({"id": [1], "seq": [1]})


def folder(**files: pa.Table | bytes) -> MemoryStorage:
    storage = MemoryStorage()
    for name, content in files.items():
        data = content if isinstance(content, bytes) else parquet_bytes(content, random.Random(1))
        storage.put(f"{name}.parquet", data)
    return storage


@pytest.mark.parametrize("seed", range(8))
def test_a_folder_is_taken_in(seed: int) -> None:
    storage, rnd = MemoryStorage(), random.Random(seed)
    partition_by = rnd.choice(((), ("p",)))
    write_folder(storage, ROWS, Schema.from_arrow(ROWS.schema), partition_by, rnd)  # type: ignore[arg-type]
    storage.put("_SUCCESS", b"")
    before = contents(storage)
    table = ModTable.convert(storage, partitions="p STRING" if partition_by else None, **KEYS)  # type: ignore[arg-type]
    assert {path: contents(storage)[path] for path in before} == before
    assert shown(table.to_arrow()) == SHOWN
    assert (load_state(storage).version, table.status().partition_by) == (0, partition_by)  # type: ignore[arg-type]
    goes_on(storage)


COLUMNS = (
    "id BIGINT, t TIMESTAMP, d DATE, m DECIMAL(20,2), b BINARY, s STRUCT<x: INT>, l ARRAY<STRING>, i TINYINT, "
    "f DOUBLE, o BOOLEAN"
)
MOMENT = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789)
RECORD = {
    "id": 1,
    "t": MOMENT.replace(tzinfo=UTC),
    "d": MOMENT.date(),
    "m": Decimal("-1.50"),
    "b": b"\0",
    "s": {"x": 3},
    "l": ["a", None],
    "i": -7,
    "f": -0.5,
    "o": True,
}


@pytest.mark.parametrize("seed", range(4))
def test_all_types_are_read_from_the_files_as_they_are(seed: int, tmp_path: Path) -> None:
    names = Schema.from_ddl(COLUMNS).to_arrow()
    nulls = {**dict.fromkeys(names.names), "id": 2}
    data = pa.Table.from_pylist([RECORD, nulls], schema=names)
    (tmp_path / "x.parquet").write_bytes(parquet_bytes(data, random.Random(seed)))
    table = ModTable.convert(tmp_path, primary_key="id")
    assert table.schema == Schema.from_ddl(COLUMNS).with_required(["id"])
    assert table.to_arrow().sort_by("id").to_pylist() == [RECORD, nulls]
    table.apply(data.slice(1), batch_id=("s", 1))
    assert table.verify().ok


def test_times_without_a_zone_are_moments_only_as_int96() -> None:
    times = pa.table({"id": [1], "n": pa.array([MOMENT], pa.timestamp("us"))})
    for int96, kind in ((False, "TIMESTAMP_NTZ"), (True, "TIMESTAMP")):
        data = _bytes_of(times, use_deprecated_int96_timestamps=int96)
        table = ModTable.convert(folder(x=data), primary_key="id")  # type: ignore[arg-type]
        assert table.schema.to_ddl() == f"id BIGINT NOT NULL, n {kind}"
        assert table.to_arrow()["n"].to_pylist() == [MOMENT.replace(tzinfo=UTC if int96 else None)]


def by_pandas(data: pa.Table, path: str) -> None:
    data.to_pandas().astype({"c": "category"}).to_parquet(path)


def by_polars(data: pa.Table, path: str) -> None:
    pl.DataFrame(data).with_columns(pl.col("c").cast(pl.Categorical)).write_parquet(path)


def by_duckdb(data: pa.Table, path: str) -> None:
    duckdb.from_arrow(data).write_parquet(path)


@pytest.mark.parametrize("write", [by_pandas, by_polars, by_duckdb])
def test_files_of_other_libraries_are_taken_in(write: Callable[[pa.Table, str], None], tmp_path: Path) -> None:
    fields = [
        ("id", pa.string()),
        ("seq", pa.decimal128(12, 2)),
        ("c", pa.string()),
        ("d", pa.date32()),
        ("l", pa.list_(pa.int64())),
    ]
    records = [
        (f"key {n % 3} {n:04d}", Decimal(n).scaleb(-2), "ab"[n % 2], MOMENT.date(), [n, None]) for n in range(500)
    ]
    schema = pa.schema(fields)
    data = pa.Table.from_pylist([dict(zip(schema.names, record, strict=True)) for record in records], schema=schema)
    if write is by_pandas:
        data = data.drop_columns(["l"])  # pandas makes numbers with NULLs floating-point
    for number in range(2):
        write(data.slice(250 * number, 250), str(tmp_path / f"{number}.parquet"))
    table = ModTable.convert(tmp_path, **KEYS)
    assert table.to_arrow().sort_by("id").to_pylist() == data.sort_by("id").to_pylist()
    changed = data.slice(100, 300).set_column(2, "c", [["z"] * 300])
    # pandas stores decimals with the digits that their values need.
    types = pa.schema([table.schema.to_arrow().field(name) for name in changed.column_names])
    merged = table.apply(changed.cast(types), batch_id=("s", 1)).merge
    assert merged is not None
    assert merged.updated == 300
    assert table.to_arrow(filter="c = 'z'").num_rows == 300
    checked = table.verify()
    assert checked.ok, checked.problems


def test_columns_that_some_files_lack_are_null() -> None:
    storage = folder(a=ROW, b=pa.table({"seq": [2], "id": [2], "v": ["x"]}))
    table = ModTable.convert(storage, **KEYS)  # type: ignore[arg-type]
    assert table.to_arrow().sort_by("id").to_pylist() == [
        {"id": 1, "seq": 1, "v": None},
        {"id": 2, "seq": 2, "v": "x"},
    ]


def _bytes_of(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


NS = pa.table({"id": [1], "seq": [1], "t": pa.array([1], pa.timestamp("ns"))})
NESTED = pa.table({"id": [1], "seq": [1], "s": pa.array([{"t": datetime.datetime(2024, 1, 1)}])})
REFUSED: dict[str, tuple[MemoryStorage, type[AndesError], str]] = {
    "nanoseconds": (folder(a=_bytes_of(NS)), UnsupportedTableError, r"'t' is of the type timestamp\[ns\]"),
    "unsigned": (folder(a=pa.table({"id": pa.array([1], pa.uint32()), "seq": [1]})), UnsupportedTableError, "uint32"),
    "void": (folder(a=pa.table({"id": [1], "seq": [1], "v": pa.nulls(1)})), UnsupportedTableError, "void|null"),
    "nested INT96": (
        folder(a=_bytes_of(NESTED, use_deprecated_int96_timestamps=True)),
        UnsupportedTableError,
        "nested INT96",
    ),
    "other types": (
        folder(a=ROW, b=pa.table({"id": ["1"], "seq": [1]})),
        SchemaMismatchError,
        "'id' is string in b.parquet, and bigint",
    ),
    "no Parquet": (folder(a=b"PAR1 no"), FileDamagedError, "a.parquet is no Parquet file"),
    "no partitions": (folder(**{"x/a": ROW}), OptionError, "no partition"),
    "partitions not said": (folder(**{"p=1/a": ROW}), OptionError, r'partitions="p STRING"'),
    "keys": (folder(a=ROW, b=ROW), DuplicateKeyError, "share the keys"),
    "nulls": (folder(a=pa.table({"id": [1], "seq": pa.array([None], pa.int64())})), BadModsError, "NULL in 'seq'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_does_not_fit_is_refused(name: str) -> None:
    storage, kind, match = REFUSED[name]
    refused(storage, kind, match)


@pytest.mark.parametrize(
    ("partitions", "match"),
    [
        ("p INT", "no int"),
        ("q STRING", "names the columns"),
        ("p STRING, q STRING", "names the columns"),
        ("p TIMESTAMP", "interpret differently"),
        ("p", "partitions|type|syntax|column"),
    ],
)
def test_partitions_that_do_not_fit_are_refused(partitions: str, match: str) -> None:
    refused(folder(**{"p=x/a": ROW}), OptionError, match, partitions=partitions)


def test_a_partition_column_in_the_files_is_refused() -> None:
    storage = folder(**{"id=1/a": ROW})
    refused(storage, UnsupportedTableError, "partition column 'id'", partitions="id BIGINT")


@pytest.mark.parametrize(
    "path", ["notes.txt", "_spark_metadata/0", ".hoodie/hoodie.properties", "metadata/v1.metadata.json"]
)
def test_files_of_other_kinds_are_refused(path: str) -> None:
    storage = folder(a=ROW)
    storage.put(path, b"x")
    error = refused(storage, TableExistsError, path.split("/")[0].replace(".", r"\."))
    assert error.paths == (path,)


@pytest.mark.parametrize(
    ("path", "named"),
    [(".hoodie/x", "the folder has a log of Hudi"), ("a/t/_andes/x", "the folder a/t in it has a log of andes_spark")],
)
def test_the_folder_with_another_log_is_named(path: str, named: str) -> None:
    storage = folder(z=ROW)
    storage.put(path, b"x")
    refused(storage, TableExistsError, named)


def test_values_of_partitions_have_their_types() -> None:
    other = pa.table({"id": [2], "seq": [1]})
    storage = folder(**{"d=2024-02-29/n=07/a": ROW, f"d={NULL_FOLDER}/n=8/b": other})
    table = ModTable.convert(storage, partitions="d DATE, n INT", **KEYS)  # type: ignore[arg-type]
    assert table.to_arrow(filter="n = 7").to_pylist() == [{"id": 1, "seq": 1, "d": datetime.date(2024, 2, 29), "n": 7}]
    assert table.to_arrow(filter="d IS NULL")["id"].to_pylist() == [2]
    table.apply(pa.table({"id": [1], "seq": [2], "d": [datetime.date(2024, 2, 29)], "n": pa.array([7], pa.int32())}))
    assert table.verify().ok


def test_create_names_convert() -> None:
    with pytest.raises(TableExistsError, match=r"take Parquet files in by ModTable.convert\(\)"):
        ModTable.create(folder(a=ROW), "id BIGINT", primary_key="id")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("happens", [False, True])
def test_an_interrupted_convert_of_a_folder_is_finished_by_the_same_call(happens: bool) -> None:
    begun = MemoryStorage()
    write_folder(begun, ROWS, Schema.from_arrow(ROWS.schema), ("p",), random.Random(3))  # type: ignore[arg-type]
    for left in itertools.count(1):
        storage = copy_of(begun)
        failing = FailingStorage(storage, left=left, happens=happens)
        try:
            ModTable.convert(failing, settings=Settings(commit_seconds=0), partitions="p STRING", **KEYS)
        except (StorageError, AndesError):
            assert failing.left <= 0
        if failing.left > 0:
            break
        if storage.size(manifest_path(0)) is None:
            ModTable.convert(storage, partitions="p STRING", **KEYS)  # type: ignore[arg-type]
        assert load_state(storage).version == 0  # type: ignore[arg-type]
        goes_on(storage)


def test_delta_reads_the_folder(tmp_path: Path) -> None:
    for name, part in (("x", ROWS.slice(0, 1)), ("y", ROWS.slice(1, 1))):
        (tmp_path / f"p={name}").mkdir()
        pq.write_table(part.drop_columns(["p"]), tmp_path / f"p={name}" / "part.parquet")
    table = ModTable.convert(tmp_path, partitions="p STRING", **KEYS)
    table.apply(rows((2, "B", 9, "z")))
    assert by_delta_rs(tmp_path) == {1: SHOWN[1], 2: ("B", 9, "z")}
    assert by_delta_rs(tmp_path, "WHERE p = 'x'") == {1: SHOWN[1]}
