"""Files that no commit depends on, with any of their bytes changed: nothing fails, no row differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta import checkpoints
from andes_spark.delta.log import load_state, read_commit
from andes_spark.log.lease import LEASE_PATH, MergeNote, read_note
from andes_spark.model.documents import seal
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of

pytestmark = pytest.mark.faults


def batch(number: int) -> pa.Table:
    ids = [number, number + 1, 100 + number]
    return pa.table({"id": ids, "seq": [number] * 3, "name": [f"n{number}"] * 3})


def grown(path: str) -> ModTable:
    table = ModTable.create(
        path, batch(0).schema, primary_key=["id"], sequence_by=["seq"], settings=Settings(checkpoint_interval=2)
    )
    for number in range(4):
        table.apply(batch(number))
    return table


def rows_of(table: ModTable) -> list[Any]:
    return table.to_arrow().sort_by("id").to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["_andes/merging.json", "_andes/hint", "_delta_log/_last_checkpoint"])
def test_a_changed_byte_is_noticed_or_harmless(path, tmp_path):
    folder = tmp_path / "orders"
    expected = rows_of(grown(str(folder)))
    ModTable.open(str(folder))
    data = (folder / path).read_bytes()
    for position in range(len(data)):
        for changed in (data[position] ^ 1, 0xFF):
            (folder / path).write_bytes(data[:position] + bytes([changed]) + data[position + 1 :])
            opened = ModTable.open(str(folder))
            assert rows_of(opened) == expected, (position, changed)
            assert opened.status().pending_versions == 0


def test_a_changed_note_does_not_stop_merges(tmp_path):
    folder = tmp_path / "orders"
    grown(str(folder))
    note = folder / "_andes/merging.json"
    before, member, after = note.read_bytes().partition(b'"commit_id":"')
    assert member
    note.write_bytes(before + member + b"z" + after[1:])
    merge = ModTable.open(str(folder)).apply(batch(9)).merge
    assert merge is not None
    assert merge.status == "merged"


def notes() -> Iterator[MergeNote]:
    """Notes as an old, a late or another writer may have left them."""
    for delta_version in (None, 0, 2, 5):
        for newest in (None, 0, 3, 5, 6, 60):
            for checkpoint in (None, -1, 0, 1, 2, 4, 5, 9):
                commit_id = None if delta_version is None else f"of {delta_version}"
                yield MergeNote(delta_version=delta_version, commit_id=commit_id, newest=newest, checkpoint=checkpoint)


def test_a_note_that_is_old_or_wrong_changes_no_row() -> None:
    storage = MemoryStorage()
    table = ModTable.create(
        storage, batch(0).schema, primary_key=["id"], sequence_by=["seq"], settings=Settings(checkpoint_interval=2)
    )
    for number in range(5):
        table.apply(batch(number))
    entries = {version: read_commit(storage, version) for version in range(6)}
    expected, version = rows_of(table), table.version
    for note in notes():
        entry = None if note.delta_version is None else entries[note.delta_version]
        stored = msgspec.structs.replace(note, commit_id=None if entry is None else entry.commit_id)
        copy = copy_of(storage)
        copy.put(LEASE_PATH, seal(msgspec.json.encode(stored)))
        opened = ModTable.open(copy)
        assert rows_of(opened) == expected, note
        assert opened.status().pending_versions == 0, note
        opened = ModTable.open(copy)
        merge = opened.apply(batch(9)).merge
        assert merge is not None, note
        assert (merge.status, merge.applied) == ("merged", version + 1), note
        assert ModTable.open(copy).verify().ok, note


def test_the_note_names_the_newest_entry_and_the_checkpoint() -> None:
    storage = MemoryStorage()
    table = ModTable.create(
        storage, batch(0).schema, primary_key=["id"], sequence_by=["seq"], settings=Settings(checkpoint_interval=2)
    )
    for number in range(5):
        table.apply(batch(number))
        note, state = read_note(storage), load_state(storage)
        checkpoint = checkpoints.read_hint(storage)
        assert (note.newest, note.checkpoint) == (state.version, -1 if checkpoint is None else checkpoint)
    cold = ModTable.open(storage, settings=Settings(checkpoint_interval=1_000))
    cold.apply(batch(9))
    assert (read_note(storage).newest, read_note(storage).checkpoint) == (state.version + 1, state.checkpoint)
