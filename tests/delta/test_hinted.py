"""The state by hints equals the state by the list, wherever hints lead and whatever they get wrong."""

from __future__ import annotations

import json
import random

import pytest

from andes_spark.delta import actions, checkpoints, paths
from andes_spark.delta.checkpoint_writer import write_checkpoint
from andes_spark.delta.entries import create_entry, read_commit
from andes_spark.delta.hinted import HintedState
from andes_spark.delta.log import load_state
from andes_spark.delta.replay import advanced
from andes_spark.errors import LogDamagedError
from andes_spark.storage.memory import MemoryStorage

SCHEMA = '{"type":"struct","fields":[{"name":"k","type":"long","nullable":false,"metadata":{}}]}'


def table(versions: int, checkpointed: tuple[int, ...] = ()) -> MemoryStorage:
    storage = MemoryStorage()
    metadata = actions.metadata(table_id="t", schema_json=SCHEMA, partition_columns=[], configuration={}, created_ms=1)
    create_entry(storage, 0, [actions.protocol(), metadata])
    for version in range(1, versions + 1):
        entry = [actions.add(f"f{version}", size=9, modified_ms=1, statistics={"numRecords": version})]
        if version % 3 == 0:
            entry.append(actions.remove(load_state(storage).files[f"f{version - 1}"], timestamp_ms=1))
        create_entry(storage, version, [*entry, actions.txn("andes:x", version)])
        if version in checkpointed:
            write_checkpoint(storage, load_state(storage), now_ms=2)
    return storage


def hinted(storage: MemoryStorage, known: int) -> HintedState:
    return HintedState(storage, checkpoints.read_hint(storage), known)


@pytest.mark.parametrize("checkpointed", [(), (2,), (7,), (3, 10), (12,)])
@pytest.mark.parametrize("known", [0, 3, 9, 11, 12])
def test_it_equals_the_state_by_the_list(checkpointed: tuple[int, ...], known: int) -> None:
    storage = table(12, checkpointed)
    state = hinted(storage, known).state()
    assert state == load_state(storage)
    assert state.commit_id == load_state(storage).commit_id
    assert hinted(storage, known).commit(known) == read_commit(storage, known)


@pytest.mark.parametrize("hint", [b"", b"{", b'{"version":99}', b'{"version":11}', b'{"version":-1}', b'{"version":3}'])
def test_a_hint_that_is_wrong_costs_requests_only(hint: bytes) -> None:
    storage = table(12, (3, 10))
    storage.put(checkpoints.HINT_PATH, hint)
    assert HintedState(storage, checkpoints.hinted_version(hint), 4).state() == load_state(storage)


def test_a_known_version_that_is_not_there() -> None:
    storage = table(5)
    assert hinted(storage, 50).state() == load_state(storage)
    assert hinted(storage, 500).state() == load_state(storage)


def test_a_hole_is_an_error_and_a_missing_checkpoint_is_none() -> None:
    storage = table(12, (10,))
    storage.delete([checkpoints.checkpoint_path(10)])
    assert hinted(storage, 12).state() == load_state(storage)
    storage.delete([paths.entry_path(11)])
    with pytest.raises(LogDamagedError):
        hinted(storage, 12).state()


@pytest.mark.slow
@pytest.mark.parametrize("beyond", [1, 2])
@pytest.mark.parametrize("newest", [0, 5, 11, 12, 13, 40])
@pytest.mark.parametrize("start", [None, -1, 0, 3, 4, 10, 99])
def test_whatever_checkpoint_and_newest_version_are_named(start: int | None, newest: int, beyond: int) -> None:
    storage = table(12, (3, 10))
    assert HintedState(storage, start, 4, newest, beyond=beyond).state() == load_state(storage)


def test_a_state_tells_its_checkpoint() -> None:
    storage = table(12, (3, 10))
    assert load_state(storage).checkpoint == 10
    assert load_state(storage, previous=load_state(storage, version=5)).checkpoint == 3
    assert load_state(storage, version=2).checkpoint == -1
    storage.put(
        paths.LOG_FOLDER + f"/{12:020d}.checkpoint.{1:010d}.{1:010d}.parquet",
        storage.get(checkpoints.checkpoint_path(10)),
    )
    assert load_state(storage).checkpoint is None, "one in parts has another name"


@pytest.mark.parametrize("behind", [0, 1, 2, 3, 7, 11])
def test_a_state_is_refreshed_by_few_requests(behind: int) -> None:
    storage = table(12)
    previous = load_state(storage, version=12 - behind)
    before = storage.counts.snapshot()
    assert load_state(storage, previous=previous) == load_state(storage, version=12)
    storage_requests = storage.counts.minus(before).get - 13 - 1
    assert storage_requests == behind + 1


def test_a_warm_hint_asks_for_what_it_needs_and_two_more() -> None:
    storage = table(12, (10,))
    hint = storage.get(checkpoints.HINT_PATH)
    assert json.loads(hint)["version"] == 10
    before = storage.counts.snapshot()
    HintedState(storage, checkpoints.hinted_version(hint), 12).state()
    # The checkpoint, entries 11 and 12, and two that may have come since.
    assert storage.counts.minus(before).requests == 5


@pytest.mark.parametrize("seed", range(20))
def test_a_state_advanced_by_the_entry_in_memory_equals_the_one_that_is_read(seed: int) -> None:
    rnd = random.Random(seed)
    storage = table(3)
    state = load_state(storage)
    for version in range(4, 24):
        live = list(state.files.values())
        deleted = rnd.sample(live, min(len(live), rnd.randrange(3)))
        entry = [
            actions.commit_info("MERGE", timestamp_ms=1, commit_id=f"c{version}", previous=state.commit_id),
            actions.txn("andes:x", version),
            *(actions.remove(file, timestamp_ms=version) for file in deleted),
            *(
                actions.add(f"g{version} {n}", size=n, modified_ms=1, statistics={"numRecords": n, "tightBounds": True})
                for n in range(rnd.randrange(3))
            ),
        ]
        commit = create_entry(storage, version, entry)
        assert commit is not None
        state = advanced(state, commit)
        stored = load_state(storage)
        assert state == stored
        assert state.commit_id == stored.commit_id
        assert {path: file.add for path, file in state.files.items()} == {
            path: file.add for path, file in stored.files.items()
        }
        assert dict(state.removed.recent) == dict(stored.removed.recent)
