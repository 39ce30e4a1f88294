"""The clock of a machine that writes is compared with the store's, whatever it writes."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from andes_spark.errors import ClockError
from andes_spark.log.clock import TOLERANCE_MS
from andes_spark.log.log import Log, system_clock
from andes_spark.log.new_folder import PROBE
from andes_spark.model.mod import BatchId
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, fill, rows
from andes_spark.testing.tapped import TappedStorage

YEAR_MS = 365 * 24 * 60 * 60 * 1000


def off_by(milliseconds: int) -> Callable[[], int]:
    return lambda: system_clock() + milliseconds


@pytest.mark.parametrize("off", [YEAR_MS, -YEAR_MS, 2 * TOLERANCE_MS, -2 * TOLERANCE_MS])
@pytest.mark.parametrize("batch", [rows(), rows((1, 1, "x"))], ids=["empty", "a row"])
def test_a_batch_of_a_machine_with_a_wrong_clock_is_refused(batch: pa.Table, off: int) -> None:
    storage = MemoryStorage()
    table = create(storage)
    table._open_table.log.clock = off_by(off)
    with pytest.raises(ClockError, match="clock is") as caught:
        table.apply(batch, batch_id=("s", 1))
    assert caught.value.table == storage.url
    assert caught.value.off_seconds == pytest.approx(off / 1000, abs=5)
    assert ModTable.open(storage).version == 0
    assert list(storage.list("_andes/mods")) == []


@pytest.mark.parametrize("off", [10 * YEAR_MS, -10 * YEAR_MS])
@pytest.mark.parametrize("data", [None, rows((1, 1, "x"))], ids=["create", "load"])
def test_a_create_with_a_wrong_clock_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, data: pa.Table | None, off: int
) -> None:
    storage = MemoryStorage()
    monkeypatch.setitem(Log.__init__.__kwdefaults__, "clock", off_by(off))  # type: ignore[arg-type]
    with pytest.raises(ClockError, match="clock is"):
        create(storage, data=data)
    assert list(storage.list()) == []
    monkeypatch.undo()
    assert create(storage, data=data).version == 0
    assert not [info.path for info in storage.list() if info.path.startswith(PROBE)]


def test_a_probe_that_a_killed_create_left_does_not_hinder_the_next() -> None:
    storage = MemoryStorage()
    storage.put(f"{PROBE}{32 * '0'}", b"{}")
    assert create(storage).version == 0


def test_no_batch_id_is_forgotten_by_a_wrong_clock() -> None:
    storage = MemoryStorage()
    fill(create(storage), 1, 19)
    ahead = ModTable.open(storage)
    ahead._open_table.log.clock = off_by(YEAR_MS)
    with pytest.raises(ClockError):
        ahead.apply(rows(), batch_id=("s", 20))
    later = ModTable.open(storage)
    fill(later, 20, 31)
    assert later._open_table.ledger.find(BatchId("s", 1)) is not None
    assert ModTable.open(storage).apply(rows((1, 1, "x")), batch_id=("s", 1)).replayed


def test_a_head_that_is_dated_in_the_future_is_not_built_on() -> None:
    storage = MemoryStorage()
    late = TappedStorage(storage)
    table = create(storage)

    def wrong_store(kind: str, path: str) -> None:
        """A store whose own clock was a year ahead for a while."""
        for name, (data, modified) in list(storage._objects.items()):
            if modified < system_clock() + YEAR_MS // 2:
                storage._objects[name] = (data, modified + YEAR_MS)

    late.tap = wrong_store
    ahead = ModTable.open(late)  # type: ignore[arg-type]
    ahead._open_table.log.clock = off_by(YEAR_MS)
    assert ahead.apply(rows((1, 1, "x"))).version == 1
    for batch in (rows(), rows((2, 2, "x"))):
        with pytest.raises(ClockError, match="version 1 is dated") as caught:
            table.apply(batch)
        assert caught.value.version == 1
    assert ModTable.open(storage).version == 1


def test_a_clock_within_the_tolerance_will_do() -> None:
    storage = MemoryStorage()
    table = create(storage)
    for version, off in enumerate((-TOLERANCE_MS, TOLERANCE_MS, 0), 1):
        table._open_table.log.clock = off_by(off * 9 // 10)
        assert table.apply(rows((1, version, "x")) if version < 3 else rows()).version == version
