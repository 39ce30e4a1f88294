"""``ModTable.changes``: the rows by which two versions differ."""

from __future__ import annotations

import datetime
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from andes_spark.base.merge import plan
from andes_spark.errors import NoSuchVersionError, OptionError, SchemaMismatchError, VersionExpiredError
from andes_spark.model.read_options import ChangesOptions, StreamOptions
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.history import comparison
from andes_spark.table.history.changes import compare
from andes_spark.table.history.feed import TableFeed, table_feed
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, rows
from tests.vacuumed import made, opened, paths

POLICIES = pytest.mark.parametrize("merge", ["always", "manual"])


def changes(table: ModTable, *versions: int | None, **options: Any) -> list[tuple[Any, ...]]:
    """Kind of change and the table's columns."""
    change_rows = table.changes(*versions, **options).read_all().to_pylist()
    return [(row["_change_type"], *(row[name] for name in table.schema.names if name in row)) for row in change_rows]


def deleted(*pairs: tuple[int, int]) -> dict[str, Any]:
    """Arguments of an apply of deletes, of id and sequence."""
    return {"mods": rows(*((key, lsn, "") for key, lsn in pairs)), "apply_as_deletes": "true"}


@POLICIES
def test_kinds_of_changes_in_the_order_of_the_keys(merge: str) -> None:
    table = create(MemoryStorage(), merge=merge)
    table.apply(rows((1, 1, "a"), (2, 1, "b"), (3, 1, "c")))
    table.apply(rows((4, 2, "d"), (2, 2, "B")))
    table.apply(**deleted((3, 3)))
    expected = [("update_postimage", 2, 2, "B"), ("delete", 3, 1, "c"), ("insert", 4, 2, "d")]
    assert changes(table, 1) == changes(table, 1, 3) == expected
    before = ("update_preimage", 2, 1, "b")
    assert changes(table, 1, before_images=True) == [before, *expected]
    assert changes(table, 1, 2) == [expected[0], expected[2]]
    assert changes(table, 2, 3) == [expected[1]]
    assert changes(table, 0, 1) == [("insert", 1, 1, "a"), ("insert", 2, 1, "b"), ("insert", 3, 1, "c")]
    assert changes(table, 3) == changes(table, 3, 3) == changes(table, 0, 0) == []


def test_columns_and_their_types() -> None:
    table = ModTable.create(
        MemoryStorage(), "id INT, n STRUCT<x: INT>, lsn BIGINT", primary_key="id", sequence_by="lsn"
    )
    mods = {"id": pa.array([1], pa.int32()), "n": [{"x": 1}], "lsn": [1]}
    table.apply(pa.table({**mods, "n": pa.array(mods["n"], table.schema.to_arrow().field("n").type)}))
    reader = table.changes(0)
    added = [
        pa.field("_change_type", pa.string(), nullable=False),
        pa.field("_commit_version", pa.int64(), nullable=False),
        pa.field("_commit_timestamp", pa.timestamp("us", "UTC"), nullable=False),
    ]
    assert reader.schema == pa.schema([*table.to_arrow().schema, *added])
    (row,) = reader.read_all().to_pylist()
    assert (row["n"], row["_commit_version"]) == ({"x": 1}, 1)
    assert row["_commit_timestamp"] == table.history()[0].time
    assert row["_commit_timestamp"].utcoffset() == datetime.timedelta(0)
    # Both versions are those of the last one.
    table.apply(pa.table({**mods, "lsn": [2]}).select(["id", "lsn"]), column_list="lsn")
    assert {row["_commit_version"] for row in table.changes(0, before_images=True).read_all().to_pylist()} == {2}
    assert table.changes(0, columns=["LSN"]).schema.names == [
        "lsn",
        "_change_type",
        "_commit_version",
        "_commit_timestamp",
    ]
    assert changes(table, 1, columns="id") == [("update_postimage", 1)], "another column changed"


