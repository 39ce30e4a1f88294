"""Locations of input files: paths, globs and folders resolved to files, on local disk or S3."""

from __future__ import annotations

import gzip
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from glob import has_magic, iglob
from pathlib import PurePosixPath
from typing import IO, Any, Protocol, cast

import pyarrow as pa

from andes_spark.errors import FileDamagedError, NotFoundError, OptionError, SchemaMismatchError
from andes_spark.settings import STORE_SECONDS
from andes_spark.storage.interface import Storage
from andes_spark.storage.open import open_storage
from andes_spark.storage.s3_options import Access

WRONG = (pa.ArrowException, OSError, EOFError, ValueError, TypeError, ArithmeticError)
"""Exceptions raised by reads of a file that is not of its format."""

_S3 = re.compile(r"s3a?://", re.IGNORECASE)
# By the folder that they have, this library's own before the Delta table that it contains.
_TABLE_FOLDERS = {
    "_andes": (
        "a table of this library, whose files lack the mods that are not merged yet: give the rows that andes table "
        "read writes (in Python those of ModTable.open(path).to_batches())"
    ),
    "_delta_log": (
        "a Delta table: give the rows that a reader of Delta tables finds (in Python those of "
        "deltalake.DeltaTable(path).to_pyarrow_dataset())"
    ),
    ".hoodie": "a Hudi table: give the rows that a reader of Hudi tables finds",
}


class Opener(Protocol):
    """Opens a file for reading."""

    def __call__(self) -> pa.NativeFile:
        """Open the file at its beginning."""


