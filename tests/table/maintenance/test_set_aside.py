"""A version that is set aside takes no part from its event on, and no content blocks a table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from andes_spark.base import rows as base_rows
from andes_spark.errors import AndesError, MergeBlockedError, NoSuchVersionError, OptionError, StorageError
from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.model.folders import path_room
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import create, rows
from andes_spark.testing.tapped import TappedStorage


def shown(table: ModTable, version: int | None = None) -> dict[int, str]:
    return {row["id"]: row["a"] for row in table.to_arrow(version=version).to_pylist()}


def three() -> tuple[MemoryStorage, ModTable]:
    storage = MemoryStorage()
    table = create(storage)
    for version, value in enumerate(("one", "two", "three"), 1):
        table.apply(rows((1, version, value), (version * 10, 1, value)), batch_id=("s", version))
    return storage, table


def test_a_version_set_aside_takes_no_part_from_its_event_on() -> None:
    storage, table = three()
    result = table.set_aside(3)
    assert (result.version, result.committed, result.mods, result.repeated) == (3, 4, 2, False)
    for reader in (table, ModTable.open(storage)):
        assert shown(reader) == {1: "two", 10: "one", 20: "two"}
        assert shown(reader, 3) == {1: "three", 10: "one", 20: "two", 30: "three"}
    assert table.manifest(4).operation == "set_aside"
    merged = table.merge()
    assert (merged.counts.inserted, merged.counts.superseded, merged.counts.discarded) == (3, 1, 2)
    assert merged.counts.mods == 6
    assert shown(table) == {1: "two", 10: "one", 20: "two"}
    assert shown(ModTable.open(storage), 3)[1] == "three"
    assert table.verify().ok
    aside = [row for row in table.quarantined().to_pylist() if row["reason"].startswith("set aside")]
    assert [(row["version"], row["row_number"]) for row in aside] == [(3, 0), (3, 1)]
    assert '"a": "three"' in aside[0]["row"] or '"a":"three"' in aside[0]["row"]
    assert table.quarantined(version=3).num_rows == 0
    # The batch stays known, and corrected mods come as a new one.
    repeat = table.apply(rows((1, 3, "three"), (30, 1, "three")), batch_id=("s", 3))
    assert (repeat.replayed, repeat.version) == (True, 3)
    table.apply(rows((1, 3, "right")), batch_id=("s", 4))
    assert shown(table)[1] == "right"


def test_setting_aside_twice_is_one_event() -> None:
    storage, table = three()
    assert table.set_aside(2).committed == 4
    for handle in (table, ModTable.open(storage)):
        repeat = handle.set_aside(2)
        assert (repeat.committed, repeat.repeated, repeat.mods) == (4, True, 2)
    table.merge()
    assert table.set_aside(2).repeated
    assert table.version == 4


def test_what_cannot_be_set_aside_is_refused_and_changes_nothing() -> None:
    storage, table = three()
    table.apply(rows())
    for version in (-1, 5, 99):
        with pytest.raises(NoSuchVersionError) as caught:
            table.set_aside(version)
        assert caught.value.version == version
    for version in (0, 4):
        with pytest.raises(OptionError, match="holds no mods"):
            table.set_aside(version)
    with pytest.raises(OptionError):
        table.set_aside("3")  # type: ignore[arg-type]
    table.merge()
    for handle in (table, ModTable.open(storage)):
        with pytest.raises(OptionError, match=r"is merged.*apply mods that put its rows right") as error:
            handle.set_aside(2)
        assert (error.value.option, error.value.value) == ("version", 2)
    assert table.version == 4


def test_a_truncate_is_set_aside_with_its_version() -> None:
    storage, table = three()
    table.apply(rows((0, 50, "")), apply_as_truncates="id = 0")
    assert shown(table) == {}
    table.set_aside(4)
    assert len(shown(table)) == 4
    assert table.merge().counts.discarded == 1
    assert len(shown(ModTable.open(storage))) == 4
    assert table.verify().ok


@pytest.mark.parametrize("deletion_vectors", [True, False])
@pytest.mark.parametrize("first", [1, 2])
def test_a_merge_that_takes_the_version_in_meanwhile_is_undone_by_the_next(deletion_vectors: bool, first: int) -> None:
    storage = MemoryStorage()
    table = create(storage, deletion_vectors=deletion_vectors)
    for version in range(1, 4):
        table.apply(rows((1, version, f"v{version}"), (version * 10, 1, "x")))
        if version == first:
            table.merge()
    tapped = TappedStorage(storage)
    merger = ModTable.open(tapped)  # type: ignore[arg-type]

    def step_in(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_delta_log/"):
            tapped.tap = None
            table.set_aside(3)

    tapped.tap = step_in
    merger.merge()
    expected = {1: "v2", 10: "x", 20: "x"}
    for handle in (table, merger, ModTable.open(storage)):
        assert shown(handle) == expected
        assert shown(handle, 3) == {**expected, 1: "v3", 30: "x"}
    table.apply(rows((5, 1, "new")))
    assert merger.merge().status == "merged"
    for handle in (table, merger, ModTable.open(storage)):
        assert shown(handle) == {**expected, 5: "new"}
        assert shown(handle, 3) == {**expected, 1: "v3", 30: "x"}
        assert handle.status().pending_versions == 0
        assert handle.verify().ok


def test_a_roll_up_keeps_the_event() -> None:
    storage, table = three()
    table.set_aside(2)
    fill_from = table.version + 1
    for version in range(fill_from, 2 * ROLL_UP_INTERVAL + 2):
        table.apply(rows((100 + version, 1, "x")))
    cold = ModTable.open(storage)
    assert 20 not in shown(cold)
    assert 20 in shown(cold, 3)
    cold.merge()
    assert 20 not in shown(ModTable.open(storage))
    assert cold.verify().ok


def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that no check foresaw cannot be written to the base."""
    true = base_rows.RowWriter.write

    def write(self: Any, storage: Any, data: pa.Table, **options: Any) -> Any:
        if "poison" in data["a"].to_pylist():
            raise pa.ArrowInvalid("cannot be written")
        return true(self, storage, data, **options)

    monkeypatch.setattr(base_rows.RowWriter, "write", write)


