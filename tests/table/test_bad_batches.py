"""Batches and options that cannot be: each refused by an error that says why, with its fields, the table unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.errors import (
    AndesError,
    BadModsError,
    BatchConflictError,
    OptionError,
    SchemaMismatchError,
    SequenceTieError,
)
from andes_spark.storage.memory import MemoryStorage

GOOD = pa.table({"k": [1, 2], "v": ["a", "b"], "s": [1, 1]})


def table_of() -> ModTable:
    return ModTable.create(MemoryStorage(), "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"])


def doubled(name: str) -> pa.Table:
    return GOOD.append_column("c", pa.nulls(2)).append_column(name, pa.array(["a", "b"]))


@pytest.mark.parametrize(
    "options",
    [{}, {"apply_as_deletes": "v = 'a'"}, {"apply_as_deletes": "c = 'D'"}, {"columns_to_update": "c"}],
    ids=str,
)
@pytest.mark.parametrize("name", ["v", "c"])
def test_columns_that_stand_twice(options: dict[str, Any], name: str) -> None:
    table = table_of()
    with pytest.raises(SchemaMismatchError, match="given more than once") as caught:
        table.apply(doubled(name), **options)
    assert caught.value.duplicate == (name,)
    assert table.version == 0


WRONG: dict[str, tuple[pa.Table, dict[str, Any], type[AndesError]]] = {
    "columns": (GOOD.drop_columns(["v"]), {}, SchemaMismatchError),
    "types": (GOOD.set_column(0, "k", pa.array(["x", "y"])), {}, SchemaMismatchError),
    "ties": (pa.table({"k": [1, 1], "v": ["a", "b"], "s": [1, 1]}), {}, SequenceTieError),
    "a column of a condition": (GOOD, {"apply_as_deletes": "op = 'D'"}, SchemaMismatchError),
    "a condition": (GOOD, {"apply_as_deletes": "k +"}, OptionError),
    "a condition on the wrong type": (GOOD, {"apply_as_deletes": "v > 1"}, OptionError),
    "an option": (GOOD, {"column_list": ["x"]}, OptionError),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_every_error_says_of_which_table_it_is(wrong: str) -> None:
    mods, options, kind = WRONG[wrong]
    table = table_of()
    with pytest.raises(kind) as caught:
        table.apply(mods, **options)
    assert caught.value.table == table.url
    assert caught.value.message.startswith(f"{table.url}: ")
    assert caught.value.message.count(table.url) == 1
    assert table.version == 0


def test_reasons_of_bad_rows_are_counted_alike_by_load_and_apply() -> None:
    rows = pa.table({"k": [None, None, 1], "v": ["a", "b", "c"], "s": [1, 1, None]})
    reasons = {"null key: k": 2, "null sequence: s": 1}
    with pytest.raises(BadModsError) as caught:
        table_of().apply(rows)
    assert caught.value.reasons == reasons
    with pytest.raises(BadModsError) as caught:
        ModTable.create(
            MemoryStorage(), "k bigint, v string, s bigint", primary_key=["k"], sequence_by=["s"], data=rows
        )
    assert caught.value.reasons == reasons


def test_the_same_batch_with_another_strict_replay_is_told_so() -> None:
    table = table_of()
    table.apply(GOOD, batch_id=("x", 1))
    with pytest.raises(BatchConflictError, match="another strict_replay"):
        table.apply(GOOD, batch_id=("x", 1), strict_replay=True)
    assert table.apply(GOOD, batch_id=("x", 1)).replayed


def test_the_same_batch_with_bad_rows_more_is_another() -> None:
    table = table_of()
    table.apply(GOOD, batch_id=("x", 1))
    more = pa.concat_tables([GOOD, pa.table({"k": pa.array([None], pa.int64()), "v": ["c"], "s": [1]})])
    with pytest.raises(BatchConflictError, match="more or fewer bad mods"):
        table.apply(more, batch_id=("x", 1), max_quarantined=1)
    assert table.version == 1
    assert table.quarantined().num_rows == 0
    assert table.apply(more, batch_id=("x", 2), max_quarantined=1).quarantined == 1
    assert table.apply(more, batch_id=("x", 2), max_quarantined=1).replayed


@pytest.mark.parametrize(
    "listed",
    [
        pa.nulls(2),
        pa.array([["v"], None], pa.large_list(pa.string())),
        pa.array([["v"], None], pa.list_(pa.large_string())),
    ],
    ids=lambda array: str(array.type),
)
def test_columns_to_update_as_lists_of_any_width(listed: pa.Array) -> None:
    table = table_of()
    assert table.apply(GOOD.append_column("c", listed), columns_to_update="c").upserts == 2
    assert table.to_arrow().sort_by("k").to_pydict() == GOOD.to_pydict()


def test_columns_to_update_that_is_no_list() -> None:
    for odd in (pa.array(["v", "v"]), pa.array([[{"a": 1}]] * 2), pa.array([["v"]] * 2, pa.list_(pa.string(), 1))):
        with pytest.raises(SchemaMismatchError, match="not a list of names"):
            table_of().apply(GOOD.append_column("c", odd), columns_to_update="c")


def test_conditions_of_many_terms_and_of_text_only() -> None:
    table = table_of()
    deep = " or ".join(f"k = {number}" for number in range(2, 250))
    result = table.apply(GOOD, apply_as_deletes=deep)
    assert (result.upserts, result.deletes) == (1, 1)
    with pytest.raises(OptionError, match="apply_as_deletes is text"):
        table.apply(GOOD, apply_as_deletes="v = '\ud800'")


def test_a_path_is_text() -> None:
    with pytest.raises(OptionError, match="named by a path"):
        ModTable.open("/tmp/\ud800")


def test_a_merge_policy_names_all_that_there_are() -> None:
    with pytest.raises(OptionError, match='"sometimes" is not "always", "auto", "manual" or a duration'):
        ModTable.create(MemoryStorage(), "k bigint", primary_key=["k"], merge="sometimes")


def test_polars_frames_whose_list_of_columns_is_null() -> None:
    frame = pl.DataFrame({"k": [1], "v": ["a"], "s": [1], "c": [None]})
    assert table_of().apply(frame, columns_to_update="c").upserts == 1


def failing_reader() -> pa.RecordBatchReader:
    other = pa.table({"k": ["x"], "v": ["a"], "s": [1]}).to_batches()
    return pa.RecordBatchReader.from_batches(GOOD.schema, iter([*GOOD.to_batches(), *other]))


UNREADABLE: dict[str, Callable[[], Any]] = {
    "lazy frame": lambda: pl.LazyFrame({"k": [1]}).select("nope"),
    "file": lambda: pl.scan_parquet("/nowhere/at/all.parquet"),
    "type": lambda: pl.DataFrame({"k": [1], "v": ["a"], "s": [1]}).with_columns(s=pl.col("s").cast(pl.Int128)),
    "reader": failing_reader,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_rows_that_cannot_be_read(name: str) -> None:
    table = table_of()
    with pytest.raises(OptionError, match=r"cannot be read|has no form in Arrow") as caught:
        table.apply(UNREADABLE[name]())
    assert caught.value.option == "mods"
    assert table.version == 0
    storage = MemoryStorage()
    with pytest.raises(OptionError):
        ModTable.create(storage, "k bigint, v string, s bigint", primary_key=["k"], data=UNREADABLE[name]())
    assert not list(storage.list())


def test_errors_of_the_callers_own_reader_pass() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from GOOD.to_batches()
        raise KeyError("mine")

    table = table_of()
    with pytest.raises(KeyError, match="mine"):
        table.apply(pa.RecordBatchReader.from_batches(GOOD.schema, batches()))
    assert table.version == 0


def test_ids_of_batches_have_as_many_digits_as_a_decimal() -> None:
    table = table_of()
    for number, largest in enumerate((10**38 - 1, 1 - 10**38), start=1):
        assert table.apply(GOOD, batch_id=("s", largest)).version == number
        assert table.apply(GOOD, batch_id=("s", largest)).replayed
    for large in (10**38, -(10**38), 10**5_000):
        with pytest.raises(OptionError, match="at most 38 digits"):
            table.apply(GOOD, batch_id=("s", large))


@pytest.mark.parametrize("option", ["spark", "progress", "settings"])
def test_what_callers_give_for_the_process_is_checked(option: str) -> None:
    storage = MemoryStorage()
    arguments: dict[str, Any] = {option: "local"}
    with pytest.raises(OptionError, match=f"{option} is a") as caught:
        ModTable.create(storage, "k bigint", primary_key=["k"], **arguments)
    assert caught.value.option == option
    ModTable.create(storage, "k bigint", primary_key=["k"])
    with pytest.raises(OptionError):
        ModTable.open(storage, **arguments)
