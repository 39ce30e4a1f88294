"""A merge reads the row groups of tombstones in which its keys may be, and no file outside of whose range they lie."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.base import tombstones
from andes_spark.base.keys import KeyCache
from andes_spark.base.tombstones import read_tombstones
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.log.mod_files import read_as
from andes_spark.storage.memory import MemoryStorage


class Opens(MemoryStorage):
    """A store that notes which tombstone files are opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open_input(self, path: str) -> pa.NativeFile:
        if path.startswith("_andes/tombstones"):
            self.opened.append(path)
        return super().open_input(path)


KINDS: dict[str, tuple[str, Callable[[int], tuple[Any, ...]]]] = {
    "numbers": ("id BIGINT", lambda number: (number,)),
    "text": ("id STRING", lambda number: (f"customer-{number:06d}",)),
    "long text": ("id STRING", lambda number: (f"{number:06d}" * 60,)),
    "two columns": ("id STRING, n INT", lambda number: ("abc"[number % 3], number)),
    "bytes": ("id BINARY", lambda number: (number.to_bytes(4, "big"),)),
    "decimals": ("id DECIMAL(12,2)", lambda number: (Decimal(number - 2_000),)),
    "days": ("id DATE", lambda number: (datetime.date(2000, 1, 1) + datetime.timedelta(number),)),
    "moments": ("id TIMESTAMP", lambda number: (datetime.datetime.fromtimestamp(number, datetime.UTC),)),
    "times": ("id TIMESTAMP_NTZ", lambda number: (datetime.datetime(2000, 1, 1) + datetime.timedelta(hours=number),)),
}


def create(storage: MemoryStorage, columns: str, **settings: Any) -> ModTable:
    names = [column.split()[0] for column in columns.split(", ")]
    return ModTable.create(
        storage, f"{columns}, seq BIGINT", primary_key=names, sequence_by=["seq"], settings=Settings(**settings)
    )


def apply(table: ModTable, key: Callable[[int], tuple[Any, ...]], numbers: list[int], sequence: int, op: str) -> None:
    names = list(table.primary_key)
    keys = zip(*(key(number) for number in numbers), strict=True)
    kinds = [table.schema.to_arrow().field(name).type for name in names]
    columns = [pa.array(list(values), kind) for values, kind in zip(keys, kinds, strict=True)]
    batch = pa.table([*columns, [sequence] * len(numbers), [op] * len(numbers)], [*names, "seq", "op"])
    merged = table.apply(batch, apply_as_deletes="op = 'D'").merge
    assert merged is not None
    assert merged.status == "merged"


@pytest.mark.parametrize("name", ["numbers", "text"])
def test_a_small_merge_reads_few_tombstones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tombstones, "GROUP_ROWS", 1_000, raising=False)
    storage = MemoryStorage()
    columns, key = KINDS[name]
    table = create(storage, columns, key_cache_bytes=0)
    rnd = random.Random(1)
    apply(table, key, sorted(rnd.sample(range(10**6), 60_000)), rnd.randrange(10**9), "D")
    apply(table, key, [0, 10**6], 1, "U")
    rows: list[int] = []

    def reading(*args: Any, **options: Any) -> pa.Table:
        data = read_as(*args, **options)
        rows.append(data.num_rows)
        return data

    monkeypatch.setattr(tombstones, "read_as", reading)
    apply(table, key, [500_000], 2, "U")
    assert sum(rows) <= 2_000, "of 60,000"
    apply(table, key, [10**7], 2, "U")
    assert sum(rows) <= 3_000
    assert table.verify().ok


def test_files_beside_the_keys_are_not_opened() -> None:
    storage = Opens()
    columns, key = KINDS["text"]
    table = create(storage, columns, key_cache_bytes=0)
    for number in range(4):
        apply(table, key, list(range(1_000 * number, 1_000 * number + 10)), number + 1, "D")
    storage.opened.clear()
    apply(table, key, [2_005], 10, "U")
    assert len(set(storage.opened)) == 1
    storage.opened.clear()
    apply(table, key, [2_500, 5], 10, "U")
    assert len(set(storage.opened)) == 1
    assert table.to_arrow().num_rows == 3
    assert table.verify().ok


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_those_of_some_keys_are_among_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tombstones, "GROUP_ROWS", 16)
    columns, key = KINDS[name]
    table = create(MemoryStorage(), columns)
    rnd = random.Random(name)
    for number in range(1, 9):
        start = rnd.randrange(3_000)
        apply(table, key, rnd.sample(range(start, start + 400), 60), number, rnd.choice("DDU"))
    context = table._open_table.base_context()
    files, shape = table._open_table.base.snapshot().record.tombstones, context.shape
    assert len(files) > 2
    whole = read_tombstones(context.storage, files, shape)
    cache = KeyCache(10**6)
    kinds = tuple(shape.arrow.field(column).type for column in shape.columns.key)
    for _ in range(40):
        target = whole.sample(rnd.randrange(1, 30), seed=rnd.randrange(10**6)).select(shape.columns.key)
        first, last = sorted((key(rnd.randrange(3_500)), key(rnd.randrange(3_500))))
        bounds = rnd.choice((None, KeyRange(shape.columns.key, kinds, first, last)))
        expected = whole.join(target, on=shape.columns.key, how="semi")
        if bounds is not None:
            expected = expected.filter(bounds.expression())
        for kept in (None, cache):
            rows = read_tombstones(context.storage, files, shape, keys=target, bounds=bounds, cache=kept)
            rows = rows.join(target, on=shape.columns.key, how="semi")
            assert rows.sort(rows.columns).equals(expected.sort(expected.columns))
