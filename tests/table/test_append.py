"""Appending needs nothing of the base: not its state, not its features, not that it is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest

from andes_spark.delta import actions
from andes_spark.delta.log import load_state, read_commit
from andes_spark.delta.paths import entry_path
from andes_spark.errors import AndesError, LogDamagedError
from andes_spark.log.lease import LEASE_PATH, MergeNote
from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.log.probing import HINT
from andes_spark.model.documents import seal
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.interface import Tally
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of, create, fill, rows


def delta_commit(storage: MemoryStorage, *changes: dict[str, Any], operation: str = "WRITE") -> None:
    """A commit of another writer."""
    info = {"commitInfo": {"timestamp": 0, "operation": operation, "engineInfo": "Apache-Spark", "txnId": "foreign"}}
    version = load_state(storage).version + 1
    storage.put(entry_path(version), actions.encode([info, *changes]))


def with_properties(storage: MemoryStorage, **properties: str) -> None:
    """Properties of the base as ALTER TABLE would set them."""
    before = load_state(storage).metadata
    delta_commit(
        storage,
        actions.metadata(
            table_id=before.id,
            schema_json=before.schema_json,
            partition_columns=[],
            configuration={**before.configuration, **properties},
            created_ms=0,
        ),
        operation="SET TBLPROPERTIES",
    )


def with_feature(storage: MemoryStorage, feature: str) -> None:
    """A feature of the base, in its protocol."""
    value = dict(next(iter(read_commit(storage, 0).of_kind("protocol"))))  # type: ignore[union-attr]
    value["readerFeatures"] = [*value["readerFeatures"], feature]
    value["writerFeatures"] = [*value["writerFeatures"], feature]
    delta_commit(storage, {"protocol": value}, operation="UPGRADE PROTOCOL")


def foreign_rows(storage: MemoryStorage) -> None:
    added = actions.add(
        "part-0.parquet", size=1, modified_ms=0, statistics={"numRecords": 1}, data_change=True, partition_values={}
    )
    delta_commit(storage, added)


def no_log_of_delta(storage: MemoryStorage) -> None:
    storage.delete([info.path for info in storage.list("_delta_log")])


def broken_entry(storage: MemoryStorage) -> None:
    storage.put(entry_path(0), b"{")


def overwritten_merge(storage: MemoryStorage) -> None:
    version = load_state(storage).version
    foreign = {"commitInfo": {"operation": "WRITE", "txnId": "foreign"}}
    storage.put(entry_path(version), actions.encode([foreign]))


FEATURES = [
    "allowColumnDefaults",
    "changeDataFeed",
    "checkConstraints",
    "clustering",
    "columnMapping",
    "domainMetadata",
    "generatedColumns",
    "icebergCompatV1",
    "icebergCompatV2",
    "identityColumns",
    "inCommitTimestamp",
    "rowTracking",
    "typeWidening",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
    "catalogManaged",
]
PROPERTIES = {
    "delta.enableChangeDataFeed": "true",
    "delta.columnMapping.mode": "name",
    "delta.appendOnly": "true",
    "delta.enableRowTracking": "true",
    "delta.enableInCommitTimestamps": "true",
    "delta.constraints.positive": "id > 0",
}
BASES: dict[str, Callable[[MemoryStorage], None]] = {
    "foreign rows": foreign_rows,
    "no Delta log": no_log_of_delta,
    "a broken entry": broken_entry,
    "an overwritten merge": overwritten_merge,
    **{feature: lambda storage, feature=feature: with_feature(storage, feature) for feature in FEATURES},  # type: ignore[misc]
    **{name: lambda storage, name=name: with_properties(storage, **{name: PROPERTIES[name]}) for name in PROPERTIES},  # type: ignore[misc]
}


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_appends_go_on_whatever_became_of_the_base(base: str) -> None:
    storage = MemoryStorage()
    warm = create(storage)
    fill(warm, 1, 2)
    warm.merge()
    BASES[base](storage)
    for version in range(3, 16, 2):
        assert ModTable.open(storage).apply(rows((1, version, "cold"))).version == version
        assert warm.apply(rows((1, version, "warm"))).version == version + 1
    assert ModTable.open(storage).apply(rows((1, 1, "x")), batch_id=("s", 1)).replayed


@pytest.mark.parametrize("base", ["no Delta log", "a broken entry", "delta.constraints.positive"])
def test_a_merge_that_the_base_does_not_allow_is_a_result_of_the_append(base: str) -> None:
    storage = MemoryStorage()
    fill(create(storage, merge="always"), 1, 2)
    BASES[base](storage)
    result = ModTable.open(storage).apply(rows((1, 5, "x")))
    assert result.version == 3
    assert result.merge is not None
    assert result.merge.status == "failed"
    assert isinstance(result.merge.error, AndesError)


def with_files(count: int) -> MemoryStorage:
    """A table whose base lists so many files."""
    storage = MemoryStorage()
    create(storage, merge="15 minutes")
    statistics = {"numRecords": 10, "minValues": {"id": 1}, "maxValues": {"id": 1}, "nullCount": {"id": 0}}
    adds = [
        actions.add(
            f"part-{number:08d}.parquet",
            size=1000,
            modified_ms=0,
            statistics=statistics,
            data_change=False,
            partition_values={},
        )
        for number in range(count)
    ]
    delta_commit(storage, *adds, operation="OPTIMIZE")
    return storage


def spent(storage: MemoryStorage, table: ModTable, lsn: int) -> Tally:
    before = storage.counts.snapshot()
    table.apply(rows((1, lsn, "x")))
    return storage.counts.minus(before)


def test_an_append_costs_the_same_whatever_the_size_of_the_base() -> None:
    small, large = with_files(1), with_files(1000)
    for _ in range(2 * ROLL_UP_INTERVAL + 1):
        costs = []
        for storage in (small, large):
            cold = spent(storage, ModTable.open(storage), 1)
            warm = ModTable.open(storage)
            warm.apply(rows((1, 2, "x")))
            costs.append((cold, spent(storage, warm, 3)))
        for one, other in zip(*costs, strict=True):
            assert one.requests == other.requests
            assert abs(one.bytes_read - other.bytes_read) < 200


def test_a_log_that_lost_versions_takes_none_though_the_base_is_not_read() -> None:
    storage = MemoryStorage()
    table = create(storage)
    fill(table, 1, 5)
    table.merge()
    no_log_of_delta(storage)
    storage.delete([HINT, manifest_path(4), manifest_path(5)])
    with pytest.raises(LogDamagedError, match="contains version 5, but the log ends at 3") as caught:
        ModTable.open(storage).apply(rows((1, 9, "x")))
    assert (caught.value.version, caught.value.applied) == (3, 5)


@pytest.mark.parametrize("merge", [True, None])
def test_a_log_that_lost_versions_takes_none_where_the_base_is_read(merge: bool | None) -> None:
    storage = MemoryStorage()
    table = create(storage, merge="always")
    fill(table, 1, 5)
    storage.delete([HINT, manifest_path(4), manifest_path(5), LEASE_PATH])
    before = {info.path for info in storage.list()}
    with pytest.raises(LogDamagedError, match="contains version 5, but the log ends at 3") as caught:
        ModTable.open(storage).apply(rows((1, 9, "x")), merge=merge)
    assert (caught.value.version, caught.value.applied) == (3, 5)
    assert {info.path for info in storage.list()} == before


def test_a_merge_that_reads_the_base_needs_no_list_of_merges() -> None:
    storage = MemoryStorage()
    fill(create(storage, merge="always"), 1, 5)
    before = storage.counts.snapshot()
    assert ModTable.open(storage).apply(rows((1, 9, "x"))).merge is not None
    assert storage.counts.minus(before).list == 0


def test_a_broken_base_does_not_keep_a_batch_from_being_applied() -> None:
    storage = MemoryStorage()
    fill(create(storage, merge="always"), 1, 5)
    no_log_of_delta(storage)
    before = storage.counts.snapshot()
    result = ModTable.open(storage).apply(rows((1, 9, "x")))
    assert result.merge is not None
    assert (result.version, result.merge.status) == (6, "failed")
    assert storage.counts.minus(before).list >= 1, "the log is compared with the records of merges"


@cache
def merged_at(merged: int) -> MemoryStorage:
    """A table of 19 versions, merged after one of them."""
    storage = MemoryStorage()
    table = create(storage)
    for version in range(1, 20):
        table.apply(rows((version, version, f"v{version}")))
        if version == merged:
            table.merge()
    return storage


@pytest.mark.slow
@pytest.mark.parametrize("stored", [None, 0, 5, 12, 17, 19, 20, 25, 10**6, -3])
@pytest.mark.parametrize("merged", [12, *(pytest.param(version, marks=pytest.mark.slow) for version in (0, 5, 19))])
def test_a_roll_up_that_assumed_a_wrong_version_is_read_rightly(merged: int, stored: int | None) -> None:
    storage = copy_of(merged_at(merged))
    note = MergeNote(applied=stored)
    storage.put(LEASE_PATH, seal(msgspec.json.encode(note)))
    fill_by = ModTable.open(storage)
    for version in range(20, 33):
        fill_by.apply(rows((version, version, f"v{version}")))
    expected = {version: f"v{version}" for version in range(1, 33)}
    for reader in (ModTable.open(storage), ModTable.open(copy_of(storage)), fill_by):
        values = {row["id"]: row["a"] for row in reader.to_arrow().to_pylist()}
        assert values == expected
        assert {row["id"] for row in reader.to_arrow(version=21).to_pylist()} == set(range(1, 22))
    fresh = ModTable.open(storage)
    assert fresh.merge().counts.inserted == 32 - merged
    assert fresh.verify().ok


def test_a_roll_up_does_not_repeat_what_others_merged() -> None:
    storage = MemoryStorage()
    appender = create(storage)
    for version in range(1, 41):
        appender.apply(rows((version, version, "x")))
        if version % 5 == 0:
            ModTable.open(storage).merge()
    document = json.loads(storage.get(manifest_path(40)))
    assert document["roll_up"]["applied"] == 35
    assert [pending_version["version"] for pending_version in document["roll_up"]["pending"]] == [36, 37, 38, 39]
