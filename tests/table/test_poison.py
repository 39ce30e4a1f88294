"""What passes apply can be merged and read: values, names, options and documents that once could not be."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import BadModsError, NoSuchTableError, OptionError, SchemaMismatchError
from andes_spark.log import rolled
from andes_spark.model.merge_record import merge_record_path
from andes_spark.model.values import json_rows
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.verbs import after_merge, overtaken
from andes_spark.testing.tables import create as simple
from andes_spark.testing.tables import fill, rows

YEAR_10K_US = 253_402_300_800_000_000
YEAR_10K_DAYS = 2_932_897


def create(ddl: str, key: tuple[str, ...] = ("id",), **options: Any) -> ModTable:
    return ModTable.create(MemoryStorage(), ddl, primary_key=list(key), **{"sequence_by": ["seq"], **options})


def times(kind: pa.DataType, *values: int) -> pa.Array:
    return pa.array(values, pa.int32() if pa.types.is_date(kind) else pa.int64()).cast(kind)


TIMES = {
    "timestamp": (pa.timestamp("us", "UTC"), YEAR_10K_US),
    "timestamp_ntz": (pa.timestamp("us"), YEAR_10K_US),
    "date": (pa.date32(), YEAR_10K_DAYS),
}


@pytest.mark.parametrize("role", ["key", "sequence", "partition"])
@pytest.mark.parametrize("kind", list(TIMES))
def test_times_beyond_the_calendar_are_bad_mods_where_files_are_described_by_them(kind: str, role: str) -> None:
    arrow, beyond = TIMES[kind]
    table = create(
        f"id bigint, at {kind}, seq bigint",
        ("at",) if role == "key" else ("id",),
        sequence_by=["at"] if role == "sequence" else ["seq"],
        partition_by=["at"] if role == "partition" else [],
    )
    mods = pa.table({"id": [1, 2, 3], "at": times(arrow, beyond, 0, beyond - 1), "seq": [1, 1, 1]})
    with pytest.raises(BadModsError) as caught:
        table.apply(mods)
    assert caught.value.reasons == {"time outside the years 1 to 9999 in a key, sequence or partition column: at": 1}
    assert table.version == 0
    assert table.apply(mods, max_quarantined=1).quarantined == 1
    later = pa.table({"id": [2, 3], "at": times(arrow, 0, beyond - 1), "seq": [2, 2]})
    merge = table.apply(later).merge
    assert merge is not None
    assert merge.status == "merged", merge.error
    assert table.to_arrow().num_rows == 2
    assert "10000" in table.quarantined()["row"][0].as_py()
    assert table.verify().ok


@pytest.mark.parametrize("kind", list(TIMES))
def test_times_beyond_the_calendar_are_fine_as_values(kind: str) -> None:
    arrow, beyond = TIMES[kind]
    table = create(f"id bigint, at {kind}, seq bigint")
    for seq in (1, 2):
        table.apply(pa.table({"id": [1, 2], "at": times(arrow, beyond, -beyond), "seq": [seq, seq]}))
    assert table.to_arrow().sort_by("id")["at"].combine_chunks().equals(times(arrow, beyond, -beyond))
    assert table.verify().ok


@pytest.mark.parametrize("value", ["x" * 300, "é" * 150, "nul\0", "next\x85line", "a\nb" * 90])
def test_partition_values_that_cannot_name_a_folder_are_bad_mods(value: str) -> None:
    table = create("id bigint, p string, seq bigint", partition_by=["p"])
    mods = pa.table({"id": [1, 2], "p": [value, "ok"], "seq": [1, 1]})
    with pytest.raises(BadModsError, match="cannot name a folder"):
        table.apply(mods)
    table.apply(mods, max_quarantined=1)
    merge = table.apply(pa.table({"id": [2, 3], "p": ["a\nb", "tab\t%=/"], "seq": [2, 2]})).merge
    assert merge is not None
    assert merge.status == "merged", merge.error
    assert sorted(table.to_arrow()["p"].to_pylist()) == ["a\nb", "tab\t%=/"]


@pytest.mark.parametrize("column", ["id", "v"])
def test_bytes_that_are_no_text_are_refused(column: str) -> None:
    table = create("id string, v string, seq bigint")
    latin = pa.array([b"caf\xe9"]).view(pa.string())
    columns = {"id": pa.array(["a"]), "v": pa.array(["b"]), column: latin, "seq": pa.array([1])}
    with pytest.raises(SchemaMismatchError, match="no UTF-8") as caught:
        table.apply(pa.table(columns))
    assert caught.value.column == column
    assert table.version == 0


@pytest.mark.parametrize("name", ["*", "^.*$", "^id$", ".", "..", ".a"])
@pytest.mark.parametrize("role", ["primary_key", "sequence_by"])
def test_names_that_engines_take_for_patterns_are_refused_as_keys_and_fine_as_values(name: str, role: str) -> None:
    schema = pa.schema([(name, pa.int64()), ("b", pa.int64())])
    keys = {"primary_key": ["b"], "sequence_by": ["b"], role: [name]}
    with pytest.raises(OptionError, match="rename the column"):
        ModTable.create(MemoryStorage(), schema, **keys)  # type: ignore[arg-type]
    table = ModTable.create(MemoryStorage(), schema, primary_key=["b"], sequence_by=["b"])
    table.apply(pa.table({name: [1], "b": [1]}))
    assert table.to_arrow().to_pylist() == [{name: 1, "b": 1}]


@pytest.mark.parametrize("name", ["*", "^.*$", "^id$"])
def test_conditions_read_names_as_names_that_polars_takes_for_patterns(name: str) -> None:
    schema = pa.schema([(column, pa.int64()) for column in ("id", name, "seq")])
    table = ModTable.create(MemoryStorage(), schema, primary_key="id", sequence_by="seq")
    rows = pa.table([[1, 2, 3], [10, 1, 3], [1, 1, 1]], names=schema.names)
    table.apply(rows, apply_as_deletes=f"`{name}` = 1")
    assert table.to_arrow(columns="id", filter=f"`{name}` > id or `{name}` IN (2)")["id"].to_pylist() == [1]
    table.merge()
    assert table.to_arrow(filter=f"`{name}` < 10")["id"].to_pylist() == [3]
    with pytest.raises(OptionError, match="looks at several"):
        table.to_arrow(filter=pl.col(name) == 10)


def test_fields_that_polars_takes_for_patterns_are_refused_in_conditions() -> None:
    table = create("id string, v struct<`^a$`: int, a: int>, seq bigint")
    assert table.to_arrow(filter="v.a = 1").num_rows == 0
    with pytest.raises(OptionError, match=r"'v' has a field '\^a\$', a name that polars reads as a pattern") as caught:
        table.to_arrow(filter="v.`^a$` = 1")
    assert caught.value.column == "v"


@pytest.mark.parametrize(
    "ddl",
    [
        "id bigint, a struct<b: bigint>, `a.b` bigint, seq bigint",
        "id bigint, a array<string>, `a.list.element` string, seq bigint",
        "id bigint, a map<string, int>, `a.key_value.key` string, seq bigint",
        "id bigint, a struct<`b.c`: bigint>, `a.b` struct<c: bigint>, seq bigint",
    ],
)
def test_names_that_parquet_cannot_tell_apart_are_refused(ddl: str) -> None:
    with pytest.raises(OptionError, match="2 columns or fields"):
        create(ddl)


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("create", {"comment": 5}),
        ("create", {"properties": {"a": 1}}),
        ("create", {"properties": ["a"]}),
        ("create", {"merge": None}),
        ("create", {"lateness": 7}),
        ("create", {"deletion_vectors": "no"}),
        ("create", {"primary_key": [1]}),
        ("create", {"sequence_by": None}),
        ("create", {"settings": {}}),
        ("apply", {"job": 5}),
        ("apply", {"job": "\udcff"}),
        ("apply", {"batch_id": ("s", "\udcff")}),
        ("apply", {"cast": "no"}),
        ("apply", {"merge": "no"}),
        ("apply", {"max_quarantined": True}),
        ("apply", {"max_quarantined": 1.5}),
        ("apply", {"max_quarantined": None}),
        ("apply", {"column_list": 5}),
        ("apply", {"ignore_null_updates": 1}),
        ("to_arrow", {"columns": []}),
        ("to_arrow", {"version": "1"}),
        ("to_arrow", {"version": True}),
        ("history", {"limit": -1}),
        ("merges", {"limit": "1"}),
        ("mods", {"from_version": 1, "to_version": 0}),
    ],
)
def test_an_option_of_another_type_is_named_and_nothing_is_committed(verb: str, options: dict[str, Any]) -> None:
    storage = MemoryStorage()
    arguments: dict[str, Any] = {"schema": "id bigint, seq bigint", "primary_key": ["id"], "sequence_by": ["seq"]}
    if verb == "create":
        with pytest.raises(OptionError) as caught:
            ModTable.create(storage, **(arguments | options))
        assert not list(storage.list())
    else:
        table = ModTable.create(storage, **arguments)
        table.apply(pa.table({"id": [1], "seq": [1]}))
        arguments = {"mods": pa.table({"id": [2], "seq": [2]}), **options} if verb == "apply" else options
        with pytest.raises(OptionError) as caught:
            getattr(table, verb)(**arguments)
        assert ModTable.open(storage).version == 1
        assert ModTable.open(storage).to_arrow().num_rows == 1
    assert caught.value.option in options


@pytest.mark.parametrize(
    "name", ["threads", "target_file_bytes", "checkpoint_interval", "commit_attempts", "byte_budget"]
)
@pytest.mark.parametrize("value", [-1, "1", None, True, 1.5])
def test_settings_that_no_work_can_be_done_with(name: str, value: Any) -> None:
    if (name, value) == ("checkpoint_interval", None):
        assert Settings(checkpoint_interval=None) == Settings(), "it is chosen by the store"
        return
    with pytest.raises(OptionError) as caught:
        Settings(**{name: value})
    assert caught.value.option == name
    assert Settings(byte_budget=0, compact_bytes=0, key_cache_bytes=0).byte_budget == 0


@pytest.mark.parametrize("batches", [3, 5])
def test_a_table_that_was_replaced_takes_nothing_from_an_old_handle(batches: int) -> None:
    storage = MemoryStorage()
    old = simple(storage)
    fill(old, 1, 5)
    storage.delete([info.path for info in storage.list()])
    fill(simple(storage), 1, batches)
    with pytest.raises(NoSuchTableError, match="another one was made here"):
        old.apply(rows((1, 99, "x")), merge=False)
    reopened = ModTable.open(storage)
    assert reopened.version == batches
    assert reopened.verify().ok


@pytest.mark.slow
def test_a_roll_up_repeats_no_more_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolled, "_ROLLED_ENTRIES", 20)
    storage = MemoryStorage()
    fill(simple(storage), 1, 205)
    table = ModTable.open(storage)
    roll_up = table.manifest(200).roll_up
    assert roll_up is not None
    assert [version.version for version in roll_up.pending] == list(range(190, 200))
    assert roll_up.applied == 189
    assert table.to_arrow()["lsn"].to_pylist() != []
    assert table.to_arrow(version=100).num_rows == 7
    table.merge()
    assert ModTable.open(storage).verify().ok


def test_columns_named_like_functions_are_columns() -> None:
    table = create("id bigint, seq bigint, Len bigint, Over string, Agg string")
    mods = pa.table({"id": [1, 2], "seq": [1, 2], "Len": [1, 2], "Over": ["Rank", "x"], "Agg": ["Sort", "y"]})
    table.apply(mods, apply_as_deletes="`Over` = 'Rank' and Agg = 'Sort' and Len = 1 and true")
    assert table.to_arrow(filter="Len in (1, 2) and lower(`Over`) = 'x'")["id"].to_pylist() == [2]


def test_conditions_on_columns_of_types_that_they_cannot_use_are_refused() -> None:
    table = create("id bigint, seq bigint")
    mods = pa.table({"id": [1, 2], "seq": [1, 1], "op": pa.array([Decimal(0), Decimal(1)], pa.decimal256(40, 2))})
    assert table.apply(mods, apply_as_deletes="op = 1").deletes == 1
    huge = pa.array([Decimal(10) ** 45, Decimal(1)], pa.decimal256(50, 2))
    for odd in (
        huge,
        pa.array([(1, 2, 3)] * 2, pa.month_day_nano_interval()),
        pa.array([[1]] * 2, pa.list_view(pa.int8())),
    ):
        with pytest.raises(OptionError, match=r"'op', a column of .*convert it first") as caught:
            table.apply(mods.set_column(2, "op", odd), apply_as_deletes="op = 1")
        assert caught.value.column == "op"
    assert table.version == 1


def test_quarantined_rows_show_what_the_conditions_saw() -> None:
    table = create("id bigint, seq bigint, v double, b binary")
    mods = pa.table({"id": [1], "seq": [1], "v": [float("nan")], "b": [b"\xff"], "op": ["X"]})
    table.apply(mods, apply_as_deletes="op = 'D'", apply_as_upserts="op = 'U'", max_quarantined=1)
    row = json.loads(table.quarantined()["row"][0].as_py(), parse_constant=pytest.fail)
    assert row == {"id": 1, "seq": 1, "v": "NaN", "b": "/w==", "op": "X"}


def test_quarantined_rows_show_bytes_that_are_no_text() -> None:
    rows_ = pa.table({"op": pa.array([b"\xff"]).view(pa.string()), "n": [1]})
    assert json.loads(json_rows(rows_)[0]) == {"op": "/w==", "n": 1}


def test_late_partials_are_told_with_one_read_of_their_file() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id bigint, seq bigint, v decimal(5,2)", primary_key=["id"], sequence_by=["seq"])
    count = 200
    table.apply(pa.table({"id": range(count), "seq": [9] * count, "v": [Decimal("1.00")] * count}))
    table.apply(pa.table({"id": range(count), "seq": [5] * count}), column_list=[])
    before = storage.counts.snapshot()
    refused = table.quarantined()
    assert refused.num_rows == count
    assert storage.counts.minus(before).requests < 20
    assert set(refused["reason"].to_pylist()) == {"late partial mod"}


@pytest.mark.slow
def test_files_of_what_was_set_aside_stay_few() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id bigint, seq bigint, v string", primary_key=["id"], sequence_by=["seq"])
    table.apply(pa.table({"id": [1], "seq": [100], "v": ["x"]}))
    for seq in range(1, 41):
        table.apply(pa.table({"id": [1], "seq": [seq]}), column_list=[])
    record = json.loads(storage.get(merge_record_path(41, table.manifest(41).commit_id)))
    assert len(record["quarantined"]) <= 6
    assert table.quarantined().num_rows == 40
    assert ModTable.open(storage).verify().ok


def test_a_replay_merges_what_a_crash_left() -> None:
    storage = MemoryStorage()
    table = simple(storage)
    batch = rows((1, 1, "x"))
    table.apply(batch, batch_id=("s", 1), merge=False)
    reopened = ModTable.open(storage).apply(batch, batch_id=("s", 1), merge=True)
    assert reopened.replayed
    assert reopened.merge is not None
    assert reopened.merge.status == "merged"
    assert table.apply(batch, batch_id=("s", 1), merge=True).merge is None


def test_checkpoints_come_however_many_rounds_a_merge_takes() -> None:
    storage = MemoryStorage()
    written: list[int] = []
    table = ModTable.create(
        storage, "id bigint, seq bigint", primary_key=["id"], sequence_by=["seq"], settings=Settings(compact_bytes=0)
    )
    other = ModTable.open(storage)
    patch = pytest.MonkeyPatch()
    true: Any = vars(overtaken)["merge_pending"]

    def merge_pending(*args: Any, **options: Any) -> Any:
        answer = true(*args, **options)
        if len(written) % 2 == 0:
            other.apply(pa.table({"id": [2], "seq": [1000 + len(written)]}), merge=False)
        written.append(1)
        return answer

    due: list[int] = []
    patch.setattr(overtaken, "merge_pending", merge_pending)
    patch.setattr(after_merge, "write_checkpoint", lambda storage, state, *, now_ms: due.append(state.version))
    with patch.context():
        for seq in range(1, 16):
            table.apply(pa.table({"id": [1], "seq": [seq]}))
    patch.undo()
    assert len(due) == table.status().delta_version // 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a%20b", "a\\b"])
def test_a_checkpoint_is_never_that_of_a_table_beside(tmp_path: Path, name: str) -> None:
    tables = []
    for folder in ("a b", "a/b", name):
        table = ModTable.create(
            tmp_path / folder, "id bigint, seq bigint", primary_key=["id"], sequence_by=["seq"],
            settings=Settings(checkpoint_interval=2),
        )  # fmt: skip
        for seq in range(1, 6):
            table.apply(pa.table({"id": [1, seq + len(folder)], "seq": [seq, seq]}))
        tables.append(table)
    for table in tables:
        assert ModTable.open(table.url).to_arrow().num_rows == table.to_arrow().num_rows
        assert ModTable.open(table.url).verify().ok


def test_a_map_that_holds_a_key_twice_is_a_bad_mod() -> None:
    schema = pa.schema([("id", pa.int64()), ("seq", pa.int64()), ("m", pa.map_(pa.string(), pa.int32()))])
    rows = pa.table([[1, 2, 3], [1, 1, 1], [[("k", 1), ("k", 2)], [("k", 1), ("l", 1)], None]], schema=schema)
    reason = "map that holds a key twice: m"
    with pytest.raises(BadModsError) as caught:
        create("id bigint, seq bigint, m map<string, int>", data=rows)
    assert caught.value.reasons == {reason: 1}
    table = create("id bigint, seq bigint, m map<string, int>")
    with pytest.raises(BadModsError) as caught:
        table.apply(rows)
    assert caught.value.reasons == {reason: 1}
    assert table.version == 0
    assert table.apply(rows, max_quarantined=1).quarantined == 1
    assert table.to_arrow()["id"].to_pylist() == [2, 3]
    deletes = rows.append_column("op", pa.array(["D"] * 3))
    assert table.apply(deletes.set_column(1, "seq", pa.array([2, 2, 2])), apply_as_deletes="op = 'D'").deletes == 3
