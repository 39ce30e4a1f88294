"""Opening of a store by the URL of a table's folder."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from urllib.parse import unquote

from andes_spark.errors import OptionError
from andes_spark.model.options import is_text
from andes_spark.settings import STORE_SECONDS
from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.interface import Storage
from andes_spark.storage.s3_options import Access

# At least two letters: one is a drive letter.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def open_storage(url: str, *, options: Access | None = None, seconds: float = STORE_SECONDS) -> Storage:
    """Open the store of a table's folder. Sends no request.

    Args:
        url: a path (taken as it is, a relative one made absolute), a ``file:`` URL (percent-decoded), or
            ``s3://bucket/folder``; ``s3a://`` means the same.
        options: for S3, see ``andes_spark.storage.s3_options``; a disk takes none.
        seconds: time for which a failed request to S3 is repeated.

    Raises:
        OptionError: another scheme, a URL that cannot be used, an unknown option.
        MissingPackageError: the package for this scheme is not installed.
    """
    if not is_text(url) or not url or "\0" in url:
        raise OptionError("A table's folder is named by a path, a file: URL or an s3:// URL", url=url)
    match = _SCHEME.match(url)
    scheme = match.group(1).lower() if match else None
    if scheme in ("s3", "s3a"):
        # Imported here, since tables on disk do not need obstore.
        from andes_spark.storage.s3 import S3Storage

        return S3Storage(url, options or {}, seconds=seconds)
    if scheme not in (None, "file"):
        near = get_close_matches(scheme or "", ["s3", "s3a", "file"], n=1, cutoff=0.75)
        hint = f"; did you mean {near[0]}://?" if near else ""
        raise OptionError(
            f"Tables on {scheme}:// are not supported: use a path, file:///path or s3://bucket/folder{hint}",
            url=url,
        )
    if options and not callable(options):
        name = min(options)
        raise OptionError(f"Unknown storage option {name!r}: a folder on disk takes none", option=name)
    return DiskStorage(os.path.abspath(_file_path(url) if scheme else _expanded(url)))


def _expanded(path: str) -> str:
    """Replace ``~`` by the home folder."""
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise OptionError(f"There is no home folder for {path!r}; a folder of this name is ./{path}", url=path)
    return expanded


def _file_path(url: str) -> str:
    """Path of a ``file:`` URL, in Hadoop's form ``file:/path`` or with an authority."""
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost") or not slash:
            raise OptionError(f"The URL {url!r} names the host {host!r}: a local folder is file:///path", url=url)
        rest = "/" + path
    try:
        path = unquote(rest, errors="strict")
    except UnicodeDecodeError as error:
        raise OptionError(f"The URL {url!r} is no percent-encoded UTF-8", url=url) from error
    if "\0" in path:
        raise OptionError(f"The URL {url!r} has a NUL character", url=url)
    return path
