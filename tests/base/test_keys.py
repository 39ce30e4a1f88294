"""Keys of base files kept between merges: never wrong, never above their limit, and not read twice."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap64

from andes_spark.base import keys as module
from andes_spark.base.files import TableShape
from andes_spark.base.keys import KeyCache, Keys
from andes_spark.delta import seal
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tapped import TappedStorage


def keys(count: int) -> Keys:
    return Keys(np.arange(count, dtype=np.int64), None)


def test_it_keeps_what_fits_and_forgets_only_files_that_are_gone() -> None:
    cache = KeyCache(2_000)
    cache.put("a", 0, keys(100))
    cache.put("a", 1, keys(100))
    cache.put("b", 0, keys(100))  # would be 2,400 bytes
    assert cache.find("a", 0) is not None
    assert cache.find("a", 1) is not None
    assert cache.find("b", 0) is None
    cache.put("a", 1, keys(100))
    cache.retain({"b"})
    assert cache.find("a", 0) is None
    cache.put("b", 0, keys(200))
    cache.put("b", 1, keys(50))
    assert cache.find("b", 0) is not None
    assert cache.find("b", 1) is not None
    cache.put("b", 2, keys(1))
    assert cache.find("b", 2) is None


def test_a_vector_is_kept_in_place_of_the_one_before_it_and_counts() -> None:
    cache = KeyCache(10_000)
    one, two, large = (VectorDescriptor("u", "x" * 20, at, n, 3) for at, n in ((1, 5_000), (5_100, 2_500), (1, 10_001)))
    cache.put_vector("a", one, BitMap64([1]))
    assert cache.find_vector("a", one) == BitMap64([1])
    assert cache.find_vector("a", two) is None
    cache.put_vector("b", one, BitMap64([1]))  # would be more than 12,000 bytes
    assert cache.find_vector("b", one) is None
    cache.put_vector("a", two, BitMap64([2]))
    assert cache.find_vector("a", one) is None
    assert cache.find_vector("a", two) == BitMap64([2])
    cache.put_vector("b", one, BitMap64([1]))
    assert cache.find_vector("b", one) is not None
    cache.put_vector("b", large, BitMap64([1]))
    assert cache.find_vector("b", one) is None
    cache.retain({"b"})
    assert cache.find_vector("a", two) is None
    cache.put_vector("b", one, BitMap64([1]))
    cache.put("b", 0, keys(300))
    assert cache.find("b", 0) is not None


def test_a_vector_counts_with_its_containers() -> None:
    scattered = BitMap64(range(0, 76 << 16, 1 << 16))
    cache = KeyCache(7_352)  # what was measured of such a vector
    cache.put_vector("a", VectorDescriptor("u", "x" * 20, 1, 671, 76), scattered)
    assert cache.find_vector("a", VectorDescriptor("u", "x" * 20, 1, 671, 76)) is None


def test_strings_count_with_what_they_take() -> None:
    frame = pl.DataFrame({"k": [f"{n}" * 50 for n in range(10, 60)]})
    assert Keys(None, frame).bytes >= 5_000


SCHEMAS: dict[str, tuple[str, list[str]]] = {
    "bigint": ("id bigint, lsn bigint, a string", ["id"]),
    "date": ("id date, lsn bigint, a string", ["id"]),
    "timestamp": ("id timestamp, lsn bigint, a string", ["id"]),
    "string": ("id string, lsn bigint, a string", ["id"]),
    "two": ("id bigint, b string, lsn bigint, a string", ["id", "b"]),
}


def batch(kind: str, numbers: range, lsn: int, schema: pa.Schema) -> pa.Table:
    columns: dict[str, Any] = {
        "id": [f"k{n:05d}" if kind == "string" else n for n in numbers],
        "lsn": [lsn] * len(numbers),
        "a": [f"{kind}-{lsn}"] * len(numbers),
        "b": [f"b{n % 3}" for n in numbers],
    }
    if kind == "date":
        columns["id"] = pa.array(columns["id"], pa.int32())
    return pa.table({name: pa.array(columns[name]).cast(schema.field(name).type) for name in schema.names})


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 3_000, 2**28])
@pytest.mark.parametrize("kind", list(SCHEMAS))
def test_merges_are_the_same_with_all_some_and_no_keys_kept(
    kind: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    true = module.keys_of

    def counted(data: pa.Table, shape: TableShape) -> Keys:
        reads.append(data.num_rows)
        return true(data, shape)

    monkeypatch.setattr(module, "keys_of", counted)
    ddl, primary_key = SCHEMAS[kind]
    settings = Settings(key_cache_bytes=limit, compact_bytes=0)
    storage = MemoryStorage()
    table = ModTable.create(storage, ddl, primary_key=primary_key, sequence_by=["lsn"], settings=settings)
    schema = table.schema.to_arrow()
    for lsn, numbers in enumerate((range(0, 500), range(200, 700), range(0, 700, 7), range(3, 700, 7)), start=1):
        reads.clear()
        table.apply(batch(kind, numbers, lsn, schema))
    # Files whose keys the merges before it read or wrote are met by the last merge, which keeps those that it writes.
    assert sum(reads) == {0: 1100, 3_000: sum(reads), 2**28: 100}[limit]
    expected = {n: 4 if n % 7 == 3 else 3 if n % 7 == 0 else 2 if n >= 200 else 1 for n in range(700)}
    sequences = table.to_arrow().sort_by("id")["lsn"].to_pylist()
    assert sequences == [expected[n] for n in range(700)]
    assert ModTable.open(storage).verify().ok


def test_keys_that_are_not_ascending_are_found_as_well() -> None:
    """Files of other writers, such as those of OPTIMIZE, need not be sorted."""
    storage = MemoryStorage()
    table = ModTable.create(
        storage, "id bigint, lsn bigint, a string", primary_key=["id"], sequence_by=["lsn"], settings=Settings()
    )
    table.apply(batch("bigint", range(100), 1, table.schema.to_arrow()))
    path = next(info.path for info in storage.list() if info.path.startswith("part-"))
    entry = f"_delta_log/{1:020d}.json"
    rows = pq.read_table(pa.BufferReader(storage.get(path)))
    sink = pa.BufferOutputStream()
    pq.write_table(rows.take(pa.array(np.random.default_rng(1).permutation(100))), sink)
    data = sink.getvalue().to_pybytes()
    text = re.sub(r'sha256":"\w+', f'sha256":"{seal.BLANK}', storage.get(entry).decode())
    size = len(storage.get(path))
    start = text.rindex('"tags"')
    text = text[: start - 1] + text[text.index("}", start) + 1 :]
    storage.put(entry, seal.sealed(1, text.replace(f'"size":{size}', f'"size":{len(data)}').encode()))
    storage.put(path, data)
    reopened = ModTable.open(storage)
    reopened.apply(batch("bigint", range(0, 100, 3), 2, table.schema.to_arrow()))
    reopened.apply(batch("bigint", range(1, 100, 3), 3, table.schema.to_arrow()))
    sequences = reopened.to_arrow().sort_by("id")["lsn"].to_pylist()
    assert sequences == [(2, 3, 1)[n % 3] for n in range(100)]


@pytest.mark.parametrize("limit", [0, 2**28])
def test_tombstone_files_are_read_once(limit: int) -> None:
    storage = MemoryStorage()
    tapped = TappedStorage(storage)
    settings = Settings(key_cache_bytes=limit)
    ModTable.create(storage, "id bigint, lsn bigint", primary_key=["id"], sequence_by=["lsn"], merge="manual")
    table = ModTable.open(tapped, settings=settings)  # type: ignore[arg-type]
    read: list[str] = []
    tapped.tap = lambda kind, path: read.append(path) if kind == "get" and "/tombstones/" in path else None
    for number in range(30):
        deletes = pa.table({"id": [number, 1_000], "lsn": [100 + number, 100 + number]})
        table.apply(deletes, apply_as_deletes="true", merge=True)
    # Each file in the merge after the one that wrote it, and once more when they are folded into one.
    assert len(read) <= 30 + 20 if limit else len(read) > 200
    late = pa.table({"id": range(30), "lsn": [101] * 30})
    result = table.apply(late, merge=True)
    assert result.merge is not None
    counts = result.merge.counts
    assert (counts.inserted, counts.late, counts.ties) == (1, 28, 1)
    assert table.to_arrow()["id"].to_pylist() == [0]
    assert ModTable.open(storage).verify().ok


@pytest.mark.parametrize("limit", [0, 2**28])
def test_files_whose_keys_are_kept_are_not_opened(limit: int) -> None:
    storage = MemoryStorage()
    tapped = TappedStorage(storage)
    ModTable.create(storage, "id bigint, lsn bigint", primary_key=["id"], sequence_by=["lsn"])
    settings = Settings(key_cache_bytes=limit, compact_bytes=0, threads=1)
    table = ModTable.open(tapped, settings=settings)  # type: ignore[arg-type]
    opened: list[str] = []
    tapped.tap = lambda kind, path: opened.append(path) if kind == "get" and path.startswith("part-") else None
    for lsn in range(1, 7):
        opened.clear()
        table.apply(pa.table({"id": [0, lsn, 100], "lsn": [lsn] * 3}))
    # Every file holds a key between 0 and 100.
    assert len(set(opened)) == (0 if limit else 5)
    assert table.to_arrow().sort_by("id").to_pylist() == [
        {"id": 0, "lsn": 6},
        *({"id": n, "lsn": n} for n in range(1, 7)),
        {"id": 100, "lsn": 6},
    ]


@pytest.mark.parametrize("limit", [0, 2**28])
def test_deletion_vectors_are_read_by_the_first_merge_only(limit: int) -> None:
    storage = MemoryStorage()
    tapped = TappedStorage(storage)
    data = pa.table({"id": range(1_000), "lsn": [0] * 1_000})
    first = ModTable.create(storage, "id bigint, lsn bigint", primary_key=["id"], sequence_by=["lsn"], data=data)
    first.apply(pa.table({"id": [1, 2], "lsn": [1, 1]}))
    settings = Settings(key_cache_bytes=limit, compact_bytes=0, threads=1)
    table = ModTable.open(tapped, settings=settings)  # type: ignore[arg-type]
    read: list[str] = []
    tapped.tap = lambda kind, path: read.append(path) if kind == "get" and path.startswith("deletion_") else None
    counts = []
    for lsn in range(2, 6):
        read.clear()
        table.apply(pa.table({"id": [1, lsn, 500 + lsn], "lsn": [lsn] * 3}))
        counts.append(len(read))
    # Each merge marks a row of the loaded file and one of the newest file, whose vectors the next merge meets.
    assert counts[1:] == ([0, 0, 0] if limit else [2, 3, 4])
    assert counts[0] > 0
    rows = {row["id"]: row["lsn"] for row in table.to_arrow().to_pylist()}
    newest = {1: 5, **{lsn: lsn for lsn in range(2, 6)}, **{500 + lsn: lsn for lsn in range(2, 6)}}
    assert rows == {n: newest.get(n, 0) for n in range(1_000)}
    assert ModTable.open(storage).verify().ok
