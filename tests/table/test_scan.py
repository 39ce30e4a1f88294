"""Reads as a stream: which files are opened, what a filter and a limit leave, and what is held at once."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from andes_spark.errors import FileDamagedError, OptionError
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.memory import arrow_memory

ROWS = 20_000
EPOCH = datetime.date(1970, 1, 1)
DDL = (
    "id BIGINT, small INT, name STRING, day DATE, at TIMESTAMP, price DECIMAL(9,2), part STRING, ok BOOLEAN, seq BIGINT"
)


class CountingStorage(MemoryStorage):
    """Counts the data files of the base that are opened."""

    opened = 0

    def open_input(self, path: str) -> Any:
        self.opened += path.startswith("part-") or "/part-" in path
        return super().open_input(path)


def ascending(rows: int = ROWS) -> pa.Table:
    ids = np.arange(rows)
    return pa.table({"id": ids, "name": [f"n{number:06}" for number in ids], "seq": ids})


@pytest.fixture
def table() -> ModTable:
    """A table of nine files, each a range of ids."""
    return ModTable.create(
        CountingStorage(),
        "id BIGINT, name STRING, seq BIGINT",
        primary_key=["id"],
        sequence_by=["seq"],
        merge="manual",
        data=ascending(),
        settings=Settings(target_file_bytes=30_000),
    )


def opened_by(table: ModTable, **options: Any) -> tuple[int, int]:
    """Rows of a read, and the data files that it opened."""
    storage: Any = table._open_table.storage
    storage.opened = 0
    return table.to_arrow(**options).num_rows, storage.opened


@pytest.mark.parametrize(
    ("filter", "rows", "files"),
    [
        ("id = 5", 1, 1),
        ("5 = id", 1, 1),
        ("id IN (5, 19999)", 2, 2),
        ("id BETWEEN 5 AND 7", 3, 1),
        ("id < 0", 0, 0),
        ("id >= 19990 AND seq < 19995", 5, 1),
        ("id = 5 OR id = 19999", 2, 2),
        ("name = 'n000005'", 1, 1),
        ("name > 'n019990'", 9, 1),
        (pl.col("id") == 5, 1, 1),
        (pl.col("id").is_in([5, 6]), 2, 1),
        (pl.col("id").is_between(5, 6), 2, 1),
    ],
)
def test_a_filter_opens_the_files_that_may_match(table, filter, rows, files):
    assert table.status().files >= 9
    assert opened_by(table, filter=filter) == (rows, files)


@pytest.mark.parametrize("filter", ["id <> 5", "NOT id = 5", pl.col("id") % 2 == 0, "id = seq", "lower(name) = 'x'"])
def test_a_filter_that_says_nothing_of_ranges_opens_all_files(table, filter):
    assert opened_by(table, filter=filter)[1] == table.status().files


def test_a_limit_opens_no_file_too_many(table):
    assert opened_by(table, limit=20) == (20, 1)
    assert opened_by(table, limit=0) == (0, 0)
    assert opened_by(table, limit=10**9) == (ROWS, table.status().files)
    assert opened_by(table, limit=3, filter="id >= 10000") == (3, 1)


def test_batches_are_read_when_they_are_asked_for(table):
    storage: Any = table._open_table.storage
    storage.opened = 0
    reader = table.to_batches(columns=["id"], limit=ROWS)
    assert (reader.schema.names, storage.opened) == (["id"], 0)
    assert reader.read_next_batch().num_rows > 0
    assert storage.opened == 1
    assert sum(batch.num_rows for batch in table.to_batches()) == ROWS


def test_a_stream_shows_the_version_of_its_call(table):
    reader = table.to_batches()
    table.apply(pa.table({"id": [1, ROWS], "name": ["x", "y"], "seq": [10**6, 10**6]}))
    table.merge()
    assert reader.read_all().num_rows == ROWS
    assert table.to_arrow().num_rows == ROWS + 1


def test_pending_mods_pass_the_filter_and_the_limit(table):
    table.apply(pa.table({"id": [5, ROWS], "name": ["x", "y"], "seq": [10**6, 10**6]}))
    assert table.to_arrow(filter="name = 'x'").to_pylist() == [{"id": 5, "name": "x", "seq": 10**6}]
    assert table.to_arrow(filter="id = 5").num_rows == 1
    assert table.to_arrow(filter="name = 'n000005'").num_rows == 0
    assert table.to_arrow(limit=ROWS + 5).num_rows == ROWS + 1


def test_above_the_byte_budget_ranges_of_keys_are_read_one_after_the_other(table, monkeypatch):
    storage = table._open_table.storage
    low = ModTable.open(storage, settings=Settings(byte_budget=100_000))
    ids = np.arange(0, ROWS + 4_000, 2)
    names = pa.array([None if number % 10 == 0 else "new" for number in ids], pa.string())
    mods = pa.table({"id": ids, "name": names, "seq": np.full(len(ids), 10**6), "op": names})
    table.apply(mods, apply_as_deletes="op IS NULL")
    monkeypatch.setattr("andes_spark.base.merge.plan.BUCKET_ROWS", 500)
    batches = list(low.to_batches())
    assert max(batch.nbytes for batch in batches) <= 200_000
    order = [("id", "ascending")]
    assert pa.Table.from_batches(batches).sort_by(order) == table.to_arrow().sort_by(order)


def test_what_is_damaged_is_an_error_of_the_library(table):
    storage: Any = table._open_table.storage
    path = next(info.path for info in storage.list() if info.path.startswith("part-"))
    storage.delete([path])
    with pytest.raises(FileDamagedError, match="missing"):
        for _ in table.to_batches():
            pass


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": True}, "limit"),
        ({"filter": "id"}, "filter"),
        ({"filter": pl.col("id") + 1}, "filter"),
        ({"filter": pl.col("name") > 5, "version": 0}, "filter"),
        ({"columns": []}, "columns"),
        ({"columns": ["id", "ID"]}, "columns"),
    ],
)
def test_what_cannot_be_read_is_refused_before_a_file_is_opened(table, options, option):
    for read in (table.to_batches, table.to_arrow, table.to_polars, table.to_pandas):
        with pytest.raises(OptionError) as caught:
            read(**options)
        assert caught.value.option == option


def test_pandas_and_polars_have_the_values(table):
    big = 2**53 + 1
    data = {"id": [1, 2], "n": pa.array([None, big]), "ok": pa.array([None, True]), "d": [EPOCH, None]}
    created = ModTable.create(
        MemoryStorage(), "id BIGINT, n BIGINT, ok BOOLEAN, d DATE", primary_key=["id"], data=pa.table(data)
    )
    frame = created.to_pandas(filter="id > 1", columns=["n", "ok", "d"])
    assert frame.to_dict("records") == [{"n": big, "ok": True, "d": None}]
    assert created.to_pandas()["n"].to_list()[1] == big
    assert str(created.to_pandas()["id"].dtype) == "int64"
    assert created.to_polars(limit=5).sort("id")["n"].to_list() == [None, big]


def values(number: int) -> dict[str, Any]:
    """A row whose columns ascend with its number, with NULLs."""
    return {
        "id": number,
        "small": number // 3 - 40,
        "name": None if number % 7 == 0 else f"n{number:03}𠮷",
        "day": EPOCH + datetime.timedelta(days=number - 100),
        "at": None
        if number % 5 == 0
        else datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=number * 333),
        "price": decimal.Decimal(number * 7 - 500) / 100,
        "part": f"p{number // 50}",
        "ok": number % 2 == 0,
        "seq": number,
    }


LITERALS = {
    "id": st.one_of(st.integers(-5, 305), st.sampled_from([2**62, 10**20, 7.5, -0.5])),
    "small": st.integers(-45, 65),
    "name": st.sampled_from(["", "n", "n100", "n100𠮷", "n2", "z", "n299\U0010ffff"]),
    "day": st.integers(-110, 210).map(lambda days: EPOCH + datetime.timedelta(days=days)),
    "at": st.integers(-10, 100_010).map(
        lambda micros: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=micros)
    ),
    "price": st.integers(-600, 1700).map(lambda cents: decimal.Decimal(cents) / 100),
    "part": st.sampled_from(["p0", "p3", "p", "p9"]),
    "ok": st.booleans(),
}


@st.composite
def conditions(draw, depth: int = 2) -> pl.Expr:
    kind = draw(st.sampled_from(["compare", "compare", "is_in", "between", "and", "or", "not", "null"]))
    if kind in ("and", "or", "not") and depth:
        left, right = draw(conditions(depth - 1)), draw(conditions(depth - 1))
        return {"and": left & right, "or": left | right, "not": ~left}[kind]
    name = draw(st.sampled_from(list(LITERALS)))
    column, literals = pl.col(name), LITERALS[name]
    if kind == "is_in":
        values = draw(
            st.lists(
                literals.filter(lambda value: type(value) is not float and value != 10**20), min_size=1, max_size=3
            )
        )
        return column.is_in(values)
    if kind == "between":
        return column.is_between(draw(literals), draw(literals))
    if kind == "null":
        return column.is_null()
    value = draw(literals)
    operator = draw(st.sampled_from(["eq", "lt", "le", "gt", "ge", "ne", "eq_missing"]))
    return getattr(column, operator)(value) if draw(st.booleans()) else getattr(pl.lit(value), operator)(column)


@pytest.fixture(scope="module")
def typed() -> ModTable:
    schema = "id BIGINT, small INT, name STRING, day DATE, at TIMESTAMP, price DECIMAL(9,2), part STRING, ok BOOLEAN"
    created = ModTable.create(
        CountingStorage(), f"{schema}, seq BIGINT", primary_key=["id"], sequence_by=["seq"], partition_by=["part"],
        merge="manual", settings=Settings(target_file_bytes=2_000),
    )  # fmt: skip
    for first in range(0, 300, 20):
        rows = [values(number) for number in range(first, first + 20)]
        created.apply(pa.Table.from_pylist(rows, schema=created.schema.to_arrow()))
        created.merge()
    return created


@pytest.fixture(scope="module")
def whole(typed) -> pl.DataFrame:
    return typed.to_polars().sort("id")


@pytest.mark.slow
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(condition=conditions())
def test_no_file_with_a_row_of_the_filter_is_left_out(typed, whole, condition):
    try:
        expected = whole.filter(condition)
    except pl.exceptions.PolarsError:
        return
    assert typed.to_polars(filter=condition).sort("id").equals(expected)


@pytest.mark.slow
def test_the_filters_of_that_test_skip_files(typed):
    files = typed.status().files
    for condition in (pl.col("day") > EPOCH, pl.col("price") < 0, pl.col("part") == "p3", pl.col("small") == 3):
        assert 0 < opened_by(typed, filter=condition)[1] < files


def large() -> MemoryStorage:
    """A table of one file of 90 MiB in memory, with a deletion vector."""
    ids, text = np.arange(400_000), "x" * 200
    data = pa.table({"id": ids, "name": pa.array([f"{text}{number}" for number in ids]), "seq": ids})
    storage = MemoryStorage()
    created = ModTable.create(
        storage, "id BIGINT, name STRING, seq BIGINT", primary_key=["id"], sequence_by=["seq"], data=data,
        settings=Settings(compact_bytes=0),
    )  # fmt: skip
    created.apply(pa.table({"id": ids[::1000], "name": ["new"] * 400, "seq": ids[::1000] + 10**9}))
    assert created.status().deleted_rows == 400
    return storage


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "most"), [(None, 16 * 2**20), (20, 4 * 2**20)])
def test_a_stream_holds_part_of_a_row_group(limit: int | None, most: int) -> None:
    storage = large()
    with arrow_memory() as pool:
        created = ModTable.open(storage, settings=Settings(byte_budget=16 * 2**20, key_cache_bytes=0))
        rows = keys = 0
        for batch in created.to_batches(limit=limit):
            rows += batch.num_rows
            keys += pc.sum(batch["id"]).as_py()
    assert rows == (limit or 400_000)
    assert limit is not None or keys == sum(range(400_000))
    assert pool.max_memory() <= most
