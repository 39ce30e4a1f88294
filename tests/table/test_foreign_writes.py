"""Other writers of the base, told by Delta entries of theirs: what stops, what goes on, and what ends it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark import ModTable, Settings
from andes_spark.cli.app import andes
from andes_spark.delta.log import create_entry, load_state
from andes_spark.errors import ForeignWriteError, UnsupportedTableError
from andes_spark.log.lease import read_note
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.open import open_storage


def rows(*values: tuple[int, int]) -> pa.Table:
    return pa.table({"id": [key for key, _ in values], "seq": [seq for _, seq in values]})


def opened() -> tuple[MemoryStorage, ModTable]:
    """A table whose base has two merges, and one pending mod."""
    storage = MemoryStorage()
    table = ModTable.create(
        storage, "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"], settings=Settings(compact_bytes=0)
    )
    table.apply(rows((1, 1), (2, 1)))
    table.apply(rows((2, 2)))
    table.apply(rows((3, 3)), merge=False)
    return storage, table


EXPECTED = [{"id": 1, "seq": 1}, {"id": 2, "seq": 2}, {"id": 3, "seq": 3}]


def shown(table: ModTable) -> list[dict[str, Any]]:
    return table.to_arrow().sort_by("id").to_pylist()


def foreign_commit(storage: MemoryStorage, operation: str, *actions: dict[str, Any]) -> int:
    version = load_state(storage).version + 1
    info = {"commitInfo": {"operation": operation, "txnId": f"theirs-{version}", "engineInfo": "Apache-Spark"}}
    assert create_entry(storage, version, [info, *actions]) is not None
    return version


def metadata_of(storage: MemoryStorage, **changes: Any) -> dict[str, Any]:
    metadata = load_state(storage).metadata
    value = {
        "id": metadata.id,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": metadata.schema_json,
        "partitionColumns": list(metadata.partition_columns),
        "configuration": dict(metadata.configuration),
    }
    return {"metaData": {**value, **changes}}


def with_property(storage: MemoryStorage, name: str, value: str) -> dict[str, Any]:
    return metadata_of(storage, configuration={**load_state(storage).metadata.configuration, name: value})


def with_column(storage: MemoryStorage) -> dict[str, Any]:
    schema = json.loads(load_state(storage).metadata.schema_json)
    schema["fields"].append({"name": "more", "type": "string", "nullable": True, "metadata": {}})
    return metadata_of(storage, schemaString=json.dumps(schema))


def removal(storage: MemoryStorage) -> list[dict[str, Any]]:
    """All files removed, as by DELETE without a condition."""
    actions = []
    for file in load_state(storage).files.values():
        value = {"path": file.path, "dataChange": True, "deletionTimestamp": 1}
        if file.add.get("deletionVector") is not None:
            value["deletionVector"] = file.add["deletionVector"]
        actions.append({"remove": value})
    return actions


def restored(storage: MemoryStorage, version: int) -> list[dict[str, Any]]:
    """What RESTORE commits: the files of a version added again, those that it did not have removed."""
    now, then = load_state(storage), load_state(storage, version=version)
    deleted = [
        {"remove": {"path": file.path, "dataChange": True}}
        for path, file in now.files.items()
        if path not in then.files
    ]
    back = [{"add": {**file.add, "dataChange": True}} for path, file in then.files.items() if path not in now.files]
    return [*deleted, *back, metadata_of(storage, schemaString=then.metadata.schema_json)]


def check_stopped(storage: MemoryStorage, table: ModTable, error: type[Exception], *words: str) -> None:
    """Merges stop with an error that says these words; reads and appends go on, and the status says so."""
    for handle in (table, ModTable.open(storage)):
        with pytest.raises(error) as caught:
            handle.merge()
        for word in words:
            assert word in str(caught.value)
        assert shown(handle) == EXPECTED
        assert handle.status().stopped == str(caught.value)
        version = handle.version
        assert handle.apply(rows((3, 3)), merge=False).version == version + 1


def check_going_on(storage: MemoryStorage, table: ModTable) -> None:
    for handle in (table, ModTable.open(storage)):
        assert handle.status().stopped is None
        assert handle.merge().status in ("merged", "nothing")
        assert shown(handle) == EXPECTED
        assert handle.status().pending_versions == 0
        assert handle.verify().ok, handle.verify().problems


@pytest.mark.parametrize("change", ["DELETE", "ADD COLUMNS", "both"])
def test_a_change_stops_merges_until_it_is_undone(change: str) -> None:
    storage, table = opened()
    before = load_state(storage).version
    operation = "ADD COLUMNS" if change != "DELETE" else "DELETE"
    if change != "DELETE":
        foreign_commit(storage, "ADD COLUMNS", with_column(storage))
    if change != "ADD COLUMNS":
        foreign_commit(storage, "DELETE", *removal(storage))
    effect = "changed rows" if change == "DELETE" else "changed the columns (added more)"
    words = (f"Delta version {before + 1} ({operation}) is another writer's and {effect}", f"TO VERSION AS OF {before}")
    check_stopped(storage, table, ForeignWriteError, *words)
    assert table.status().foreign == before + 1
    [problem] = table.verify().problems
    assert words[0] in problem
    foreign_commit(storage, "RESTORE", *restored(storage, before))
    check_going_on(storage, table)
    assert load_state(storage).version > before + 2


def test_a_restore_to_another_version_is_a_change_itself() -> None:
    storage, table = opened()
    before = load_state(storage).version
    foreign_commit(storage, "DELETE", *removal(storage))
    foreign_commit(storage, "RESTORE", *restored(storage, before - 1))
    check_stopped(storage, table, ForeignWriteError, f"Delta version {before + 1} (DELETE)")


def test_a_second_change_after_an_undone_one_is_named() -> None:
    storage, table = opened()
    before = load_state(storage).version
    foreign_commit(storage, "DELETE", *removal(storage))
    foreign_commit(storage, "RESTORE", *restored(storage, before))
    foreign_commit(storage, "TRUNCATE", *removal(storage))
    check_stopped(storage, table, ForeignWriteError, f"Delta version {before + 3} (TRUNCATE)", f"OF {before + 2}")


@pytest.mark.parametrize(
    ("name", "value", "feature", "remedy"),
    [
        ("delta.enableChangeDataFeed", "true", "changeDataFeed", "UNSET TBLPROPERTIES ('delta.enableChangeDataFeed')"),
        ("delta.appendOnly", "true", "appendOnly", "UNSET TBLPROPERTIES ('delta.appendOnly')"),
        ("delta.constraints.positive", "id > 0", "checkConstraints", "DROP CONSTRAINT positive"),
        ("delta.enableInCommitTimestamps", "true", "inCommitTimestamp", "UNSET TBLPROPERTIES"),
        ("delta.enableIcebergCompatV2", "true", "icebergCompatV2", "UNSET TBLPROPERTIES"),
    ],
)
def test_a_feature_of_writers_stops_merges_only(name: str, value: str, feature: str, remedy: str) -> None:
    storage, table = opened()
    foreign_commit(storage, "SET TBLPROPERTIES", with_property(storage, name, value))
    check_stopped(storage, table, UnsupportedTableError, feature, remedy)
    assert table.status().foreign is None
    assert table.verify().ok
    foreign_commit(storage, "UNSET TBLPROPERTIES", with_property(storage, name, "false"))
    if name != "delta.constraints.positive":
        check_going_on(storage, table)


def test_a_feature_of_readers_leaves_reads_at_the_state_before_it() -> None:
    storage, table = opened()
    before = load_state(storage).version
    foreign_commit(storage, "SET TBLPROPERTIES", with_property(storage, "delta.columnMapping.mode", "name"))
    check_stopped(storage, table, UnsupportedTableError, "columnMapping", f"reads stay at Delta version {before}")
    foreign_commit(storage, "DROP FEATURE", with_property(storage, "delta.columnMapping.mode", "none"))
    check_going_on(storage, table)


def test_vectors_that_are_switched_off_are_not_written() -> None:
    storage, table = opened()
    foreign_commit(storage, "SET TBLPROPERTIES", with_property(storage, "delta.enableDeletionVectors", "false"))
    table.apply(rows((1, 9)))
    assert shown(table) == [{"id": 1, "seq": 9}, *EXPECTED[1:]]
    assert table.verify().ok
    assert all(file.vector is None for file in load_state(storage).files.values())


def test_a_merge_entry_that_was_cleaned_up_below_a_checkpoint_is_no_damage() -> None:
    storage, _ = opened()
    settings = Settings(checkpoint_interval=1, compact_bytes=0)
    ModTable.open(storage, settings=settings).merge()
    note = read_note(storage)
    assert note.delta_version is not None
    storage.delete([f"_delta_log/{version:020}.json" for version in range(note.delta_version + 1)])
    reopened = ModTable.open(storage)
    assert shown(reopened) == EXPECTED
    assert reopened.apply(rows((1, 1)), merge=True).merge.status == "merged"  # type: ignore[union-attr]


def test_columns_whose_comment_changes_are_the_same_columns() -> None:
    storage, table = opened()
    schema = json.loads(load_state(storage).metadata.schema_json)
    schema["fields"][0]["metadata"]["comment"] = "the key"
    foreign_commit(storage, "CHANGE COLUMN", metadata_of(storage, schemaString=json.dumps(schema)))
    check_going_on(storage, table)


def test_the_command_line_warns_of_merges_that_stop(tmp_path) -> None:
    table = ModTable.create(tmp_path / "t", "id BIGINT, seq BIGINT", primary_key=["id"], sequence_by=["seq"])
    table.apply(rows((1, 1)))
    storage: Any = open_storage(table.url)
    foreign_commit(storage, "SET TBLPROPERTIES", with_property(storage, "delta.appendOnly", "true"))
    result = CliRunner().invoke(andes, ["table", "status", table.url])
    assert result.exit_code == 0
    assert "Warning: merges stop:" in result.stderr
    assert "appendOnly" in result.stderr
