"""Reading the log: head, chain, roll-ups, and everything that may be wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest

from andes_spark.errors import LogDamagedError, NoSuchTableError, NoSuchVersionError, UnsupportedTableError
from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.log.probing import HINT
from andes_spark.model.documents import FORMAT, digest_of, seal
from andes_spark.model.manifest import manifest_path
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of, create, edit, fill, rows

LAST = 205


@pytest.fixture(scope="module")
def long_log() -> MemoryStorage:
    storage = MemoryStorage()
    table = create(storage)
    fill(table, 1, 150)
    table.merge()
    fill(table, 151, LAST)
    return storage


@pytest.fixture
def storage(long_log: MemoryStorage) -> MemoryStorage:
    return copy_of(long_log)


@pytest.fixture
def short() -> MemoryStorage:
    storage = MemoryStorage()
    fill(create(storage), 1, 6)
    return storage


def test_each_manifest_names_the_one_before(storage: MemoryStorage) -> None:
    log = Log.open(storage, Settings())
    assert log.head == LAST
    manifests = log.manifests(0, LAST)
    assert [manifest.version for manifest in manifests] == list(range(LAST + 1))
    assert manifests[0].previous is None
    for version in range(1, LAST + 1):
        assert manifests[version].previous == digest_of(storage.get(manifest_path(version - 1)))
    times = [manifest.time for manifest in manifests]
    assert times == sorted(times)


def test_time_never_runs_backwards() -> None:
    storage = MemoryStorage()
    create(storage)
    log = Log.open(storage, Settings())
    early = ModTable.open(storage)
    early._open_table.log.clock = lambda: log.manifest(0).time - 60_000
    result = early.apply(rows((1, 1, "x")))
    assert early.manifest(result.version).time == log.manifest(0).time


@pytest.mark.parametrize(
    "hint", [b"", b"x", b"{}", b"[]", b'{"version": "x"}', b'{"version": -1}', b'{"version":3}', seal(b'{"version":3}')]
)
def test_a_hint_may_be_old_or_nonsense(storage: MemoryStorage, hint: bytes) -> None:
    storage.put(HINT, hint)
    assert Log.open(storage, Settings()).head == LAST


def test_a_hint_above_the_head_says_that_versions_were_lost(storage: MemoryStorage) -> None:
    storage.delete([manifest_path(LAST)])
    with pytest.raises(LogDamagedError, match=f"{LAST}") as caught:
        ModTable.open(storage)
    assert caught.value.version == LAST


@pytest.mark.parametrize("head", [0, 1, 2, 9, 10, 11, 99, 100, 101, LAST])
def test_the_head_is_found_without_a_hint(storage: MemoryStorage, head: int) -> None:
    storage.delete([HINT, *(manifest_path(version) for version in range(head + 1, LAST + 1))])
    before = storage.counts.snapshot()
    assert Log.open(storage, Settings()).head == head
    spent = storage.counts.minus(before)
    assert spent.list == 0
    assert spent.head <= 2 * math.log2(head + 1) + 4
    assert spent.get <= head % ROLL_UP_INTERVAL + 4


def test_opening_asks_no_more_than_since_the_last_roll_up(storage: MemoryStorage) -> None:
    before = storage.counts.snapshot()
    Log.open(storage, Settings())
    spent = storage.counts.minus(before)
    assert spent.requests <= LAST % ROLL_UP_INTERVAL + 5


def test_a_warm_refresh_asks_once(storage: MemoryStorage) -> None:
    log = Log.open(storage, Settings())
    before = storage.counts.snapshot()
    assert log.refresh() == LAST
    assert storage.counts.minus(before).requests == 1


def test_roll_ups_repeat_what_is_needed(storage: MemoryStorage) -> None:
    log = Log.open(storage, Settings())
    assert [manifest.version for manifest in log.manifests(0, LAST) if manifest.roll_up is not None] == list(
        range(10, LAST, 10)
    )
    first, second = log.manifest(100).roll_up, log.manifest(200).roll_up
    assert first is not None
    assert second is not None
    assert (first.applied, second.applied) == (0, 150)
    assert [version.version for version in second.pending] == list(range(151, 200))
    assert second.definition == log.manifest(0).definition
    assert [(file.from_version, file.to_version) for file in first.ledger] == [(0, 89), (90, 99)]
    assert [(file.from_version, file.to_version) for file in second.ledger] == [(0, 169), (170, 189), (190, 199)]


def test_a_handle_that_only_appends_repeats_no_more_than_is_pending() -> None:
    storage = MemoryStorage()
    appender = create(storage)
    fill(appender, 1, 150)
    ModTable.open(storage).merge()
    fill(appender, 151, 200)
    roll_up = appender.manifest(200).roll_up
    assert roll_up is not None
    assert (roll_up.applied, len(roll_up.pending)) == (150, 49)


@pytest.mark.slow
@pytest.mark.parametrize("applied", [0, 1, 99, 100, 149, 150, 151, 199, 200, LAST])
@pytest.mark.parametrize("version", [150, 199, 200, 201, LAST])
def test_pending_is_the_same_with_roll_ups_and_without(storage: MemoryStorage, applied: int, version: int) -> None:
    if applied > version:
        return
    cold, whole = Log.open(storage, Settings()), Log.open(storage, Settings())
    whole.manifests(0, LAST)
    pending = cold.pending(applied, version)
    assert [pending_version.version for pending_version in pending] == list(range(applied + 1, version + 1))
    assert pending == whole.pending(applied, version)


def test_versions_that_do_not_exist(short: MemoryStorage) -> None:
    table = ModTable.open(short)
    for version in (-1, 7):
        with pytest.raises(NoSuchVersionError):
            table.to_arrow(version=version)
    with pytest.raises(NoSuchTableError):
        ModTable.open(MemoryStorage())


def use_all(storage: MemoryStorage) -> None:
    ModTable.open(storage).to_arrow()


def test_pending_reads_a_roll_up_for_each_thousand_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("andes_spark.log.rolled._ROLLED_ENTRIES", 100)
    storage = MemoryStorage()
    fill(create(storage), 1, LAST)
    log = Log.open(storage, Settings())
    before = storage.counts.snapshot()
    assert [version.version for version in log.pending(3, LAST)] == list(range(4, LAST + 1))
    # Roll-up 200 repeats 150 to 199; from 149 it goes on with 140, which repeats 90 to 139; and so on.
    assert storage.counts.minus(before).get <= 5 * ROLL_UP_INTERVAL


def test_a_hole(storage: MemoryStorage) -> None:
    storage.delete([manifest_path(203)])
    with pytest.raises(LogDamagedError) as caught:
        use_all(storage)
    assert caught.value.version == 203


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: edit(s, 3, counts={"received": 2, "upserts": 2}),
        lambda s: edit(s, 3, previous="0" * 64),
        lambda s: edit(s, 3, note="by hand"),
        lambda s: edit(s, 3, version=4),
        lambda s: edit(s, 3, table_id="another"),
        lambda s: s.put(manifest_path(3), b""),
        lambda s: s.put(manifest_path(3), s.get(manifest_path(3))[:-1]),
        lambda s: s.put(manifest_path(3), s.get(manifest_path(2))),
        lambda s: s.put(manifest_path(3), b"[" * 200_000 + b"]" * 200_000),
        lambda s: s.delete([manifest_path(3)]),
    ],
    ids=["counts", "previous", "field", "version", "table", "empty", "torn", "other", "deep", "gone"],
)
def test_a_manifest_that_is_not_what_was_committed(
    short: MemoryStorage, damage: Callable[[MemoryStorage], None]
) -> None:
    damage(short)
    with pytest.raises(LogDamagedError):
        use_all(short)


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "_andes/mods/../../part.parquet",
        "_andes/mods/a/b.parquet",
        "_andes/mods/x.parquet\n",
        "_andes/mods/.parquet",
        "part-0.parquet",
        "_andes/mods/" + "x" * 200 + ".parquet",
    ],
)
def test_paths_that_lead_elsewhere_are_refused(short: MemoryStorage, path: str) -> None:
    events = msgspec.json.decode(short.get(manifest_path(6)))["events"]
    events[0]["files"][0]["path"] = path
    edit(short, 6, events=events)
    with pytest.raises(LogDamagedError, match="no path of this library"):
        use_all(short)


def test_a_newer_format_is_named(short: MemoryStorage) -> None:
    edit(short, 6, format=FORMAT + 1, something="new")
    with pytest.raises(UnsupportedTableError, match="newer andes_spark") as caught:
        use_all(short)
    assert caught.value.feature == f"format {FORMAT + 1}"


def test_a_log_that_ends_below_the_base(short: MemoryStorage) -> None:
    """A restored bucket: the chain is fine, and numbers would be given again with other content."""
    ModTable.open(short).merge()
    short.delete([HINT, manifest_path(5), manifest_path(6)])
    for use in (
        lambda table: table.to_arrow(),
        lambda table: table.merge(),
        lambda table: table.apply(rows((1, 1000, "x"))),
        lambda table: table.status(),
    ):
        with pytest.raises(LogDamagedError, match="contains version 6, but the log ends at 4") as caught:
            use(ModTable.open(short))
        assert caught.value.applied == 6
    assert not ModTable.open(short).verify().ok


def test_a_roll_up_reads_no_more_than_it_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many versions are pending: an append must not pay for all of them, every tenth time."""
    monkeypatch.setattr("andes_spark.log.rolled._ROLLED_ENTRIES", 20)
    storage = MemoryStorage()
    table = create(storage)
    spent = []
    for version in range(1, 121):
        before = storage.counts.snapshot()
        fill(table, version, version)
        if version % ROLL_UP_INTERVAL == 0:
            spent.append(storage.counts.minus(before).requests)
            roll_up = table.manifest(version).roll_up
            assert roll_up is not None
            assert [pending_version.version for pending_version in roll_up.pending] == list(
                range(max(1, version - 10), version)
            )
    assert spent[-1] <= spent[3]
