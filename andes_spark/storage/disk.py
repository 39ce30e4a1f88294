"""A table's folder on a local or mounted disk.

Durable means fsynced: the file, and every folder that had to be created or that got a new name. Folders are
walked from the table's folder by descriptors that follow no symbolic link, so that no path can lead out of
it, even while another process changes the tree.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby

import pyarrow as pa

from andes_spark.errors import NotFoundError, OptionError, UnsupportedTableError
from andes_spark.storage.disk_errors import file_as_absent, symbolic_link, translated
from andes_spark.storage.disk_output import DiskOutput, make_durable, write_all
from andes_spark.storage.interface import (
    TEMP_PREFIX,
    ObjectInfo,
    OutputFile,
    PutOutcome,
    Requests,
    check_folder,
    check_path,
)
from andes_spark.storage.ranges import LocalRanges
from andes_spark.storage.scheduler import InlineScheduler

_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK}
# Errors after which it is unknown whether a network file system made the link.
_UNCLEAR = {errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.ECONNRESET, errno.EHOSTDOWN, errno.ENETDOWN}

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a named pipe put into the folder would hang its reader.
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class DiskStorage:
    """``Storage`` of a folder on disk. Nothing is created before the first write.

    Args:
        root: absolute path of the table's folder. It may itself lie behind a symbolic link.
    """

    def __init__(self, root: str) -> None:
        if not os.path.isabs(root):
            raise OptionError(f"The folder {root!r} is not absolute: use open_storage()", url=root)
        self.url = os.path.normpath(root)
        self.counts = Requests()
        self.scheduler = InlineScheduler()
        self._lock = threading.Lock()
        self._durable: set[str] = set()

    def __repr__(self) -> str:
        return f"DiskStorage({self.url!r})"

    def __reduce__(self) -> tuple[type[DiskStorage], tuple[str]]:
        return (DiskStorage, (self.url,))

    def get(self, path: str) -> bytes:
        """See ``Storage.get``."""
        data = self.find(path)
        if data is None:
            raise self._absent(path)
        return data

    def find(self, path: str) -> bytes | None:
        """See ``Storage.find``."""
        check_path(path)
        with translated("read", self.url, path):
            handle = self._open_read(path)
            data = None
            if handle is not None:
                with os.fdopen(handle, "rb", buffering=0) as file:
                    data = file.readall()
        self.counts.add("get", read=len(data or b""))
        return data

    def size(self, path: str) -> int | None:
        """See ``Storage.size``."""
        info = self.info(path)
        return None if info is None else info.size

    def info(self, path: str) -> ObjectInfo | None:
        """See ``Storage.info``."""
        check_path(path)
        self.counts.add("head")
        folder, name = _split(path)
        with (
            translated("look at", self.url, path),
            suppress(FileNotFoundError),
            self._folder(folder) as parent,
        ):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                raise symbolic_link(self.url, path)
            if stat.S_ISREG(status.st_mode):
                return ObjectInfo(path, status.st_size, status.st_mtime_ns // 1_000_000)
        return None

    def put(self, path: str, data: bytes, *, sync: bool = True) -> None:
        """See ``Storage.put``: a temporary file, renamed."""
        check_path(path)
        self.counts.add("put", written=len(data))
        folder, name = _split(path)
        with (
            translated("write", self.url, path),
            self._folder(folder, create=True) as parent,
            self._temporary(parent, data, sync=sync) as (temp, _),
        ):
            if not sync:
                # ext4 writes a file out at once when a rename replaces it, so the old file is deleted first.
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=parent)
            os.rename(temp, name, src_dir_fd=parent, dst_dir_fd=parent)
            if sync:
                make_durable(parent, self.counts)

    def put_if_absent(self, path: str, data: bytes) -> PutOutcome:
        """See ``Storage.put_if_absent``: a whole, synced temporary file gets the name by ``link``.

        Raises:
            UnsupportedTableError: the file system has no hard links.
        """
        check_path(path)
        self.counts.add("put_if_absent", written=len(data))
        folder, name = _split(path)
        with translated("create", self.url, path), self._folder(folder, create=True) as parent:
            if _exists(parent, name):  # saves a late loser the fsync; the link decides
                return PutOutcome.EXISTS
            with self._temporary(parent, data, sync=True) as (temp, handle):
                outcome = self._link(parent, temp, name, handle, path)
            if outcome is PutOutcome.CREATED:
                try:
                    make_durable(parent, self.counts)
                except OSError:
                    return PutOutcome.UNKNOWN  # others may have seen it, a crash may lose it
            return outcome

    def _link(self, parent: int, temp: str, name: str, handle: int, path: str) -> PutOutcome:
        try:
            os.link(temp, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if _linked(handle):  # made, but the answer of a network file system was lost and asked for again
                return PutOutcome.CREATED
            if error.errno == errno.EEXIST:
                return PutOutcome.EXISTS
            if error.errno in _UNCLEAR:
                return PutOutcome.UNKNOWN
            if error.errno in _NO_LINKS:
                raise UnsupportedTableError(
                    f"{self.url} lies on a file system without hard links ({os.strerror(error.errno)}), "
                    "where two writers could commit one version: put the table on a local disk or on S3",
                    feature="hard links",
                    path=path,
                ) from error
            raise
        return PutOutcome.CREATED

    def delete(self, paths: Iterable[str]) -> None:
        """See ``Storage.delete``. Folders are kept, since a writer may be using an empty one."""
        checked = sorted(_split(check_path(path)) for path in paths)
        self.counts.add("delete", len(checked))
        for folder, names in groupby(checked, key=lambda pair: pair[0]):
            with (
                translated("delete in", self.url, folder),
                suppress(FileNotFoundError),
                self._folder(folder) as parent,
            ):
                for _, name in names:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=parent)

    def list(self, prefix: str = "", *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``Storage.list``. Symbolic links, and names that ``check_path`` refuses, are left out."""
        folder = check_folder(prefix)
        self.counts.add("list")
        return self._walk(folder, after)

    def _walk(self, folder: str, after: str | None) -> Iterator[ObjectInfo]:
        for path, info in self._entries(folder, after):
            if info is not None:
                yield info
            else:
                yield from self._walk(path, after)

    def _entries(self, folder: str, after: str | None) -> Sequence[tuple[str, ObjectInfo | None]]:
        """Files, and folders as None, in the order in which their paths, and those below them, sort."""
        children: list[tuple[str, str, ObjectInfo | None]] = []
        above = f"{folder}/" if folder else ""
        first = after.removeprefix(above) if after is not None and after.startswith(above) else ""
        with (
            translated("list", self.url, folder),
            suppress(FileNotFoundError),
            self._folder(folder) as parent,
            os.scandir(parent) as entries,
        ):
            for entry in entries:
                if entry.name < first and not first.startswith(entry.name):
                    continue  # before stat: most names of a long log are skipped
                path = f"{folder}/{entry.name}" if folder else entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                order = path + "/" if is_folder else path
                skipped = after is not None and order <= after and not (is_folder and after.startswith(order))
                if skipped or not (is_folder or entry.is_file(follow_symlinks=False)) or not _usable(path):
                    continue
                if is_folder:
                    children.append((order, path, None))
                    continue
                with suppress(FileNotFoundError):  # deleted meanwhile
                    status = entry.stat(follow_symlinks=False)
                    info = ObjectInfo(path, status.st_size, status.st_mtime_ns // 1_000_000)
                    children.append((order, path, info))
        children.sort(key=lambda child: child[0])
        return [(path, info) for _, path, info in children]

    def open_input(self, path: str) -> pa.NativeFile:
        """See ``Storage.open_input``: the file is mapped into memory, and stays so while data uses it."""
        check_path(path)
        self.counts.add("get")
        with translated("open", self.url, path):
            handle = self._open_read(path)
            if handle is None:
                raise self._absent(path)
            try:
                if os.fstat(handle).st_size == 0:  # an empty file cannot be mapped
                    return pa.BufferReader(b"")
                return _mapped(handle)
            finally:
                os.close(handle)

    def open_ranges(self, path: str, size: int) -> LocalRanges:
        """See ``Storage.open_ranges``."""
        return LocalRanges(lambda: self.open_input(path))

    def open_output(self, path: str) -> OutputFile:
        """See ``Storage.open_output``: written straight to its name.

        Raises:
            StorageError: the name is taken.
        """
        check_path(path)
        self.counts.add("put")
        folder, name = _split(path)
        with translated("create", self.url, path), self._folder(folder, create=True) as parent:
            handle = os.open(name, _CREATE_FLAGS, 0o666, dir_fd=parent)
            return DiskOutput(path, root=self.url, parent=os.dup(parent), handle=handle, counts=self.counts)

    def _absent(self, path: str) -> NotFoundError:
        return NotFoundError(f"There is no {path!r} in {self.url}", path=path, url=self.url)

    def _open_read(self, path: str) -> int | None:
        """Descriptor of a regular file, None if it does not exist."""
        folder, name = _split(path)
        with suppress(FileNotFoundError), self._folder(folder) as parent:
            handle = os.open(name, _READ_FLAGS, dir_fd=parent)
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return handle
            os.close(handle)
        return None

    @contextmanager
    def _folder(self, folder: str, *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder of the table. Raises FileNotFoundError for a missing folder without ``create``."""
        current = self._open_root(create=create)
        try:
            walked = ""
            for name in folder.split("/") if folder else ():
                walked = f"{walked}/{name}"
                below = self._open_below(current, name, walked[1:], create=create)
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)

    def _open_root(self, *, create: bool) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if not create:
            with file_as_absent():
                return os.open(self.url, flags)
        try:
            return os.open(self.url, flags)
        except FileNotFoundError:
            self._make_root()
            return os.open(self.url, flags)

    def _make_root(self) -> None:
        missing = []
        folder = self.url
        while not os.path.isdir(folder) and folder != os.path.dirname(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for folder in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(folder)
            handle = os.open(os.path.dirname(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                make_durable(handle, self.counts)
            finally:
                os.close(handle)

    def _open_below(self, parent: int, name: str, path: str, *, create: bool) -> int:
        try:
            handle = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent)
            with self._lock:
                self._durable.discard(path)
            handle = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        except NotADirectoryError as error:  # a file, or a symbolic link wherever it leads
            if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise symbolic_link(self.url, path) from error
            if create:
                raise
            raise FileNotFoundError(errno.ENOENT, "a file, not a folder", path) from error
        # Another writer may have created the folder and not synced it yet, so sync it once per object.
        if create and path not in self._durable:
            make_durable(parent, self.counts)
            with self._lock:
                self._durable.add(path)
        return handle

    @contextmanager
    def _temporary(self, parent: int, data: bytes, *, sync: bool) -> Iterator[tuple[str, int]]:
        """Name and descriptor of a complete temporary file, which is gone afterwards."""
        temp = TEMP_PREFIX + secrets.token_hex(8)
        handle = os.open(temp, _CREATE_FLAGS, 0o666, dir_fd=parent)
        try:
            write_all(handle, memoryview(data))
            if sync:
                make_durable(handle, self.counts)
            yield temp, handle
        finally:
            # Cleaning up must not hide the outcome: the data is synced, and temporary files are never listed.
            with suppress(OSError):
                os.close(handle)
            with suppress(OSError):
                os.unlink(temp, dir_fd=parent)


def _mapped(handle: int) -> pa.NativeFile:
    """A file mapped by descriptor: by its name, a link could slip in between.

    Arrow owns the mapping. A mapping of Python's would be let go by an Arrow thread, maybe after the
    interpreter has ended, which aborts the process.
    """
    by_descriptor = f"/proc/self/fd/{handle}"
    if os.path.exists(by_descriptor):
        return pa.memory_map(by_descriptor)
    with os.fdopen(os.dup(handle), "rb") as file:
        data = file.read()
    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return pa.BufferReader(buffer)


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


def _usable(path: str) -> bool:
    try:
        check_path(path)
    except OptionError:
        return False
    return True


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _linked(handle: int) -> bool:
    try:
        return os.fstat(handle).st_nlink > 1
    except OSError:
        return False
