"""The state of a Delta table from its log: entries, checkpoints, refreshes, damage."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andes_spark.delta import actions, paths
from andes_spark.delta import checkpoints as checkpoint
from andes_spark.delta import log as delta_log
from andes_spark.delta.log import DeltaState
from andes_spark.errors import (
    FileDamagedError,
    LogDamagedError,
    NoSuchTableError,
    NoSuchVersionError,
    UnsupportedTableError,
    VersionExpiredError,
)
from andes_spark.storage.memory import MemoryStorage

INLINE = {"storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000", "sizeInBytes": 44, "cardinality": 6}
OTHER = {**INLINE, "pathOrInlineDv": "^Bg9^0rr910000000001"}


def start() -> list[actions.Action]:
    return [
        actions.protocol(),
        actions.metadata(
            table_id="id",
            schema_json='{"type":"struct","fields":[]}',
            partition_columns=["p"],
            configuration={"delta.enableDeletionVectors": "true"},
            created_ms=5,
            description="d",
        ),
    ]


def add(path: str, vector: dict[str, Any] | None = None, **more: Any) -> actions.Action:
    value = {
        "path": path,
        "partitionValues": {"p": None},
        "size": 7,
        "modificationTime": 1,
        "dataChange": True,
    }
    return {"add": value | more | ({"deletionVector": vector} if vector else {})}


def remove(path: str, vector: dict[str, Any] | None = None, **more: Any) -> actions.Action:
    return {"remove": {"path": path, **more} | ({"deletionVector": vector} if vector else {})}


def table(*entries: list[actions.Action]) -> MemoryStorage:
    storage = MemoryStorage()
    for version, entry in enumerate([start(), *entries]):
        delta_log.create_entry(storage, version, entry)
    return storage


def checkpoint_schema() -> pa.Schema:
    """The columns of Delta's classic checkpoints, as far as these tests need them."""
    text = pa.map_(pa.string(), pa.string())
    form = pa.struct([("provider", pa.string()), ("options", text)])
    vector = pa.struct(
        [
            ("storageType", pa.string()),
            ("pathOrInlineDv", pa.string()),
            ("offset", pa.int32()),
            ("sizeInBytes", pa.int32()),
            ("cardinality", pa.int64()),
        ]
    )
    strings = pa.list_(pa.string())
    return pa.schema(
        {
            "txn": pa.struct([("appId", pa.string()), ("version", pa.int64()), ("lastUpdated", pa.int64())]),
            "add": pa.struct(
                [
                    ("path", pa.string()),
                    ("partitionValues", text),
                    ("size", pa.int64()),
                    ("modificationTime", pa.int64()),
                    ("dataChange", pa.bool_()),
                    ("tags", text),
                    ("deletionVector", vector),
                    ("stats", pa.string()),
                ]
            ),
            "remove": pa.struct([("path", pa.string()), ("size", pa.int64())]),
            "metaData": pa.struct(
                [
                    ("id", pa.string()),
                    ("description", pa.string()),
                    ("format", form),
                    ("schemaString", pa.string()),
                    ("partitionColumns", strings),
                    ("configuration", text),
                    ("createdTime", pa.int64()),
                ]
            ),
            "protocol": pa.struct(
                [
                    ("minReaderVersion", pa.int32()),
                    ("minWriterVersion", pa.int32()),
                    ("readerFeatures", strings),
                    ("writerFeatures", strings),
                ]
            ),
        }
    )


def put_checkpoint(storage: MemoryStorage, state: DeltaState, parts: int = 1) -> list[str]:
    """A checkpoint of our own making, with the columns of Delta's."""
    rows: list[dict[str, Any]] = [
        {"protocol": start()[0]["protocol"]},
        {"metaData": start()[1]["metaData"]},
        *({"txn": {"appId": app, "version": version}} for app, version in state.txns.items()),
        *({"add": {**file.add, "dataChange": False}} for file in state.files.values()),
        {"remove": {"path": "gone", "size": 1}},
    ]
    schema = checkpoint_schema()
    for row in rows:
        for value in row.values():
            for name in ("partitionValues", "configuration", "tags"):
                if name in value:
                    value[name] = list(dict(value[name]).items())
            if "format" in value:
                value["format"] = {"provider": "parquet", "options": []}
    paths = []
    for part in range(parts):
        name = f"{state.version:020d}.checkpoint"
        name += "" if parts == 1 else f".{part + 1:010d}.{parts:010d}"
        paths.append(f"_delta_log/{name}.parquet")
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows[part::parts], schema=schema), sink)
        storage.put(paths[-1], sink.getvalue().to_pybytes())
    storage.put(checkpoint.HINT_PATH, json.dumps({"version": state.version, "size": len(rows)}).encode())
    return paths


