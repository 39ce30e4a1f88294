"""Rows of every form that callers may hand in are the same rows."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from andes_spark import ModTable
from andes_spark.errors import OptionError, SchemaMismatchError
from andes_spark.inputs.rows import Reading, arrow_tables
from andes_spark.schema.schema import Schema
from andes_spark.storage.memory import MemoryStorage

COLUMNS = "id BIGINT, seq INT, name STRING"
ROWS = [{"id": number, "seq": number * 2, "name": f"n{number}"} for number in range(10)]
TABLE = pa.Table.from_pylist(ROWS, pa.schema([("id", pa.int64()), ("seq", pa.int32()), ("name", pa.string())]))
READING = Reading(part_bytes=1 << 20, schema=Schema.from_ddl(COLUMNS))


class Stream:
    """Something that only speaks Arrow's PyCapsule protocol."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return TABLE.__arrow_c_stream__(requested_schema)


class OneArray:
    """The same for one batch."""

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


def forms() -> dict[str, Any]:
    return {
        "table": TABLE,
        "batch": TABLE.to_batches()[0],
        "reader": TABLE.to_reader(max_chunksize=3),
        "dataset": pyarrow.dataset.dataset(TABLE),
        "polars": pl.from_arrow(TABLE),
        "lazy polars": pl.DataFrame(pl.from_arrow(TABLE)).lazy(),
        "pandas": TABLE.to_pandas(),
        "dicts": ROWS,
        "tuple of dicts": tuple(ROWS),
        "duckdb": duckdb.sql("SELECT range AS id, (range * 2)::INT AS seq, 'n' || range AS name FROM range(10)"),
        "stream": Stream(),
        "one array": OneArray(),
    }


@pytest.mark.parametrize("form", list(forms()))
def test_rows_of_every_form_are_applied_and_loaded(form, tmp_path):
    for verb in ("apply", "create"):
        rows = forms()[form]
        data = rows if verb == "create" else None
        table = ModTable.create(tmp_path / verb, COLUMNS, primary_key=["id"], sequence_by=["seq"], data=data)
        if verb == "apply":
            assert table.apply(rows).upserts == 10
        assert table.to_arrow().sort_by("id").to_pylist() == ROWS


@pytest.mark.parametrize("form", list(forms()))
def test_no_rows_are_a_batch_of_none(form, tmp_path):
    empty = {
        "table": TABLE.slice(0, 0),
        "batch": TABLE.to_batches()[0].slice(0, 0),
        "reader": pa.RecordBatchReader.from_batches(TABLE.schema, iter([])),
        "dataset": pyarrow.dataset.dataset(TABLE.slice(0, 0)),
        "polars": pl.DataFrame(pl.from_arrow(TABLE)).clear(),
        "lazy polars": pl.DataFrame(pl.from_arrow(TABLE)).clear().lazy(),
        "pandas": TABLE.slice(0, 0).to_pandas(),
        "dicts": [],
        "duckdb": duckdb.sql("SELECT 1::BIGINT AS id, 1::INT AS seq, 'n' AS name WHERE false"),
    }
    if form not in empty:
        pytest.skip("has no form without rows")
    table = ModTable.create(tmp_path / "t", COLUMNS, primary_key=["id"], sequence_by=["seq"], data=empty[form])
    assert table.to_arrow().num_rows == 0
    if form != "reader":
        assert table.apply(empty[form]).received == 0


def test_streams_are_cut_by_arrow_bytes_and_large_batches_in_pieces():
    wide = pa.table({"id": np.arange(1000), "text": ["x" * 1000] * 1000})
    reading = Reading(part_bytes=100_000)
    for source in (wide.to_reader(), wide.to_reader(max_chunksize=7), pyarrow.dataset.dataset(wide)):
        parts = list(arrow_tables(source, reading))
        assert 9 <= len(parts) <= 15
        assert all(part.num_rows and part.nbytes <= 100_000 + 1008 * 7 for part in parts)
        assert pa.concat_tables(parts).equals(wide)
    # A table is in memory already, as the one part that it is.
    assert len(list(arrow_tables(wide, reading))) == 1


def test_a_stream_is_read_as_it_is_asked_for():
    read = []

    def batches():
        for number in range(10):
            read.append(number)
            yield pa.record_batch({"id": np.arange(1000) + number})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("id", pa.int64())]), batches())
    parts = arrow_tables(reader, Reading(part_bytes=8000))
    assert next(parts).num_rows == 1000
    assert len(read) <= 2


def test_errors_of_the_callers_own_stream_pass():
    class MineError(Exception):
        pass

    def batches():
        yield TABLE.to_batches()[0]
        raise MineError

    reader = pa.RecordBatchReader.from_batches(TABLE.schema, batches())
    with pytest.raises(MineError):
        list(arrow_tables(reader, READING))


