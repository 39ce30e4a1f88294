"""A restored version is the newest again, whatever was merged, and what it leaves out stays readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark.cli.app import andes
from andes_spark.delta.log import load_state
from andes_spark.errors import CommitConflictError, NoSuchVersionError, OptionError, VersionExpiredError
from andes_spark.log.log import ROLL_UP_INTERVAL
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of, create, rows
from andes_spark.testing.tapped import TappedStorage
from tests.other_readers import duckdb_connection

Rows = dict[int, str]


def shown(table: ModTable, version: int | None = None) -> Rows:
    return {row["id"]: row["a"] for row in table.to_arrow(version=version).to_pylist()}


def filled(storage: Any, **options: Any) -> tuple[ModTable, list[Rows]]:
    """A table of five versions, and the rows of each."""
    table = create(storage, **options)
    table.apply(rows((1, 1, "one"), (10, 1, "x")), batch_id=("s", 1))
    table.apply(rows((1, 2, "two"), (20, 1, "y")), batch_id=("s", 2))
    table.apply(rows((1, 5, "")), apply_as_deletes="id = 1", batch_id=("s", 3))
    table.apply(rows((0, 6, "")), apply_as_truncates="id = 0", batch_id=("s", 4))
    table.apply(rows((30, 7, "z")), batch_id=("s", 5))
    return table, [shown(table, version) for version in range(6)]


@pytest.mark.slow
@pytest.mark.parametrize("deletion_vectors", [True, False])
@pytest.mark.parametrize("merge", ["always", "manual", "auto"])
@pytest.mark.parametrize("version", range(5))
def test_any_version_is_restored(version: int, merge: str, deletion_vectors: bool) -> None:
    storage = MemoryStorage()
    table, before = filled(storage, merge=merge, deletion_vectors=deletion_vectors)
    result = table.restore(version)
    assert (result.version, result.committed, result.left_out) == (version, 6, 5 - version)
    assert (result.merge is None) == (merge == "manual")
    for handle in (table, ModTable.open(storage)):
        assert shown(handle) == before[version]
        assert [shown(handle, number) for number in range(6)] == before
    assert table.verify().ok
    table.merge()
    for handle in (table, ModTable.open(storage)):
        assert shown(handle) == before[version]
        assert [shown(handle, number) for number in range(6)] == before
    assert table.verify().ok
    assert table.manifest(6).epoch == table.manifest(5).epoch + 1


def test_deletes_and_truncates_that_are_left_out_have_no_effect_on_later_mods() -> None:
    table, _ = filled(MemoryStorage(), merge="always")
    table.apply(rows((1, 3, "late"), (10, 3, "late")))
    assert shown(table) == {30: "z"}
    table.restore(2)
    assert shown(table) == {1: "two", 10: "x", 20: "y"}
    table.apply(rows((1, 3, "newer"), (10, 0, "older")))
    assert shown(table) == {1: "newer", 10: "x", 20: "y"}
    assert table.verify().ok


def test_a_restore_is_undone_by_another() -> None:
    storage = MemoryStorage()
    table, before = filled(storage, merge="always")
    table.restore(1)
    table.apply(rows((40, 1, "new")))
    table.restore(5)
    assert shown(ModTable.open(storage)) == before[5]
    table.restore(7)
    assert shown(ModTable.open(storage)) == before[1] | {40: "new"}
    table.restore(0)
    assert shown(table) == {}
    assert table.verify().ok


def test_a_version_set_aside_comes_back_with_a_version_before_its_event() -> None:
    storage = MemoryStorage()
    table, before = filled(storage)
    table.set_aside(2)
    without = shown(table)
    table.restore(2)
    assert shown(table) == before[2]
    repeat = table.set_aside(2)
    assert (repeat.committed, repeat.repeated) == (8, False)
    assert shown(table) == before[1]
    table.restore(6)
    assert shown(table) == without
    table.restore(0)
    with pytest.raises(OptionError, match="a restore left it out"):
        ModTable.open(storage).set_aside(2)
    assert table.verify().ok


def test_quarantined_rows_follow_the_line() -> None:
    table = create(MemoryStorage())
    table.apply(rows((1, 1, "one")))
    table.apply(rows((2, 1, "two")))
    bad = pa.table({"id": pa.array([None], pa.int64()), "lsn": pa.array([9], pa.int64()), "a": ["bad"]})
    table.apply(bad, max_quarantined=1)
    table.set_aside(2)
    reasons = [row["version"] for row in table.quarantined().to_pylist()]
    assert sorted(reasons) == [2, 3]
    table.restore(2)
    assert shown(table) == {1: "one", 2: "two"}
    assert table.quarantined().num_rows == 0
    assert table.quarantined(version=4).num_rows == 2
    table.restore(4)
    assert table.quarantined().num_rows == 2


def test_a_batch_that_was_left_out_stays_known() -> None:
    table, before = filled(MemoryStorage(), merge="always")
    table.restore(4)
    repeat = table.apply(rows((30, 7, "z")), batch_id=("s", 5))
    assert (repeat.replayed, repeat.version) == (True, 5)
    assert shown(table) == before[4]


@pytest.mark.slow
@pytest.mark.parametrize("sequence_by", [[], ["lsn"]])
def test_pending_restores_across_roll_ups(sequence_by: list[str]) -> None:
    storage = MemoryStorage()
    table = create(storage, sequence_by=sequence_by)
    expected = {}
    for number in range(1, 3 * ROLL_UP_INTERVAL):
        table.apply(rows((number % 7, number, str(number))), batch_id=("s", number))
        expected[number] = shown(table)
        if number == 15:
            table.merge()
    table.restore(12)
    for number in range(ROLL_UP_INTERVAL + 3):
        table.apply(rows((100 + number, number, "x")), batch_id=("t", number))
    new = {100 + number: "x" for number in range(ROLL_UP_INTERVAL + 3)}
    assert shown(ModTable.open(storage)) == expected[12] | new
    assert ModTable.open(storage).status().pending_versions > 0
    cold = ModTable.open(storage)
    assert cold.merge().status == "merged"
    assert shown(cold) == expected[12] | new
    assert all(shown(cold, number) == expected[number] for number in expected)
    assert cold.verify().ok


def test_what_cannot_be_restored_changes_nothing() -> None:
    table, before = filled(MemoryStorage(), merge="always")
    for version in (-1, 6, 99):
        with pytest.raises(NoSuchVersionError):
            table.restore(version)
    with pytest.raises(OptionError, match="is the newest"):
        table.restore(5)
    for wrong in ("2", True, 1.5):
        with pytest.raises(OptionError):
            table.restore(wrong)  # type: ignore[arg-type]
    assert table.version == 5
    assert shown(table) == before[5]


def test_a_version_by_tag_and_by_time() -> None:
    storage = MemoryStorage()
    table, before = filled(storage, merge="always")
    table.tag("good", version=2)
    assert table.restore(tag="good").version == 2
    assert shown(table) == before[2]
    assert table.restore(timestamp=table.history()[1].time).version in (6, 7)
    with pytest.raises(OptionError, match="say which version"):
        table.restore()
    with pytest.raises(OptionError, match="leave out all but one"):
        table.restore(1, tag="good")
    with pytest.raises(OptionError, match="good"):
        table.restore(tag="goo")


def test_a_commit_of_another_writer_meanwhile_is_not_left_out_unseen() -> None:
    storage = MemoryStorage()
    table, before = filled(storage, merge="always")
    tapped = TappedStorage(storage)
    restorer = ModTable.open(tapped)  # type: ignore[arg-type]

    def step_in(kind: str, path: str) -> None:
        if kind == "put_if_absent" and "manifests" in path:
            tapped.tap = None
            table.apply(rows((50, 9, "other")))

    tapped.tap = step_in
    with pytest.raises(CommitConflictError, match="version 6 was committed by another writer") as caught:
        restorer.restore(1)
    assert caught.value.retryable
    assert shown(restorer) == before[5] | {50: "other"}
    assert restorer.restore(1).committed == 7
    assert shown(table) == before[1]


def test_a_merge_of_another_writer_meanwhile_is_undone_by_the_next() -> None:
    storage = MemoryStorage()
    table, before = filled(storage)
    tapped = TappedStorage(storage)
    merger = ModTable.open(tapped)  # type: ignore[arg-type]

    def step_in(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path.startswith("_delta_log/"):
            tapped.tap = None
            table.restore(2)

    tapped.tap = step_in
    merger.merge()
    for handle in (table, merger, ModTable.open(storage)):
        assert shown(handle) == before[2]
    assert merger.merge().status == "merged"
    for handle in (table, merger, ModTable.open(storage)):
        assert shown(handle) == before[2]
    assert table.verify().ok


class Killed(KeyboardInterrupt):
    """A process that ends at a request."""


@pytest.mark.slow
def test_killed_at_any_request() -> None:
    storage = MemoryStorage()
    _, before = filled(storage, merge="always")
    outcomes = set()
    for request in range(1_000):
        copy = copy_of(storage)
        tapped, left = TappedStorage(copy), request
        table = ModTable.open(tapped)  # type: ignore[arg-type]

        def tap(kind: str, path: str) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1

        tapped.tap = tap
        try:
            table.restore(2)
        except Killed:
            pass
        else:
            break
        left_behind = ModTable.open(copy)
        outcomes.add(left_behind.version)
        assert shown(left_behind) == (before[2] if left_behind.version == 6 else before[5])
        left_behind.apply(rows((60, 9, "next")))
        assert shown(ModTable.open(copy)) == (before[2] if left_behind.version == 7 else before[5]) | {60: "next"}
        assert left_behind.verify().ok
    assert request > 10
    assert outcomes == {5, 6}


def vacuum(storage: MemoryStorage) -> None:
    """Delete what the newest state of the base does not need, as Delta's VACUUM."""
    live = load_state(storage).files
    kept = set(live) | {file.vector.file_path for file in live.values() if file.vector is not None}
    paths = [info.path for info in storage.list() if not info.path.startswith(("_andes/", "_delta_log/"))]
    storage.delete(path for path in paths if path not in kept)


