"""Reads of old versions after a VACUUM of the base: from an older state of it, or from its origin, and the log.

A version has the same rows whichever state of the base it is evaluated from.
"""

from __future__ import annotations

from collections.abc import Iterable

from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta.state import DeltaState
from andes_spark.errors import FileDamagedError, VersionExpiredError
from andes_spark.log.readable import floor_of
from andes_spark.model.events import PendingVersion
from andes_spark.storage.interface import Storage
from andes_spark.table.open_table import OpenTable

MOST_STATES = 32
"""Maximum number of states of the base that are checked before its origin."""


def evaluable(open_table: OpenTable, base: BaseSnapshot, version: int) -> tuple[BaseSnapshot, list[PendingVersion]]:
    """Find the state of the base to evaluate a version on, whose files exist, and the versions that it lacks.

    Args:
        open_table: the table.
        base: newest state, or the newest one that contains no version above ``version``.
        version: to evaluate.

    Raises:
        VersionExpiredError: files of all such states are missing.
    """
    while True:
        base, versions = open_table.evaluable(base, version)
        if base.foreign is None and open_table.base.newest is base.state:
            return base, versions
        state = with_files(open_table, base, version)
        if state is base:
            return base, versions
        base = state


def with_files(open_table: OpenTable, base: BaseSnapshot, version: int) -> BaseSnapshot:
    """Find the newest state of the base, at or below ``base``, whose files all exist.

    Files of the newest state are assumed to exist, so that reads of new versions make no requests.

    Raises:
        VersionExpiredError: files of all such states are missing.
    """
    newest = open_table.base.newest
    files = _Files(open_table.storage, newest)
    state = base
    first_gone: list[str] = []
    for _ in range(MOST_STATES):
        missing = files.missing(state.state)
        if not missing:
            return state
        if version < floor_of(open_table.log):
            # The mods since older states were released.
            raise lost_file(open_table.table, missing[0], version, "a tag or pin")
        first_gone = first_gone or missing
        if state.applied == 0 or state.take_in_version is not None:
            break
        state = open_table.base.older(state.applied - 1)
    else:  # a state that was taken in stands for itself: no older one has its rows
        origin = open_table.base.older(0)
        if not files.missing(origin.state):
            return origin
    applied = open_table.base.snapshot().applied
    raise VersionExpiredError(
        f"{open_table.table}: version {version} can no longer be read: {len(first_gone)} files of the base that it "
        f"needs are gone, such as {first_gone[0]}, as after Delta's VACUUM, and every older state of the base has "
        f"lost files too. Versions from {applied} on can be read, and the mods of this one are in the log: see mods()",
        table=open_table.table,
        version=version,
    )


def lost_file(table: str, path: str, version: int, keeper: str) -> FileDamagedError:
    """Return the error for a file of a version below the floor, which alone can give its rows."""
    return FileDamagedError(
        f"{table}: {path} is missing, so version {version}, which {keeper} keeps, cannot be read; restore it, or "
        "remove the tag",
        table=table,
        path=path,
    )


def gone_files(storage: Storage, state: DeltaState) -> list[str]:
    """Return the files of a state that do not exist; all are asked for."""
    return _Files(storage, None).missing(state)


class _Files:
    """Existence of files, with a cache."""

    def __init__(self, storage: Storage, newest: DeltaState | None) -> None:
        self._storage = storage
        self._exists = dict.fromkeys(_paths(newest), True) if newest is not None else {}

    def missing(self, state: DeltaState) -> list[str]:
        """Return the files of a state that do not exist."""
        paths = list(dict.fromkeys(_paths(state)))
        unknown = [path for path in paths if path not in self._exists]
        answers = [self._storage.scheduler.ask(self._storage.size, path) for path in unknown]
        self._exists |= {path: answer.result() is not None for path, answer in zip(unknown, answers, strict=True)}
        return [path for path in paths if not self._exists[path]]


def _paths(state: DeltaState) -> Iterable[str]:
    """Data files of a state and its files of deletion vectors."""
    for path, file in state.files.items():
        yield path
        if file.vector is not None and file.vector.file_path is not None:
            yield file.vector.file_path
