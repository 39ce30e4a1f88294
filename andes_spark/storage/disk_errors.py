"""Errors of the operating system as errors of the library."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from andes_spark.errors import (
    AccessDeniedError,
    AndesError,
    OptionError,
    StorageError,
    StorageFullError,
    UnsupportedTableError,
)

# EFBIG: the limit of the process (ulimit -f) or of the file system.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM}


@contextmanager
def translated(action: str, root: str, path: str) -> Iterator[None]:
    """Raise errors of the operating system as errors of the library."""
    try:
        yield
    except OSError as error:
        raise translate(error, action, root, path) from error


def translate(error: OSError, action: str, root: str, path: str) -> AndesError:
    """Return the error of the library for an error of the operating system."""
    code = error.errno
    failure = f"Could not {action} {path!r} in {root}: {os.strerror(code) if code else error}"
    known = {"path": path, "url": root, "errno": code}
    if code == errno.ELOOP:
        return symbolic_link(root, path)
    if code == errno.ENAMETOOLONG:
        return OptionError(f"{failure}; one of its names is longer than this file system allows", **known)
    if code in _FULL:
        return StorageFullError(f"{failure}; free some space, or raise the quota or file size limit", **known)
    if code == errno.EROFS:
        return AccessDeniedError(f"{failure}; mount it for writing, or choose another folder", **known)
    if code in _DENIED:
        return AccessDeniedError(f"{failure}; check the owner and the permissions of the folder", **known)
    if code == errno.EEXIST:
        return StorageError(f"{failure}; output files need unique names", **known)
    if code == errno.ENOTDIR:
        return StorageError(f"{failure}; a file stands where a folder is needed: move it away", **known)
    return StorageError(f"{failure}; check the disk and try again", **known)


@contextmanager
def file_as_absent() -> Iterator[None]:
    """Treat a file in the place of a folder as a missing path, for readers."""
    try:
        yield
    except NotADirectoryError as error:
        raise FileNotFoundError(errno.ENOENT, "a file, not a folder") from error


def symbolic_link(root: str, path: str) -> UnsupportedTableError:
    """Return the error for a symbolic link, whose target is not under the table's control."""
    return UnsupportedTableError(
        f"{path!r} in {root} is, or lies behind, a symbolic link, which could lead out of the folder: "
        "put the file itself there",
        feature="symbolic link",
        path=path,
        url=root,
    )
