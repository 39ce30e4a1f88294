"""What a disk can do to a writer: refuse, fill up, lose an answer, stop half-way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from andes_spark.errors import (
    AccessDeniedError,
    AndesError,
    OptionError,
    StorageError,
    StorageFullError,
    UnsupportedTableError,
)
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.disk_errors import translate
from andes_spark.storage.interface import TEMP_PREFIX, PutOutcome
from tests.small_disks import read_only, small_disk

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "orders"


@pytest.fixture
def disk(root: Path) -> DiskStorage:
    return DiskStorage(str(root))


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV])
def test_no_hard_links(disk: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(os, "link", failing(code))
    with pytest.raises(UnsupportedTableError, match="without hard links") as caught:
        disk.put_if_absent("log/7", b"data")
    assert caught.value.feature == "hard links"
    assert everything(root) == []


def failing(code: int):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.EIO, errno.ETIMEDOUT, errno.ESTALE])
def test_a_link_that_may_have_been_made_is_unknown(
    disk: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "link", failing(code))
    assert disk.put_if_absent("log/7", b"data") is PutOutcome.UNKNOWN
    assert everything(root) == []


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO])
def test_our_own_link_is_not_taken_for_another(disk: DiskStorage, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Over NFS the answer to a link can be lost; the client asks again and meets its own."""
    link = os.link

    def twice(*args, **kwargs) -> None:
        link(*args, **kwargs)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", twice)
    assert disk.put_if_absent("log/7", b"data") is PutOutcome.CREATED
    assert disk.get("log/7") == b"data"


def test_a_folder_that_cannot_be_synced_is_unknown(disk: DiskStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.put("log/6", b"")
    fsync = os.fsync

    def fail(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EIO, "planted")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    assert disk.put_if_absent("log/7", b"data") is PutOutcome.UNKNOWN
    assert disk.get("log/7") == b"data"  # never cleaned up


def test_a_file_that_cannot_be_synced_is_not_created(
    disk: DiskStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.put("log/6", b"")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(StorageError):
        disk.put_if_absent("log/7", b"data")
    with pytest.raises(StorageError), disk.open_output("mods/1") as output:
        output.write(b"x")
    assert everything(root) == ["log/6"]


def test_what_a_killed_writer_left_is_invisible(disk: DiskStorage, root: Path) -> None:
    script = (
        "import os, sys; from andes_spark.storage.disk import DiskStorage\n"
        "os.link = lambda *a, **k: os._exit(9)\n"
        "DiskStorage(sys.argv[1]).put_if_absent('log/7', b'data')"
    )
    process = subprocess.run([sys.executable, "-c", script, str(root)], cwd=ROOT, check=False)
    assert process.returncode == 9
    left = everything(root)
    assert len(left) == 1
    assert left[0].startswith(f"log/{TEMP_PREFIX}")
    assert list(disk.list()) == []
    assert disk.put_if_absent("log/7", b"other") is PutOutcome.CREATED
    assert [info.path for info in disk.list()] == ["log/7"]


FULL = """
import resource, sys
from andes_spark.errors import StorageFullError
from andes_spark.storage.disk import DiskStorage
disk = DiskStorage(sys.argv[1])
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
data = b"x" * 3_000_000
def write():
    with disk.open_output("mods/1") as output:
        for start in range(0, len(data), 1000):
            output.write(data[start : start + 1000])
for call in (lambda: disk.put("hint", data), lambda: disk.put_if_absent("log/7", data), write):
    try:
        call()
    except StorageFullError as error:
        assert error.path in ("hint", "log/7", "mods/1"), error.fields
        assert "space" in str(error), error
    else:
        raise AssertionError("no error")
assert list(disk.list()) == []
assert disk.put_if_absent("log/7", b"small").name == "CREATED"
"""


def test_a_file_size_limit(root: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL, str(root), "limit"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    assert everything(root) == ["log/7"]


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="1m") as place:
        process = subprocess.run(
            [sys.executable, "-W", "error", "-c", FULL, str(place / "orders"), "disk"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        assert everything(place / "orders") == ["log/7"]


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size="1m") as place:
        disk = DiskStorage(str(place))
        disk.put("mods/1", b"x")
        with read_only(place):
            for call in (lambda: disk.put("mods/1", b"y"), lambda: disk.put_if_absent("mods/2", b"y")):
                with pytest.raises(AccessDeniedError, match=r"mods/.*mount it for writing"):
                    call()
            assert disk.get("mods/1") == b"x"
        disk.put("mods/1", b"y")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EFBIG, StorageFullError),
        (errno.EACCES, AccessDeniedError),
        (errno.EPERM, AccessDeniedError),
        (errno.EROFS, AccessDeniedError),
        (errno.ELOOP, UnsupportedTableError),
        (errno.ENAMETOOLONG, OptionError),
        (errno.ENOTDIR, StorageError),
        (errno.EEXIST, StorageError),
        (errno.EIO, StorageError),
        (errno.EMFILE, StorageError),
    ],
)
def test_errors_are_translated(
    disk: DiskStorage, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[AndesError]
) -> None:
    assert type(translate(OSError(code, "x"), "read", "/lake", "a/b")) is kind
    disk.put("a", b"")
    monkeypatch.setattr(os, "open", failing(code))
    with pytest.raises(kind) as caught:
        disk.open_output("b/c")
    assert type(caught.value) is kind
    assert caught.value.fields["path"] == "b/c"
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_permissions(disk: DiskStorage, root: Path) -> None:
    disk.put("mods/1", b"x")
    (root / "mods").chmod(0)
    try:
        for call in (lambda: disk.get("mods/1"), lambda: disk.put("mods/2", b""), lambda: list(disk.list())):
            with pytest.raises(AccessDeniedError):
                call()
    finally:
        (root / "mods").chmod(0o755)