@POLICIES
def test_mods_without_effect_are_not_shown(merge: str) -> None:
    table = create(MemoryStorage(), merge=merge)
    table.apply(rows((1, 5, "a"), (2, 5, "b")))
    table.apply(rows((1, 4, "late"), (2, 5, "b"), (3, 1, "new")))
    table.apply(**deleted((3, 2), (9, 1)))
    bad = pa.table({"id": [7, None], "lsn": [7, 7], "a": ["g", "bad"]})
    table.apply(bad, max_quarantined=1)
    assert changes(table, 1) == [("insert", 7, 7, "g")]
    # Changed and changed back, but for the sequence.
    table.apply(rows((1, 6, "x")))
    table.apply(rows((1, 7, "a")))
    assert changes(table, 4, before_images=True) == [("update_preimage", 1, 5, "a"), ("update_postimage", 1, 7, "a")]


def test_a_row_that_is_changed_back_is_not_shown() -> None:
    table = ModTable.create(MemoryStorage(), "id BIGINT, v DOUBLE", primary_key="id")
    for number, value in enumerate((0.0, 1.0, -0.0, float("nan"), np.nan), 1):
        table.apply(pa.table({"id": [1], "v": [value]}), batch_id=("s", number))
    assert changes(table, 1, 3) == []
    assert changes(table, 4, 5) == []
    assert [kind for kind, *_ in changes(table, 2, 4)] == ["update_postimage"]


@POLICIES
def test_partial_mods(merge: str) -> None:
    table = create(MemoryStorage(), merge=merge)
    table.apply(rows((1, 1, "a"), (2, 1, "b")))
    table.apply(rows((1, 2, "x")).select(["id", "lsn"]), column_list="lsn")
    table.apply(rows((2, 0, "late")), column_list="a")
    assert changes(table, 1, before_images=True) == [("update_preimage", 1, 1, "a"), ("update_postimage", 1, 2, "a")]


@POLICIES
def test_restores_and_set_asides_are_changes(merge: str) -> None:
    table = create(MemoryStorage(), merge=merge)
    table.apply(rows((1, 1, "a"), (2, 1, "b")))
    table.apply(rows((2, 2, "B"), (3, 2, "c")))
    table.restore(1)
    table.apply(rows((4, 3, "d")), merge=False)
    table.set_aside(4)
    assert changes(table, 2, 3) == [("update_postimage", 2, 1, "b"), ("delete", 3, 2, "c")]
    assert changes(table, 1, 3) == changes(table, 1, 5) == []
    assert changes(table, 4, 5) == [("delete", 4, 3, "d")]
    table.restore(4)
    assert changes(table, 5) == [("insert", 4, 3, "d")]
    assert changes(table, 4) == []
    assert changes(table, 2) == [("update_postimage", 2, 1, "b"), ("delete", 3, 2, "c"), ("insert", 4, 3, "d")]


@POLICIES
@pytest.mark.parametrize("sequence", ["lsn", ()])
def test_truncates_are_changes(merge: str, sequence: Any) -> None:
    table = ModTable.create(
        MemoryStorage(), "id BIGINT, lsn BIGINT, a STRING", primary_key="id", sequence_by=sequence, merge=merge
    )
    table.apply(rows((1, 1, "a"), (2, 1, "b"), (3, 9, "c")), at_least_once=True)
    load = pa.table({"id": [None, 2, 5], "lsn": [4, 5, 5], "a": [None, "B", "e"], "op": ["T", "U", "U"]})
    table.apply(load, apply_as_truncates="op = 'T'", at_least_once=True)
    expected = [("delete", 1, 1, "a"), ("update_postimage", 2, 5, "B"), ("insert", 5, 5, "e")]
    assert [change for change in changes(table, 1) if change[1] != 3] == expected
    assert (("delete", 3, 9, "c") in changes(table, 1)) == (sequence == ())


@POLICIES
def test_rows_have_the_columns_of_the_last_version(merge: str) -> None:
    table = ModTable.create(
        MemoryStorage(), "id INT, lsn BIGINT, a STRING, b INT", primary_key="id", sequence_by="lsn", merge=merge
    )
    kinds = {"id": pa.int32(), "lsn": pa.int64(), "a": pa.string(), "b": pa.int32()}

    def apply(*arguments: tuple[Any, ...]) -> None:
        arrays = [
            pa.array(column, kind) for column, kind in zip(zip(*arguments, strict=True), kinds.values(), strict=True)
        ]
        table.apply(pa.table(arrays, names=list(kinds)), extra="drop", missing="null")

    apply((1, 1, "x", 1), (2, 1, "y", 2))
    table.alter.add_column("c", "STRING")
    table.alter.widen("id", "BIGINT")
    table.alter.drop_column("b")
    assert changes(table, 1) == []
    assert changes(table, 0) == [("insert", 1, 1, "x", None), ("insert", 2, 1, "y", None)]
    apply((2, 2, "z", 5), (3, 2, "w", 6))
    assert changes(table, 1, before_images=True) == [
        ("update_preimage", 2, 1, "y", None),
        ("update_postimage", 2, 2, "z", None),
        ("insert", 3, 2, "w", None),
    ]
    change_rows = table.changes(0, 1).read_all()
    assert (change_rows.schema.field("id").type, change_rows["b"].to_pylist()) == (pa.int32(), [1, 2])
    table.restore(1)
    assert changes(table, 1) == []
    assert [kind for kind, *_ in changes(table, 5)] == ["update_postimage", "delete"]