def test_entries_alone():
    storage = table(
        [actions.txn("app", 1), add("a%20b", stats='{"numRecords":9,"d":1.10}'), add("c", INLINE)],
        [actions.txn("app", 2), actions.txn("other", 5), remove("c", INLINE), add("c", OTHER)],
    )
    state = delta_log.load_state(storage)
    assert state.version == 2
    assert state.txns == {"app": 2, "other": 5}
    assert state.metadata.id == "id"
    assert state.metadata.partition_columns == ("p",)
    assert state.metadata.created == 5
    assert state.protocol.reader_features == {"deletionVectors"}
    assert sorted(state.files) == ["a b", "c"]
    file = state.files["a b"]
    assert (file.path, file.location, file.size, file.vector) == ("a%20b", "a b", 7, None)
    assert (file.num_records, file.live_records) == (9, 9)
    assert str(file.stats["d"]) == "1.10"
    replaced = state.files["c"].vector
    assert replaced is not None
    assert replaced.path_or_inline == OTHER["pathOrInlineDv"]
    assert (state.files["c"].num_records, state.files["c"].live_records) == (None, None)


def test_live_records_are_those_without_the_deleted():
    state = delta_log.load_state(table([add("c", INLINE, stats='{"numRecords":9}')]))
    assert state.files["c"].live_records == 3


def test_a_removal_and_an_add_in_either_order():
    before = [add("c", INLINE)]
    for entry in ([remove("c", INLINE), add("c")], [add("c"), remove("c", INLINE)]):
        assert delta_log.load_state(table(before, entry)).files["c"].vector is None


def test_a_removal_with_another_vector_is_of_another_file():
    state = delta_log.load_state(table([add("c", INLINE)], [remove("c")]))
    assert list(state.files) == ["c"]


def test_an_add_again_replaces_what_is_said_of_a_file():
    state = delta_log.load_state(table([add("c", INLINE)], [add("c", INLINE, tags={"x": "1"})]))
    assert state.files["c"].add["tags"] == {"x": "1"}


def test_what_is_not_known_is_ignored():
    storage = table([{"someday": {"x": 1}}, {"cdc": {"path": "c"}}, {"domainMetadata": {"domain": "d"}}])
    assert delta_log.load_state(storage).version == 1


def test_time_travel():
    storage = table([add("a")], [add("b")], [remove("a")])
    files = {v: sorted(delta_log.load_state(storage, version=v).files) for v in range(4)}
    assert files == {0: [], 1: ["a"], 2: ["a", "b"], 3: ["b"]}
    put_checkpoint(storage, delta_log.load_state(storage, version=2))
    assert files == {v: sorted(delta_log.load_state(storage, version=v).files) for v in range(4)}
    with pytest.raises(NoSuchVersionError) as failure:
        delta_log.load_state(storage, version=4)
    assert (failure.value.version, failure.value.newest) == (4, 3)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_checkpoint_stands_for_the_entries_below(parts):
    storage = table(
        [actions.txn("app", 1), add("a%20b", INLINE, stats='{"numRecords":9}', tags={"t": "x"}), add("c")],
        [remove("c"), add("d", partitionValues={"p": "1"})],
    )
    whole = delta_log.load_state(storage)
    put_checkpoint(storage, whole, parts)
    storage.delete([paths.entry_path(version) for version in (0, 1, 2)])
    state = delta_log.load_state(storage)
    assert state == whole
    for location, file in state.files.items():
        assert file.add == {**whole.files[location].add, "dataChange": False}
    delta_log.create_entry(storage, 3, [add("e")])
    assert sorted(delta_log.load_state(storage).files) == ["a b", "d", "e"]
    assert delta_log.load_state(storage, version=2) == whole
    with pytest.raises(VersionExpiredError):
        delta_log.load_state(storage, version=1)


@pytest.mark.parametrize(
    "hint",
    [
        None,
        b"",
        b"{",
        b"[]",
        b'{"version":"2"}',
        b'{"version":-1}',
        b'{"version":0}',
        b'{"version":1}',
        b'{"version":99}',
    ],
)
def test_the_hint_is_only_advice(hint):
    storage = table([add("a")], [add("b")], [add("c")])
    put_checkpoint(storage, delta_log.load_state(storage, version=2))
    storage.delete([checkpoint.HINT_PATH, *(paths.entry_path(version) for version in (0, 1, 2))])
    if hint is not None:
        storage.put(checkpoint.HINT_PATH, hint)
    assert sorted(delta_log.load_state(storage).files) == ["a", "b", "c"]


