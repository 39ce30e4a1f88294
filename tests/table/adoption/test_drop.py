"""A table is removed with all its files and nothing else, whatever interrupts it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from andes_spark.errors import (
    AndesError,
    LogDamagedError,
    NoSuchTableError,
    OptionError,
    StorageError,
    TableExistsError,
)
from andes_spark.model.manifest import manifest_path
from andes_spark.settings import Settings
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.testing.tables import copy_of, create, fill, rows
from andes_spark.testing.tapped import TappedStorage
from tests.table.adoption.test_convert import KEYS, contents, foreign_delta
from tests.table.adoption.test_convert import rows as their_rows
from tests.table.test_crashes import FailingStorage

OLD_HANDLE: dict[str, Callable[[ModTable], object]] = {
    "read": lambda table: table.to_arrow(),
    "get": lambda table: table.get(1),
    "apply": lambda table: table.apply(rows((1, 999, "z"))),
    "append": lambda table: table.apply(rows((1, 999, "z")), merge=False),
    "tag": lambda table: table.tag("x"),
    "untag": lambda table: table.untag("old"),
    "pin": lambda table: table.pin(2),
    "unpin": lambda table: table.unpin(0),
    "restore": lambda table: table.restore(version=1),
    "alter": lambda table: table.alter.add_column("z", "INT"),
    "vacuum": lambda table: table.vacuum(retain="0 seconds"),
    "repair": lambda table: table.repair(),
    "repair in part": lambda table: table.repair(foreign="undo", lost="accept"),
    "clone": lambda table: table.clone(MemoryStorage()),  # type: ignore[arg-type]
    "drop": lambda table: table.drop(confirm=name_of(table._open_table.storage)),
}
"""Verbs that write or read files."""


def full(storage: Any) -> ModTable:
    """A table with files of every kind."""
    table = create(storage, merge="always")
    fill(table, 1, 12)
    table.apply(rows((1, 100, "x")).append_column("gone", [[True]]), apply_as_deletes="gone")
    return table


def name_of(storage: Any) -> str:
    return str(storage.url).rpartition("/")[2]


def test_nothing_is_left(tmp_path: Path) -> None:
    table = full(tmp_path / "orders")
    (tmp_path / "orders" / "_delta_log" / ".00000000000000000000.json.crc").write_bytes(b"x")
    files = [path for path in (tmp_path / "orders").rglob("*") if path.is_file()]
    result = table.drop(confirm="orders")
    assert [path for path in (tmp_path / "orders").rglob("*") if path.is_file()] == []
    assert (result.version, result.files) == (14, len(files) + 1)
    assert "was dropped by version 14" in result.summary()
    with pytest.raises(NoSuchTableError):
        ModTable.open(tmp_path / "orders")
    # A new table may take the place.
    assert create(tmp_path / "orders").version == 0


@pytest.mark.parametrize("confirm", ["order", "", "memory://x", "orders"])
def test_another_name_is_refused(confirm: str) -> None:
    storage = MemoryStorage()
    table = full(storage)
    before = {info.path for info in storage.list()}
    for drop in (table.drop, lambda **options: ModTable.drop_folder(storage, **options)):  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="confirm"):
            drop(confirm=confirm)
    assert {info.path for info in storage.list()} == before
    assert table.version == 13


def test_the_url_confirms_too() -> None:
    storage = MemoryStorage()
    full(storage).drop(confirm=storage.url + "/")
    assert list(storage.list()) == []


@pytest.mark.parametrize("path", ["notes.txt", "sub/notes.parquet", "_other/x"])
def test_other_files_are_refused_by_name(path: str) -> None:
    storage = MemoryStorage()
    table = full(storage)
    storage.put(path, b"x")
    with pytest.raises(TableExistsError, match=path) as caught:
        table.drop(confirm=name_of(storage))
    assert caught.value.paths == (path,)
    assert table.version == 13
    storage.delete([path])
    table.drop(confirm=name_of(storage))
    assert list(storage.list()) == []


def test_files_of_a_converted_table_have_any_names() -> None:
    foreign = foreign_delta(partition_by=("p",))
    foreign.undo()
    foreign.append(their_rows((7, "v", 1, "y")))
    foreign.storage.put(".data 0.parquet.crc", b"x")
    table = ModTable.convert(foreign.storage, **KEYS)
    with pytest.raises(TableExistsError, match="data 0"):
        table.drop(confirm=name_of(foreign.storage))
    foreign.storage.delete([".data 0.parquet.crc"])
    table.drop(confirm=name_of(foreign.storage))
    assert list(foreign.storage.list()) == []


def test_other_handles_stop() -> None:
    storage = MemoryStorage()
    full(storage)
    tapped = TappedStorage(storage)  # type: ignore[arg-type]
    reader, writer = ModTable.open(storage), ModTable.open(storage)  # type: ignore[arg-type]
    failures: list[AndesError] = []

    def tap(kind: str, path: str) -> None:
        if kind == "delete" and not failures:
            for use in (reader.to_arrow, lambda: writer.apply(rows((1, 999, "z"))), lambda: ModTable.open(storage)):  # type: ignore[arg-type]
                with pytest.raises(NoSuchTableError, match="dropped the table") as caught:
                    use()
                failures.append(caught.value)

    tapped.tap = tap
    ModTable.open(tapped).drop(confirm=name_of(storage))  # type: ignore[arg-type]
    assert len(failures) == 3


@pytest.mark.slow
@pytest.mark.parametrize("new_versions", [None, 0, 1, 3, 6])
@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("verb", OLD_HANDLE)
def test_an_old_handle_leaves_the_folder_alone(verb: str, pending: bool, new_versions: int | None) -> None:
    storage = MemoryStorage()
    table = create(storage, merge="always")
    fill(table, 1, 3)
    table.tag("old")
    if pending:
        table.apply(rows((1, 50, "x")), merge=False)
    old = ModTable.open(storage)  # type: ignore[arg-type]
    table.drop(confirm=name_of(storage))
    if new_versions is not None:
        new = create(storage, merge="always")
        fill(new, 1, new_versions)
        new.pin(0)
    before = contents(storage)
    with pytest.raises(NoSuchTableError, match="the table is gone"):
        OLD_HANDLE[verb](old)
    assert contents(storage) == before
    if new_versions is not None:
        assert ModTable.open(storage).verify().ok  # type: ignore[arg-type]


def test_an_old_handle_of_a_damaged_log_names_what_is_lost() -> None:
    storage = MemoryStorage()
    table = full(storage)
    storage.delete([info.path for info in list(storage.list("_andes/manifests"))])
    with pytest.raises(LogDamagedError):
        table.apply(rows((1, 999, "z")))
    assert any(manifest_path(0) in text for text in table.repair(dry_run=True).left)


def test_a_version_that_is_committed_meanwhile_goes_too() -> None:
    storage = MemoryStorage()
    full(storage)
    tapped = TappedStorage(storage)  # type: ignore[arg-type]
    writer = ModTable.open(storage)  # type: ignore[arg-type]

    def tap(kind: str, path: str) -> None:
        if kind == "put_if_absent" and path == manifest_path(14):
            tapped.tap = None
            writer.apply(rows((1, 999, "z")))

    tapped.tap = tap
    assert ModTable.open(tapped).drop(confirm=name_of(storage)).version == 15  # type: ignore[arg-type]
    assert list(storage.list()) == []


class OneByOne(FailingStorage):
    """Deletes file by file, so that a failure leaves a part of them."""

    def delete(self, paths: Any) -> None:
        for path in paths:
            super().delete([path])


@pytest.mark.parametrize("happens", [False, True])
def test_an_interrupted_drop_goes_on(happens: bool) -> None:
    begun = MemoryStorage()
    full(begun)
    interrupted = 0
    for left in itertools.count(1):
        storage = copy_of(begun)
        storage.url = begun.url
        failing = OneByOne(storage, left=left, happens=happens)
        try:
            ModTable.open(failing, settings=Settings(commit_seconds=0)).drop(confirm=name_of(storage))
        except (StorageError, AndesError):
            interrupted += 1
        if failing.left > 0:
            break
        if list(storage.list()):
            ModTable.drop_folder(storage, confirm=name_of(storage))  # type: ignore[arg-type]
        assert list(storage.list()) == []
    assert interrupted > 20


def test_no_table_is_refused() -> None:
    storage = MemoryStorage()
    with pytest.raises(NoSuchTableError):
        ModTable.drop_folder(storage, confirm=name_of(storage))  # type: ignore[arg-type]
    foreign = foreign_delta()
    with pytest.raises(NoSuchTableError):
        ModTable.drop_folder(foreign.storage, confirm=name_of(foreign.storage))