@pytest.mark.parametrize("pending", [False, True])
def test_a_state_of_the_base_that_is_gone_is_evaluated_from_the_log(pending: bool) -> None:
    storage = MemoryStorage()
    table, before = filled(storage, merge="always")
    if pending:
        table.restore(2, merge=False)
    vacuum(storage)
    cold = ModTable.open(storage)
    if pending:
        assert cold.merge().status == "merged"
    else:
        cold.restore(2)
    assert shown(cold) == shown(ModTable.open(storage)) == before[2]
    assert [file for file in load_state(storage).files if storage.size(file) is None] == []
    assert cold.verify().ok


def test_a_version_whose_files_are_gone_is_refused() -> None:
    storage = MemoryStorage()
    data = rows((1, 0, "a"), (2, 0, "b"))
    table = create(storage, merge="always", data=data)
    for number in (1, 2):
        table.apply(rows((1, number, "x"), (2, number, "y")))
    vacuum(storage)
    with pytest.raises(VersionExpiredError):
        ModTable.open(storage).restore(1)
    assert ModTable.open(storage).version == 2
    assert shown(ModTable.open(storage)) == {1: "x", 2: "y"}


def test_other_readers_find_the_restored_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    table, before = filled(path, merge="always")
    table.restore(2)
    table.apply(rows((70, 1, "after")))
    expected = sorted((before[2] | {70: "after"}).items())
    delta = (
        deltalake.QueryBuilder().register("t", deltalake.DeltaTable(path)).execute("select id, a from t where id > 0")
    )
    assert sorted(zip(*pa.table(delta.read_all()).select(["id", "a"]).to_pydict().values(), strict=True)) == expected
    frame = pl.scan_delta(path).filter(pl.col("id") > 0).select("id", "a").collect()
    assert sorted(frame.rows()) == expected
    delta_rows = duckdb_connection().execute(f"select id, a from delta_scan('{path}') where id > 0").fetchall()
    assert sorted(delta_rows) == expected


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, before = filled("orders", merge="always")

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(andes, ["table", "restore", "orders", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert "would become: version 2 was restored as version 6; left out: 3 versions" in run("2", "--dry-run")
    assert ModTable.open("orders").version == 5
    report = json.loads(run("2", "--output", "json"))
    assert (report["version"], report["committed"], report["left_out"], report["dry_run"]) == (2, 6, 3, False)
    assert report["merge"]["status"] == "merged"
    assert shown(ModTable.open("orders")) == before[2]
    ModTable.open("orders").tag("before", version=5)
    assert json.loads(run("--tag", "before", "--output", "json"))["version"] == 5
    assert shown(ModTable.open("orders")) == before[5]
    assert "say which version" in run(code=2)
    assert "is the newest" in run("8", code=2)
    assert "does not exist" in run("9", code=1)
