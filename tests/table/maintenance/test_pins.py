"""Pins keep a version for some days: the order of pinner and vacuum, expiry, and pins that came too late."""

from __future__ import annotations

import datetime

import pytest

from andes_spark.errors import NoSuchVersionError, OptionError, VersionExpiredError
from andes_spark.log.pins import StoredPin, stored_pins
from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tapped import TappedStorage
from tests.vacuumed import LAST, NOW, aged, mods, opened, rows, sound, write_at

DAY = 86_400_000
FAR = datetime.date(9999, 1, 1)
OWNER = "00000000-0000-4000-8000-000000000000"


def test_a_pinned_version_stays_readable(storage: MemoryStorage) -> None:
    table = opened(storage)
    expected = rows(table, version=3)
    before = table.version
    result = table.pin(3, days=5)
    assert (result.version, table.version) == (3, before)
    assert table.pin().version == LAST
    assert [(pin.version, pin.pins) for pin in table.pins()] == [(3, 1), (LAST, 1)]
    aged(storage)
    assert table.vacuum(NOW).kept == (f"version 3: pin until {result.until}",)
    for handle in (table, opened(storage)):
        assert rows(handle, version=3) == expected
        with pytest.raises(VersionExpiredError):
            handle.to_arrow(version=2)
    sound(storage)
    # It can be pinned for longer, tagged and restored.
    assert table.pin(3, days=30).version == 3
    assert table.unpin(3).removed == 2
    with pytest.raises(VersionExpiredError):
        table.to_arrow(version=3)
    assert table.unpin(3).removed == 0
    table.vacuum(NOW)
    sound(storage)


def test_a_pin_holds_to_the_end_of_its_day(storage: MemoryStorage) -> None:
    table = opened(storage)
    table.pin(3, days=2)
    now = table._open_table.log.clock()
    for days, left in ((0, 1), (2, 1), (3, 0)):
        later = opened(aged(storage))
        write_at(later, now + days * DAY)
        later.vacuum(NOW)
        assert len(stored_pins(storage)) == left
    with pytest.raises(VersionExpiredError):
        opened(storage).to_arrow(version=3)
    sound(storage)


def test_a_released_version_cannot_be_pinned(storage: MemoryStorage) -> None:
    table, stale = opened(storage), opened(storage)
    table.vacuum(NOW)
    for handle in (table, stale):
        with pytest.raises(VersionExpiredError, match="cannot be pinned"):
            handle.pin(3)
    assert stored_pins(storage) == []
    with pytest.raises(NoSuchVersionError):
        table.pin(99)
    for days in (0, 367, "7"):
        with pytest.raises(OptionError, match="days"):
            table.pin(7, days)  # type: ignore[arg-type]


def test_a_vacuum_between_the_pin_and_the_floor(storage: MemoryStorage) -> None:
    """It lists the pins after its manifest, and sees this one."""
    tapped = TappedStorage(storage)
    pinner, other = opened(tapped), opened(storage)
    expected = rows(other, version=3)

    def meanwhile(kind: str, path: str) -> None:
        if kind == "get" and stored_pins(storage):
            tapped.tap = None
            other.vacuum(NOW)

    tapped.tap = meanwhile
    # The pinner cannot know that it was seen, and gives up.
    with pytest.raises(VersionExpiredError):
        pinner.pin(3)
    assert stored_pins(storage) == []
    assert opened(storage).pin(LAST).version == LAST
    sound(storage)
    assert expected


def test_a_vacuum_that_lists_the_pins_after_one_was_put(storage: MemoryStorage) -> None:
    tapped = TappedStorage(storage)
    vacuuming, pinner = opened(tapped), opened(storage)
    expected = rows(pinner, version=3)

    def meanwhile(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_andes/manifests"):
            tapped.tap = None
            pinner.pin(3)

    tapped.tap = meanwhile
    assert any("pin until" in reason for reason in vacuuming.vacuum(NOW).kept)
    assert rows(opened(storage), version=3) == expected
    sound(storage)
    # What is pinned can be tagged and restored.
    pinner.tag("three", 3)
    pinner.unpin(3)
    pinner.restore(3)
    aged(storage)
    pinner.vacuum(NOW)
    assert rows(opened(storage)) == rows(opened(storage), tag="three") == expected
    sound(storage)


def test_a_pin_that_came_too_late_stands_in_nobody_s_way(storage: MemoryStorage) -> None:
    """Its owner ended between the pin and the read of the floor."""
    table = opened(storage)
    table.vacuum(NOW)
    storage.put(StoredPin(3, FAR, OWNER).path, b"{}")
    storage.put("_andes/pins/README", b"of somebody")
    for verb in (
        lambda handle: handle.to_arrow(version=3),
        lambda handle: handle.tag("x", 3),
        lambda handle: handle.restore(3),
    ):
        with pytest.raises(VersionExpiredError):
            verb(opened(storage))
    assert opened(storage).version == LAST + 1
    sound(storage)
    for seq in (8, 9):
        table.apply(mods(seq), apply_as_deletes="op = 'D'")
    assert table.vacuum(NOW).files > 0
    sound(storage)


def test_a_pin_that_came_too_late_keeps_nothing_for_another(storage: MemoryStorage) -> None:
    """Its owner has not read the floor yet."""
    opened(storage).vacuum(NOW)
    storage.put(StoredPin(3, FAR, OWNER).path, b"{}")
    with pytest.raises(VersionExpiredError):
        opened(storage).pin(3)
    assert [pin.owner for pin in stored_pins(storage)] == [OWNER]


def test_a_version_that_others_keep_is_pinned_again(storage: MemoryStorage) -> None:
    expected = rows(opened(storage), version=3)
    opened(storage).pin(3)
    aged(storage)
    for _ in range(3):
        vacuumed = opened(storage)
        vacuumed.apply(mods(8 + vacuumed.version), apply_as_deletes="op = 'D'")
        vacuumed.vacuum(NOW)
    assert opened(storage).pin(3, 5).version == 3
    assert rows(opened(storage), version=3) == expected
    sound(storage)


def test_requests_of_a_pin(storage: MemoryStorage) -> None:
    table = opened(storage)
    for verb, most in ((lambda: table.pin(3), 3), (lambda: table.pins(), 1), (lambda: table.unpin(3), 2)):
        before = storage.counts.snapshot()
        verb()
        assert storage.counts.minus(before).requests <= most
