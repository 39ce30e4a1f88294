"""Checkpoints: what we write keeps everything; foreign shapes are read."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyroaring import BitMap64

from andes_spark.delta import actions, paths, vectors, z85
from andes_spark.delta import checkpoints as checkpoint
from andes_spark.delta import log as delta_log
from andes_spark.delta.action_columns import ActionRow
from andes_spark.delta.checkpoint_writer import retention_ms, write_checkpoint
from andes_spark.delta.checkpoints import Checkpoint
from andes_spark.errors import FileDamagedError, UnsupportedTableError
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.memory import MemoryStorage

NOW = 1_000
SCHEMA = '{"type":"struct","fields":[{"name":"k","type":"long","nullable":false,"metadata":{}}]}'


@pytest.fixture
def storage(tmp_path: Path) -> DiskStorage:
    """A table of three versions with vectors, transactions and a long retention."""
    storage = DiskStorage(str(tmp_path / "a table é"))
    configuration = {
        "delta.enableDeletionVectors": "true",
        "delta.deletedFileRetentionDuration": "interval 36500 days",
        "delta.logRetentionDuration": "interval 36500 days",
    }
    start = [
        actions.protocol(timestamp_ntz=True),
        actions.metadata(
            table_id=str(uuid.uuid4()),
            schema_json=SCHEMA,
            partition_columns=[],
            configuration=configuration,
            created_ms=1,
        ),
    ]
    statistics = {
        "numRecords": 5000,
        "minValues": {"k": 1},
        "maxValues": {"k": 2**62},
        "nullCount": {"k": 0},
        "tightBounds": True,
    }
    adds = [actions.add(f"f {i}", size=9, modified_ms=1, statistics=statistics) for i in range(4)]
    delta_log.create_entry(storage, 0, start)
    delta_log.create_entry(storage, 1, [*adds, actions.txn("andes:x", 7)])
    state = delta_log.load_state(storage)
    written = vectors.write_vectors(storage, {"f 0": BitMap64([1, 2]), "f 1": BitMap64(range(0, 5000, 3))})
    # As other writers may have it.
    inline = vectors.serialize(BitMap64([9]))
    written["f 2"] = vectors.VectorDescriptor("i", z85.encode(inline), None, len(inline), 1)
    entry = [actions.commit_info("MERGE", timestamp_ms=1, commit_id="c"), actions.txn("andes:x", 8)]
    for location, descriptor in written.items():
        entry.append(actions.remove(state.files[location], timestamp_ms=1))
        entry.append(actions.add_with_vector(state.files[location], descriptor))
    entry.append(actions.remove(state.files["f 3"], timestamp_ms=1))
    delta_log.create_entry(storage, 2, entry)
    return storage


def test_a_checkpoint_keeps_everything(storage):
    whole = delta_log.load_state(storage)
    assert {file.vector.storage_type for file in whole.files.values() if file.vector} == {"i", "u"}
    assert write_checkpoint(storage, whole, now_ms=NOW)
    assert json.loads(storage.get(checkpoint.HINT_PATH))["version"] == 2
    # It cleans up nothing.
    assert all(storage.size(paths.entry_path(version)) for version in range(3))
    storage.delete([paths.entry_path(version) for version in range(3)])
    state = delta_log.load_state(storage)
    assert state == whole
    assert state.txns == {"andes:x": 8}
    for location, file in state.files.items():
        assert file.stats == whole.files[location].stats
        assert {**file.add, "dataChange": True} == whole.files[location].add


def test_delta_rs_reads_it_without_the_entries_below(storage):
    write_checkpoint(storage, delta_log.load_state(storage), now_ms=NOW)
    storage.delete([paths.entry_path(version) for version in (0, 1)])
    table = DeltaTable(storage.url)
    assert table.version() == 2
    assert table.transaction_version("andes:x") == 8
    assert table.metadata().configuration["delta.enableDeletionVectors"] == "true"
    added = pa.table(table.get_add_actions(flatten=True))
    assert sorted(added["path"].to_pylist()) == ["f%200", "f%201", "f%202"]
    assert set(added["max.k"].to_pylist()) == {2**62}


def removals(storage: DiskStorage, version: int) -> list[tuple[str, str]]:
    data = storage.get(checkpoint.checkpoint_path(version))
    rows = [row for part in checkpoint.read_removed([data]) for row in part.to_pylist()]
    return sorted((row["path"], vectors.unique_id(row["deletionVector"]) or "") for row in rows)


def test_removals_stay_until_their_retention_ends(storage):
    state = delta_log.load_state(storage)
    expected = [("f%200", ""), ("f%201", ""), ("f%202", ""), ("f%203", "")]
    write_checkpoint(storage, state, now_ms=NOW)
    assert removals(storage, 2) == expected
    # From one checkpoint to the next, whose writer has read the first one only.
    reloaded = delta_log.load_state(storage)
    delta_log.create_entry(storage, 3, [actions.remove(reloaded.files["f 2"], timestamp_ms=NOW)])
    write_checkpoint(storage, delta_log.load_state(storage, previous=reloaded), now_ms=NOW)
    vector = vectors.unique_id(reloaded.files["f 2"].add["deletionVector"])
    assert removals(storage, 3) == sorted([*expected, ("f%202", vector)])
    late = NOW + 36_500 * 86_400_000
    write_checkpoint(storage, delta_log.load_state(storage), now_ms=late - NOW)
    assert removals(storage, 3) == sorted([*expected, ("f%202", vector)])
    write_checkpoint(storage, delta_log.load_state(storage), now_ms=late)
    assert removals(storage, 3) == [("f%202", vector)]


def test_a_file_that_is_added_again_is_not_removed(storage):
    write_checkpoint(storage, delta_log.load_state(storage), now_ms=NOW)
    state = delta_log.load_state(storage)
    deleted = actions.add("f 3", size=9, modified_ms=1, statistics={"numRecords": 5000})
    delta_log.create_entry(storage, 3, [deleted])
    state = delta_log.load_state(storage, previous=state)
    write_checkpoint(storage, state, now_ms=NOW)
    assert ("f%203", "") not in removals(storage, 3)
    delta_log.create_entry(storage, 4, [actions.remove(state.files["f 3"], timestamp_ms=NOW)])
    write_checkpoint(storage, delta_log.load_state(storage, previous=state), now_ms=NOW)
    assert removals(storage, 4).count(("f%203", "")) == 1


def test_actions_that_a_checkpoint_would_lose_forbid_it(storage):
    domain = {"domainMetadata": {"domain": "delta.clustering", "configuration": "{}", "removed": False}}
    delta_log.create_entry(storage, 3, [domain])
    assert write_checkpoint(storage, delta_log.load_state(storage), now_ms=NOW) is False
    assert storage.size(checkpoint.checkpoint_path(3)) is None


def test_a_checkpoint_takes_two_requests():
    storage = MemoryStorage()
    start = [
        actions.protocol(),
        actions.metadata(table_id="t", schema_json=SCHEMA, partition_columns=[], configuration={}, created_ms=1),
    ]
    delta_log.create_entry(storage, 0, start)
    state = delta_log.load_state(storage)
    before = storage.counts.snapshot()
    assert write_checkpoint(storage, state, now_ms=NOW)
    spent = storage.counts.minus(before)
    assert (spent.put, spent.requests) == (2, 2)
    storage.delete([paths.entry_path(0)])
    assert delta_log.load_state(storage) == state


@pytest.mark.parametrize(
    ("text", "days"),
    [("interval 1 week", 7), ("interval 36500 days", 36_500), ("INTERVAL 48 HOURS", 2), ("1 day", 1), ("x", None)],
)
def test_retention(text: str, days: int | None):
    milliseconds = retention_ms({"delta.deletedFileRetentionDuration": text})
    assert milliseconds == (2**62 if days is None else days * 86_400_000)
    assert retention_ms({}) == 7 * 86_400_000


def put(
    storage: MemoryStorage, rows: list[dict[str, Any]], schema: pa.Schema | None = None, **options: Any
) -> Checkpoint:
    path = f"_delta_log/{7:020d}.checkpoint.parquet"
    sink = pa.BufferOutputStream()
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = (
        pa.Table.from_pylist(rows, schema=schema)
        if schema
        else pa.table({name: [row.get(name) for row in rows] for name in names})
    )
    pq.write_table(table, sink, **options)
    storage.put(path, sink.getvalue().to_pybytes())
    return Checkpoint(7, (path,))


PROTOCOL: dict[str, Any] = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7}}
METADATA: dict[str, Any] = {"metaData": {"id": "x", "schemaString": SCHEMA}}


def raw(contents: checkpoint.Contents) -> list[dict[str, Any]]:
    """The live files of a checkpoint as raw actions."""
    return [ActionRow(contents.adds, row).action() for row in range(len(contents.adds))]


def test_statistics_that_are_stored_as_structs_only():
    parsed = {
        "numRecords": 3,
        "minValues": {
            "d": Decimal("1.10"),
            "dt": datetime.date(2024, 1, 1),
            "ts": datetime.datetime(2024, 1, 1, 0, 0, 0, 1999),
            "ntz": datetime.datetime(2024, 1, 1, 0, 0, 0, 1999),
            "s": 'a"é',
            "f": 1.5,
            "n": None,
        },
        "nullCount": {"d": 0},
    }
    values = pa.struct(
        [
            ("d", pa.decimal128(9, 2)),
            ("dt", pa.date32()),
            ("ts", pa.timestamp("us", "UTC")),
            ("ntz", pa.timestamp("us")),
            ("s", pa.string()),
            ("f", pa.float64()),
            ("n", pa.int32()),
        ]
    )
    kind = pa.struct(
        [
            ("numRecords", pa.int64()),
            ("minValues", values),
            ("nullCount", pa.struct([("d", pa.int64())])),
        ]
    )
    add = pa.struct([("path", pa.string()), ("size", pa.int64()), ("stats_parsed", kind)])
    schema = pa.schema(
        {
            "protocol": pa.struct([("minReaderVersion", pa.int32()), ("minWriterVersion", pa.int32())]),
            "metaData": pa.struct([("id", pa.string()), ("schemaString", pa.string())]),
            "add": add,
        }
    )
    rows = [
        PROTOCOL,
        METADATA,
        {"add": {"path": "a", "size": 1, "stats_parsed": parsed}},
        {"add": {"path": "b", "size": 1}},
    ]
    storage = MemoryStorage()
    contents = checkpoint.read(storage, put(storage, rows, schema))
    first, second = raw(contents)
    assert (first["path"], second["path"]) == ("a", "b")
    assert first["stats"] == (
        '{"numRecords":3,"minValues":{"d":1.10,"dt":"2024-01-01","ts":"2024-01-01T00:00:00.001Z",'
        '"ntz":"2024-01-01T00:00:00.001","s":"a\\"é","f":1.5},"nullCount":{"d":0}}'
    )
    assert "stats" not in second


def test_int96_is_in_utc():
    stats = {"minValues": {"ts": datetime.datetime(9999, 12, 31)}}
    rows = [PROTOCOL, METADATA, {"add": {"path": "a", "size": 1, "stats_parsed": stats}}]
    storage = MemoryStorage()
    contents = checkpoint.read(storage, put(storage, rows, use_deprecated_int96_timestamps=True))
    assert raw(contents)[0]["stats"] == '{"minValues":{"ts":"9999-12-31T00:00:00.000Z"}}'


def test_v2_checkpoints_under_a_classic_name_are_read_unless_they_have_sidecars():
    storage = MemoryStorage()
    rows = [PROTOCOL, METADATA, {"add": {"path": "a", "size": 1}}, {"checkpointMetadata": {"version": 1}}]
    domain = {"domain": "delta.clustering", "configuration": '{"clusteringColumns":[]}', "removed": False}
    contents = checkpoint.read(storage, put(storage, [*rows, {"domainMetadata": domain}]))
    assert [add["path"] for add in raw(contents)] == ["a"]
    assert contents.domains == {"delta.clustering": domain}
    stored = put(storage, [*rows, {"sidecar": {"path": "x"}}])
    with pytest.raises(UnsupportedTableError) as failure:
        checkpoint.read(storage, stored)
    assert failure.value.feature == "v2Checkpoint"


@pytest.mark.parametrize("rows", [[PROTOCOL], [METADATA], [{"other": 1}], [{"add": 7}]])
def test_a_checkpoint_that_lacks_something_is_damaged(rows):
    storage = MemoryStorage()
    stored = put(storage, rows)
    with pytest.raises(FileDamagedError) as failure:
        checkpoint.read(storage, stored)
    assert failure.value.path == stored.paths[0]


def test_finding_complete_checkpoints():
    finder = checkpoint.Finder()
    names = [
        f"{3:020d}.checkpoint.parquet",
        f"{5:020d}.checkpoint.{1:010d}.{2:010d}.parquet",
        f"{7:020d}.checkpoint.{2:010d}.{2:010d}.parquet",
        f"{7:020d}.checkpoint.{1:010d}.{2:010d}.parquet",
        f"{7:020d}.checkpoint.parquet",
    ]
    assert all(finder.see(name) for name in names)
    assert not finder.see(f"{3:020d}.json")
    assert not finder.see(f"{3:020d}.checkpoint.parquet.crc")
    assert [(candidate.version, len(candidate.paths)) for candidate in finder.complete()] == [(7, 1), (7, 2), (3, 1)]
    assert not finder.has_v2
    assert finder.see(f"{3:020d}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet")
    assert finder.has_v2
