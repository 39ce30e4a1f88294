"""The edge cases that change-data tools disagree on, each with what this library does.

Those of operations to come are not here: history of a row as a table of its own (SCD 2), columns that are added,
dropped or renamed (16; here only that they are refused), and restore. Expiry is in ``maintenance/test_expire.py``.
"""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from andes_spark.errors import (
    BadModsError,
    BatchConflictError,
    OptionError,
    SchemaMismatchError,
    SequenceTieError,
    UnsupportedTableError,
)
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable

BASIC = "id bigint, lsn bigint, a string, b string"


def create(schema: Any = BASIC, **arguments: Any) -> ModTable:
    options: dict[str, Any] = {"primary_key": ["id"], "sequence_by": ["lsn"], **arguments}
    return ModTable.create(MemoryStorage(), schema, **options)


def send(table: ModTable, *rows: dict[str, Any], **options: Any) -> Any:
    """Apply rows in the table's types; ``op`` says what each is, D a delete, T a truncate."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrow = table.schema.to_arrow()
    fields = [pa.field(name, pa.string() if name == "op" else arrow.field(name).type) for name in names]
    if "op" in names:
        options = {"apply_as_deletes": "op = 'D'", "apply_as_truncates": "op = 'T'", **options}
    return table.apply(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), **options)


def row(key: Any, lsn: Any, a: str | None = None, op: str = "U") -> dict[str, Any]:
    return {"id": key, "lsn": lsn, "a": a, "b": a, "op": op}


def shown(table: ModTable, column: str = "a") -> dict[Any, Any]:
    """Values by key; the same whether merged or not."""
    values = {record["id"]: record[column] for record in table.to_arrow().to_pylist()}
    table.merge()
    assert {record["id"]: record[column] for record in table.to_arrow().to_pylist()} == values
    checked = table.verify()
    assert checked.ok, checked.problems
    return values


def test_edge_01_a_tie_in_a_batch_is_an_error_that_names_the_keys() -> None:
    table = create()
    for second in (row(1, 5, "y"), row(1, 5, op="D")):
        with pytest.raises(SequenceTieError, match="tie_break_by") as caught:
            send(table, row(1, 5, "x"), row(2, 5, "x"), second)
        assert caught.value.keys == [{"id": 1}]
    assert table.version == 0
    result = send(table, row(1, 5, "x"), row(1, 5, "x"))
    assert (result.upserts, result.collapsed) == (1, 1)


@pytest.mark.parametrize("merge", [True, False])
def test_edge_02_a_tie_across_batches_is_decided_alike_however_batches_are_merged(merge: bool) -> None:
    for order in itertools.permutations([row(1, 5, "x"), row(1, 5, op="D"), row(1, 5, "y")]):
        table = create()
        for mod in order:
            send(table, mod, merge=merge)
        assert shown(table) == {}  # a delete beats upserts of its sequence, whenever it comes
    table = create()
    for value in ("x", "y"):
        send(table, row(1, 5, value), merge=merge)
    assert shown(table) == {1: "y"}  # between upserts the later version
    assert sum(entry.ties for entry in table.merges()) == 1


def test_edge_03_several_sequence_columns_order_as_a_tuple() -> None:
    table = create("id bigint, lsn bigint, ordinal int, a string", sequence_by=["lsn", "ordinal"])
    send(table, {"id": 1, "lsn": 2, "ordinal": 1, "a": "greatest"})
    send(table, {"id": 1, "lsn": 1, "ordinal": 9, "a": "late"})
    send(table, {"id": 1, "lsn": 2, "ordinal": 0, "a": "late"})
    assert shown(table) == {1: "greatest"}
    with pytest.raises(BadModsError, match="null sequence: ordinal"):
        send(table, {"id": 1, "lsn": 9, "ordinal": None, "a": "x"})


def test_edge_04_a_null_sequence_is_a_bad_mod() -> None:
    table = create()
    with pytest.raises(BadModsError, match="null sequence: lsn") as caught:
        send(table, row(1, None, "x"), row(2, 1, "y"))
    assert caught.value.quarantined == 1
    assert table.version == 0
    result = send(table, row(1, None, "x"), row(2, 1, "y"), max_quarantined=1)
    assert (result.received, result.upserts, result.quarantined) == (2, 1, 1)
    assert shown(table) == {2: "y"}
    assert table.quarantined()["reason"].to_pylist() == ["null sequence"]


def test_edge_05_the_type_of_a_sequence_is_what_the_table_says() -> None:
    """Numbers in a string order as strings, so a table declares what it means; 38 digits fit a decimal."""
    numbers = create("id bigint, lsn decimal(38,0), a string")
    send(numbers, {"id": 1, "lsn": Decimal("9" * 37), "a": "old"})
    send(numbers, {"id": 1, "lsn": Decimal("1" + "0" * 37), "a": "new"})
    assert shown(numbers) == {1: "new"}
    with pytest.raises(SchemaMismatchError) as caught:
        numbers.apply(pa.table({"id": [1], "lsn": ["9"], "a": ["x"]}))
    assert "lsn" in caught.value.fields["wrong_type"]
    result = numbers.apply(pa.table({"id": ["1"], "lsn": ["9"], "a": ["x"]}), cast=True)
    assert result.merge is not None
    assert result.merge.late == 1
    with pytest.raises(BadModsError) as bad:
        numbers.apply(pa.table({"id": ["one", "1"], "lsn": ["9", "x"], "a": ["x", "x"]}), cast=True)
    assert bad.value.reasons == {"failed cast: id": 1, "failed cast: lsn": 1}
    with pytest.raises(OptionError, match=r"'lsn', which is text.* pass text_sequence=True"):
        create("id bigint, lsn string, a string")
    for kind in ("double", "float", "boolean"):
        with pytest.raises(OptionError, match="lsn"):
            create(f"id bigint, lsn {kind}, a string")


def test_edge_06_a_null_in_a_key_is_a_bad_mod() -> None:
    table = create("id bigint, part string, lsn bigint, a string", primary_key=["id", "part"])
    result = send(
        table,
        {"id": None, "part": "x", "lsn": 1, "a": "a"},
        {"id": 1, "part": None, "lsn": 1, "a": "a"},
        {"id": 1, "part": "", "lsn": 1, "a": "a"},
        max_quarantined=2,
    )
    assert (result.upserts, result.quarantined) == (1, 2)
    assert table.quarantined()["column"].to_pylist() == ["id", "part"]
    assert shown(table) == {1: "a"}


@pytest.mark.parametrize("merge", [True, False])
def test_edge_07_late_mods_lose_against_rows_and_tombstones(merge: bool) -> None:
    table = create()
    send(table, row(1, 9, "x"), row(2, 9, op="D"), row(3, 9, "x"), merge=merge)
    send(table, row(1, 8, op="D"), row(2, 8, "back"), row(3, 8, "back"), merge=merge)
    assert shown(table) == {1: "x", 3: "x"}
    assert sum(entry.late + entry.superseded for entry in table.merges()) == 3


@pytest.mark.parametrize("merge", [True, False])
def test_edge_08_a_key_may_come_back_after_its_delete(merge: bool) -> None:
    table = create()
    send(table, row(1, 1, "x"), merge=merge)
    send(table, row(1, 2, op="D"), merge=merge)
    send(table, row(1, 3, "again"), merge=merge)
    assert shown(table) == {1: "again"}
    send(table, row(1, 2, "late"), merge=merge)
    assert shown(table) == {1: "again"}
    send(table, row(1, 4, op="D"), merge=merge)
    send(table, row(1, 4, "same"), merge=merge)
    assert shown(table) == {}


def test_edge_09_an_unknown_operation_is_a_bad_mod() -> None:
    rows = pa.table({"id": [1, 2, 3, 4], "lsn": [1] * 4, "a": ["x"] * 4, "b": ["x"] * 4, "op": ["I", "D", "?", None]})
    table = create()
    known: dict[str, Any] = {"apply_as_upserts": "op IN ('I', 'U')", "apply_as_deletes": "op = 'D'"}
    with pytest.raises(BadModsError, match="unknown operation"):
        table.apply(rows, **known)
    result = table.apply(rows, **known, max_quarantined=2)
    assert (result.upserts, result.deletes, result.quarantined) == (1, 1, 2)
    assert table.quarantined()["row_number"].to_pylist() == [2, 3]
    # Without a condition for upserts, what is no delete is one; NULL only when asked.
    table = create()
    with pytest.raises(BadModsError):
        table.apply(rows, apply_as_deletes="op = 'D'")
    table.apply(rows, apply_as_deletes="op = 'D'", on_null_operation="upsert")
    assert sorted(shown(table)) == [1, 3, 4]


@pytest.mark.parametrize("merge", [True, False])
def test_edge_10_a_partial_mod_tells_null_from_absent(merge: bool) -> None:
    table = create()
    send(table, row(1, 1, "x"), merge=merge)
    rows = pa.table(
        {
            "id": [1],
            "lsn": [2],
            "a": pa.array([None], pa.string()),
            "b": pa.array([None], pa.string()),
            "carried": [["a"]],
        }
    )
    table.apply(rows, columns_to_update="carried", merge=merge)
    assert table.to_arrow().to_pylist() == [{"id": 1, "lsn": 2, "a": None, "b": "x"}]
    send(table, {"id": 1, "lsn": 3, "a": None, "b": "y"}, ignore_null_updates=["a"], merge=merge)
    send(table, {"id": 1, "lsn": 4, "a": "z"}, column_list=["a"], merge=merge)
    send(table, {"id": 1, "lsn": 5, "a": "z", "b": "not listed"}, column_list=["a"], merge=merge)
    assert shown(table) == {1: "z"}
    assert shown(table, "b") == {1: "y"}


@pytest.mark.parametrize("column", ["id", "lsn", "a"])
def test_edge_10_columns_to_update_is_no_column_of_the_table(column: str) -> None:
    table = create()
    mods = pa.table({"id": [1], "lsn": [1], "a": [["a"]], "b": ["x"]})
    with pytest.raises(OptionError, match="a column of the table") as caught:
        table.apply(mods, columns_to_update=column)
    assert caught.value.option == "columns_to_update"
    assert table.version == 0


@pytest.mark.parametrize("merge", [True, False])
def test_edge_11_an_unavailable_value_keeps_the_old_one_and_needs_a_row(merge: bool) -> None:
    table = create("id bigint, lsn bigint, a string not null, b string")
    send(table, {"id": 1, "lsn": 1, "a": "long", "b": "x"}, merge=merge)
    send(table, {"id": 1, "lsn": 2, "b": "y"}, {"id": 2, "lsn": 2, "b": "y"}, column_list=["b"], merge=merge)
    assert shown(table) == {1: "long"}
    assert shown(table, "b") == {1: "y"}
    (refused,) = table.quarantined().to_pylist()
    assert (refused["version"], refused["reason"]) == (
        2,
        "partial mod for a row that does not exist, without all required columns",
    )


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("merge", [True, False])
def test_edge_02_an_insert_at_the_sequence_of_a_delete_in_an_earlier_batch_is_a_tie(merge: bool, partial: bool) -> None:
    """The delete holds, whatever is merged when; the result says so, since a feed of one time stamp loses the row."""
    table = create()
    send(table, row(1, 4, "x"), row(2, 5, "y"))
    if partial:  # the keys are folded
        table.apply(pa.table({"id": [1, 2], "lsn": [4, 5], "a": ["p", "p"]}), column_list="a", merge=False)
    send(table, row(1, 5, op="D"), merge=merge)
    send(table, row(1, 5, "again"), merge=False)
    result = table.merge()
    assert shown(table) == {2: "p" if partial else "y"}
    assert (result.late, result.counts.ties_with_deletes) == (0, 1)
    assert result.superseded >= 1
    assert "1 upsert at the very sequence of a delete" in str(result.warning)
    # The other way about the delete is what was meant.
    send(table, row(2, 5, op="D"), merge=False)
    assert table.merge().warning is None
    send(table, row(2, 5, op="D"), merge=False)
    assert table.merge().counts.late == 1  # the same delete again


@pytest.mark.parametrize("merge", [True, False])
def test_edge_12_a_truncate_is_a_watermark(merge: bool) -> None:
    table = create()
    send(table, row(1, 1, "x"), row(2, 9, "kept"), row(3, 4, op="D"), merge=merge)
    send(table, {"id": None, "lsn": 5, "a": None, "b": None, "op": "T"}, merge=merge)
    send(table, row(1, 3, "late"), row(3, 5, "late"), row(4, 6, "new"), merge=merge)
    assert shown(table) == {2: "kept", 4: "new"}
    plain = create("id bigint, lsn bigint, a string, b string", sequence_by=[])
    send(plain, row(1, 1, "x"), row(2, 1, "x"), batch_id=("s", 1), merge=merge)
    truncate = {"id": None, "lsn": None, "a": None, "b": None, "op": "T"}
    send(plain, row(2, 1, "after"), truncate, batch_id=("s", 2), merge=merge)
    assert shown(plain) == {2: "after"}  # it precedes the other mods of its version
    with pytest.raises(BadModsError):
        send(table, truncate)


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("key", [["lsn"], ["region", "lsn"]])
def test_edge_12_a_truncate_at_a_sequence_that_is_a_key_too(key: list[str], merge: bool) -> None:
    table = ModTable.create(
        MemoryStorage(), "region string, lsn bigint, a string", primary_key=key, sequence_by=["lsn"], merge="manual"
    )
    ops, lsns = ["U", "U", "T", "U", "T"], [4, 5, 5, 6, 5]
    mods = pa.table({"region": ["eu"] * 5, "lsn": lsns, "a": ["x"] * 5, "op": ops})
    result = table.apply(mods, apply_as_truncates="op = 'T'", merge=merge)
    assert (result.upserts, result.counts.truncates, result.counts.collapsed) == (3, 1, 1)
    assert table.to_arrow()["lsn"].to_pylist() == [6]
    assert table.verify().ok


@pytest.mark.parametrize("merge", [True, False])
def test_edge_12_a_truncate_at_a_long_sequence_holds_whole(merge: bool) -> None:
    """Longer than what manifests quote of keys and sequences: cut, it would let what it removed come back."""
    table = ModTable.create(
        MemoryStorage(),
        "id bigint, lsn string, a string",
        primary_key=["id"],
        sequence_by=["lsn"],
        text_sequence=True,
        merge="manual",
    )
    mark = "m" * 1000

    def send(batch: int, *rows: tuple[int, str, str]) -> None:
        ids, lsns, ops = zip(*rows, strict=True)
        mods = pa.table({"id": ids, "lsn": lsns, "a": ["x"] * len(ids), "op": ops})
        table.apply(mods, apply_as_truncates="op = 'T'", batch_id=("s", batch), merge=merge)

    send(1, (1, mark[:-1], "U"), (2, mark + "a", "U"))
    send(2, (0, mark, "T"))
    send(3, (3, mark[:900], "U"), (4, mark, "U"), (5, mark + "!", "U"))
    assert sorted(table.to_arrow()["id"].to_pylist()) == [2, 5]
    assert table.verify().ok


def test_edge_13_a_changed_key_is_a_delete_and_an_upsert() -> None:
    table = create()
    send(table, row(1, 1, "x"))
    send(table, row(1, 2, op="D"), row(2, 2, "x"))
    assert shown(table) == {2: "x"}


@pytest.mark.parametrize("vectors", [True, False])
def test_edge_14_a_row_moves_between_partitions(vectors: bool) -> None:
    table = create(partition_by=["b"], deletion_vectors=vectors)
    send(table, {"id": 1, "lsn": 1, "a": "x", "b": "p"}, {"id": 2, "lsn": 1, "a": "x", "b": None})
    send(table, {"id": 1, "lsn": 2, "a": "y", "b": "q"}, {"id": 2, "lsn": 2, "a": "y", "b": "p"})
    assert shown(table) == {1: "y", 2: "y"}
    assert shown(table, "b") == {1: "q", 2: "p"}
    with pytest.raises(BadModsError, match="empty string in a partition column"):
        send(table, {"id": 3, "lsn": 1, "a": "x", "b": ""})


def test_edge_15_a_replay_with_other_content_is_an_error() -> None:
    table = create()
    first = send(table, row(1, 1, "x"), row(2, 1, "y"), batch_id=("s", 1))
    repeat = send(table, row(2, 1, "y"), row(1, 1, "x"), batch_id=("s", 1))
    assert (repeat.replayed, repeat.version, repeat.received) == (True, first.version, 2)
    with pytest.raises(BatchConflictError) as caught:
        send(table, row(1, 2, "x"), row(2, 1, "y"), batch_id=("s", 1))
    assert caught.value.version == first.version
    # A column such as the time of ingestion may differ, unless asked.
    assert send(table, row(1, 1, "later"), row(2, 1, "y"), batch_id=("s", 1)).replayed
    send(table, row(3, 1, "x"), batch_id=("s", 2), strict_replay=True)
    with pytest.raises(BatchConflictError):
        send(table, row(3, 1, "y"), batch_id=("s", 2), strict_replay=True)
    with pytest.raises(OptionError, match="batch_id"):
        send(create(sequence_by=[]), row(1, 1, "x"))


def test_edge_16_another_schema_is_refused_with_all_differences() -> None:
    table = create()
    with pytest.raises(SchemaMismatchError) as caught:
        table.apply(pa.table({"id": [1], "lsn": ["1"], "b": ["x"], "c": [1]}))
    assert caught.value.missing == ("a",)
    assert caught.value.extra == ("c",)
    assert set(caught.value.fields["wrong_type"]) == {"lsn"}
    assert table.version == 0


def test_edge_17_only_lossless_widening_happens_by_itself() -> None:
    table = create("id bigint, lsn bigint, a int, b decimal(10,2)")
    table.apply(
        pa.table(
            {
                "id": pa.array([1], pa.int32()),
                "lsn": pa.array([1], pa.int16()),
                "a": pa.array([1], pa.int8()),
                "b": pa.array([Decimal("1.5")], pa.decimal128(5, 1)),
            }
        )
    )
    assert shown(table, "b") == {1: Decimal("1.50")}
    for name, column in (("a", pa.array([1], pa.int64())), ("b", pa.array([1.5])), ("id", pa.array([Decimal(1)]))):
        columns = {"id": pa.array([1]), "lsn": pa.array([2]), "a": pa.array([1], pa.int32())}
        columns["b"] = pa.array([Decimal("1.50")], pa.decimal128(10, 2))
        with pytest.raises(SchemaMismatchError) as caught:
            table.apply(pa.table({**columns, name: column}))
        assert list(caught.value.fields["wrong_type"]) == [name]


def test_edge_18_names_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(OptionError, match="differ only in case"):
        create("id bigint, lsn bigint, a string, A string")
    with pytest.raises(SchemaMismatchError, match="differ only in case"):
        create().apply(pa.table({"id": [1], "lsn": [1], "a": ["x"], "b": ["x"], "B": ["x"]}))


@pytest.mark.parametrize("name", ["_andes_op", "_ANDES_x", "_change_type", "_commit_version"])
def test_edge_19_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=name):
        create(f"id bigint, lsn bigint, `{name}` string")
    batch = pa.table({"id": [1], "lsn": [1], "a": ["x"], "b": ["x"], name: [1]})
    with pytest.raises((OptionError, SchemaMismatchError), match=name):
        create().apply(batch)


def test_edge_20_floating_point_is_no_key_and_nan_is_a_value() -> None:
    for kind in ("double", "float"):
        with pytest.raises(OptionError, match="floating point"):
            create(f"id {kind}, lsn bigint, a string")
    table = create("id bigint, lsn bigint, a double")
    nan, minus = float("nan"), -0.0
    result = send(table, {"id": 1, "lsn": 1, "a": nan}, {"id": 1, "lsn": 1, "a": nan})
    assert result.collapsed == 1
    merged = send(table, {"id": 1, "lsn": 1, "a": nan}).merge
    assert merged.unchanged == 1
    send(table, {"id": 2, "lsn": 1, "a": minus})
    for _ in range(2):
        assert {record["id"]: str(record["a"]) for record in table.to_arrow().to_pylist()} == {1: "nan", 2: "-0.0"}
        table.merge()
    assert table.verify().ok


def test_edge_21_keys_have_exact_types() -> None:
    zone = datetime.UTC
    table = create("id timestamp, lsn bigint, a string")
    send(table, {"id": datetime.datetime(2020, 1, 1, tzinfo=zone), "lsn": 1, "a": "x"})
    east = datetime.timezone(datetime.timedelta(hours=2))
    send(table, {"id": datetime.datetime(2020, 1, 1, 2, tzinfo=east), "lsn": 2, "a": "y"})
    assert list(shown(table).values()) == ["y"]  # one moment, one key
    wall = pa.array([datetime.datetime(2020, 1, 1)], pa.timestamp("us"))
    with pytest.raises(SchemaMismatchError):
        table.apply(pa.table({"id": wall, "lsn": [3], "a": ["z"]}))
    large = create("id decimal(20,2), lsn bigint, a string")
    for other in (pa.array(["1.00"]), pa.array([1.0]), pa.array([1], pa.int64())):
        with pytest.raises(SchemaMismatchError):
            large.apply(pa.table({"id": other, "lsn": [1], "a": ["x"]}))
    send(large, *({"id": Decimal(2**53 + n), "lsn": 1, "a": str(n)} for n in range(3)))
    assert len(shown(large)) == 3


def test_edge_22_strings_are_compared_as_bytes() -> None:
    table = create("id string, lsn bigint, a string")
    keys = ["a", "A", "a ", "é", "e\u0301", ""]
    send(table, *({"id": key, "lsn": 1, "a": key} for key in keys))
    assert shown(table) == {key: key for key in keys}
    with pytest.raises((OptionError, UnsupportedTableError)):
        create("id string collate UTF8_LCASE, lsn bigint, a string")


def test_edge_23_equal_content_is_no_change_only_at_an_equal_sequence() -> None:
    table = create()
    send(table, row(1, 5, "x"))
    assert send(table, row(1, 5, "x")).merge.unchanged == 1
    assert send(table, row(1, 10, "x")).merge.updated == 1
    assert send(table, row(1, 7, "late")).merge.late == 1
    assert table.to_arrow().to_pylist() == [{"id": 1, "lsn": 10, "a": "x", "b": "x"}]
