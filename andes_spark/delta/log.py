"""The state of a Delta table, from its log: checkpoints and entries, replayed.

Format: the Delta protocol, "Delta Log Entries", "Checkpoints" and "Action Reconciliation". The log is read,
never repaired: what is illegal by the protocol is an error that names the file. No Spark job is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from andes_spark.delta import checkpoints
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.entries import bad_entry, create_entry, parse_commit, read_commit
from andes_spark.delta.paths import LOG_FOLDER, entry_path
from andes_spark.delta.replay import Replay
from andes_spark.delta.state import Commit, DeltaState, Metadata, Protocol
from andes_spark.errors import (
    FileDamagedError,
    NoSuchTableError,
    NoSuchVersionError,
    UnsupportedTableError,
    VersionExpiredError,
)

if TYPE_CHECKING:
    from andes_spark.storage.interface import Storage

__all__ = [
    "Commit",
    "DataFile",
    "DeltaState",
    "Metadata",
    "Protocol",
    "create_entry",
    "load_state",
    "parse_commit",
    "read_commit",
]

# Maximum number of new entries read one by one; beyond it, the newest checkpoint is searched for.
PROBES = 64
_ENTRY = re.compile(r"(\d{20})\.json")


def load_state(storage: Storage, *, version: int | None = None, previous: DeltaState | None = None) -> DeltaState:
    """Load the state of the table in a folder.

    Args:
        storage: the table's folder.
        version: version to load; None for the newest.
        previous: an earlier state of this table. Only newer entries are read, one request each
            and one for the end; the same object is returned if there are none.

    Raises:
        NoSuchTableError: the folder has no Delta log.
        NoSuchVersionError: ``version`` was never committed; ``version``.
        VersionExpiredError: the log no longer reaches down to ``version``; ``version``.
        LogDamagedError: a missing or illegal entry; ``path``, ``version``.
        FileDamagedError: a required checkpoint is damaged; ``path``.
        UnsupportedTableError: files outside the folder, or checkpoints of the V2 format; ``feature``.
    """
    if previous is not None and (version is None or version >= previous.version):
        return _refresh(storage, previous, version)
    return _load(storage, version)


def _refresh(storage: Storage, previous: DeltaState, version: int | None) -> DeltaState:
    if version == previous.version:
        return previous
    commits = _following(storage, previous.version, version)
    if len(commits) > PROBES:
        return _load(storage, version)
    if version is not None and previous.version + len(commits) < version:
        raise _no_version(storage, version, previous.version + len(commits))
    if not commits:
        return previous
    replay = Replay(previous)
    for commit in commits:
        replay.apply(commit)
    return replay.state()


def _following(storage: Storage, version: int, last: int | None) -> list[Commit]:
    """Entries after a version, up to a version or the first missing one, in growing groups; stops above ``PROBES``."""
    commits: list[Commit] = []
    while len(commits) <= PROBES:
        first = version + len(commits) + 1
        end = min(first + max(1, len(commits)), version + PROBES + 2)
        if last is not None:
            end = min(end, last + 1)
        answers = [storage.scheduler.ask(read_commit, storage, number) for number in range(first, end)]
        if not answers:
            break
        for answer in answers:
            commit = answer.result()
            if commit is None:
                return commits
            commits.append(commit)
    return commits


def log_files(storage: Storage, version: int) -> list[str]:
    """Return the paths of the newest checkpoint up to a version and of the entries after it, which make the state.

    Raises:
        NoSuchTableError, NoSuchVersionError, LogDamagedError: as :func:`load_state`.
    """
    listing = _Listing(storage, 0, version)
    newest = next((checkpoint for checkpoint in listing.finder.complete() if checkpoint.version <= version), None)
    needed = range(0 if newest is None else newest.version + 1, version + 1)
    for number in needed:
        if number not in listing.entries:
            raise _missing(listing, number, version)
    return [*(newest.paths if newest is not None else ()), *(entry_path(number) for number in needed)]


def first_loadable(storage: Storage, first: int) -> int | None:
    """Return the oldest version from which all states up to the newest can be loaded; None if the newest cannot.

    Delta's own clean-up of the log deletes entries below a checkpoint.

    Args:
        storage: the table's folder.
        first: version below which nothing is looked for; returned if no entry from there on is missing.
    """
    listing = _Listing(storage, 0, None)
    missing = [version for version in range(first, max(listing.entries, default=-1)) if version not in listing.entries]
    if not missing:
        return first
    later = (checkpoint.version for checkpoint in listing.finder.complete() if checkpoint.version > missing[-1])
    return min(later, default=None)


def newest_loadable(storage: Storage) -> int:
    """Return the newest version with an entry or a complete checkpoint; -1 if there is none."""
    listing = _Listing(storage, 0, None)
    return max([*listing.entries, *(checkpoint.version for checkpoint in listing.finder.complete())], default=-1)


class _Listing:
    """Listing of the log's folder from one version to another."""

    def __init__(self, storage: Storage, first: int, last: int | None) -> None:
        self.entries: set[int] = set()
        self.finder = checkpoints.Finder()
        self.has_files = False
        after = f"{LOG_FOLDER}/{first:020d}"
        for info in storage.list(LOG_FOLDER, after=after):
            name = info.path.removeprefix(f"{LOG_FOLDER}/")
            if not name[:20].isdigit() or "/" in name:
                if name > ":":
                    break  # after all names that begin with a version
                continue
            self.has_files = True
            if last is not None and int(name[:20]) > last:
                break
            if match := _ENTRY.fullmatch(name):
                self.entries.add(int(match[1]))
            else:
                self.finder.see(name)


