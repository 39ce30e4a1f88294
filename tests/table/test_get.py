"""``ModTable.get``: rows by key, fresh, from the pages that hold them."""

from __future__ import annotations

import datetime
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from andes_spark.base.paged import PageSource
from andes_spark.errors import AndesError, FileDamagedError, NoSuchVersionError, OptionError, SchemaMismatchError
from andes_spark.settings import Settings
from andes_spark.storage import parquet
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of, create, rows


def two(storage: Any = None, **options: Any) -> ModTable:
    """A table with a key of two columns and four rows."""
    table = ModTable.create(
        storage or MemoryStorage(),
        "region string, id int, lsn bigint, v string",
        primary_key=["region", "id"],
        sequence_by="lsn",
        **options,
    )
    regions, ids = ["eu", "eu", "us", "us"], pa.array([1, 2, 1, 3], pa.int32())
    table.apply(pa.table({"region": regions, "id": ids, "lsn": [1] * 4, "v": ["a", "b", "c", "d"]}))
    return table


def values(table: pa.Table, column: str = "v") -> list[Any]:
    return table[column].to_pylist()


def test_one_key_and_many() -> None:
    table = two()
    row = {"region": "eu", "id": 2, "lsn": 1, "v": "b"}
    assert table.get(("eu", 2)).to_pylist() == [row]
    assert table.get({"id": 2, "region": "eu"}).to_pylist() == [row]
    assert values(table.get([("us", 3), {"region": "eu", "id": 1}, ["us", 1]])) == ["d", "a", "c"]
    assert values(table.get(iter([("us", 3)]))) == ["d"]
    assert table.get(("eu", 2)).schema == table.to_arrow().schema
    assert table.get([]).schema == table.to_arrow().schema
    assert table.get([]).num_rows == 0


def test_missing_keys_have_no_row_and_repeated_ones_one() -> None:
    assert values(two().get([("us", 3), ("xx", 1), ("us", 3), ("eu", 1), ("eu", 9), ("us", 3)])) == ["d", "a"]


@pytest.mark.parametrize("merge", ["always", "manual"])
def test_keys_as_arrow_and_frames(merge: str) -> None:
    table = two(merge=merge)
    keys = pa.table({"id": pa.array([3, 1], pa.int32()), "region": ["us", "eu"]})
    for form in (keys, keys.to_batches()[0], keys.to_reader(), pl.from_arrow(keys), keys.to_pandas()):
        assert values(table.get(form)) == ["d", "a"]
    narrow = pa.table({"id": pa.array([3], pa.int8()), "region": pa.array(["us"], pa.large_string())})
    assert values(table.get(narrow)) == ["d"]
    single = create(MemoryStorage(), merge=merge)
    single.apply(rows((1, 1, "x"), (2, 1, "y")))
    for some_keys in (
        [2, 1], (n for n in (2, 1)), range(2, 0, -1), np.array([2, 1]), pa.array([2, 1]), pa.chunked_array([[2], [1]]),
        pl.Series([2, 1]), [(2,), {"id": 1}], {2: None, 1: None}.keys(),
    ):  # fmt: skip
        assert values(single.get(some_keys), "a") == ["y", "x"]
    assert values(single.get(np.int64(2)), "a") == values(single.get((2,)), "a") == ["y"]


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        (1, OptionError, "one value for each of the key columns region STRING, id INT"),
        (("eu",), OptionError, "one value for each"),
        ([("eu", 1), ("eu", 1, 2)], OptionError, "one value for each"),
        (pa.array([1]), OptionError, "one value for each"),
        (None, OptionError, "one value for each"),
        ([("eu", None)], OptionError, "'id' is NULL"),
        ({"region": None, "id": 1}, OptionError, "'region' is NULL"),
        (("eu", "1"), SchemaMismatchError, "'id' is string, not int"),
        (("eu", 2**40), SchemaMismatchError, "'id' is bigint, not int"),
        (("eu", 1.0), SchemaMismatchError, "'id' is double, not int"),
        (("eu", True), SchemaMismatchError, "'id' is boolean, not int"),
        ((b"eu", 1), SchemaMismatchError, "'region' is binary, not string"),
        ([("eu", 1), ("eu", "x")], OptionError, "no type in common"),
        ({"region": "eu"}, SchemaMismatchError, "missing 'id'"),
        ({"region": "eu", "id": 1, "v": "a"}, SchemaMismatchError, "not in the key 'v'"),
        (pa.table({"region": ["eu"]}), SchemaMismatchError, "missing 'id'"),
        (object(), OptionError, "one value for each"),
    ],
)
def test_what_is_no_key_is_an_error(keys: Any, error: type[AndesError], match: str) -> None:
    table = two()
    with pytest.raises(error, match=match) as caught:
        table.get(keys)
    assert caught.value.table == table.url
    assert caught.value.message.count(table.url) == 1


