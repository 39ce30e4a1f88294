"""An expire forgets deletes up to a sequence: what comes later is above it, is expired, or is a backfill."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from andes_spark.errors import LogDamagedError, OptionError, StorageError
from andes_spark.log.clock import CheckedClock
from andes_spark.log.probing import HINT
from andes_spark.model.manifest import manifest_path
from andes_spark.settings import Settings
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of, create, rows
from andes_spark.testing.tapped import TappedStorage
from tests.expires import reasons, shown, stored, take

CASES = {
    "D7 X10 U3b": ("U3b", []),
    "U5 D7 X10 U3b": ("U3b", []),
    "U5 X10 U3b": ("U5", []),
    "T8 X10 U3b": ("U3b", []),
    "U5 T8 X10 U3b": ("U3b", []),
    "D7 X10 U3": (None, ["expired"]),
    "X10 U10": (None, ["expired"]),
    "X10 U11": ("U11", []),
    "D12 X10 U11": (None, []),
    "D10 X10 U11": ("U11", []),
    "X10 D7b U3b": (None, []),
    "X10 D7b X12 U3b": ("U3b", []),
    "U5 X10 T6": ("U5", ["expired"]),
    "U5 X10 D6": ("U5", ["expired"]),
    "U5 X10 T6b": (None, []),
    "U5 D8 X10 U3b T4b": (None, []),
    "T8 X10 T3b U5b": ("U5b", []),
    "X10 X8 U9": (None, ["expired"]),
    "D7 X10 U3 U12 U4": ("U12", ["expired", "expired"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("steps", CASES)
def test_rows_and_records_whenever_merges_run(steps: str) -> None:
    row, expired = CASES[steps]
    parts = steps.split()
    records = []
    for merged in itertools.product((False, True), repeat=len(parts)):
        table = create(MemoryStorage())
        for step, merge in zip(parts, merged, strict=True):
            take(table, step)
            if merge:
                take(table, "M")
        expected = {} if row is None else {1: row}
        assert shown(table) == expected, merged
        assert {each["id"]: each["a"] for each in table.get(1).to_pylist()} == expected
        assert sorted(reasons(table)) == expired
        take(table, "M")
        assert shown(table) == expected
        assert sorted(reasons(table)) == expired
        checked = table.verify()
        assert checked.ok, (merged, checked.problems)
        records.append(stored(table))
    assert all(record == records[0] for record in records), records


def test_each_version_shows_what_it_showed() -> None:
    table = create(MemoryStorage())
    for step in ["U5", "D7", "X10", "U3b", "U20", "X15", "U12", "M"]:
        take(table, step)
    versions = [shown(table, version).get(1) for version in range(table.version + 1)]
    assert versions == [None, "U5", None, None, "U3b", "U20", "U20", "U20"]


def test_the_bound_is_the_highest_sequence_that_was_dropped() -> None:
    """Attack 6: key 1 is deleted at 100, then key 2 at 50; up to 100 is dropped, and 70 does not bring key 1 back."""
    table = create(MemoryStorage())
    for step, key in (("U90", 1), ("D100", 1), ("U40", 2), ("D50", 2), ("D150", 3)):
        take(table, step, key)
    take(table, "M")
    take(table, "X100")
    take(table, "M")
    assert stored(table)["tombstones"] == [(3, 150)]
    take(table, "U70", 1)
    take(table, "U45", 2)
    take(table, "U149", 3)
    take(table, "M")
    assert shown(table) == {}
    assert reasons(table) == ["expired", "expired"]


def test_the_merge_drops_tombstones_and_no_row() -> None:
    table = create(MemoryStorage())
    for number in range(40):
        take(table, f"{'UD'[number % 2]}{number + 1}", number // 2)
    take(table, "M")
    before = len(stored(table)["tombstones"])
    result = table.expire(30)
    assert (before, result.tombstones, result.version, result.sequence, result.cut) == (20, 20, 41, (30,), (30,))
    assert result.merge is None
    merged = table.merge()
    assert (merged.inserted, merged.updated, merged.deleted) == (0, 0, 0)
    assert [at for _, at in stored(table)["tombstones"]] == [32, 34, 36, 38, 40]
    assert table.manifest(41).operation == "expire"
    status = table.status()
    assert (status.tombstones, status.cut, status.details()["expired up to"]) == (5, (30,), "30")
    assert "expire" in str(table.history())


def test_a_table_that_merges_does_so() -> None:
    table = create(MemoryStorage(), merge="always")
    take(table, "D5")
    result = table.expire(9)
    assert result.merge is not None
    assert result.merge.status == "merged"
    assert stored(table)["tombstones"] == []


def test_nothing_is_committed_at_or_below_the_cut() -> None:
    table = create(MemoryStorage())
    take(table, "D5")
    assert table.expire(9, dry_run=True).sequence == (9,)
    assert (table.version, table.expire(9).version) == (1, 2)
    for at in (9, 3):
        result = table.expire(at)
        assert (result.version, result.sequence, result.cut) == (None, None, (9,))
        assert "the cut is at 9" in result.summary()
    assert table.version == 2
    with pytest.raises(OptionError, match="it is an expire"):
        table.set_aside(2)


def by_age(*batches: tuple[int, list[int]], backfill: bool = False, **options: Any) -> Any:
    """Expire a table whose batches came some days ago, with these sequences."""
    storage, now = MemoryStorage(), [0]
    table = create(storage, **options)
    log = table._open_table.log
    log.clock = lambda: now[0]  # type: ignore[method-assign]
    for days, sequences in batches:
        now[0] = log.manifest(0).time + (100 - days) * 86_400_000
        # The clock of the store goes with it.
        table._open_table.clock.check = lambda **given: CheckedClock(log.clock)  # type: ignore[method-assign]
        table.apply(rows(*((number, at, "x") for number, at in enumerate(sequences))), backfill=backfill)
    now[0] = log.manifest(0).time + 100 * 86_400_000
    return table.expire


def test_the_sequence_of_an_age_is_below_all_that_arrived_since() -> None:
    expire = by_age((90, [1, 9]), (60, [10, 19]), (40, [20, 9999]), (20, [30, 39]), (1, [40]))
    # The absurd 9999 is above what arrived within the last 30 days: the version before it counts.
    assert expire(dry_run=True).sequence == (19,)
    assert expire(older_than="15 days", dry_run=True).sequence == (39,)
    assert expire(older_than="50 days", dry_run=True).sequence == (19,)
    assert expire(older_than="2 days", dry_run=True).sequence == (39,)
    assert expire(older_than="95 days", dry_run=True).sequence is None
    late = by_age((60, [10, 19]), (40, [20, 29]), (20, [15]))
    assert late(dry_run=True).sequence is None
    # The newest batch counts as young, whatever its age.
    assert by_age((60, [10, 19]), (40, [20, 29]), (20, [25]), lateness="10 days")(dry_run=True).sequence == (19,)
    result = by_age((60, [10, 19]), (20, [30]))()
    assert (result.sequence, result.version) == ((19,), 3)


def test_an_absurd_sequence_of_a_table_at_rest_cuts_nothing_off() -> None:
    table = create(MemoryStorage())
    take(table, "D5", 1)
    take(table, "U99991231", 2)
    result = table.expire(older_than="0 seconds")
    assert (result.sequence, result.cut) == ((5,), (5,))
    take(table, "U7", 3)
    assert shown(table) == {2: "U99991231", 3: "U7"}


@pytest.mark.parametrize("remedy", ["restore", "set_aside"])
def test_versions_that_were_taken_out_do_not_count(remedy: str) -> None:
    table = create(MemoryStorage())
    for step, key in (("D5", 1), ("U8", 1), ("U1000000000", 2), ("U1000000001", 2)):
        take(table, step, key)
    if remedy == "restore":
        table.restore(version=2)
    else:
        table.set_aside(3)
        table.set_aside(4)
    assert table.expire(older_than="0 seconds").sequence == (5,)
    take(table, "U50", 3)
    assert shown(table) == {1: "U8", 3: "U50"}


def test_what_is_at_or_below_the_cut_does_not_hold_up_the_next_expire() -> None:
    table = create(MemoryStorage())
    for step, key in (("D100", 1), ("X100", 1), ("D150", 2), ("U3", 3), ("U2b", 4), ("U200", 5)):
        take(table, step, key)
    both = rows((6, 4, "late"), (7, 250, "on time"))
    table.apply(both)
    result = table.expire(older_than="0 seconds")
    assert (result.sequence, reasons(table)) == ((200,), ["expired", "expired"])
    young = create(MemoryStorage())
    for step in ("D100", "X100", "D150"):
        take(young, step)
    young.apply(both)
    assert young.expire(older_than="0 seconds").sequence == (150,)
    young.merge()
    young.vacuum(retain="0 seconds")
    young.apply(rows((8, 120, "x")), backfill=True)


def test_the_highest_below_what_arrived_since_is_chosen() -> None:
    table = create(MemoryStorage())
    for number in range(10):
        take(table, f"D{100 + number}", number)
    take(table, "U7", 20)
    take(table, "U500", 21)
    assert table.expire(older_than="0 seconds").sequence == (109,)


def test_backfilled_deletes_above_the_cut_are_kept_for_the_lateness() -> None:
    expire = by_age((60, [200]), (50, [50]), (1, [100]), backfill=True)
    assert expire(dry_run=True).sequence == (50,)


def test_the_reason_is_told_if_there_is_nothing_to_expire() -> None:
    table = create(MemoryStorage())
    assert str(table.expire().summary()) == "there is nothing to expire: no version has mods"
    take(table, "D9")
    assert "no version is below 9, which arrived since" in table.expire().summary()
    take(table, "D10")
    table.merge()
    table.vacuum(retain="0 seconds")
    table.forget(keys=[1], confirm=table._open_table.table)
    assert "are not known since a forget" in table.expire(older_than="0 seconds").summary()


@pytest.mark.parametrize("up_to", ["x", (1, 2), [1, 2], [], 1.5, None])
def test_what_is_no_sequence_is_refused(up_to: Any) -> None:
    table = create(MemoryStorage())
    if up_to is None:
        with pytest.raises(OptionError, match="leave one of them out"):
            table.expire(5, older_than="1 day")
        with pytest.raises(OptionError, match="duration"):
            table.expire(older_than="soon")
    else:
        with pytest.raises(OptionError, match="up_to is a value of the sequence columns lsn BIGINT") as caught:
            table.expire(up_to)
        assert caught.value.option == "up_to"
    assert table.version == 0


def test_a_log_that_has_lost_versions_of_the_base_is_not_added_to() -> None:
    storage = MemoryStorage()
    table = create(storage)
    for at in (5, 6):
        take(table, f"D{at}")
    take(table, "M")
    storage.delete([manifest_path(2), HINT])
    with pytest.raises(LogDamagedError):
        ModTable.open(storage).expire(5)
    assert storage.find(manifest_path(2)) is None


def test_tables_that_do_not_expire() -> None:
    table = create(MemoryStorage(), sequence_by=[])
    with pytest.raises(OptionError, match="remembers no deletes"):
        table.expire(5)
    with pytest.raises(OptionError, match="nothing to backfill"):
        table.apply(rows((1, 1, "x")), batch_id=("s", 1), backfill=True)
    both = create(MemoryStorage(), primary_key=["id", "lsn"])
    with pytest.raises(OptionError, match="part of the primary key"):
        both.expire(5)


def test_a_writer_that_loses_its_version_to_an_expire_is_judged_by_it() -> None:
    for backfill in (False, True):
        storage = MemoryStorage()
        take(create(storage), "D7")
        tapped = TappedStorage(storage)
        writer, other = ModTable.open(tapped), ModTable.open(storage)  # type: ignore[arg-type]

        def tap(what: str, path: str, other: ModTable = other, tapped: Any = tapped) -> None:
            if what == "put_if_absent" and "manifests" in path:
                tapped.tap = None
                assert other.expire(10).version == 2

        tapped.tap = tap
        result = writer.apply(rows((1, 3, "x")), backfill=backfill, merge=True)
        assert result.version == 3
        assert shown(writer) == shown(ModTable.open(storage)) == ({1: "x"} if backfill else {})
        assert reasons(writer) == ([] if backfill else ["expired"])
        assert writer.verify().ok


def test_an_expire_takes_the_next_version_after_a_lost_race() -> None:
    storage = MemoryStorage()
    take(create(storage), "D7")
    tapped = TappedStorage(storage)
    expirer, other = ModTable.open(tapped), ModTable.open(storage)  # type: ignore[arg-type]

    def tap(what: str, path: str) -> None:
        if what == "put_if_absent" and "manifests" in path:
            tapped.tap = None
            assert other.apply(rows((1, 3, "late"), (2, 4, "x"))).version == 2

    tapped.tap = tap
    assert expirer.expire(10).version == 3
    # What came first was judged by the delete.
    assert shown(expirer) == {2: "x"}
    assert reasons(expirer) == []


@pytest.mark.parametrize(("other_at", "version", "cut"), [(9, 3, 10), (10, None, 10), (12, None, 12)])
def test_of_two_expires_at_once_the_greater_counts(other_at: int, version: int | None, cut: int) -> None:
    storage = MemoryStorage()
    take(create(storage), "D7")
    tapped = TappedStorage(storage)
    expirer, other = ModTable.open(tapped), ModTable.open(storage)  # type: ignore[arg-type]

    def tap(what: str, path: str) -> None:
        if what == "put_if_absent" and "manifests" in path:
            tapped.tap = None
            assert other.expire(other_at).version == 2

    tapped.tap = tap
    result = expirer.expire(10)
    assert (result.version, result.cut) == (version, (cut,))
    take(expirer, f"U{cut}")
    take(expirer, f"U{cut + 1}")
    take(expirer, "M")
    assert (shown(expirer), stored(expirer)["cut"]) == ({1: f"U{cut + 1}"}, [cut])
    assert expirer.verify().ok


class FailingStorage:
    """A storage whose n-th write and all later ones fail."""

    def __init__(self, inner: MemoryStorage, left: int) -> None:
        self._inner, self.left = inner, left
        self.url, self.counts, self.scheduler = inner.url, inner.counts, inner.scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _write(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise StorageError("the store is gone", path="?")

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        self._write()
        self._inner.put(path, data, sync=sync)

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        self._write()
        return self._inner.put_if_absent(path, data)

    def open_output(self, path: str) -> Any:
        self._write()
        return self._inner.open_output(path)


def test_whatever_stops_an_expire_with_its_merge_leaves_it_whole_or_undone() -> None:
    start = MemoryStorage()
    table = create(start, merge="always")
    for step in ["U5", "D7", "U30"]:
        take(table, step)
    take(table, "D8", 2)
    versions = set()
    for left in range(12):
        storage = copy_of(start)
        stopped = ModTable.open(FailingStorage(storage, left), settings=Settings(commit_seconds=0.0))  # type: ignore[arg-type]
        try:
            stopped.expire(10)
        except StorageError:
            pass
        except Exception as error:  # noqa: BLE001 - an outcome that is not known is an error of its own
            assert "does not say" in str(error) or "gone" in str(error), error  # noqa: PT017
        later = ModTable.open(storage)
        versions.add(later.version)
        assert shown(later) == {1: "U30"}
        later.expire(10)
        later.merge()
        assert stored(later)["tombstones"] == []
        assert stored(later)["cut"] == [10]
        assert later.verify().ok
    assert versions == {4, 5}
