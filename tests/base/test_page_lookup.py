"""Keys located by pages: always the rows that a scan of whole key columns finds."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyroaring import BitMap64

from andes_spark.base import locator, page_lookup, paged
from andes_spark.base.files import NumberedFile, TableShape
from andes_spark.base.keys import KeyCache
from andes_spark.base.locator import key_lookup, locate_files
from andes_spark.base.paged import PageSource, rows_at
from andes_spark.base.rows import RowWriter
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.vectors import write_vectors
from andes_spark.errors import FileDamagedError
from andes_spark.law.columns import BASE_FILE, BASE_ROW, WINNER, KeyColumns
from andes_spark.schema.schema import Schema
from andes_spark.schema.versions import SchemaVersion, SchemaVersions
from andes_spark.storage import parquet
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.kinds import KEYS

INT64 = (-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 1)
Values = Callable[[random.Random], Any]


def text(chance: random.Random) -> str:
    return "".join(chance.choice(["a", "b", "é", "\U0001f600", "\0"]) for _ in range(chance.choice([0, 1, 3, 200])))


def number(low: int, high: int) -> Values:
    return lambda chance: chance.choice([low, high, chance.randrange(low, high + 1), chance.randrange(-40, 40)])


KINDS: dict[str, list[tuple[pa.DataType, Values]]] = {
    "bigint": [(pa.int64(), number(*INT64[:: len(INT64) - 1]))],
    "small numbers": [(pa.int16(), number(-300, 300))],
    "text": [(pa.string(), text)],
    "binary": [(pa.binary(), lambda chance: text(chance).encode())],
    "truth": [(pa.bool_(), lambda chance: chance.random() < 0.5), (pa.int32(), number(-100, 100))],
    "number and truth": [(pa.int32(), number(-100, 100)), (pa.bool_(), lambda chance: chance.random() < 0.5)],
    "decimal": [(pa.decimal128(12, 3), lambda chance: Decimal(chance.randrange(-(10**6), 10**6)).scaleb(-3))],
    "wide decimal": [(pa.decimal128(30, 2), lambda chance: Decimal(chance.randrange(-(10**20), 10**20)).scaleb(-2))],
    "date": [(pa.date32(), lambda chance: chance.randrange(-1000, 1000))],
    "moment": [(pa.timestamp("us", "UTC"), lambda chance: chance.randrange(-(10**15), 10**15))],
    "two": [(pa.string(), lambda chance: chance.choice(["", "eu", "us"])), (pa.int64(), number(-50, 50))],
    "three": [
        (pa.int8(), number(0, 2)),
        (pa.string(), text),
        (pa.decimal128(5, 1), lambda chance: Decimal(chance.randrange(-9, 9)).scaleb(-1)),
    ],
}


def shape_of(kinds: list[tuple[pa.DataType, Values]], *, sequence: str = "bigint") -> TableShape:
    ddl_names = {"int16": "smallint", "int8": "tinyint", "int32": "int", "int64": "bigint", "date32[day]": "date"}
    ddl_names |= {"timestamp[us, tz=UTC]": "timestamp", "bool": "boolean"}
    columns = []
    for place, (kind, _) in enumerate(kinds):
        ddl = f"decimal({kind.precision},{kind.scale})" if pa.types.is_decimal(kind) else str(kind)
        columns.append(f"k{place} {ddl_names.get(ddl, ddl)}")
    schema = Schema.from_ddl(", ".join([*columns, f"lsn {sequence}", "v string"]))
    versions = SchemaVersions({0: SchemaVersion(0, schema, tuple(range(1, 100)))}, 0)
    key = tuple(f"k{place}" for place in range(len(kinds)))
    return TableShape("memory", schema, (), KeyColumns(key, ("lsn",)), versions)


def rows_of(shape: TableShape, kinds: list[tuple[pa.DataType, Values]], chance: random.Random, count: int) -> pa.Table:
    columns = [pa.array([values(chance) for _ in range(count)], kind) for kind, values in kinds]
    lsn = pa.array([chance.randrange(1000) for _ in range(count)], pa.int64())
    value = pa.array([f"v{n}" for n in range(count)])
    return pa.table([*columns, lsn, value], schema=shape.arrow)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "PAGE_ROWS", 7)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 40)


def by_pages_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paged, "SHARE", 0)
    monkeypatch.setattr(paged, "WHOLE_BYTES", 0)
    monkeypatch.setattr(paged, "_KEY_BYTES", 10**9)
    # A part for nearly every file.
    monkeypatch.setattr(paged, "READ_PAGES", 30)
    monkeypatch.setattr(page_lookup, "READ_BYTES", 500)


def write(storage: MemoryStorage, shape: TableShape, rows: pa.Table, chance: random.Random) -> list[NumberedFile]:
    """Rows in files with some of them deleted."""
    writer = RowWriter(shape, {}, max(500, rows.nbytes // 6))
    files = []
    for place, action in enumerate(writer.write(storage, rows)):
        value = dict(action["add"])
        if chance.random() < 0.5:
            dead = BitMap64(chance.sample(range(40), 5))
            value["deletionVector"] = write_vectors(storage, {"f": dead})["f"].to_json()
        file = DataFile.from_add(value)
        files.append(NumberedFile(place, file.location, file))
    return files


def located(frames: list[pl.DataFrame], *, sequences: bool = True) -> list[tuple[Any, ...]]:
    names = [WINNER, BASE_FILE, BASE_ROW, *(["_andes_base_0"] if sequences else [])]
    return sorted(row for frame in frames if frame.height for row in frame.select(names).rows())


def by_scan(
    storage: MemoryStorage, shape: TableShape, files: list[NumberedFile], keys: Any, monkeypatch: pytest.MonkeyPatch
) -> list[pl.DataFrame]:
    with monkeypatch.context() as patch:
        patch.setattr(PageSource, "suits", lambda *_: False)
        return locate_files(PageSource(storage, shape), files, keys)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["sorted", "unsorted"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_pages_and_scan_find_the_same(kind: str, order: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    by_pages_always(monkeypatch)
    chance = random.Random(f"{kind} {seed}")
    storage, kinds = MemoryStorage(), KINDS[kind]
    shape = shape_of(kinds)
    rows = rows_of(shape, kinds, chance, chance.choice([1, 100, 400]))
    if order == "sorted":
        rows = rows.sort_by([(name, "ascending") for name in shape.columns.key])
    files = write(storage, shape, rows, chance)
    cache = KeyCache(10**6)
    for size in (1, 5, 60):
        requested = pa.concat_tables(
            [rows.take(pa.array(chance.choices(range(rows.num_rows), k=size))), rows_of(shape, kinds, chance, size)]
        )
        frame = pl.from_arrow(requested)
        assert isinstance(frame, pl.DataFrame)
        winners = frame.unique(subset=shape.columns.key).sort(shape.columns.key)
        keys = key_lookup(winners, shape, every_sequence=chance.random() < 0.5)
        source = PageSource(storage, shape, cache)
        with monkeypatch.context() as patch:
            patch.setattr(locator, "_scan", None)
            by_pages = locate_files(source, files, keys)
        scanned = by_scan(storage, shape, files, keys, monkeypatch)
        assert located(by_pages, sequences=False) == located(scanned, sequences=False)
        for (*place, sequence), (*_, scanned_sequence) in zip(located(by_pages), located(scanned), strict=True):
            assert sequence in (scanned_sequence, None), place
            if sequence is None:
                assert scanned_sequence is None or scanned_sequence < keys.lowest
        places = [(file, np.array(chance.choices(range(file.file.num_records or 0), k=3))) for file in files]
        for (file, at), part in zip(places, rows_at(source, places, shape.schema.names), strict=True):
            assert part.equals(source.whole(file).read_at(shape.schema.names, at))


def test_keys_of_the_interleaving_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    by_pages_always(monkeypatch)
    for kind in KEYS.values():
        kinds = [(type_, lambda chance: None) for _, type_ in kind.columns]
        shape, storage, chance = shape_of(kinds), MemoryStorage(), random.Random(0)
        keys = [pa.array([value[n] for value in kind.values], type_) for n, (_, type_) in enumerate(kind.columns)]
        count = len(kind.values)
        rows = pa.table([*keys, pa.array([1] * count), pa.array(["v"] * count)], schema=shape.arrow)
        frame = pl.from_arrow(rows)
        assert isinstance(frame, pl.DataFrame)
        files = write(storage, shape, frame.sort(shape.columns.key).to_arrow().cast(shape.arrow), chance)
        lookup = key_lookup(frame.sort(shape.columns.key), shape)
        assert located(locate_files(PageSource(storage, shape), files, lookup)) == located(
            by_scan(storage, shape, files, lookup, monkeypatch)
        )


def big_file() -> tuple[MemoryStorage, TableShape, list[NumberedFile], pa.Table]:
    kinds = KINDS["bigint"]
    storage, shape = MemoryStorage(), shape_of(kinds)
    rows = pa.table(
        [pa.array(range(0, 600, 2)), pa.array(range(300)), pa.array([f"v{n}" for n in range(300)])], schema=shape.arrow
    )
    [action] = RowWriter(shape, {}, 10**9).write(storage, rows)
    file = DataFile.from_add(action["add"])
    return storage, shape, [NumberedFile(0, file.location, file)], rows


def lookup_of(shape: TableShape, keys: list[int], *, sequence: int = 10**6) -> Any:
    return key_lookup(pl.DataFrame({"k0": keys, "lsn": [sequence] * len(keys)}), shape)


@pytest.fixture
def many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of more than 28 rows are read by pages."""
    monkeypatch.setattr(paged, "PAGE_ROWS", 7)
    monkeypatch.setattr(paged, "WHOLE_BYTES", 0)