@pytest.mark.parametrize(
    "value", [None, 7, object(), {"id": [1]}, [1, 2], [{"id": 1}, "x"], b"x", {"a"}, [("id", 1)], np.arange(3)]
)
def test_anything_else_is_one_error_that_says_what_is_taken(value):
    for option in ("mods", "data"):
        with pytest.raises(OptionError) as caught:
            list(arrow_tables(value, Reading(part_bytes=1, option=option)))
        assert caught.value.option == option
        for word in (type(value).__name__, "Spark", "polars", "pyarrow", "DuckDB", "list of dicts", "glob"):
            assert word in caught.value.message


EVERY = Schema.from_ddl(
    "b BOOLEAN, i TINYINT, l BIGINT, f FLOAT, d DOUBLE, m DECIMAL(10, 2), s STRING, x BINARY, day DATE, at TIMESTAMP, "
    "n TIMESTAMP_NTZ, a ARRAY<INT>, st STRUCT<v: INT, w: STRING>, mp MAP<STRING, INT>"
)
VALUES: dict[str, Any] = {
    "b": True,
    "i": 1,
    "l": np.int64(2),
    "f": 0.5,
    "d": 1,
    "m": Decimal("1.50"),
    "s": "x",
    "x": b"x",
    "day": datetime.date(2026, 1, 2),
    "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    "n": datetime.datetime(2026, 1, 2),
    "a": [1, None],
    "st": {"v": 1},
    "mp": [("k", 1)],
}


def test_values_of_dicts_get_the_types_of_the_table():
    (table,) = arrow_tables([VALUES, {}], Reading(part_bytes=1, schema=EVERY))
    assert table.schema.types == EVERY.to_arrow().types
    assert table.to_pylist()[0]["at"] == VALUES["at"]
    assert set(table.to_pylist()[1].values()) == {None}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("b", 1),
        ("i", 300),
        ("i", True),
        ("i", 1.5),
        ("l", "1"),
        ("m", 1.5),
        ("s", 1),
        ("x", "x"),
        ("day", datetime.datetime(2026, 1, 2, 3)),
        ("at", datetime.datetime(2026, 1, 2)),
        ("n", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)),
        ("st", {"v": 1, "z": 2}),
        ("a", ["x"]),
    ],
)
def test_values_of_dicts_are_never_changed_to_fit(name, value, tmp_path):
    table = ModTable.create(
        tmp_path / "t", "id BIGINT, " + EVERY.select([name]).to_ddl(), primary_key=["id"], sequence_by=["id"]
    )
    with pytest.raises(SchemaMismatchError) as caught:
        table.apply([{"id": 1, name: value}])
    assert name in caught.value.message
    assert table.version == 0


def test_values_without_a_common_type_are_named():
    with pytest.raises(OptionError) as caught:
        list(arrow_tables([{"v": 1}, {"v": "x"}], Reading(part_bytes=1)))
    assert caught.value.column == "v"
    with pytest.raises(OptionError) as finer:
        list(arrow_tables([{"v": pd.Timestamp("2026-01-01 00:00:00.000000001")}], Reading(part_bytes=1)))
    assert finer.value.column == "v"


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("rows", [0, 1])
def test_python_objects_in_polars_are_refused_by_name(lazy: bool, rows: int) -> None:
    frame = pl.DataFrame({"id": [1], "v": [object()]}).head(rows)
    table = ModTable.create(MemoryStorage(), "id BIGINT, v BINARY", primary_key="id")
    with pytest.raises(OptionError, match="'v' holds Python objects") as caught:
        table.apply(frame.lazy() if lazy else frame, batch_id=("s", 1))
    assert (caught.value.column, table.version) == ("v", 0)


def test_missing_values_of_pandas_in_dicts_are_null() -> None:
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    frame = pd.DataFrame({"id": [1, 2], "at": pd.to_datetime([moment, None]), "n": pd.array([7, None], "Int64")})
    table = ModTable.create(MemoryStorage(), "id BIGINT, at TIMESTAMP, n INT", primary_key="id")
    table.apply(frame.to_dict("records"), batch_id=("s", 1))
    kept = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert kept == [{"id": 1, "at": moment, "n": 7}, {"id": 2, "at": None, "n": None}]


def test_integers_of_more_than_64_bits_are_set_aside_or_named() -> None:
    table = ModTable.create(MemoryStorage(), "id BIGINT, n BIGINT", primary_key="id")
    rows = [{"id": 1, "n": 2**70}, {"id": 2, "n": 3}, {"id": 3, "n": None}]
    with pytest.raises(SchemaMismatchError, match=r"'n' is decimal\(22,0\), not bigint"):
        table.apply(rows, batch_id=("s", 1))
    assert table.apply(rows, batch_id=("s", 1), cast=True, max_quarantined=1).upserts == 2
