from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import pytest

from andes_spark.errors import (
    NotFoundError,
    OptionError,
    StorageError,
    UnsupportedTableError,
)
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.interface import PutOutcome

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "orders"


@pytest.fixture
def disk(root: Path) -> DiskStorage:
    return DiskStorage(str(root))


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def _race(root: str, number: int, versions: int, barrier, results) -> None:
    storage = DiskStorage(root)
    won = []
    barrier.wait()
    for version in range(versions):
        outcome = storage.put_if_absent(f"_andes/manifests/{version:020}.json", b"%d" % number * 5000)
        if outcome is PutOutcome.CREATED:
            won.append(version)
    results.put((number, won))


@pytest.mark.slow
def test_eight_processes_and_one_winner(root: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(8), context.Queue()
    workers = [context.Process(target=_race, args=(str(root), n, 200, barrier, results)) for n in range(8)]
    for worker in workers:
        worker.start()
    won = dict(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(version for versions in won.values() for version in versions) == list(range(200))
    for number, versions in won.items():
        for version in versions:
            data = (root / f"_andes/manifests/{version:020}.json").read_bytes()
            assert data == b"%d" % number * 5000
    assert len(everything(root)) == 200  # no temporary file stays


def test_the_name_appears_last_and_whole(disk: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    fsync, link = os.fsync, os.link

    def spy_fsync(handle: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file"
        steps.append((f"sync {kind}", (root / "log/7").exists()))
        fsync(handle)

    def spy_link(*args, **kwargs) -> None:
        steps.append(("link", (root / "log/7").exists()))
        link(*args, **kwargs)
        assert (root / "log/7").read_bytes() == b"data"

    disk.put("log/6", b"")  # so that the folders are durable
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "link", spy_link)
    assert disk.put_if_absent("log/7", b"data") is PutOutcome.CREATED
    assert steps == [("sync file", False), ("link", False), ("sync folder", True)]


def test_new_folders_are_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = os.fsync

    def spy(handle: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), tmp_path))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spy)
    disk = DiskStorage(str(tmp_path / "lake/orders"))
    with disk.open_output("mods/1/x") as output:
        output.write(b"1")
    assert synced == [
        ".",
        "lake",
        "lake/orders",
        "lake/orders/mods",
        "lake/orders/mods/1/x",
        "lake/orders/mods/1",
    ]
    synced.clear()
    with disk.open_output("mods/1/y") as output:
        output.write(b"1")
    assert synced == ["lake/orders/mods/1/y", "lake/orders/mods/1"]
    synced.clear()
    # Another object cannot know that whoever made the folders has synced them.
    DiskStorage(disk.url).put_if_absent("mods/1/z", b"")
    assert synced[:2] == ["lake/orders", "lake/orders/mods"]
    assert disk.counts.snapshot().sync_seconds > 0


def test_an_unsynced_put_syncs_nothing(disk: DiskStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.put("hint", b"1")
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("synced"))
    disk.put("hint", b"2", sync=False)
    assert disk.get("hint") == b"2"


def calls_on(disk: DiskStorage, path: str):
    return [
        lambda: disk.get(path),
        lambda: disk.find(path),
        lambda: disk.size(path),
        lambda: disk.open_input(path),
    ]


def test_symbolic_links_are_not_followed(disk: DiskStorage, root: Path, tmp_path: Path) -> None:
    disk.put("mods/real", b"inside")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_bytes(b"outside")
    (root / "mods/file").symlink_to(secret / "file")
    (root / "mods/inside").symlink_to(root / "mods/real")
    (root / "mods/dangling").symlink_to(tmp_path / "nothing")
    (root / "folder").symlink_to(secret, target_is_directory=True)
    for path in ("mods/file", "mods/inside", "mods/dangling", "folder/file"):
        for call in calls_on(disk, path):
            with pytest.raises(UnsupportedTableError, match="symbolic link") as caught:
                call()
            assert caught.value.feature == "symbolic link"
    for write in (disk.put, disk.put_if_absent):
        with pytest.raises(UnsupportedTableError):
            write("folder/new", b"x")
    with pytest.raises(UnsupportedTableError):
        disk.open_output("folder/new")
    with pytest.raises(UnsupportedTableError):
        disk.delete(["folder/file"])
    assert [info.path for info in disk.list()] == ["mods/real"]
    assert disk.put_if_absent("mods/file", b"x") is PutOutcome.EXISTS
    disk.delete(["mods/file"])  # the link goes, what it leads to stays
    disk.put("mods/dangling", b"now a file")
    assert everything(secret) == ["file"]
    assert (secret / "file").read_bytes() == b"outside"
    assert not (tmp_path / "nothing").exists()
    assert disk.get("mods/dangling") == b"now a file"