@pytest.mark.usefixtures("many_pages")
def test_few_pages_are_read_and_many_are_scanned() -> None:
    storage, shape, files, _ = big_file()
    cache = KeyCache(10**6)
    for keys, scanned in (([4, 5, 600], False), (list(range(0, 600, 10)), True)):
        located_rows = located(locate_files(PageSource(storage, shape, cache), files, lookup_of(shape, keys)))
        assert [row[2] for row in located_rows] == [key // 2 for key in keys if key % 2 == 0 and key < 600]
        assert (cache.find(files[0].path, 0) is not None) == scanned
    # Keys that are in memory are searched there, whatever their number.
    before = storage.counts.snapshot().get
    located(locate_files(PageSource(storage, shape, cache), files, lookup_of(shape, [4])))
    assert storage.counts.snapshot().get == before


@pytest.mark.usefixtures("many_pages")
def test_a_file_whose_pages_are_read_again_and_again_is_read_whole_once() -> None:
    storage, shape, files, _ = big_file()
    cache, small = KeyCache(10**6), KeyCache(1_000)
    reads = [0, 0]
    for number in range(60):
        for place, kept in enumerate((cache, small)):
            before = storage.counts.snapshot().get
            [frame] = locate_files(PageSource(storage, shape, kept), files, lookup_of(shape, [2 * number]))
            assert frame[BASE_ROW].to_list() == [number]
            reads[place] += storage.counts.snapshot().get - before
    # One page of 45 each time; then all keys, which are kept where there is room.
    assert 45 < reads[0] < 50
    assert reads[1] >= 60


@pytest.mark.usefixtures("many_pages")
def test_pages_whose_sequences_are_lower_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    storage, shape, files, _ = big_file()
    keys = [0, 100, 500]
    [frame] = locate_files(PageSource(storage, shape), files, lookup_of(shape, keys, sequence=200))
    assert frame["_andes_base_0"].to_list() == [None, None, 250]
    monkeypatch.setattr(locator, "rows_below", lambda file, rows, *_: np.zeros(len(rows), np.bool_))
    [frame] = locate_files(PageSource(storage, shape), files, lookup_of(shape, keys, sequence=200))
    assert frame["_andes_base_0"].to_list() == [0, 50, 250]


@pytest.mark.usefixtures("many_pages")
def test_files_of_others_are_scanned() -> None:
    storage, shape, files, _ = big_file()
    add = dict(files[0].file.add)
    for tags in (None, {"andes.footer": add["tags"]["andes.footer"].partition("/")[0]}):
        file = DataFile.from_add({**add, "tags": tags})
        source = PageSource(storage, shape)
        [frame] = locate_files(source, [NumberedFile(0, file.location, file)], lookup_of(shape, [4]))
        assert frame[BASE_ROW].to_list() == [2]
        assert source.file(files[0]) is None


@pytest.mark.usefixtures("many_pages")
def test_a_damaged_file_is_named() -> None:
    storage, shape, files, _ = big_file()
    data = storage.get(files[0].path)
    source = PageSource(storage, shape)
    source.open(files)
    index = source.file(files[0]).index  # type: ignore[union-attr]
    last_of_page = int(index.pages[0, ("k0",)].edges[1]) - 1
    for position in (last_of_page, index.footer.chunks[0].column_index.offset + 9, len(data) - 30):  # type: ignore[union-attr]
        damaged = bytearray(data)
        damaged[position] ^= 1
        storage.put(files[0].path, bytes(damaged))
        with pytest.raises(FileDamagedError, match=r"part-.*cannot be read") as error:
            locate_files(PageSource(storage, shape), files, lookup_of(shape, [4]))
        assert error.value.fields["path"] == files[0].path
    storage.delete([files[0].path])
    with pytest.raises(FileDamagedError, match="is missing"):
        locate_files(PageSource(storage, shape), files, lookup_of(shape, [4]))
