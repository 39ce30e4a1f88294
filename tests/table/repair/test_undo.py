"""Undoing what another writer did to the base."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pytest

from andes_spark import ModTable
from andes_spark.delta import actions
from andes_spark.delta.log import load_state
from andes_spark.errors import CommitConflictError, OptionError
from andes_spark.storage.memory import MemoryStorage
from tests.foreign_tables import parquet_bytes
from tests.table.test_foreign_writes import (
    check_going_on,
    foreign_commit,
    metadata_of,
    opened,
    removal,
    restored,
    shown,
    with_column,
    with_property,
)


def write(storage: MemoryStorage, change: str) -> None:
    """Change the base as another writer does."""
    if change in ("ADD COLUMNS", "both"):
        foreign_commit(storage, "ADD COLUMNS", with_column(storage))
    if change in ("DELETE", "both"):
        foreign_commit(storage, "DELETE", *removal(storage))
    if change == "RESTORE":
        foreign_commit(storage, "RESTORE", *restored(storage, load_state(storage).version - 1))
    if change == "columnMapping":
        foreign_commit(storage, "SET TBLPROPERTIES", with_property(storage, "delta.columnMapping.mode", "name"))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["DELETE", "ADD COLUMNS", "both", "RESTORE", "columnMapping"])
def test_a_change_is_undone(change: str) -> None:
    storage, table = opened()
    before = load_state(storage)
    write(storage, change)
    names = len(list(storage.list()))
    with pytest.raises(OptionError, match=r'repair\(foreign="undo"\) takes the changes back') as caught:
        table.repair()
    assert caught.value.option == "foreign"
    dry = table.repair(foreign="undo", dry_run=True)
    assert (dry.dry_run, len(dry.findings), len(dry.actions)) == (True, 1, 1)
    assert len(list(storage.list())) == names
    repaired = ModTable.open(storage).repair(foreign="undo")
    assert (repaired.findings, repaired.actions) == (dry.findings, dry.actions)
    after = load_state(storage)
    assert (dict(after.files), after.metadata) == (dict(before.files), before.metadata)
    assert repaired.delta_version == after.version
    check_going_on(storage, table)
    assert table.repair().findings == ()


def test_the_error_tells_how_many_rows_differ() -> None:
    storage, table = opened()
    foreign_commit(storage, "DELETE", *removal(storage))
    with pytest.raises(OptionError, match=r"changed rows: 2 rows removed"):
        table.repair()
    foreign_commit(storage, "RESTORE", *restored(storage, load_state(storage).version - 2))
    findings = table.repair(dry_run=True).findings
    assert "its changes go up to Delta version 4: 1 row changed" in findings[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delta.enableChangeDataFeed", "true"),
        ("delta.appendOnly", "true"),
        ("delta.constraints.positive", "id > 0"),
        ("delta.enableInCommitTimestamps", "true"),
        ("delta.enableRowTracking", "true"),
    ],
)
def test_a_feature_of_writers_is_undone(name: str, value: str) -> None:
    storage, table = opened()
    foreign_commit(storage, "SET TBLPROPERTIES", with_property(storage, "who", "us"))
    foreign_commit(storage, "SET TBLPROPERTIES", with_property(storage, name, value))
    with pytest.raises(OptionError, match=r'foreign="undo"'):
        table.repair()
    table.repair(foreign="undo")
    check_going_on(storage, table)
    configuration = load_state(storage).metadata.configuration
    assert configuration["who"] == "us"
    assert name not in configuration


@pytest.mark.parametrize("feature", ["rowTracking", "materializePartitionColumns", "clustering"])
def test_a_feature_of_the_protocol_is_undone(feature: str) -> None:
    storage, table = opened()
    protocol = load_state(storage).protocol
    features = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": sorted(protocol.reader_features),
        "writerFeatures": sorted({*protocol.writer_features, feature, "domainMetadata"}),
    }
    columns = json.dumps({"clusteringColumns": [["id"]]})
    domain = {"domain": "delta.clustering", "configuration": columns, "removed": False}
    foreign_commit(storage, "SET TBLPROPERTIES", {"protocol": features}, {"domainMetadata": domain})
    stopped = table.status().stopped
    assert stopped is not None
    assert 'repair(foreign="undo") takes it back' in stopped
    table.repair(foreign="undo")
    check_going_on(storage, table)


def test_a_base_whose_files_are_gone_is_built_again() -> None:
    """As after DELETE and VACUUM RETAIN 0 HOURS of Delta."""
    storage, table = opened()
    old = set(load_state(storage).files)
    foreign_commit(storage, "DELETE", *removal(storage))
    storage.delete(old)
    finding = table.repair(dry_run=True).findings[0]
    assert "how many rows differ cannot be told, since 2 files of the state before it are gone" in finding
    repaired = table.repair(foreign="undo")
    assert "built again" in repaired.actions[0]
    check_going_on(storage, table)
    assert ModTable.open(storage).verify().missing


def test_another_write_during_the_repair_is_not_undone_unseen() -> None:
    storage, table = opened()
    foreign_commit(storage, "DELETE", *removal(storage))
    base = table._open_table.base
    base.snapshot()
    snapshot = base.snapshot
    writes = iter([True])

    def meanwhile() -> object:
        answer = snapshot()
        if next(writes, False):
            foreign_commit(storage, "TRUNCATE", with_property(storage, "who", "them"))
        return answer

    base.snapshot = meanwhile  # type: ignore[method-assign, assignment]
    with pytest.raises(CommitConflictError, match="another writer committed after Delta version 3 during the repair"):
        table.repair(foreign="undo")
    table.repair(foreign="undo")
    check_going_on(storage, table)
    assert shown(table)


@pytest.mark.parametrize("kind", ["string", "integer"])
def test_columns_of_other_types_are_undone(kind: str) -> None:
    storage, table = opened()
    before = load_state(storage)
    schema = json.loads(before.metadata.schema_json)
    for field in schema["fields"]:
        field["type"] = kind
    deleted = removal(storage)
    name = "str" if kind == "string" else "int32"
    data = parquet_bytes(pa.table({"id": [7, 8], "seq": [1, 1]}).cast(_typed(name)), random.Random(1))
    storage.put("theirs.parquet", data)
    add = actions.add("theirs.parquet", size=len(data), modified_ms=1, statistics={"numRecords": 2})
    foreign_commit(
        storage, "CREATE OR REPLACE TABLE", metadata_of(storage, schemaString=json.dumps(schema)), *deleted, add
    )
    assert table.status().stopped is not None
    with pytest.raises(OptionError, match="cannot be taken in"):
        table.repair("take_in")
    table.repair("undo")
    check_going_on(storage, table)


def _typed(name: str) -> pa.Schema:
    kind = pa.string() if name == "str" else pa.int32()
    return pa.schema([("id", kind), ("seq", kind)])
