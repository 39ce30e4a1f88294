"""Tags stand for versions, wherever rows are read, until they are moved or removed."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from andes_spark.errors import CommitConflictError, NoSuchVersionError, OptionError
from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.model.manifest import manifest_path
from andes_spark.storage.interface import PutOutcome
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.history import tags as tags_module
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, edit, fill, rows
from andes_spark.testing.tapped import TappedStorage

UTC = datetime.UTC


def three() -> tuple[MemoryStorage, ModTable]:
    """Versions 1 to 3 have as many rows."""
    storage = MemoryStorage()
    table = create(storage)
    for version in (1, 2, 3):
        table.apply(rows((version, 1, "x")), batch_id=("s", version))
    return storage, table


def named(table: ModTable) -> dict[str, int]:
    return {tag.name: tag.version for tag in table.tags()}


def test_a_tag_is_read_wherever_a_version_is() -> None:
    storage, table = three()
    result = table.tag("month-end", 2)
    assert (result.name, result.version, result.committed, result.repeated) == ("month-end", 2, 4, False)
    assert (result.expires, table.version) == (None, 4)
    for handle in (table, ModTable.open(storage)):
        assert handle.to_arrow(tag="month-end").num_rows == handle.to_polars(tag="month-end").height == 2
        assert len(handle.to_pandas(tag="month-end")) == handle.to_batches(tag="month-end").read_all().num_rows == 2
        assert handle.get([1, 2, 3], tag="month-end").num_rows == 2
        assert handle.quarantined(tag="month-end").num_rows == 0
        assert handle.to_arrow().num_rows == 3
        assert named(handle) == {"month-end": 2}
    assert table.manifest(4).operation == "tag"
    table.merge()
    assert table.status().pending_versions == 0
    assert ModTable.open(storage).to_arrow(tag="month-end").num_rows == 2
    assert table.verify().ok


def test_the_default_is_the_newest_version_that_is_more_than_a_change_of_tags() -> None:
    storage, table = three()
    assert table.tag("a").version == table.tag("b").version == 3
    table.untag("a")
    assert table.tag("c").version == 3
    assert table.tag("b").repeated
    table.apply(rows())
    assert ModTable.open(storage).tag("d").version == 8
    for number in range(2 * ROLL_UP_INTERVAL):
        table.tag(f"t{number}")
    assert ModTable.open(storage).tag("last").version == 8
    empty = create(MemoryStorage())
    assert empty.tag("nothing").version == 0
    assert empty.to_arrow(tag="nothing").num_rows == 0


def test_a_repeated_call_changes_nothing() -> None:
    storage, table = three()
    first = table.tag("x", 2, expires="90 days")
    for handle in (table, ModTable.open(storage)):
        repeat = handle.tag("x", 2, "90 days")
        assert repeat.repeated
        assert (repeat.version, repeat.committed, repeat.expires) == (first.version, first.committed, first.expires)
    at = datetime.datetime.now(UTC) + datetime.timedelta(days=3)
    table.tag("y", 1, expires=at)
    for expires in (at, at.isoformat(), at.astimezone(datetime.timezone(datetime.timedelta(hours=5)))):
        assert table.tag("y", 1, expires=expires, replace=True).repeated
    table.tag("z", 1)
    assert table.tag("z", 1, replace=True).repeated
    assert table.version == 6


def test_a_tag_that_exists_changes_only_with_replace() -> None:
    storage, table = three()
    first = table.tag("x", 2, expires="1 day")
    for handle in (table, ModTable.open(storage)):
        with pytest.raises(OptionError, match=r"the tag x stands for version 2, by version 4; replace=True") as caught:
            handle.tag("x", 3)
        assert (caught.value.option, caught.value.value, caught.value.table) == ("name", "x", table.url)
        for expires in ("2 days", None, datetime.datetime.now(UTC) + datetime.timedelta(days=1)):
            with pytest.raises(OptionError, match=r"on version 2 already, and expires 20.* UTC, by version 4"):
                handle.tag("x", 2, expires=expires)
    assert table.version == 4
    moved = table.tag("x", 3, replace=True)
    assert (moved.version, moved.committed, moved.expires) == (3, 5, None)
    assert ModTable.open(storage).to_arrow(tag="x").num_rows == 3
    # A duration counts from the new call.
    renewed = table.tag("x", 3, "1 day", replace=True)
    table._open_table.log.clock = lambda: table.manifest(table.version).time + 1_000
    repeat = table.tag("x", 3, "1 day", replace=True)
    assert renewed.expires is not None
    assert repeat.expires is not None
    assert repeat.expires > renewed.expires > (first.expires or renewed.expires)
    assert table.version == 7


def test_an_expiry_is_a_duration_or_a_time() -> None:
    storage, table = three()
    expiries: tuple[Any, ...] = ("90 days", datetime.timedelta(days=90), "12 weeks", "2999-01-01T00:00Z")
    for number, expires in enumerate(expiries):
        result = table.tag(f"t{number}", 1, expires=expires)
        manifest = table.manifest(result.committed or 0)
        assert result.expires == ModTable.open(storage).tags()[number].expires
        if number < 2:
            assert result.expires is not None
            kept = result.expires - datetime.datetime.fromtimestamp(manifest.time / 1000, UTC)
            assert datetime.timedelta(days=90, seconds=-5) < kept <= datetime.timedelta(days=90)


@pytest.mark.parametrize(
    ("expires", "message"),
    [
        ("0 days", "above zero"),
        (datetime.timedelta(days=-1), "above zero"),
        ("2020-01-01T00:00Z", "in the future"),
        (datetime.datetime(2020, 1, 1, tzinfo=UTC), "in the future"),
        ("999999999 weeks", "expires is a duration such as"),
        ("99999999 days", "before the year 10000"),
        (datetime.timedelta.max, "before the year 10000"),
        ("2999-01-01", "has no zone"),
        (datetime.datetime(2999, 1, 1), "has no zone"),
        ("soon", "expires is a duration such as"),
        (90, "expires is a duration such as"),
        ("", "expires is a duration such as"),
    ],
)
def test_a_wrong_expiry_is_refused(expires: Any, message: str) -> None:
    _, table = three()
    with pytest.raises(OptionError, match=message) as caught:
        table.tag("x", 2, expires=expires)
    assert caught.value.option == "expires"
    assert (table.version, named(table)) == (3, {})


def test_an_expired_tag_can_still_be_read_and_is_taken() -> None:
    storage, table = three()
    table.tag("x", 2, expires="1 second")
    table._open_table.log.clock = lambda: table.manifest(4).time + 60_000
    table.apply(rows((9, 1, "x")))
    for handle in (table, ModTable.open(storage)):
        assert handle.to_arrow(tag="x").num_rows == 2
    with pytest.raises(OptionError, match="stands for version 2"):
        table.tag("x", 3)


@pytest.mark.parametrize("name", ["a", "A-1.b_c", "2026-11", "0x", "v1.0", "a" * 100, "1.0"])
def test_names_that_are_allowed(name: str) -> None:
    _, table = three()
    table.tag(name, 2)
    assert table.to_arrow(tag=name).num_rows == 2


@pytest.mark.parametrize(
    "name", ["", "7", "007", "-a", ".a", "_a", "a b", "a/b", "a" * 101, "é", "٣", "a\n", "a\x00", "a:b", None, 7, ["a"]]
)
def test_names_that_are_not_allowed(name: Any) -> None:
    _, table = three()
    with pytest.raises(OptionError, match=r"name is a name of 1 to 100 letters") as caught:
        table.tag(name, 2)
    assert caught.value.option == "name"
    assert table.version == 3


def test_only_versions_that_exist_can_be_tagged() -> None:
    _, table = three()
    for version in (-1, 4, 99):
        with pytest.raises(NoSuchVersionError):
            table.tag("x", version)
    for wrong in ("2", 1.0, True):
        with pytest.raises(OptionError, match="version is a whole number"):
            table.tag("x", wrong)  # type: ignore[arg-type]
    assert table.version == 3


def test_an_unknown_tag_is_refused_with_close_names() -> None:
    storage, table = three()
    reads: list[Callable[[str], object]] = [
        lambda name: table.to_arrow(tag=name),
        lambda name: ModTable.open(storage).get(1, tag=name),
        lambda name: table.read(tag=name),
        lambda name: table.quarantined(tag=name),
        lambda name: table.untag(name),
    ]
    for read in reads:
        with pytest.raises(OptionError, match='there is no tag "month-ned"; the table has no tags') as caught:
            read("month-ned")
    for name in ("month-end", "zzz"):
        table.tag(name, 1)
    for read in reads:
        with pytest.raises(OptionError, match=r'there is no tag "month-ned"; did you mean month-end\?') as caught:
            read("month-ned")
        assert (caught.value.option, caught.value.value) == ("tag", "month-ned")
        assert (caught.value.suggestion, caught.value.table) == ("month-end", table.url)
        with pytest.raises(OptionError, match=r"tags are month-end, zzz$"):
            read("qqqqqq")
    for number in range(20):
        table.tag(f"t{number:02}", 1)
    with pytest.raises(OptionError, match=r"tags are month-end, t00, .*t08 and 12 more, see tags\(\)$"):
        table.to_arrow(tag="qqqqqq")
    for wrong in ("", 7):
        with pytest.raises(OptionError, match="tag is a name"):
            table.to_arrow(tag=wrong)  # type: ignore[arg-type]


def test_a_removed_tag_is_unknown() -> None:
    storage, table = three()
    table.tag("x", 2)
    idle = ModTable.open(storage)
    result = table.untag("x")
    assert (result.name, result.version, result.committed, result.repeated) == ("x", None, 5, False)
    for handle in (table, idle, ModTable.open(storage)):
        with pytest.raises(OptionError, match="there is no tag"):
            handle.to_arrow(tag="x")
        with pytest.raises(OptionError, match="there is no tag"):
            handle.untag("x")
        missing = handle.untag("x", if_exists=True)
        assert (missing.committed, missing.repeated) == (None, True)
    assert table.version == 5
    table.tag("x", 1)
    assert idle.to_arrow(tag="x").num_rows == 1


def test_a_read_sees_a_tag_that_another_handle_moved() -> None:
    storage, table = three()
    table.tag("x", 1)
    other = ModTable.open(storage)
    assert other.to_arrow(tag="x").num_rows == 1
    table.tag("x", 3, replace=True)
    assert other.to_arrow(tag="x").num_rows == 3


def test_only_one_of_version_timestamp_and_tag_may_be_given() -> None:
    _, table = three()
    table.tag("x", 1)
    for more in ({"version": 1}, {"timestamp": "2026-01-01T00:00Z"}):
        with pytest.raises(OptionError, match=rf"{next(iter(more))} and tag are given"):
            table.to_arrow(tag="x", **more)  # type: ignore[arg-type]


def test_a_cold_table_knows_its_tags_by_its_newest_roll_up() -> None:
    storage, table = three()
    table.tag("kept", 1, expires="90 days")
    table.tag("moved", 1)
    table.tag("gone", 1)
    fill(table, table.version + 1, 12)
    table.tag("moved", 2, replace=True)
    table.untag("gone")
    expected = {"kept": (1, 4), "moved": (2, 13)}
    while table.version <= 10 * ROLL_UP_INTERVAL:
        if table.version % 7 == 0:
            assert {tag.name: (tag.version, tag.committed) for tag in ModTable.open(storage).tags()} == expected
        table.apply(rows((1, table.version, "y")))
    before = storage.counts.snapshot()
    cold = ModTable.open(storage)
    opened = storage.counts.minus(before).requests
    assert {tag.name: (tag.version, tag.committed) for tag in cold.tags()} == expected
    # The look for a newer version alone.
    assert storage.counts.minus(before).requests == opened + 1
    assert cold.tag("kept", 1, "90 days").repeated
    assert [tag.event.name for tag in cold.manifest(10 * ROLL_UP_INTERVAL).roll_up.tags] == ["kept", "moved"]  # type: ignore[union-attr]
    assert cold.verify().ok


def test_verify_compares_the_tags_of_a_roll_up_with_the_events() -> None:
    storage, table = three()
    table.tag("x", 2)
    fill(table, 5, 10)
    stored = msgspec.json.decode(storage.get(manifest_path(10)))["roll_up"]
    assert ModTable.open(storage).verify().ok
    edit(storage, 10, roll_up={**stored, "tags": []})
    (problem,) = ModTable.open(storage).verify().problems
    assert "the roll-up of version 10 has other tags" in problem


def test_history_shows_tags_and_their_changes() -> None:
    _, table = three()
    table.tag("b", 2)
    table.tag("a", 2, expires="2999-01-01T00:00:00Z")
    table.tag("b", 3, replace=True)
    table.untag("b")
    table.set_aside(3)
    entries = {entry.version: entry for entry in table.history()}
    assert {version: entry.tags for version, entry in entries.items() if entry.tags} == {2: ("a",)}
    assert [entries[version].notes for version in range(3, 9)] == [
        (),
        ("tag b on version 2",),
        ("tag a on version 2, expires 2999-01-01 00:00:00 UTC",),
        ("tag b on version 3",),
        ("tag b removed",),
        ("version 3 set aside",),
    ]
    assert [entries[version].operation for version in (4, 7)] == ["tag", "untag"]
    shown = repr(table.history())
    assert "tag b removed" in shown
    assert table.history(limit=1)[0].tags == ()


def test_a_table_has_no_more_tags_than_a_roll_up_can_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags_module, "MOST_TAGS", 3)
    storage, table = three()
    for name in ("a", "b", "c"):
        table.tag(name, 1)
    with pytest.raises(OptionError, match="at most 3; remove one"):
        table.tag("d", 1)
    assert table.tag("c", 2, replace=True).version == 2
    table.untag("a")
    meanwhile(storage, lambda other: other.tag("e", 1), lambda handle: refused(handle, "d", "at most 3"))
    assert named(table) == {"b": 1, "c": 2, "e": 1}


# Races: another writer commits between the check and the manifest.


def meanwhile(storage: MemoryStorage, step_in: Callable[[ModTable], object], call: Callable[[ModTable], Any]) -> Any:
    """Make a call, and another by another handle just before the manifest of the first is put."""
    tapped = TappedStorage(storage)
    handle, other = ModTable.open(tapped), ModTable.open(storage)  # type: ignore[arg-type]

    stepped_in: list[str] = []

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_andes/manifests/") and not stepped_in:
            stepped_in.append(path)
            step_in(other)

    tapped.tap = tap
    result = call(handle)
    assert stepped_in
    return result


def refused(table: ModTable, name: str, message: str, **options: Any) -> None:
    with pytest.raises(OptionError, match=message):
        table.tag(name, 1, **options)


def conflicts(call: Callable[[], object], message: str) -> None:
    with pytest.raises(CommitConflictError, match=message) as caught:
        call()
    assert caught.value.retryable


def test_of_two_taggers_of_one_name_one_wins() -> None:
    storage, table = three()
    meanwhile(storage, lambda other: other.tag("x", 2), lambda handle: refused(handle, "x", "stands for version 2"))
    assert (named(table), table.version) == ({"x": 2}, 4)
    repeat = meanwhile(storage, lambda other: other.tag("y", 2), lambda handle: handle.tag("y", 2))
    assert (repeat.repeated, repeat.committed) == (True, 5)
    both = meanwhile(storage, lambda other: other.tag("v", 2), lambda handle: handle.tag("w", 1))
    assert (both.repeated, both.committed) == (False, 7)
    assert named(table) == {"v": 2, "w": 1, "x": 2, "y": 2}
    after = meanwhile(storage, lambda other: other.apply(rows((7, 1, "x"))), lambda handle: handle.tag("u"))
    assert (after.version, after.committed) == (3, 9)


def test_of_two_that_move_a_tag_one_wins() -> None:
    storage, table = three()
    table.tag("x", 1)
    meanwhile(
        storage,
        lambda other: other.tag("x", 2, replace=True),
        lambda handle: conflicts(lambda: handle.tag("x", 3, replace=True), "now it stands for version 2"),
    )
    meanwhile(
        storage,
        lambda other: other.untag("x"),
        lambda handle: conflicts(lambda: handle.tag("x", 3, replace=True), "now it is removed"),
    )
    meanwhile(
        storage,
        lambda other: other.tag("x", 2),
        lambda handle: conflicts(lambda: handle.tag("x", 3, replace=True), "now it stands for version 2"),
    )
    same = meanwhile(
        storage, lambda other: other.tag("x", 3, replace=True), lambda handle: handle.tag("x", 3, replace=True)
    )
    assert same.repeated
    assert named(table) == {"x": 3}


def test_a_tag_is_removed_once_and_never_after_a_move() -> None:
    storage, table = three()
    table.tag("x", 1)
    result = meanwhile(storage, lambda other: other.untag("x"), lambda handle: handle.untag("x"))
    assert (result.repeated, result.committed) == (True, 5)
    table.tag("x", 1)
    meanwhile(
        storage,
        lambda other: other.tag("x", 2, replace=True),
        lambda handle: conflicts(lambda: handle.untag("x"), "now it stands for version 2"),
    )
    assert named(table) == {"x": 2}


def test_a_lost_answer_is_no_second_tag() -> None:
    storage, table = three()

    class Lossy(TappedStorage):
        def put_if_absent(self, path: str, data: bytes) -> Any:
            outcome = super().put_if_absent(path, data)
            return PutOutcome.EXISTS if path.startswith("_andes/manifests/") else outcome

    result = ModTable.open(Lossy(storage)).tag("x", 2)  # type: ignore[arg-type]
    assert (result.repeated, result.committed, table.version) == (False, 4, 4)


# Among other versions.


def test_tags_beside_versions_that_are_set_aside() -> None:
    storage, table = three()
    table.tag("before", 3)
    table.set_aside(3)
    table.tag("after")
    with pytest.raises(OptionError, match="holds no mods"):
        table.set_aside(4)
    for merged in (False, True):
        if merged:
            table.merge()
        for handle in (table, ModTable.open(storage)):
            assert handle.to_arrow(tag="before").num_rows == 3
            assert handle.to_arrow(tag="after").num_rows == handle.to_arrow().num_rows == 2
    assert table.verify().ok


@pytest.mark.parametrize("merge", [True, False])
def test_a_restore_changes_no_tag(merge: bool) -> None:
    storage, table = three()
    table.tag("left-out", 3)
    table.tag("moved", 3)
    table.tag("moved", 2, replace=True)
    assert table.restore(1, merge=merge).committed == 7
    assert table.tag("restored").version == 7
    table.untag("moved")
    for handle in (table, ModTable.open(storage)):
        assert named(handle) == {"left-out": 3, "restored": 7}
        assert handle.to_arrow(tag="left-out").num_rows == 3
        assert handle.to_arrow(tag="restored").num_rows == handle.to_arrow().num_rows == 1
    assert table.restore(3, merge=merge).committed == 10
    assert table.to_arrow().num_rows == 3
    fill(table, 11, 22)
    cold = ModTable.open(storage)
    assert named(cold) == {"left-out": 3, "restored": 7}
    assert cold.history()[-8].notes == ("version 1 restored",)
    assert cold.verify().ok


def test_tags_beside_versions_of_an_appender() -> None:
    storage = MemoryStorage()
    table = create(storage, merge="always")
    with table.appender(max_delay=600) as appender:
        for number in range(30):
            appender.apply(rows((number, 1, "x")), batch_id=("s", number))
            if number % 10 == 9:
                appender.flush()
                table.tag(f"after-{number}")
    cold = ModTable.open(storage)
    assert named(cold) == {"after-19": 3, "after-29": 5, "after-9": 1}
    assert [cold.to_arrow(tag=f"after-{number}").num_rows for number in (9, 19, 29)] == [10, 20, 30]
    assert cold.status().pending_mods == 0
    assert cold.verify().ok
