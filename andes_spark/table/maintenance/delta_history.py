"""Files that the stored entries of the Delta log name: also those of other writers, before a table was converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from andes_spark.delta.checkpoints import Finder, read_removed
from andes_spark.delta.checkpoints import read as read_checkpoint
from andes_spark.delta.log import read_commit
from andes_spark.delta.paths import LOG_FOLDER, decode_path
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import UnsupportedTableError
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows


def entry_versions(storage: Storage) -> Iterator[int]:
    """Return the versions of the stored entries, by a listing."""
    names = (info.path.removeprefix(f"{LOG_FOLDER}/") for info in storage.list(LOG_FOLDER))
    return (int(name[:20]) for name in names if name[20:] == ".json" and name[:20].isdigit())


def named_by_entries(storage: Storage, *, before: int | None = None) -> set[str]:
    """Return the files in the table's folder that the stored entries add or remove, with their deletion vectors.

    Args:
        storage: the table's folder.
        before: Delta version whose entry, and later ones, are left out; None for all entries.

    Raises:
        LogDamagedError: an entry cannot be read.
    """
    versions = sorted(version for version in entry_versions(storage) if before is None or version < before)
    paths: set[str] = set()
    for _, answer in in_windows(storage.scheduler, partial(read_commit, storage), versions):
        commit = answer.result()
        for kind, action in () if commit is None else commit.actions:
            if kind in ("add", "remove", "cdc"):
                paths.update(paths_of(action))
    return paths


def named_by_first_checkpoints(storage: Storage) -> set[str]:
    """Return the files that were live or removed before the oldest stored entry, where Delta has cleaned its log since.

    Raises:
        FileDamagedError: a checkpoint cannot be read.
    """
    first = min(entry_versions(storage), default=0)
    finder, paths = Finder(), set[str]()
    if first:
        for info in storage.list(LOG_FOLDER):
            finder.see(info.path.removeprefix(f"{LOG_FOLDER}/"))
    for checkpoint in finder.complete():
        if checkpoint.version <= first:
            contents = read_checkpoint(storage, checkpoint)
            for actions in (contents.adds, *read_removed(contents.parts)):
                for action in actions.to_pylist():
                    paths.update(paths_of(action))
    return paths


def paths_of(action: Mapping[str, Any]) -> Iterator[str]:
    """Yield the path of the file of an action, and that of its deletion vector; none outside the table's folder."""
    try:
        yield decode_path(str(action["path"]))
        vector = action.get("deletionVector")
        path = None if vector is None else VectorDescriptor.from_json(vector).file_path
    except UnsupportedTableError:
        return  # outside the folder, as in a shallow clone
    if path is not None:
        yield path