def test_changes_are_pinned_at_the_call() -> None:
    table = create(MemoryStorage(), merge="always")
    table.apply(rows((1, 1, "a")))
    reader = table.changes(0)
    table.apply(rows((1, 2, "b"), (2, 2, "c")))
    assert reader.read_all()["a"].to_pylist() == ["a"]


def test_by_time_and_by_tag() -> None:
    table = create(MemoryStorage())
    begun = table.manifest(0).time
    for number in range(1, 5):
        table._open_table.log.clock = lambda: begun + number  # noqa: B023
        table.apply(rows((number, 1, "x")))
    times = [entry.time for entry in reversed(table.history())]
    table.tag("two", 2)
    assert [row[1] for row in changes(table, from_tag="two")] == [3, 4]
    assert [row[1] for row in changes(table, 1, to_tag="two")] == [2]
    assert [row[1] for row in changes(table, from_timestamp=times[1], to_timestamp=times[3].isoformat())] == [2, 3]
    assert [row[1] for row in changes(table, None, 3, from_tag="two")] == [3]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({}, OptionError, "begin with: by from_version, from_timestamp or from_tag"),
        ({"from_version": 1, "from_tag": "x"}, OptionError, "from_version and from_tag are given"),
        ({"from_version": 1, "to_version": 2, "to_tag": "x"}, OptionError, "to_version and to_tag are given.* end"),
        ({"from_version": 2, "to_version": 1}, OptionError, "begin with version 2 and end with version 1"),
        ({"from_version": 9}, NoSuchVersionError, "version 9 does not exist"),
        ({"from_version": 9, "to_version": 1}, NoSuchVersionError, "version 9 does not exist"),
        ({"from_version": -1}, NoSuchVersionError, "version -1 does not exist"),
        ({"from_version": 1, "to_version": 9}, NoSuchVersionError, "version 9 does not exist"),
        ({"from_version": 1, "columns": ["b"]}, OptionError, "no columns"),
        ({"from_tag": "x"}, OptionError, "tag"),
        ({"from_version": 1, "to_timestamp": "2026-01-01"}, OptionError, "zone"),
        ({"from_version": "1"}, OptionError, "from_version"),
        ({"from_version": 1, "before_images": 1}, OptionError, "before_images"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], match: str) -> None:
    table = create(MemoryStorage())
    table.apply(rows((1, 1, "a")))
    table.apply(rows((1, 2, "b")))
    with pytest.raises(error, match=match):
        table.changes(**options)


def test_after_a_vacuum() -> None:
    """Versions that are released are expired; of those with a tag, whose mods are gone, all rows are compared."""
    storage = made()
    table = opened(storage)
    before = {pair: changes(table, *pair) for pair in ((2, 5), (2, 7), (5, 7), (7, 7))}
    assert [len(rows_of) for rows_of in before.values()] == [9, 13, 7, 0]
    for name, version in (("two", 2), ("five", 5), ("seven", 7)):
        table.tag(name, version)
    assert table.vacuum("0 seconds").floor == 10
    assert not any(path.endswith(".parquet") for path in paths(storage, "_andes/mods"))
    for handle in (table, opened(storage)):
        assert {pair: changes(handle, *pair) for pair in before} == before
        assert changes(handle, from_tag="two", to_tag="five") == before[2, 5]
        for pair in ((1, 5), (1, 7), (2, 3)):
            with pytest.raises(VersionExpiredError, match="released the versions below 10"):
                handle.changes(*pair)
    table.apply(pa.table({"id": [1], "seq": [9]}))
    assert changes(table, 7) == [("update_postimage", 1, 9)]