def test_the_newest_checkpoint_is_used_though_the_hint_names_an_older():
    storage = table(*[[add(f"f{i}")] for i in range(20)])
    put_checkpoint(storage, delta_log.load_state(storage, version=15))
    put_checkpoint(storage, delta_log.load_state(storage, version=5))
    before = storage.counts.snapshot()
    assert len(delta_log.load_state(storage).files) == 20
    used = storage.counts.minus(before)
    assert (used.list, used.get) == (1, 1 + 1 + 5)


def test_a_checkpoint_lacking_a_part_is_ignored():
    storage = table([add("a")], [add("b")])
    whole = delta_log.load_state(storage)
    parts = put_checkpoint(storage, whole, 2)
    storage.delete([parts[1]])
    assert delta_log.load_state(storage) == whole
    storage.delete([paths.entry_path(0)])
    with pytest.raises(LogDamagedError) as failure:
        delta_log.load_state(storage)
    assert failure.value.path == paths.entry_path(0)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 100])
def test_a_damaged_checkpoint_is_passed_over_while_it_can_be(data):
    storage = table([add("a")], [add("b")], [add("c")])
    whole = delta_log.load_state(storage)
    put_checkpoint(storage, delta_log.load_state(storage, version=1))
    [path] = put_checkpoint(storage, delta_log.load_state(storage, version=2))
    storage.put(path, data)
    assert delta_log.load_state(storage) == whole
    storage.delete([paths.entry_path(0), paths.entry_path(1)])
    assert delta_log.load_state(storage) == whole
    storage.put(path.replace("2.checkpoint", "1.checkpoint"), data)
    with pytest.raises(FileDamagedError) as failure:
        delta_log.load_state(storage)
    assert failure.value.path == path


def test_checkpoints_of_the_v2_format_are_refused():
    storage = table([add("a")])
    storage.put(f"_delta_log/{1:020d}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json", b"{}")
    assert delta_log.load_state(storage).version == 1
    storage.delete([paths.entry_path(0)])
    with pytest.raises(UnsupportedTableError) as failure:
        delta_log.load_state(storage)
    assert failure.value.feature == "v2Checkpoint"


def test_other_files_in_the_log_are_no_entries():
    storage = table([add("a")])
    for name in (
        f".{2:020d}.json.crc",
        f"{1:020d}.crc",
        f"{0:020d}.{1:020d}.compacted.json",
        f"_staged_commits/{2:020d}.3a0d65cd-4056-49b8-937b-95f9e3ee90e5.json",
        f"{5:020d}.json.tmp",
        "00.json",
        "zzz",
    ):
        storage.put(f"_delta_log/{name}", b"x")
    assert delta_log.load_state(storage).version == 1


def test_a_folder_without_a_log():
    storage = MemoryStorage()
    for version in (None, 0, 7):
        with pytest.raises(NoSuchTableError) as failure:
            delta_log.load_state(storage, version=version)
        assert failure.value.table == storage.url


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_hole_is_damage(missing):
    storage = table([add("a")], [add("b")], [add("c")])
    storage.delete([paths.entry_path(missing)])
    with pytest.raises(LogDamagedError) as failure:
        delta_log.load_state(storage)
    assert (failure.value.path, failure.value.version) == (paths.entry_path(missing), missing)


@pytest.mark.parametrize(
    "entry",
    [
        [add("a"), add("a", INLINE)],
        [remove("x"), remove("x", INLINE)],
        [*start(), start()[1]],
        [actions.protocol(), actions.protocol()],
        [actions.txn("app", 1), actions.txn("app", 2)],
        [add("old", INLINE)],
        [{"add": {"path": "x"}}],
        [{"add": {"size": 7}}],
        [{"add": {"path": "../x", "size": 7}}],
        [{"add": {"path": 7, "size": 7}}],
        [{"remove": {"size": 7}}],
        [{"txn": {"appId": "x"}}],
        [{"protocol": {"minReaderVersion": 3}}],
        [{"metaData": {"id": "x"}}],
        [add("x", {**INLINE, "cardinality": "many"})],
        [],
    ],
)
def test_an_illegal_entry_is_damage(entry):
    storage = table([add("old")], entry)
    before = delta_log.load_state(storage, version=1)
    for previous in (None, before):
        with pytest.raises(LogDamagedError) as failure:
            delta_log.load_state(storage, previous=previous)
        assert failure.value.path is not None


@pytest.mark.parametrize("data", [b"", b"\n", b"{", b'{"add":', b"7\n", b"[]\n", b"\xff\xfe", b"[" * 10**5])
def test_an_unreadable_entry_is_damage(data):
    storage = table()
    storage.put(paths.entry_path(1), data)
    with pytest.raises(LogDamagedError) as failure:
        delta_log.load_state(storage)
    assert failure.value.path == paths.entry_path(1)
    with pytest.raises(LogDamagedError):
        delta_log.read_commit(storage, 1)


