"""Old versions after Delta's VACUUM took every file that the newest state of the base does not need."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.delta.log import load_state
from andes_spark.errors import VersionExpiredError
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.history import travel


def rows(*values: tuple[int, int]) -> pa.Table:
    return pa.table({"id": [key for key, _ in values], "seq": [seq for _, seq in values]})


def shown(table: ModTable, version: int | None = None) -> list[dict[str, Any]]:
    return table.to_arrow(version=version).sort_by("id").to_pylist()


def filled(*, load: bool = False, vectors: bool = True) -> tuple[MemoryStorage, ModTable]:
    storage = MemoryStorage()
    table = ModTable.create(
        storage,
        "id BIGINT, seq BIGINT",
        primary_key=["id"],
        sequence_by=["seq"],
        data=rows((1, 0), (9, 0)) if load else None,
        deletion_vectors=vectors,
        settings=Settings(compact_bytes=0),
    )
    for seq in range(1, 5):
        table.apply(rows((1, seq), (2 + seq, seq)))
    # Every row anew: no file of an older state is part of the newest one.
    table.apply(rows(*[(key, 10) for key in (1, 3, 4, 5, 6, 9)]))
    return storage, table


def vacuum(storage: MemoryStorage) -> set[str]:
    """What VACUUM RETAIN 0 HOURS deletes."""
    live = load_state(storage).files
    kept = set(live) | {file.vector.file_path for file in live.values() if file.vector is not None}
    deleted = {
        info.path
        for info in storage.list()
        if not info.path.startswith(("_andes/", "_delta_log/")) and info.path not in kept
    }
    storage.delete(deleted)
    return deleted


@pytest.mark.parametrize("vectors", [True, False])
def test_the_log_still_has_the_rows(vectors: bool) -> None:
    storage, table = filled(vectors=vectors)
    before = [shown(table, version) for version in range(6)]
    assert len(vacuum(storage)) >= 4
    for handle in (table, ModTable.open(storage)):
        assert [shown(handle, version) for version in range(6)] == before
        assert shown(handle) == before[5]


def test_an_older_state_that_is_whole_is_used() -> None:
    storage, table = filled(load=True)
    before = [shown(table, version) for version in range(6)]
    # The file of version 3 alone: versions 3 and 4 are evaluated from the state of version 2.
    second, third = (load_state(storage, version=version).files for version in (2, 3))
    storage.delete(third.keys() - second.keys())
    assert [shown(ModTable.open(storage), version) for version in range(6)] == before


def test_a_loaded_table_says_what_is_gone_and_what_is_not() -> None:
    storage, table = filled(load=True)
    newest = shown(table)
    deleted = vacuum(storage)
    for handle in (table, ModTable.open(storage)):
        for version in range(5):
            with pytest.raises(VersionExpiredError, match="Versions from 5 on can be read") as caught:
                shown(handle, version)
            assert caught.value.version == version
            assert any(path in str(caught.value) for path in deleted)
        assert shown(handle) == shown(handle, 5) == newest
        assert handle.mods(1, 4).num_rows == 8


def test_the_origin_is_tried_after_many_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travel, "MOST_STATES", 2)
    storage, table = filled()
    before = [shown(table, version) for version in range(6)]
    vacuum(storage)
    assert [shown(ModTable.open(storage), version) for version in range(6)] == before


def test_a_version_of_the_newest_state_asks_for_nothing() -> None:
    storage, table = filled()
    table.to_arrow()
    before = storage.counts.snapshot()
    table.to_arrow(version=5)
    assert storage.counts.minus(before).head == 0