def test_columns_and_versions() -> None:
    table = two()
    table.apply(pa.table({"region": ["eu"], "id": pa.array([1], pa.int32()), "lsn": [2], "v": ["new"]}))
    assert table.get(("eu", 1), columns="v").to_pylist() == [{"v": "new"}]
    assert table.get(("eu", 1), columns=["V", "id"]).to_pylist() == [{"v": "new", "id": 1}]
    assert values(table.get(("eu", 1), version=1)) == ["a"]
    assert table.get(("eu", 1), version=0).num_rows == 0
    for options, error, match in (
        ({"columns": ["w"]}, OptionError, "no columns"),
        ({"columns": []}, OptionError, "empty list"),
        ({"columns": ["v", "V"]}, OptionError, "'v' twice"),
        ({"version": 9}, NoSuchVersionError, "9"),
        ({"version": "1"}, OptionError, "version"),
    ):
        with pytest.raises(error, match=match):
            table.get(("eu", 1), **options)  # type: ignore[arg-type]


def test_keys_of_every_type() -> None:
    moment = datetime.datetime(2024, 2, 28, 12, 0, 0, 1, datetime.UTC)
    for ddl, key, other in (
        ("tinyint", -128, 127),
        ("smallint", -(2**15), 5),
        ("int", -(2**31), 2**31 - 1),
        ("bigint", -(2**63), 2**63 - 1),
        ("boolean", True, False),
        ("string", "", "\U0001f600" * 2_000),
        ("binary", b"\x00\xff", b""),
        ("decimal(5,2)", Decimal("-1.50"), Decimal("999.99")),
        ("decimal(38,3)", Decimal(10) ** 30, -(Decimal(10) ** 30)),
        ("date", datetime.date(1, 1, 1), datetime.date(9999, 12, 31)),
        ("timestamp", moment, moment.replace(year=1)),
        ("timestamp_ntz", moment.replace(tzinfo=None), moment.replace(tzinfo=None, year=9999)),
    ):
        table = ModTable.create(MemoryStorage(), f"k {ddl}, n int", primary_key="k", merge="manual")
        for merged in (False, True):
            kind = table.schema.to_arrow().field("k").type
            data = pa.table({"k": pa.array([key, other], kind), "n": pa.array([1, 2], pa.int32())})
            table.apply(data, at_least_once=True, merge=merged)
            assert values(table.get(key), "k") == [key], ddl
            assert values(table.get([other, key]), "n") == [2, 1], ddl


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "PAGE_ROWS", 7)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 50)