@pytest.mark.parametrize("bad", [[1], [4], [9], [3, 7], [2, 3]])
def test_no_content_blocks_a_table_for_good(bad: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch)
    storage = MemoryStorage()
    table = create(storage)
    for version in range(1, 10):
        table.apply(rows((version, 1, "poison" if version in bad else "good")))
    for version in bad:
        with pytest.raises(MergeBlockedError, match=rf"set_aside\(version={version}\)") as caught:
            ModTable.open(storage).merge()
        assert caught.value.version == version
        assert isinstance(caught.value.__cause__, pa.ArrowInvalid)
        if version == bad[0]:
            assert ModTable.open(storage).status().applied == version - 1
        table.set_aside(version)
    assert ModTable.open(storage).merge().status == "merged"
    assert shown(table) == {version: "good" for version in range(1, 10) if version not in bad}
    assert table.verify().ok


def test_an_apply_says_what_blocks_its_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(monkeypatch)
    table = create(MemoryStorage(), merge="always")
    table.apply(rows((1, 1, "good")))
    result = table.apply(rows((2, 1, "poison")))
    assert result.merge is not None
    assert result.merge.status == "failed"
    assert isinstance(result.merge.error, MergeBlockedError)
    assert table.apply(rows((3, 1, "good"))).merge.error.version == 2  # type: ignore[union-attr]
    table.set_aside(2)
    assert table.apply(rows((4, 1, "good"))).merge.status == "merged"  # type: ignore[union-attr]


def test_a_failure_of_the_store_blames_no_version() -> None:
    storage, _ = three()
    tapped = TappedStorage(storage)

    def fail(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_andes/merges/"):
            raise StorageError("no", path=path)

    tapped.tap = fail
    with pytest.raises(StorageError):
        ModTable.open(tapped).merge()  # type: ignore[arg-type]


NAMES = [f"p{number}" for number in range(5)]


def partitioned(storage: MemoryStorage, **options: Any) -> ModTable:
    ddl = "id BIGINT, seq BIGINT, " + ", ".join(f"{name} STRING" for name in NAMES)
    return ModTable.create(storage, ddl, primary_key=["id"], sequence_by=["seq"], partition_by=NAMES, **options)


def partition_rows(*values: str) -> pa.Table:
    count = len(values)
    return pa.table({"id": range(count), "seq": [1] * count, **{name: list(values) for name in NAMES}})


@pytest.mark.parametrize("value", ["x" * 240, "é" * 110, "%" * 75, "日" * 70])
def test_partition_values_that_are_too_long_together_are_bad_mods(value: str) -> None:
    table = partitioned(MemoryStorage())
    with pytest.raises(AndesError, match="too long for a path") as caught:
        table.apply(partition_rows(value))
    assert type(caught.value).__name__ == "BadModsError"
    result = table.apply(partition_rows("y", value), max_quarantined=1)
    assert (result.quarantined, result.upserts) == (1, 1)
    assert result.merge is not None
    assert result.merge.status == "merged"
    with pytest.raises(AndesError, match="too long for a path"):
        partitioned(MemoryStorage(), data=partition_rows(value))


def test_the_prefix_of_a_bucket_counts() -> None:
    assert path_room("s3://bucket") == path_room("/a/folder") == path_room("memory://x")
    assert path_room("s3://bucket/lake/é") == path_room("/a") - len("lake/é/".encode())


def test_the_longest_path_that_is_taken_can_be_merged() -> None:
    storage = MemoryStorage()
    room = path_room(storage.url) // len(NAMES) - len("p0=/")
    table = partitioned(storage)
    result = table.apply(partition_rows("z" * room))
    assert result.merge is not None
    assert result.merge.status == "merged"
    assert max(len(info.path) for info in storage.list()) <= 1024
    with pytest.raises(AndesError, match="too long for a path"):
        table.apply(partition_rows("z" * (room + 1)))
