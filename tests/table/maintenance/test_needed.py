"""What the readable versions need is the same whether roll-ups or single manifests tell it, and takes few requests."""

from __future__ import annotations

import pytest

from andes_spark import ModTable
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.maintenance import needed
from andes_spark.table.maintenance.needed import Needed, needed_files
from tests.interleave import explore
from tests.vacuumed import NOW

VERSIONS = 200


def needed_of(storage: MemoryStorage, floor: int) -> Needed:
    open_table = ModTable.open(storage)._open_table
    open_table.base.snapshot()
    return needed_files(open_table, floor, pins=())


def comparable(actual: Needed) -> tuple[object, ...]:
    return actual.files, actual.kept, actual.starts, actual.records


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 40))])
def test_roll_ups_tell_what_single_manifests_tell(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = explore(740_000 + seed, steps=20).storage
    open_table = ModTable.open(storage)._open_table
    floor = open_table.log.manifest(open_table.log.head).floor
    expected = comparable(needed_of(storage, floor))
    monkeypatch.setattr(needed, "WINDOW", 0)
    assert comparable(needed_of(storage, floor)) == expected


@pytest.mark.slow
def test_requests_of_many_kept_versions() -> None:
    storage = MemoryStorage()
    table = ModTable.create(storage, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", merge="manual")
    for seq in range(1, VERSIONS + 1):
        table.apply([{"id": seq, "seq": seq}])
        if seq % 20 == 10:
            table.merge()
        if seq == 10:
            table.vacuum(NOW)
    floor = table.manifest(table.version).floor
    assert floor
    before = storage.counts.snapshot()
    actual = needed_of(storage, floor)
    assert storage.counts.minus(before).requests < VERSIONS // 2
    assert sum(path.startswith("_andes/mods/") for path in actual.files) >= VERSIONS - 20
