"""Single pages read: the same rows as a whole read, of any columns, and damage is noticed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from andes_spark.errors import AndesError
from andes_spark.schema.versions import numbered
from andes_spark.storage import parquet
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.page_reader import load_rows, read_rows
from andes_spark.storage.paged_file import PagedFile, Rows
from andes_spark.storage.parquet import Written, compact_encodings, write_parquet

MARKED = ("id", "seq")


def table_of(rows: int, *, start: int = 0, long: int = 0) -> pa.Table:
    chance = random.Random(start)
    return pa.table(
        {
            "id": pa.array(range(start, start + rows), pa.int64()),
            "seq": pa.array(range(start, start + rows), pa.int32()),
            "at": pa.array(range(rows), pa.timestamp("us", "UTC")),
            "repeated": [f"text {n % 7}" for n in range(rows)],
            "long": [None if n % 3 == 0 else "x" * chance.randrange(1 + long) for n in range(rows)],
            "st": pa.array([{"x": n, "l": [n] * (n % 4)} if n % 5 else None for n in range(rows)]),
            "m": pa.array([[("a", n)] * (n % 3) for n in range(rows)], pa.map_(pa.string(), pa.int64())),
            "d": pa.array([Decimal(n) for n in range(rows)], pa.decimal128(25, 3)),
        }
    )


def write(storage: MemoryStorage, path: str, table: pa.Table, *, compact: bool = False) -> Written:
    encodings = compact_encodings(table) if compact else None
    return write_parquet(
        storage, path, table, numbered(table.schema), sorted_by=["id"], marked=MARKED, encodings=encodings
    )


def opened(storage: MemoryStorage, path: str, written: Written) -> PagedFile:
    file = PagedFile(storage.open_ranges(path, written.bytes), written.bytes, written.footer, MARKED)
    file.open()
    return file


def random_rows(chance: random.Random, rows: int) -> Rows:
    first: list[int] = []
    last: list[int] = []
    for row in sorted(chance.sample(range(rows), chance.choice([1, 3, min(rows, 50)]))):
        if not last or row >= last[-1]:
            first.append(row)
            last.append(min(rows, row + chance.choice([1, 1, 30])))
    return np.array(first), np.array(last)


def rows_of(table: pa.Table, rows: Rows) -> pa.Table:
    return table.take(pa.array(np.concatenate([np.arange(a, b) for a, b in zip(*rows, strict=True)])))


def read(files: Sequence[tuple[PagedFile, Rows]], columns: Sequence[str]) -> list[pa.Table]:
    load_rows(files, columns, MemoryStorage().scheduler)
    values = dict(read_rows(files, columns))
    return [pa.table({name: values[name][number] for name in columns}) for number in range(len(files))]


@pytest.mark.slow
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize(("page", "group", "long"), [(50, 400, 30), (4096, 10**6, 3_000), (7, 10**6, 0)])
def test_rows_by_pages_are_those_of_the_file(
    page: int, group: int, long: int, compact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "PAGE_ROWS", page)
    monkeypatch.setattr(parquet, "GROUP_ROWS", group)
    storage, chance = MemoryStorage(), random.Random(1)
    tables = [table_of(3_000, long=long), table_of(700, start=10_000)]
    written = [write(storage, str(number), table, compact=compact) for number, table in enumerate(tables)]
    files = [opened(storage, str(number), file) for number, file in enumerate(written)]
    for _ in range(12):
        ranges = [random_rows(chance, table.num_rows) for table in tables]
        names = chance.sample(tables[0].column_names, chance.choice([1, 2, 8]))
        parts = read(list(zip(files, ranges, strict=True)), names)
        for part, table, rows in zip(parts, tables, ranges, strict=True):
            assert part.cast(table.select(names).schema).equals(rows_of(table.select(names), rows))


def test_pages_of_long_text_have_rows_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    file = opened(storage, "f", write(storage, "f", table_of(6_000, long=3_000)))
    read([(file, (np.array([5]), np.array([6])))], ["long", "id", "repeated"])
    pages = {name: file.column(name, 0)[0] for name in ("id", "long", "repeated")}  # type: ignore[index]
    assert len(pages["id"].rows) == len(pages["repeated"].rows) == 3
    assert pages["repeated"].verified
    assert len(pages["long"].rows) > 3
    assert not pages["long"].verified


def test_columns_that_some_files_lack() -> None:
    storage = MemoryStorage()
    one, two = table_of(50), table_of(60, start=100).drop_columns(["d"])
    files = [opened(storage, str(n), write(storage, str(n), table)) for n, table in enumerate((one, two))]
    rows = (np.array([3]), np.array([5]))
    load_rows([(file, rows) for file in files], ["id", "d"], storage.scheduler)
    values = dict(read_rows([(file, rows) for file in files], ["id", "d"]))
    assert values["d"][0].to_pylist() == [Decimal(3), Decimal(4)]  # type: ignore[union-attr]
    assert values["d"][1] is None
    assert [column.to_pylist() for column in values["id"]] == [[3, 4], [103, 104]]  # type: ignore[union-attr]


def test_a_cached_index_is_not_read_again() -> None:
    storage = MemoryStorage()
    written = write(storage, "f", table_of(100))
    index = opened(storage, "f", written).index
    second = PagedFile(storage.open_ranges("f", written.bytes), written.bytes, written.footer, MARKED, index)
    before = storage.counts.snapshot().get
    second.open()
    assert storage.counts.snapshot().get == before
    assert read([(second, (np.array([7]), np.array([8])))], ["id"])[0]["id"].to_pylist() == [7]
    assert index.bytes > 1_000


@pytest.mark.slow
def test_a_flipped_bit_anywhere_is_noticed_or_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "PAGE_ROWS", 16)
    storage = MemoryStorage()
    table = table_of(64, long=5).select(["id", "seq", "repeated", "long", "st"])
    written = write(storage, "f", table)
    data = storage.get("f")
    rows = (np.array([20, 50]), np.array([21, 52]))
    expected = rows_of(table, rows)
    noticed = 0
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        storage.put("f", bytes(flipped))
        try:
            part = read([(opened(storage, "f", written), rows)], table.column_names)[0]
        except (pa.ArrowException, OSError, UnicodeDecodeError, AndesError):
            noticed += 1
        else:
            assert part.cast(table.schema).equals(expected), position
    assert noticed > len(data) // 3