def _load(storage: Storage, version: int | None) -> DeltaState:
    hint = checkpoints.read_hint(storage)
    usable = hint is not None and (version is None or hint <= version)
    listing = _Listing(storage, hint if usable and hint is not None else 0, version)
    if usable and not listing.finder.complete():
        listing = _Listing(storage, 0, version)
    try:
        return _build(storage, listing, version)
    except FileDamagedError:
        if not usable:
            raise
        # The checkpoint of the hint is damaged: try an older one, or none.
        return _build(storage, _Listing(storage, 0, version), version)


def _build(storage: Storage, listing: _Listing, version: int | None) -> DeltaState:
    complete = listing.finder.complete()
    newest = max([*listing.entries, *(checkpoint.version for checkpoint in complete)], default=None)
    if newest is None:
        raise _nothing(storage, listing, version)
    target = newest if version is None else version
    if newest < target:
        raise _no_version(storage, target, newest)
    replay = _from_newest(storage, complete, listing, target)
    needed = range(replay.version + 1, target + 1)
    for missing in needed:
        if missing not in listing.entries:
            raise _missing(listing, missing, version)
    for commit in _read_commits(storage, needed):
        replay.apply(commit)
    return replay.state()


def _from_newest(storage: Storage, complete: list[checkpoints.Checkpoint], listing: _Listing, target: int) -> Replay:
    """The newest checkpoint that can be read, or an empty state if the entries begin at 0."""
    failure: FileDamagedError | None = None
    for checkpoint in complete:
        if checkpoint.version > target:
            continue
        try:
            return Replay.from_checkpoint(checkpoint, checkpoints.read(storage, checkpoint))
        except FileDamagedError as error:
            failure = failure or error
    if failure is not None and 0 not in listing.entries:
        raise failure
    return Replay()


def _read_commits(storage: Storage, versions: range) -> Iterable[Commit]:
    def read(version: int) -> Commit:
        commit = read_commit(storage, version)
        if commit is None:
            raise bad_entry(version, "it vanished while the log was read")
        return commit

    answers = [storage.scheduler.ask(read, version) for version in versions]
    return (answer.result() for answer in answers)


def _nothing(storage: Storage, listing: _Listing, version: int | None) -> Exception:
    if listing.has_files and version is not None:
        return _expired(version)
    if listing.finder.has_v2:
        return _v2_checkpoint()
    return NoSuchTableError(f"{storage.url} is no Delta table: create it first, or check the path", table=storage.url)


def _missing(listing: _Listing, missing: int, version: int | None) -> Exception:
    if listing.finder.has_v2:
        return _v2_checkpoint()
    if version is not None and missing == 0:
        return _expired(version)
    return bad_entry(missing, "it is missing")


def _v2_checkpoint() -> UnsupportedTableError:
    return UnsupportedTableError(
        "the table has checkpoints of the V2 format: drop the feature v2Checkpoint first",
        feature="v2Checkpoint",
    )


def _expired(version: int) -> VersionExpiredError:
    return VersionExpiredError(
        f"the Delta log no longer reaches down to version {version}: read a newer one, or restore the older entries "
        "from a backup",
        version=version,
    )


def _no_version(storage: Storage, version: int, newest: int) -> NoSuchVersionError:
    return NoSuchVersionError(
        f"{storage.url} has no Delta version {version}: the newest is {newest}",
        version=version,
        newest=newest,
    )
