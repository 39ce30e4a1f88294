"""Live files in columns: the same as a dictionary of them, whatever is added and removed, in whichever form."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from andes_spark.base.files import numbered_files
from andes_spark.delta import actions, files
from andes_spark.delta.bounds import column_range
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.files import Changes, Files, no_files
from andes_spark.delta.log import create_entry, load_state
from andes_spark.delta.prune import candidates
from andes_spark.delta.ranges import UNKNOWN
from andes_spark.delta.replay import advanced
from andes_spark.delta.segment import Segment
from andes_spark.delta.state import Commit
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import LogDamagedError, UnsupportedTableError
from andes_spark.schema.schema import Schema
from andes_spark.storage.memory import MemoryStorage

ODD = "k.e'y`\"%25\\"
SCHEMA = Schema.from_ddl(f"id BIGINT, name STRING, p STRING, d DECIMAL(30,2), `{ODD.replace('`', '``')}` INT")


def add(number: int, *, vector: int = 0, **more: Any) -> dict[str, Any]:
    """An ``add`` of rows ``10 * number`` to ``10 * number + 9``; some lack statistics, some have odd paths."""
    low = {"id": 10 * number, "name": f"n{number}é", ODD: number}
    high = {"id": 10 * number + 9, "name": f"n{number}é9", ODD: number + 1}
    statistics = {"numRecords": 10, "minValues": low, "maxValues": high, "nullCount": {"id": 0}}
    action = actions.add(
        f"part {number}%.parquet" if number % 3 else f"part-{number}.parquet",
        size=100 + number,
        modified_ms=1,
        statistics=statistics,
        partition_values={"p": None if number % 4 == 0 else f"p{number % 4}"},
        tags={"andes.arrow_bytes": str(number)},
    )["add"]
    if number % 5 == 0:
        del action["stats"]
    if vector:
        action["deletionVector"] = VectorDescriptor("u", "ab^-aqEH.-t@S}K{vb[*k^", vector, 40, 3).to_json()
    return {**action, **more}


def looks(collection: Files, model: dict[str, DataFile]) -> None:
    """Compare a collection with a dictionary."""
    assert list(collection) == list(model)
    assert collection == model
    assert len(collection) == len(model)
    for position, (location, file) in enumerate(model.items()):
        assert collection[location] == collection.at(position) == file
        assert location in collection
        assert collection[location].add == file.add
        assert (file.num_records, file.footer, file.arrow_bytes) == (
            collection[location].num_records, collection[location].footer, collection[location].arrow_bytes
        )  # fmt: skip
    assert collection.sizes.tolist() == [file.size for file in model.values()]
    assert collection.records.tolist() == [
        UNKNOWN if file.num_records is None else file.num_records for file in model.values()
    ]
    assert collection.deleted.tolist() == [
        0 if file.vector is None else file.vector.cardinality for file in model.values()
    ]
    for name in ("id", "name", "d", ODD):
        type_ = SCHEMA.field(name).type
        expected = [column_range(file.stats, name, type_) for file in model.values()]
        ranges = collection.ranges(name, type_, partition=False)
        if ranges is None:
            assert all(bounds == (None, None) for bounds in expected)
        else:
            assert list(zip(ranges.low, ranges.high, strict=True)) == expected
    ranges = collection.ranges("p", SCHEMA.field("p").type, partition=True)
    values = [file.partition_values["p"] for file in model.values()]
    assert (list(ranges.low) if ranges is not None else [None] * len(model)) == values


def created(count: int) -> MemoryStorage:
    """A table of some files, in entry 0."""
    storage = MemoryStorage()
    metadata = actions.metadata(
        table_id="t", schema_json=SCHEMA.to_json(), partition_columns=["p"], configuration={}, created_ms=1
    )
    info = actions.commit_info("WRITE", timestamp_ms=1, commit_id="0")
    adds = [{"add": add(number)} for number in range(count)]
    create_entry(storage, 0, [info, actions.protocol(), metadata, *adds])
    return storage


@pytest.fixture(autouse=True)
def few_loose_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LOOSE", 5)


def steps(rng: random.Random, collection: Files, model: dict[str, DataFile]) -> Iterator[Files]:
    """Commits of random adds, removes and new vectors, each applied to both."""
    for _ in range(25):
        changes = Changes(collection)
        for _ in range(rng.randrange(1, 6)):
            kind = rng.choice(["add", "add", "remove", "vector", "replace"])
            if kind == "add":
                more: dict[str, Any] = {"unknownMember": [1]} if rng.random() < 0.2 else {}
                file = DataFile.from_add(add(rng.randrange(10**6), **more))
            elif model:
                location = rng.choice(list(model))
                assert changes.get(location) == model[location]
                file = model[location]
                if kind != "replace":
                    changes.remove(location)
                    del model[location]
                if kind == "remove":
                    assert changes.get(location) is None
                    continue
                if kind == "vector":
                    vector = VectorDescriptor("u", "ab^-aqEH.-t@S}K{vb[*k^", rng.randrange(99), 40, 3)
                    file = DataFile.from_add({**file.add, "deletionVector": vector.to_json()})
            else:
                continue
            changes.put(file)
            model.pop(file.location, None)
            model[file.location] = file
        before = list(collection.items())
        following = changes.files()
        assert list(collection.items()) == before, "the files of the state before are untouched"
        collection = following
        yield collection


def test_files_are_those_of_a_dictionary() -> None:
    rng = random.Random(5)
    for begin in (0, 7, 30):
        first_files = [DataFile.from_add(add(number)) for number in range(begin)]
        model = {file.location: file for file in first_files}
        collection = Files(Segment.of_actions([file.add for file in first_files])) if begin else no_files()
        for following in steps(rng, collection, model):
            # A file that was replaced may stand at another place.
            model_order = {location: model[location] for location in following}
            assert len(model_order) == len(model)
            looks(following, model_order)


def test_a_state_from_a_checkpoint_is_the_state_from_the_entries() -> None:
    storage = created(40)
    state = load_state(storage)
    for version in range(1, 12):
        [first, second, *_] = [state.files.at(position) for position in (version, 2 * version)]
        entry = [
            actions.commit_info("MERGE", timestamp_ms=1, commit_id=str(version)),
            actions.remove(first, timestamp_ms=10**15),
            actions.remove(second, timestamp_ms=10**15),
            {"add": {**second.add, "deletionVector": add(1, vector=version + 1)["deletionVector"]}},
            {"add": add(100 + version)},
        ]
        create_entry(storage, version, entry)
        commit = Commit(version, tuple(member for action in entry for member in action.items()))
        state = advanced(state, commit)
        if version % 4 == 0:
            assert write_checkpoint(storage, state, now_ms=10**15)
        stored = load_state(storage)
        assert {path: file.add for path, file in stored.files.items()} == {
            path: {**file.add, "dataChange": stored.files[path].add["dataChange"]} for path, file in state.files.items()
        }
        assert stored.files == state.files
        keys = pa.table({"id": [55, 1051]})
        holding = [
            {live_files.at(position).location for position in candidates(live_files, SCHEMA, ["p"], keys)}
            for live_files in (state.files, stored.files)
        ]
        assert holding[0] == holding[1]
        unknown = {path for path, file in state.files.items() if file.num_records is None}
        assert unknown <= holding[0] < set(state.files)


def test_slices_for_tasks_hold_what_they_need() -> None:
    collection = Files(Segment.of_actions([add(number, vector=number % 2) for number in range(1000)]))
    picked = numbered_files(collection).pick([3, 500, 999])
    sent = pickle.dumps(picked)
    assert len(sent) < 3000
    received = pickle.loads(sent)
    assert [(file.number, file.path) for file in received] == [(file.number, file.path) for file in picked]
    assert received.numbered(500).file == collection.at(500)
    assert [file.file.vector for file in received] == [file.file.vector for file in picked]
    keys = pa.table({"id": [9993]})
    positions = candidates(received.files, SCHEMA, [], keys)
    assert [received[position].number for position in positions] == [500, 999]  # each fifth has no statistics
    assert list(picked[1:]) == [picked[1], picked[2]]
    assert picked[-1].number == 999


def test_a_commit_makes_no_objects_of_the_files_that_it_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = created(3_000)
    write_checkpoint(storage, load_state(storage), now_ms=1)
    state = load_state(storage)
    entry = [actions.commit_info("MERGE", timestamp_ms=1, commit_id="x"), {"add": add(9_999)}]
    entry.append(actions.remove(state.files.at(7), timestamp_ms=1))
    decoded: list[str] = []
    true = DataFile.__init__

    def init(self: DataFile, path: str, *args: Any, **more: Any) -> None:
        decoded.append(path)
        true(self, path, *args, **more)

    monkeypatch.setattr(DataFile, "__init__", init)
    commit = Commit(1, tuple(member for action in entry for member in action.items()))
    following = advanced(state, commit)
    assert len(following.files) == 3_000
    assert following.files.segment is state.files.segment
    keys = pa.table({"id": np.arange(100, 200)})
    assert 10 <= len(candidates(following.files, SCHEMA, [], keys)) < 700  # each fifth file has no statistics
    assert (len(following.files.sizes), len(following.files.records)) == (3_000, 3_000)
    assert len(decoded) <= 3


INLINE = {"storageType": "p", "pathOrInlineDv": "/x", "sizeInBytes": 1, "cardinality": 1}


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ({"path": "s3://x/y", "size": 1}, UnsupportedTableError),
        ({"path": "/x", "size": 1}, UnsupportedTableError),
        ({"path": "a/../b", "size": 1}, LogDamagedError),
        ({"path": "", "size": 1}, LogDamagedError),
        ({"path": None, "size": 1}, LogDamagedError),
        ({"path": "a", "size": None}, LogDamagedError),
        ({"path": "a", "size": 1, "deletionVector": INLINE}, UnsupportedTableError),
    ],
)  # fmt: skip
def test_what_is_illegal_is_refused_when_it_is_loaded(action: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Segment.of_actions([add(1), action])