def test_a_first_entry_without_protocol_is_damage():
    storage = MemoryStorage()
    delta_log.create_entry(storage, 0, [add("a")])
    with pytest.raises(LogDamagedError, match="protocol"):
        delta_log.load_state(storage)


def test_files_outside_the_folder_are_refused():
    with pytest.raises(UnsupportedTableError) as failure:
        delta_log.load_state(table([add("s3://elsewhere/x.parquet")]))
    assert failure.value.feature == "absolutePaths"


def test_a_refresh_reads_only_what_is_new():
    storage = table([add("a")])
    first = delta_log.load_state(storage)
    before = storage.counts.snapshot()
    assert delta_log.load_state(storage, previous=first) is first
    assert storage.counts.minus(before).requests == 1
    for version in (2, 3, 4):
        delta_log.create_entry(storage, version, [add(f"f{version}"), actions.txn("app", version)])
    before = storage.counts.snapshot()
    second = delta_log.load_state(storage, previous=first)
    used = storage.counts.minus(before)
    assert (used.get, used.requests) == (4, 4)
    assert second == delta_log.load_state(storage)
    assert second.files["a"] is first.files["a"]
    assert (list(first.files), first.txns) == (["a"], {})
    assert delta_log.load_state(storage, previous=first, version=3) == delta_log.load_state(storage, version=3)
    assert delta_log.load_state(storage, previous=second, version=1) == first
    assert delta_log.load_state(storage, previous=second, version=4) is second
    with pytest.raises(NoSuchVersionError):
        delta_log.load_state(storage, previous=second, version=5)


def test_a_refresh_far_behind_uses_the_newest_checkpoint():
    storage = table(*[[add(f"f{i}")] for i in range(200)])
    first = delta_log.load_state(storage, version=1)
    put_checkpoint(storage, delta_log.load_state(storage, version=199))
    before = storage.counts.snapshot()
    state = delta_log.load_state(storage, previous=first)
    assert (state.version, len(state.files)) == (200, 200)
    assert storage.counts.minus(before).requests < delta_log.PROBES + 10


def test_a_commit():
    storage = table(
        [
            actions.commit_info("MERGE", timestamp_ms=1, commit_id="c1", metrics={"rows": 3}),
            actions.txn("app", 4),
            add("a", dataChange=False),
        ],
        [remove("a", dataChange=False)],
        [remove("a")],
        [actions.protocol()],
    )
    commit = delta_log.read_commit(storage, 1)
    assert commit is not None
    assert (commit.version, commit.commit_id, commit.txns) == (1, "c1", {"app": 4})
    assert (commit.commit_info or {})["operationMetrics"] == {"rows": "3"}
    assert [value["path"] for value in commit.of_kind("add")] == ["a"]
    flags = []
    for version in range(5):
        stored = delta_log.read_commit(storage, version)
        assert stored is not None
        flags.append((stored.data_change, stored.commit_id))
    assert flags == [
        (False, None),
        (False, "c1"),
        (False, None),
        (True, None),
        (False, None),
    ]
    assert delta_log.read_commit(storage, 5) is None


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.data())
def test_every_way_to_a_version_gives_the_same_state(data):
    entries: list[list[actions.Action]] = []
    live: dict[str, dict[str, Any] | None] = {}
    for number in range(data.draw(st.integers(1, 12))):
        entry: list[actions.Action] = [actions.txn(data.draw(st.sampled_from("ab")), number)]
        for path in data.draw(st.sets(st.sampled_from("uvwxyz"), min_size=1, max_size=3)):
            if path in live:
                entry.append(remove(path, live.pop(path)))
            if data.draw(st.booleans()):
                live[path] = data.draw(st.sampled_from([None, INLINE, OTHER]))
                # The same file with the same vector in one entry means nothing: it was never removed.
                if entry[-1].get("remove", {}).get("path") == path and (
                    entry[-1]["remove"].get("deletionVector") == live[path]
                ):
                    entry.pop()
                entry.append(add(path, live[path]))
        entries.append(data.draw(st.permutations(entry)))
    storage = table(*entries)
    states = [delta_log.load_state(storage, version=v) for v in range(len(entries) + 1)]
    assert {
        path: None if file.vector is None else file.vector.path_or_inline for path, file in states[-1].files.items()
    } == {path: None if vector is None else vector["pathOrInlineDv"] for path, vector in live.items()}
    for version in data.draw(st.sets(st.integers(0, len(entries)), max_size=3)):
        put_checkpoint(storage, states[version], data.draw(st.integers(1, 3)))
    for version, state in enumerate(states):
        assert delta_log.load_state(storage, version=version) == state
        earlier = states[data.draw(st.integers(0, version))]
        assert delta_log.load_state(storage, version=version, previous=earlier) == state
    assert delta_log.load_state(storage) == states[-1]
