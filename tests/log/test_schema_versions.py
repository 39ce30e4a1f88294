"""A log with two schemas: each file is read as its own, each version shows rows of its schema."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pytest

from andes_spark.errors import BatchConflictError, FileDamagedError
from andes_spark.log.clock import check_clock
from andes_spark.log.commit import Draft, commit
from andes_spark.model.definition import TableSchema
from andes_spark.model.events import Alter
from andes_spark.model.manifest import Manifest
from andes_spark.schema.schema import Schema
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import edit

OLD = "id BIGINT, lsn INT, a INT, b STRING, s STRUCT<x: INT>"
NEW = "text STRING, id BIGINT, lsn BIGINT, c STRING, a BIGINT, s STRUCT<y: STRING, x: INT>"
NEW_STRUCT = pa.struct([("y", pa.string()), ("x", pa.int32())])
NEW_IDS = (4, 1, 2, 7, 3, 5, 8, 6)


def no_other(manifest: Manifest) -> Manifest | None:
    return None


def with_new_schema(table: ModTable) -> None:
    """Commit a second schema by hand: b is renamed to text, a and lsn widened, c and s.y added, columns moved."""
    log = table._open_table.log
    log.refresh()
    before = log.definition
    new = Schema.from_ddl(NEW).with_required(["id", "lsn"])
    schema = TableSchema(id=1, struct=new.to_json(), field_ids=NEW_IDS)
    definition = type(before)(
        schemas=(*before.schemas, schema),
        schema_id=1,
        last_field_id=8,
        primary_key=before.primary_key,
        sequence_by=before.sequence_by,
        merge=before.merge,
    )
    event = Alter(schema_id=1, before=0, changed=["schema_id"])
    draft = Draft(operation="alter", table_id=table._open_table.table_id, events=(event,), definition=definition)
    clock = check_clock(log, begun=log.clock())
    commit(log, draft, clock=clock, admit=no_other, roll_up=table._open_table.roll_ups.make)


def old_rows(*rows: tuple[Any, ...]) -> pa.Table:
    kinds = [pa.int64(), pa.int32(), pa.int32(), pa.string(), pa.struct([("x", pa.int32())])]
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)],
        names=["id", "lsn", "a", "b", "s"],
    )


def two_schemas() -> tuple[MemoryStorage, ModTable]:
    storage = MemoryStorage()
    table = ModTable.create(storage, OLD, primary_key=["id"], sequence_by=["lsn"], merge="manual")
    table.apply(old_rows((1, 1, 10, "one", {"x": 1}), (2, 1, 20, "two", None), (3, 1, 30, "three", {"x": 3})))
    table.apply(old_rows((1, 2, 11, None, None)), column_list=["a"])
    table.apply(old_rows((4, 5, None, None, None)).select(["id", "lsn"]), apply_as_deletes="id = 4")
    with_new_schema(table)
    new = pa.table({"id": [2], "lsn": pa.array([2**40], pa.int64()), "c": ["see"], "a": [2**40], "text": ["2"]})
    table.apply(new.append_column("s", pa.array([{"y": "why", "x": 5}], NEW_STRUCT)))
    table.apply(pa.table({"id": [3], "lsn": [9], "c": ["added"]}), column_list=["c"])
    return storage, table


ROWS = [
    {"text": "one", "id": 1, "lsn": 2, "c": None, "a": 11, "s": {"y": None, "x": 1}},
    {"text": "2", "id": 2, "lsn": 2**40, "c": "see", "a": 2**40, "s": {"y": "why", "x": 5}},
    {"text": "three", "id": 3, "lsn": 9, "c": "added", "a": 30, "s": {"y": None, "x": 3}},
]


def test_each_version_shows_its_own_schema() -> None:
    storage, table = two_schemas()
    for handle in (table, ModTable.open(storage)):
        assert handle.to_arrow().sort_by("id").to_pylist() == ROWS
        assert handle.to_arrow().schema.names == ["text", "id", "lsn", "c", "a", "s"]
        old = handle.to_arrow(version=3)
        assert old.schema.names == ["id", "lsn", "a", "b", "s"]
        assert old.schema.field("a").type == pa.int32()
        assert {row["id"]: row["b"] for row in old.to_pylist()} == {1: "one", 2: "two", 3: "three"}
        assert handle.to_arrow(filter="text = 'one'", columns=["c", "id"]).to_pylist() == [{"c": None, "id": 1}]
        # The tombstone is of the old schema, and holds.
    late = pa.table({"id": [4], "lsn": [4], "c": ["late"], "a": [1], "text": ["x"]})
    table.apply(late.append_column("s", pa.nulls(1, NEW_STRUCT)))
    assert table.to_arrow().num_rows == 3


def test_the_raw_log_is_read_as_the_schema_in_force() -> None:
    _, table = two_schemas()
    mods = table.mods(1).to_pylist()
    assert [(mod["id"], mod["text"], mod["a"]) for mod in mods[:3]] == [
        (1, "one", 10),
        (2, "two", 20),
        (3, "three", 30),
    ]
    # In the order of the schema in force, by bitmaps of the one that they were written with.
    assert [mod["_andes_columns"] for mod in mods if mod["_andes_columns"]] == [["id", "lsn", "a"], ["id", "lsn", "c"]]


def test_keys_in_memory_are_of_one_schema() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, OLD, primary_key=["id"], sequence_by=["lsn"], merge="manual")
    before = table._open_table.base_context().keys
    assert table._open_table.base_context().keys is before
    with_new_schema(table)
    assert table._open_table.base_context().keys is not before


def test_a_roll_up_carries_all_schemas() -> None:
    storage, table = two_schemas()
    for lsn in range(12):
        table.apply(pa.table({"id": [9], "lsn": [lsn], "c": ["x"]}), column_list=["c"])
    cold = ModTable.open(storage)
    assert len(cold._open_table.definition.schemas) == 2
    assert cold.to_arrow().sort_by("id").to_pylist()[:3] == ROWS


@pytest.mark.parametrize("strict", [False, True])
def test_a_batch_sent_again_after_a_column_was_added_is_a_replay(strict: bool) -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, OLD, primary_key=["id"], sequence_by=["lsn"], merge="manual")
    first = old_rows((1, 1, 10, "one", {"x": 1}), (2, 1, 20, None, None))
    options: dict[str, Any] = {"batch_id": ("s", 1), "strict_replay": strict}
    table.apply(first, **options)
    part = old_rows((1, 2, 11, None, None)).select(["id", "lsn", "a"])
    table.apply(part, column_list=["a"], **{**options, "batch_id": ("s", 2)})
    with_new_schema(table)

    def renamed(rows: pa.Table, **added: Any) -> pa.Table:
        new = rows.rename_columns([{"b": "text"}.get(name, name) for name in rows.column_names])
        if "s" in new.column_names:
            structs = [None if value is None else {"y": None, **value} for value in new["s"].to_pylist()]
            new = new.set_column(new.column_names.index("s"), "s", pa.array(structs, NEW_STRUCT))
            new = new.append_column("c", pa.array(added.get("c", [None] * new.num_rows), pa.string()))
        return new

    for handle in (table, ModTable.open(storage)):
        repeat = handle.apply(renamed(first), **options)
        assert (repeat.replayed, repeat.version) == (True, 1)
        repeat = handle.apply(renamed(part), column_list=["a"], **{**options, "batch_id": ("s", 2)})
        assert (repeat.replayed, repeat.version) == (True, 2)
        for other in (renamed(first, c=["more", None]), renamed(first.slice(1))):
            with pytest.raises(BatchConflictError):
                handle.apply(other, **options)
    assert table.version == 3


def test_a_file_of_a_schema_that_the_table_never_had_is_damaged() -> None:
    storage, _ = two_schemas()
    document = ModTable.open(storage).manifest(6)
    events = msgspec.json.decode(msgspec.json.encode(document.events))
    events[0]["files"][0]["schema_id"] = 7
    edit(storage, 6, events=events)
    with pytest.raises(FileDamagedError, match="no schema 7"):
        ModTable.open(storage).to_arrow()
