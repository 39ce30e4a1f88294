"""Files that no commit depends on, with any of their bytes changed: nothing fails, no row differs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings


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