def test_listing_below_a_link_is_refused(disk: DiskStorage, root: Path, tmp_path: Path) -> None:
    disk.put("a", b"")
    (root / "folder").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UnsupportedTableError):
        list(disk.list("folder"))


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    disk = DiskStorage(str(tmp_path / "link"))
    disk.put("mods/1", b"x")
    assert disk.get("mods/1") == b"x"
    assert (tmp_path / "real/mods/1").exists()


def test_pipes_and_folders_are_no_objects(disk: DiskStorage, root: Path) -> None:
    disk.put("mods/1", b"x")
    os.mkfifo(root / "pipe")
    for path in ("pipe", "mods"):
        assert disk.find(path) is None
        assert disk.size(path) is None
        with pytest.raises(NotFoundError):
            disk.open_input(path)
    assert [info.path for info in disk.list()] == ["mods/1"]


def test_a_file_in_the_way(disk: DiskStorage) -> None:
    disk.put("mods", b"x")
    for call in (disk.put, disk.put_if_absent):
        with pytest.raises(StorageError, match="a file stands where a folder is needed"):
            call("mods/1", b"x")
    with pytest.raises(OptionError, match="longer than this file system allows"):
        disk.find("x" * 300)


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "orders").write_bytes(b"")
    disk = DiskStorage(str(tmp_path / "orders"))
    assert disk.find("a") is None
    assert list(disk.list()) == []
    with pytest.raises(StorageError):
        disk.put("a", b"")


def test_output_names_are_unique(disk: DiskStorage) -> None:
    disk.put("mods/1", b"first")
    with pytest.raises(StorageError, match="unique"):
        disk.open_output("mods/1")
    assert disk.get("mods/1") == b"first"


def test_foreign_names_are_left_out(disk: DiskStorage, root: Path) -> None:
    disk.put("a", b"")
    (root / "back\\slash").write_bytes(b"")
    (root / os.fsdecode(b"not utf8 \xff")).write_bytes(b"")
    assert [info.path for info in disk.list()] == ["a"]


def test_a_mapped_file_outlives_its_name(disk: DiskStorage) -> None:
    disk.put("mods/1", b"x" * 100_000)
    source = disk.open_input("mods/1")
    disk.delete(["mods/1"])
    data = source.read_buffer()
    source.close()
    del source
    assert data.to_pybytes() == b"x" * 100_000


def test_mapping_copies_nothing(disk: DiskStorage) -> None:
    disk.put("mods/1", b"x" * 100_000)
    source = disk.open_input("mods/1")
    first = source.read_buffer(100)
    source.seek(10)
    assert source.read_buffer(100).address == first.address + 10


def test_no_descriptor_leaks(disk: DiskStorage) -> None:
    def work() -> None:
        disk.put("a/b/c", b"x")
        disk.put_if_absent("a/b/d", b"x")
        disk.find("a/x/y")
        disk.find("a/b/c/d")
        disk.get("a/b/c")
        disk.open_input("a/b/c").read()
        with disk.open_output("a/b/e") as output:
            output.write(b"1")
        disk.open_output("a/b/f").abort()
        list(disk.list())
        disk.delete(["a/b/e"])

    work()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        work()
    assert len(os.listdir("/proc/self/fd")) == before


def test_folders_that_vanish_are_made_again(disk: DiskStorage, root: Path) -> None:
    disk.put("mods/1", b"x")
    shutil.rmtree(root)
    assert disk.put_if_absent("mods/2", b"y") is PutOutcome.CREATED
    assert everything(root) == ["mods/2"]


def test_listing_while_files_come_and_go(disk: DiskStorage) -> None:
    disk.put("keep/1", b"")
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            disk.put(f"log/{number % 50}", b"x", sync=False)
            disk.delete([f"log/{(number + 25) % 50}"])
            number += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(100):
            paths = [info.path for info in disk.list()]
            assert paths == sorted(paths)
            assert paths[0] == "keep/1"
    finally:
        stop.set()
        thread.join()


def test_a_relative_root_is_refused() -> None:
    with pytest.raises(OptionError, match="not absolute"):
        DiskStorage("lake")


def test_new_files_follow_the_umask(disk: DiskStorage, root: Path) -> None:
    before = os.umask(0o027)
    try:
        disk.put_if_absent("log/7", b"")
    finally:
        os.umask(before)
    assert (root / "log/7").stat().st_mode & 0o777 == 0o640
