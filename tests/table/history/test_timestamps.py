"""A read by time shows the newest version that was committed then or before."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from andes_spark.errors import NoSuchVersionError, OptionError, VersionExpiredError
from andes_spark.log import log as log_module
from andes_spark.log import probing
from andes_spark.log.readable import check_readable
from andes_spark.log.times import version_at
from andes_spark.model.moments import milliseconds
from andes_spark.storage.interface import Storage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, edit, rows

UTC = datetime.UTC
MS = datetime.timedelta(milliseconds=1)


def moment(milliseconds: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1, tzinfo=UTC) + milliseconds * MS


def dated(*steps: int) -> tuple[MemoryStorage, list[int]]:
    """A table with a version for each step, and the times of its versions: each is so many milliseconds later."""
    storage = MemoryStorage()
    table = create(storage)
    times = [table.manifest(0).time]
    for number, step in enumerate(steps, 1):
        times.append(times[-1] + step)
        table._open_table.log.clock = lambda: times[-1]
        assert table.apply(rows((number, 1, f"v{number}"))).version == number
    assert [table.manifest(version).time for version in range(len(times))] == times
    return storage, times


def newest(table: ModTable, timestamp: object) -> int:
    """The version that a read by time shows: each version has one row more than the one before."""
    return table.to_arrow(timestamp=timestamp).num_rows  # type: ignore[arg-type]


def expected(times: list[int], time: int) -> int:
    return max(version for version, at in enumerate(times) if at <= time)


@pytest.mark.parametrize("seed", range(5))
def test_the_newest_version_at_or_before_the_time_is_read(seed: int) -> None:
    rnd = random.Random(seed)
    storage, times = dated(*(rnd.choice((0, 0, 1, 2, 50)) for _ in range(rnd.choice((1, 12, 45)))))
    warm = ModTable.open(storage)
    for time in range(times[0], times[-1] + 1):
        if rnd.random() < 0.1 or time in times:
            assert newest(ModTable.open(storage), moment(time)) == expected(times, time)
            assert newest(warm, moment(time)) == expected(times, time)
    # Within the millisecond of the newest version.
    assert newest(warm, moment(times[-1]) + 0.9 * MS) == len(times) - 1


def test_every_read_takes_a_timestamp_in_every_form() -> None:
    storage, times = dated(10, 10, 10)
    table = ModTable.open(storage)
    at = moment(times[2])
    zoned = at.astimezone(ZoneInfo("America/Los_Angeles"))
    for timestamp in (at, zoned, pd.Timestamp(at), at.isoformat(), zoned.isoformat(" "), f"{at:%Y%m%dT%H%M%S.%f}Z"):
        assert newest(table, timestamp) == 2
    assert table.to_polars(timestamp=at).height == len(table.to_pandas(timestamp=at)) == 2
    assert table.to_batches(timestamp=at).read_all().num_rows == 2
    assert table.get([1, 2, 3], timestamp=at)["a"].to_pylist() == ["v1", "v2"]
    table._open_table.log.clock = lambda: times[-1] + 5
    bad = pa.table({"id": pa.array([None], pa.int64()), "lsn": [1], "a": ["x"]})
    table.apply(bad, max_quarantined=1)
    assert table.quarantined(timestamp=at).num_rows == 0
    assert table.quarantined(timestamp=moment(times[-1] + 5)).num_rows == 1


def test_a_timestamp_of_a_version_of_another_handle_is_read() -> None:
    storage, _ = dated(10)
    idle, busy = ModTable.open(storage), ModTable.open(storage)
    for number in (2, 3):
        busy.apply(rows((number, 1, "x")))
    assert newest(idle, busy.history(limit=1)[0].time) == 3


@pytest.mark.parametrize("later", [datetime.timedelta(seconds=1), datetime.timedelta(days=99999)])
def test_a_timestamp_after_the_newest_version_is_refused(later: datetime.timedelta) -> None:
    storage, times = dated(10, 10)
    table = ModTable.open(storage)
    text = moment(times[-1]).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with pytest.raises(OptionError, match=rf"is after version 2, the newest, .*{text}; leave it out") as caught:
        table.to_arrow(timestamp=moment(times[-1]) + later)
    assert (caught.value.option, caught.value.table) == ("timestamp", table.url)


@pytest.mark.parametrize(
    "timestamp", ["0001-01-01T00:00:00+14:00", "1970-01-01T00:00Z", datetime.datetime.min.replace(tzinfo=UTC)]
)
def test_a_timestamp_before_the_table_is_refused(timestamp: object) -> None:
    storage, _ = dated(10, 10)
    with pytest.raises(NoSuchVersionError, match=r"before version 0, .*the table did not exist yet"):
        newest(ModTable.open(storage), timestamp)


def test_a_timestamp_below_the_floor_is_refused() -> None:
    storage, times = dated(10, 10, 10, 10)
    edit(storage, 4, floor=2)
    table = ModTable.open(storage)
    with pytest.raises(VersionExpiredError, match="before version 2, the oldest that can be read") as caught:
        newest(table, moment(times[1]))
    assert caught.value.floor == 2
    assert newest(table, moment(times[2] + 9)) == 2


@pytest.mark.parametrize(
    "timestamp",
    [
        "", "x", "2026", "2026-13-01", "2026-11-01T25:00Z", "2026-11-01T00:00:00 Europe/Lisbon", 7, 7.5, True, b"2026",
        pd.NaT, np.datetime64("2026-11-01"), datetime.time(1), (2026, 11, 1), "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_point_in_time_is_refused(timestamp: object) -> None:
    storage, _ = dated()
    table = ModTable.open(storage)
    with pytest.raises(OptionError, match=r"^timestamp is a datetime, a date, or a text") as caught:
        newest(table, timestamp)
    assert caught.value.option == "timestamp"


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-11-01",
        "2026-11-01 10",
        datetime.date(2026, 11, 1),
        datetime.datetime(2026, 11, 1),
        pd.Timestamp(2026, 11, 1),
    ],
)
def test_a_time_without_a_zone_is_refused_without_spark(timestamp: object) -> None:
    storage, _ = dated()
    table = ModTable.open(storage)
    for read in (newest, lambda table, instant: table.get(1, timestamp=instant)):
        with pytest.raises(
            OptionError, match=r'timestamp: 2026-11-01T\d\d:00:00 has no zone; .*00Z" for UTC'
        ) as caught:
            read(table, timestamp)
        assert (caught.value.option, caught.value.table) == ("timestamp", table.url)


@pytest.mark.parametrize(
    ("zone", "hours"),
    [("UTC", 0), ("Europe/Lisbon", 0), ("America/New_York", 5), ("+02:00", -2), ("-0330", 3.5), ("GMT+2", -2)],
)
def test_a_time_without_a_zone_is_of_the_zone_of_a_session(zone: str, hours: float) -> None:
    local = datetime.datetime(2026, 11, 15, 12)
    utc = local.replace(tzinfo=UTC) + datetime.timedelta(hours=hours)
    assert moment(milliseconds(local, "timestamp", zone=zone)) == utc


@pytest.mark.parametrize("local", [datetime.datetime(2026, 3, 8, 2, 30), datetime.datetime(2026, 11, 1, 1, 30)])
def test_a_time_that_a_change_of_clocks_skips_or_repeats_is_refused(local: datetime.datetime) -> None:
    with pytest.raises(OptionError, match="skipped or repeated by a change of clocks in America/New_York"):
        milliseconds(local, "timestamp", zone="America/New_York")
    with pytest.raises(OptionError, match="has no zone"):
        milliseconds(local, "timestamp", zone="Nowhere/Atall")


def test_only_one_of_version_and_timestamp_may_be_given() -> None:
    storage, times = dated(10)
    table = ModTable.open(storage)
    for call in (
        lambda: table.to_arrow(version=1, timestamp=moment(times[1])),
        lambda: table.get(1, version=0, timestamp=moment(times[1])),
        lambda: table.quarantined(version=1, timestamp=moment(times[1])),
        lambda: table.read(version=1, timestamp=moment(times[1])),
    ):
        with pytest.raises(OptionError, match="version and timestamp are given"):
            call()


@pytest.mark.slow
def test_a_time_among_a_thousand_versions_takes_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    storage, times = dated(*[100] * 1_000)
    rounds: list[int] = []
    true = probing.fetch

    def fetch(storage: Storage, versions: Sequence[int]) -> list[bytes | None]:
        rounds.append(len(versions))
        return true(storage, versions)

    for version in (0, 17, 500, 777, 989, 990, 999):
        log = ModTable.open(storage)._open_table.log
        rounds.clear()
        with monkeypatch.context() as patch:
            patch.setattr(log_module, "fetch", fetch)
            assert version_at(log, times[version] + 50, "then") == version
        searched = [count for count in rounds if count]
        assert len(searched) <= 3
        assert sum(searched) <= 28
        # The version that was found is in memory: a read of it continues from there.
        before = storage.counts.snapshot()
        check_readable(log, version)
        assert storage.counts.minus(before).requests == 0


def test_old_versions_in_memory_do_not_lead_around_the_roll_ups() -> None:
    storage, times = dated(*[1] * 300)
    log = ModTable.open(storage)._open_table.log
    assert version_at(log, times[1], "then") == 1
    before = storage.counts.snapshot()
    assert len(log.pending(0, 300)) == 300
    assert storage.counts.minus(before).requests <= 2