@pytest.mark.slow
@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("partition", [(), ("part",)])
def test_random_tables_give_the_rows_of_a_read(partition: tuple[str, ...]) -> None:
    """Pending mods, deletes, late and partial mods, truncates, compaction, deletion vectors, nested columns."""
    chance = random.Random(5)
    table = ModTable.create(
        MemoryStorage(), "id bigint, part string, lsn bigint, l array<int>, s struct<a: int, b: string>",
        primary_key=["id", *partition], sequence_by="lsn", partition_by=partition, merge="manual",
        settings=Settings(compact_files=3, target_file_bytes=8_000),
    )  # fmt: skip
    schema = pa.schema([*((f.name, f.type) for f in table.schema.to_arrow()), ("op", pa.string())])
    for number in range(14):
        ids = sorted(chance.sample(range(0, 600, 2), chance.choice([3, 150])))
        mods = [
            {
                "id": key, "part": f"p{key % 3}", "lsn": chance.randrange(number * 10, number * 10 + 25),
                "l": None if chance.random() < 0.2 else [key] * (key % 3), "s": {"a": key, "b": None},
                "op": chance.choice(["u", "u", "u", "d"]),
            }
            for key in ids
        ]  # fmt: skip
        if number == 9:
            table.apply([{**mods[0], "lsn": 85}], apply_as_truncates="op IS NOT NULL", batch_id=("t", number))
            continue
        partial = {"column_list": ["id", "part", "lsn", "l"]} if number % 4 == 3 else {}
        table.apply(
            pa.Table.from_pylist(mods, schema), apply_as_deletes="op = 'd'", batch_id=("s", number), **partial  # type: ignore[arg-type]
        )  # fmt: skip
        if number % 3 == 1:
            table.merge()
        expected = {row["id"]: row for row in table.to_arrow().to_pylist()}
        for count in (1, 20, 400):
            keys = chance.choices(range(-1, 603), k=count)
            requested = [{"id": key, "part": f"p{key % 3}"} for key in keys] if partition else keys
            existing = dict.fromkeys(key for key in keys if key in expected)
            assert table.get(requested).to_pylist() == [expected[key] for key in existing]


@pytest.mark.usefixtures("small_pages")
def test_pages_are_read_not_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("andes_spark.base.paged.WHOLE_BYTES", 0)
    monkeypatch.setattr("andes_spark.storage.paged_file.WHOLE_BYTES", 0)
    data = pa.table({"id": range(5_000), "lsn": [1] * 5_000, "a": [f"v{n}" for n in range(5_000)]})
    table = create(MemoryStorage(), data=data)
    monkeypatch.setattr(PageSource, "whole", None)
    assert values(table.get([4_711, 3, 5_000, -1]), "a") == ["v4711", "v3"]


def test_a_hundred_thousand_keys() -> None:
    count = 120_000
    data = pa.table({"id": range(0, 2 * count, 2), "lsn": [1] * count, "a": [f"v{n}" for n in range(count)]})
    table = create(MemoryStorage(), data=data)
    keys = np.random.default_rng(1).permutation(2 * count)[:100_000]
    expected = [f"v{key // 2}" for key in keys.tolist() if key % 2 == 0]
    assert values(table.get(keys), "a") == expected
    assert values(table.get(keys.tolist()), "a") == expected


@pytest.mark.slow
def test_a_damaged_page_is_noticed() -> None:
    storage = MemoryStorage()
    data = pa.table({"id": range(500), "lsn": [1] * 500, "a": [f"{n * 7919 % 1000}" for n in range(500)]})
    create(storage, data=data)
    [path] = [info.path for info in storage.list() if info.path.startswith("part-")]
    content = storage.get(path)
    noticed = 0
    for position in range(4, len(content), 13):
        copy = copy_of(storage)
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        copy.put(path, bytes(damaged))
        try:
            assert values(ModTable.open(copy).get([123, 3]), "a") == ["37", "757"]
        except FileDamagedError as error:
            noticed += path in error.message
    assert noticed > 50


def test_files_of_other_writers(tmp_path: Path) -> None:
    """A foreign OPTIMIZE leaves files without a footer mark: they are read whole."""
    import deltalake

    table = create(tmp_path / "t", merge="always", settings=Settings(compact_bytes=0))
    for number in range(3):
        table.apply(rows(*((key, number + 1, f"v{number}") for key in range(number, 40, 3))), batch_id=("s", number))
    deltalake.DeltaTable(str(tmp_path / "t")).optimize.compact()
    opened = ModTable.open(tmp_path / "t")
    assert opened.status().files == 1
    assert values(opened.get([4, 3, 41, 5]), "a") == ["v1", "v0", "v2"]
    opened.apply(rows((3, 9, "new")), batch_id=("s", 9), merge=False)
    assert values(opened.get([4, 3, 41, 5]), "a") == ["v1", "new", "v2"]
