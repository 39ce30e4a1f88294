"""``tie_break_by``: within a batch the last mod of a key and sequence is the one that counts, however it is cut."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andes_spark.errors import BadModsError, OptionError, SchemaMismatchError, SequenceTieError
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

Row = tuple[int, int, int, str, str]


def create(**options: Any) -> ModTable:
    return ModTable.create(
        MemoryStorage(), "id BIGINT, at BIGINT, name STRING", **{"primary_key": "id", "sequence_by": "at", **options}
    )


def batch(*rows: Row) -> pa.Table:
    """Rows of (id, at, position, name, op)."""
    columns = list(zip(*rows, strict=True)) or [()] * 5
    kinds = [pa.int64(), pa.int64(), pa.int64(), pa.string(), pa.string()]
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)],
        names=["id", "at", "pos", "name", "op"],
    )


def cut(rows: pa.Table, size: int) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(rows.schema, iter(rows.to_batches(max_chunksize=size)))


def shown(table: ModTable) -> dict[int, tuple[int, str]]:
    return {row["id"]: (row["at"], row["name"]) for row in table.to_arrow().to_pylist()}


ONE_TRANSACTION = [
    (1, 5, 1, "a", "I"),
    (1, 5, 3, "c", "U"),
    (1, 5, 2, "b", "U"),
    (2, 5, 4, "x", "I"),
    (2, 5, 5, "", "D"),
]


def test_the_last_of_one_transaction_is_written_and_the_others_are_collapsed() -> None:
    table = create()
    with pytest.raises(SequenceTieError, match="tie_break_by"):
        table.apply(batch(*ONE_TRANSACTION), apply_as_deletes="op = 'D'", extra="drop")
    result = table.apply(batch(*ONE_TRANSACTION), apply_as_deletes="op = 'D'", tie_break_by="pos")
    assert shown(table) == {1: (5, "c")}
    assert (result.received, result.upserts, result.deletes, result.collapsed) == (5, 1, 1, 3)
    assert result.merge is not None
    assert result.merge.ties == 0
    assert table.mods().column_names[3:] == ["id", "at", "name"]
    assert table.verify().ok


def test_a_delete_before_an_upsert_of_one_sequence_loses_to_it() -> None:
    table = create()
    moved = batch((1, 5, 1, "", "D"), (1, 5, 2, "again", "I"))
    table.apply(moved, apply_as_deletes="op = 'D'", tie_break_by=["pos"])
    assert shown(table) == {1: (5, "again")}


def test_expressions_and_several_values() -> None:
    table = create()
    rows = batch((1, 5, 1, "a", "I"), (1, 5, 1, "b", "U"), (1, 5, 0, "c", "I"))
    for given_by in (["pos", "op"], ["POS", pl.col("op") == "U"], ["coalesce(pos, 0)", "lower(op)"]):
        table.apply(rows, tie_break_by=given_by)
        assert shown(table) == {1: (5, "b")}


def test_a_column_of_the_table_can_break_ties() -> None:
    table = create()
    table.apply(batch(*ONE_TRANSACTION).drop_columns(["op", "pos"]), tie_break_by="name")
    assert shown(table) == {1: (5, "c"), 2: (5, "x")}


def test_what_has_no_order_stays_a_tie_or_is_refused() -> None:
    table = create()
    same = batch((1, 5, 1, "a", "I"), (1, 5, 1, "b", "U"))
    with pytest.raises(SequenceTieError):
        table.apply(same, tie_break_by="pos", extra="drop")
    unknown = batch((1, 5, 1, "a", "I")).set_column(2, "pos", pa.array([None], pa.int64()))
    with pytest.raises(BadModsError) as caught:
        table.apply(unknown, tie_break_by="pos", extra="drop")
    assert caught.value.reasons == {"null tie break: 1": 1}
    with pytest.raises(SchemaMismatchError, match=r"batch lacks: \['position'\]"):
        table.apply(same, tie_break_by="position", extra="drop")
    lists = same.append_column("many", pa.array([[1], [2]]))
    with pytest.raises(OptionError, match="no order"):
        table.apply(lists, tie_break_by="many", extra="drop")
    for other in ({"ignore_null_updates": True}, {"columns_to_update": "carries"}):
        with pytest.raises(OptionError, match="keeps the last of several mods alone"):
            table.apply(same, tie_break_by="pos", **other)  # type: ignore[arg-type]
    assert table.version == 0


def test_a_partial_mod_after_a_delete_of_one_sequence_is_no_order() -> None:
    table = ModTable.create(
        MemoryStorage(), "id BIGINT, at BIGINT, name STRING, note STRING", primary_key="id", sequence_by="at"
    )
    rows = batch((1, 5, 1, "", "D"), (1, 5, 2, "b", "U"))
    options: dict[str, Any] = {"apply_as_deletes": "op = 'D'", "tie_break_by": "pos", "column_list": "name"}
    for mods in (rows, cut(rows, 1)):
        with pytest.raises(SequenceTieError):
            table.apply(mods, **options)
    table.apply(batch((1, 5, 1, "a", "I"), (1, 5, 2, "b", "U")), **options)
    assert table.version == 1


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.integers(1, 2), st.integers(1, 6), st.sampled_from("abc"), st.sampled_from("IUD")
        ),
        max_size=12,
    ),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_any_batch_in_any_parts_is_what_the_last_of_each_says(rows: list[Row], size: int) -> None:
    rows = list({(row[0], row[1], row[2]): row for row in rows}.values())
    last: dict[tuple[int, int], Row] = {}
    for row in sorted(rows, key=lambda row: row[2]):
        last[row[0], row[1]] = row
    oracle: dict[int, tuple[int, str]] = {}
    for key, at in sorted(last):
        oracle.pop(key, None)
        if last[key, at][4] != "D":
            oracle[key] = (at, last[key, at][3])
    digests = set()
    for mods, budget in ((batch(*rows), 512 * 1024 * 1024), (cut(batch(*rows), size), 0)):
        table = create(settings=Settings(byte_budget=budget))
        result = table.apply(mods, apply_as_deletes="op = 'D'", tie_break_by="pos", batch_id=("s", 1))
        assert shown(table) == oracle
        assert result.received == len(rows)
        assert result.upserts + result.deletes == len(last)
        assert result.collapsed == len(rows) - len(last)
        assert table.verify().ok
        (committed,) = table.manifest(result.version).batches
        digests.add(committed.digest)
    assert len(digests) == 1