@dataclass(frozen=True)
class InputFile:
    """A file with rows, which is opened when it is read.

    Attributes:
        path: path or URL, for messages.
        open: function that opens the file.
    """

    path: str
    open: Opener

    def open_unpacked(self) -> IO[bytes]:
        """Open the file, decompressed if its name ends in ``.gz``."""
        raw = cast(Any, self.open())
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw) if self.path.lower().endswith(".gz") else raw)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the file, decompressed."""
        with self.open_unpacked() as file, io.BufferedReader(cast(Any, file)) as lines:
            yield from lines

    @contextmanager
    def reading(self, form: str) -> Iterator[None]:
        """Convert exceptions of a read to FileDamagedError with the name of the file."""
        try:
            yield
        except WRONG as error:
            raise FileDamagedError(f"{self.path} cannot be read as {form}: {error}", path=self.path) from error

    def wrong_value(self, problem: str, column: str) -> SchemaMismatchError:
        """Return the error for a value that does not fit its column."""
        return SchemaMismatchError(
            f"{self.path} holds a value that its column cannot: {problem}; mend it, or set such rows aside by "
            "cast=True and max_quarantined",
            path=self.path,
            column=column,
        )

    def unusable_value(self, problem: str, column: str, kind: pa.DataType) -> SchemaMismatchError:
        """Return the error for a value that does not fit its column and cannot be set aside."""
        return SchemaMismatchError(
            f"{self.path} holds a value that its column cannot: {problem}; mend it or take its row out of the file: a "
            f"column of {kind} has no cast that could set it aside",
            path=self.path,
            column=column,
        )


def is_on_s3(path: str) -> bool:
    """Return whether a path is a URL of S3."""
    return _S3.match(path) is not None


def files_at(
    paths: Sequence[str],
    storage_options: Access | None,
    *,
    suffixes: tuple[str, ...] | None,
    store_seconds: float = STORE_SECONDS,
) -> list[InputFile]:
    """List the files at some paths, by path and then by name, without duplicates.

    A folder stands for all files below it with a known suffix; names that begin with a dot or an underscore are left
    out.

    Args:
        paths: files, globs and folders: local ones or ``s3://`` URLs.
        storage_options: access to S3.
        suffixes: suffixes of the files of a folder, without ``.gz``; None for all names.
        store_seconds: time for which a failed request to S3 is repeated.

    Raises:
        NotFoundError: no file exists at a path; ``path``.
        OptionError: a folder is a table.
    """
    files: dict[str, InputFile] = {}
    for path in paths:
        files_of_path = _on_s3(path, storage_options, store_seconds) if is_on_s3(path) else _on_disk(path)
        folder_of = None if len(files_of_path) == 1 and files_of_path[0].path.rstrip("/") == path else path
        if folder_of is not None:
            files_of_path = [file for file in files_of_path if suffixes is None or _has_suffix(file.path, suffixes)]
        if not files_of_path:
            raise NotFoundError(f"{path}: there is no such file, and no file with rows below it", path=path)
        files |= {file.path: file for file in files_of_path if file.path not in files}
    return list(files.values())


def _on_disk(path: str) -> list[InputFile]:
    path = os.path.expanduser(path)
    if "\0" in path:
        raise OptionError(f"{path!r} cannot be a path", path=path)
    if not os.path.exists(path) and has_magic(path):
        matches = sorted(iglob(path, recursive=True))
        return [file for match in matches for file in (_below(match) if os.path.isdir(match) else [_local(match)])]
    if os.path.isdir(path):
        return _below(path)
    return [_local(path)] if os.path.exists(path) else []


def _local(path: str) -> InputFile:
    return InputFile(path, partial(pa.OSFile, path, "rb"))


def _below(folder: str) -> list[InputFile]:
    names = []
    for parent, folders, files in os.walk(folder):
        _refuse_table(folder, folders)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        names += [os.path.relpath(os.path.join(parent, name), folder) for name in files if not _is_hidden(name)]
    _refuse_partitions(folder, names)
    return [_local(os.path.join(folder, name)) for name in sorted(names)]


def _on_s3(url: str, storage_options: Access | None, store_seconds: float) -> list[InputFile]:
    parts = url.split("/")
    at = next((number for number, part in enumerate(parts) if number > 2 and has_magic(part)), len(parts) - 1)
    root, rest = "/".join(parts[: max(at, 3)]), "/".join(parts[max(at, 3) :]).rstrip("/")
    storage = open_storage(root, options=storage_options, seconds=store_seconds)

    def file(path: str) -> InputFile:
        return InputFile(f"{root}/{path}", partial(storage.open_input, path))

    if rest and storage.info(rest) is not None:
        return [file(rest)]
    if has_magic(rest):
        pattern = _pattern(rest)
        return [file(info.path) for info in storage.list() if pattern.fullmatch(info.path)]
    return [file(path) for path in _listed(storage, url, rest)]


def _listed(storage: Storage, url: str, folder: str) -> list[str]:
    paths = [info.path for info in storage.list(folder)]
    below = [path.removeprefix(folder).lstrip("/") for path in paths]
    _refuse_table(url, {part for path in below for part in path.split("/")[:-1]})
    _refuse_partitions(url, below)
    return [path for path, name in zip(paths, below, strict=True) if not any(map(_is_hidden, name.split("/")))]


def _pattern(glob: str) -> re.Pattern[str]:
    """Convert a glob to a regular expression over whole paths: ``*`` matches within a folder, ``**`` across folders."""
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^]]+\]|.", glob)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            special.get(token) or (token.replace("[!", "[^", 1) if len(token) > 2 else re.escape(token))
            for token in tokens
        ),
        re.DOTALL,
    )


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    lower = path.lower()
    return lower.removesuffix(".gz").endswith(suffixes)


def _refuse_table(folder: str, names: Any) -> None:
    """Refuse the folder of a table: its files may hold rows that were deleted from the table."""
    kind = next((kind for name, kind in _TABLE_FOLDERS.items() if name in names), None)
    if kind is not None:
        raise OptionError(
            f"{folder} is no folder of files but {kind}",
            path=folder,
        )


def _refuse_partitions(folder: str, names: Sequence[str]) -> None:
    """Refuse folders named ``column=value``, whose column would be lost."""
    named = next((part for name in names for part in PurePosixPath(name).parts[:-1] if "=" in part), None)
    if named is not None:
        raise OptionError(
            f"{folder} holds the folder {named!r}, whose name is the value of a column: give files that "
            "have the column themselves (in Python give pyarrow.dataset.dataset(folder, partitioning='hive'))",
            path=folder,
        )