def test_a_vacuum_overtakes_a_read() -> None:
    storage = made()
    late = opened(storage)
    begun = late.changes(5)
    opened(storage).vacuum("0 seconds")
    for read in (begun.read_all, lambda: late.changes(5).read_all()):
        with pytest.raises(VersionExpiredError, match="released the versions below 7"):
            read()


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["always", "manual"])
@pytest.mark.parametrize("budget", [0, 40_000, 512 * 2**20])
def test_all_ways_give_the_same_changes(policy: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ranges of keys and at once, by mods and by all rows, whatever is merged."""
    monkeypatch.setattr(plan, "BUCKET_ROWS", 40)
    monkeypatch.setattr(comparison, "LEAST_BYTES", 1_000)
    table = create(MemoryStorage(), merge=policy, settings=Settings(byte_budget=budget))
    generator = np.random.default_rng(7)
    expected = []
    for version in range(1, 7):
        keys = generator.choice(300, 80, replace=False)
        mods = rows(*((int(key), version, f"v{version}") for key in keys))
        table.apply(mods.append_column("gone", pa.array(generator.random(80) < 0.3)), apply_as_deletes="gone")
    snapshots = [{row["id"]: row for row in table.to_arrow(version=version).to_pylist()} for version in (2, 6)]
    for key in sorted({*snapshots[0], *snapshots[1]}):
        old, new = (snapshot.get(key) for snapshot in snapshots)
        if old != new:
            kind = "insert" if old is None else "delete" if new is None else "update_postimage"
            expected.append((kind, *((new or old).values())))  # type: ignore[union-attr]
    assert changes(table, 2) == expected
    both = replace(compare(table._open_table, ChangesOptions.checked(from_version=2)), touched=None)
    rows_of = pa.Table.from_batches(both.batches(both.ranges()), both.schema).to_pylist()
    assert [(row["_change_type"], row["id"], row["lsn"], row["a"]) for row in rows_of] == expected


def test_the_feed_of_a_stream(tmp_path: Path) -> None:
    """It is sent to another process, opens the table there, and keeps the columns that it began with."""
    table = ModTable.create(tmp_path / "t", "id INT, lsn BIGINT, a STRING", primary_key="id", sequence_by="lsn")
    table.apply(rows((1, 1, "a"), (2, 1, "b")), cast=True)
    options = StreamOptions.checked(from_version=0, columns=["id", "a"])
    feed: TableFeed = pickle.loads(pickle.dumps(table_feed(table._open_table, options, zone=None)))
    table.apply(rows((2, 2, "c")), cast=True)
    table.alter.add_column("more", "INT")

    def read(feed: TableFeed, earlier: int, later: int) -> list[tuple[Any, ...]]:
        parts = [pickle.loads(pickle.dumps(part)) for part in feed.parts(earlier, later)]
        change_rows = [row for part in parts for batch in part() for row in batch.to_pylist()]
        return [(row["_change_type"], row["id"], row["a"], row["_commit_version"]) for row in change_rows]

    assert feed.newest() == 3
    assert feed.parts(3, 3) == []
    assert read(feed, 0, 1) == [("insert", 1, "a", 1), ("insert", 2, "b", 1)]
    assert read(feed, 1, 3) == [("update_postimage", 2, "c", 3)]
    table.alter.widen("id", "BIGINT")
    table.apply(pa.table({"id": [3], "lsn": [3], "a": ["d"]}), missing="null")
    with pytest.raises(SchemaMismatchError, match=r"began with the column id INT .*, which is id BIGINT .* version 5"):
        feed.parts(3, 5)
    # What is made anew reads the versions before in the columns of now.
    feed = table_feed(table._open_table, options, zone=None)
    assert read(feed, 1, 3) == [("update_postimage", 2, "c", 3)]
    assert read(feed, 3, 5) == [("insert", 3, "d", 5)]
    table.vacuum("0 seconds")
    with pytest.raises(VersionExpiredError):
        feed.parts(3, 5)
    with pytest.raises(VersionExpiredError):
        table_feed(table._open_table, options, zone=None)
    with pytest.raises(OptionError, match="say which version"):
        StreamOptions.checked()
