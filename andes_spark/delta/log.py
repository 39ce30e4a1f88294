"""The state of a Delta table, from its log: checkpoints and entries, replayed.

Format: the Delta protocol, "Delta Log Entries", "Checkpoints" and "Action Reconciliation". The log is read,
never repaired: what is illegal by the protocol is an error that names the file. No Spark job is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from andes_spark.delta import checkpoints, vectors
from andes_spark.delta.entries import bad_entry, create_entry, parse_commit, read_commit
from andes_spark.delta.paths import LOG_FOLDER, decode_path, entry_path
from andes_spark.delta.state import Commit, DataFile, DeltaState, Metadata, Protocol, RemovedFiles
from andes_spark.errors import (
    FileDamagedError,
    ForeignWriteError,
    LogDamagedError,
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

# So many new entries are read one by one before the newest checkpoint is looked for instead.
PROBES = 64
_ENTRY = re.compile(r"(\d{20})\.json")


def load_state(storage: Storage, *, version: int | None = None, previous: DeltaState | None = None) -> DeltaState:
    """The state of the table in a folder.

    Args:
        storage: the table's folder.
        version: the version wanted; None for the newest.
        previous: an earlier state of this table. Only newer entries are read then, one request for each
            and one that finds the end; the same object comes back if there are none.

    Raises:
        NoSuchTableError: the folder has no Delta log.
        NoSuchVersionError: ``version`` was never committed; ``version``.
        VersionExpiredError: the log no longer reaches down to ``version``; ``version``.
        LogDamagedError: a missing or illegal entry; ``path``, ``version``.
        FileDamagedError: a checkpoint that cannot be done without is damaged; ``path``.
        UnsupportedTableError: files outside the folder, or checkpoints of the V2 format; ``feature``.
    """
    if previous is not None and (version is None or version >= previous.version):
        return _refresh(storage, previous, version)
    return _load(storage, version)


class _Replay:
    """A state under construction."""

    def __init__(self, previous: DeltaState | None = None) -> None:
        self.version = -1 if previous is None else previous.version
        self.protocol = None if previous is None else previous.protocol
        self.metadata = None if previous is None else previous.metadata
        self.files: dict[str, DataFile] = {} if previous is None else dict(previous.files)
        self.txns: dict[str, int] = {} if previous is None else dict(previous.txns)
        self.domains: dict[str, Mapping[str, Any]] = {} if previous is None else dict(previous.domains)
        removed = RemovedFiles() if previous is None else previous.removed
        self.parts = removed.parts
        self.recent = dict(removed.recent)
        self.unwritten_actions = previous is not None and previous.unwritten_actions
        self.commit_id = None if previous is None else previous.commit_id

    @classmethod
    def from_checkpoint(cls, checkpoint: checkpoints.Checkpoint, contents: checkpoints.Contents) -> _Replay:
        replay = cls()
        replay.version = checkpoint.version
        replay.txns = dict(contents.txns)
        replay.domains = dict(contents.domains)
        replay.parts = contents.parts
        replay.unwritten_actions = contents.other_actions
        try:
            replay.protocol = Protocol.from_action(contents.protocol)
            replay.metadata = Metadata.from_action(contents.metadata)
            for add in contents.adds:
                file = DataFile.from_add(add)
                replay.files[file.location] = file
        except (KeyError, TypeError, ValueError, LogDamagedError) as error:
            raise _bad_checkpoint(checkpoint, f"an action cannot be read: {error!r}") from error
        if len(replay.files) != len(contents.adds):
            raise _bad_checkpoint(checkpoint, "it has two adds for one path")
        return replay

    def apply(self, commit: Commit) -> None:
        if None not in (commit.previous, self.commit_id) and commit.previous != self.commit_id:
            raise _overwritten(self.version)
        self.version, self.commit_id = commit.version, commit.commit_id
        try:
            # The actions of an entry have no order: a file whose vector changes is removed and added.
            for removed in commit.of_kind("remove"):
                self._remove(removed)
            for added in commit.of_kind("add"):
                self._add(added)
            for kind, value in commit.actions:
                match kind:
                    case "protocol":
                        self.protocol = Protocol.from_action(value)
                    case "metaData":
                        self.metadata = Metadata.from_action(value)
                    case "txn":
                        self.txns[str(value["appId"])] = int(value["version"])
                    case "domainMetadata":
                        self.domains |= {str(value.get("domain")): value}
                        self.unwritten_actions = True
                    case "add" | "remove" | "commitInfo" | "cdc":
                        pass
                    case _:
                        self.unwritten_actions = True
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise bad_entry(commit.version, f"an action cannot be read: {error!r}") from error
        except LogDamagedError as error:
            raise bad_entry(commit.version, error.message) from error

    def _remove(self, value: Mapping[str, Any]) -> None:
        location = decode_path(value["path"])
        self.recent[str(value["path"]), _vector_id(value)] = value
        live = self.files.get(location)
        # A removal names a file together with its vector: another vector is another logical file.
        if live is not None and _vector_id(live.add) == _vector_id(value):
            del self.files[location]

    def _add(self, value: dict[str, Any]) -> None:
        file = DataFile.from_add(value)
        live = self.files.get(file.location)
        if live is not None and _vector_id(live.add) != _vector_id(value):
            raise LogDamagedError(f"{file.path} gets another deletion vector without losing the old one")
        self.files[file.location] = file

    def state(self) -> DeltaState:
        if self.protocol is None or self.metadata is None:
            raise bad_entry(self.version, "no entry up to it has a protocol and metadata")
        return DeltaState(
            self.version,
            self.protocol,
            self.metadata,
            self.files,
            self.txns,
            domains=self.domains,
            removed=RemovedFiles(self.parts, self.recent),
            unwritten_actions=self.unwritten_actions,
            commit_id=self.commit_id,
        )


def _vector_id(action: Mapping[str, Any]) -> str | None:
    return vectors.unique_id(action.get("deletionVector"))


def _refresh(storage: Storage, previous: DeltaState, version: int | None) -> DeltaState:
    if version == previous.version:
        return previous
    commits: list[Commit] = []
    while version is None or previous.version + len(commits) < version:
        commit = read_commit(storage, previous.version + len(commits) + 1)
        if commit is None:
            break
        commits.append(commit)
        if len(commits) > PROBES:
            return _load(storage, version)
    if version is not None and previous.version + len(commits) < version:
        raise _no_version(storage, version, previous.version + len(commits))
    if not commits:
        return previous
    replay = _Replay(previous)
    for commit in commits:
        replay.apply(commit)
    return replay.state()


class _Listing:
    """The log's folder from a version on, up to the version wanted."""

    def __init__(self, storage: Storage, first: int, last: int | None) -> None:
        self.entries: set[int] = set()
        self.finder = checkpoints.Finder()
        self.found_any = False
        after = f"{LOG_FOLDER}/{first:020d}"
        for info in storage.list(LOG_FOLDER, after=after):
            name = info.path.removeprefix(f"{LOG_FOLDER}/")
            if not name[:20].isdigit() or "/" in name:
                if name > ":":
                    break  # behind all names that begin with a version
                continue
            self.found_any = True
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
        # The checkpoint that the hint named is damaged: perhaps an older one, or none, will do.
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


def _from_newest(storage: Storage, complete: list[checkpoints.Checkpoint], listing: _Listing, target: int) -> _Replay:
    """The newest checkpoint that can be read, or an empty state if the entries begin at 0."""
    failure: FileDamagedError | None = None
    for checkpoint in complete:
        if checkpoint.version > target:
            continue
        try:
            return _Replay.from_checkpoint(checkpoint, checkpoints.read(storage, checkpoint))
        except FileDamagedError as error:
            failure = failure or error
    if failure is not None and 0 not in listing.entries:
        raise failure
    return _Replay()


def _read_commits(storage: Storage, versions: range) -> Iterable[Commit]:
    def read(version: int) -> Commit:
        commit = read_commit(storage, version)
        if commit is None:
            raise bad_entry(version, "it vanished while the log was read")
        return commit

    answers = [storage.scheduler.ask(read, version) for version in versions]
    return (answer.result() for answer in answers)


def _nothing(storage: Storage, listing: _Listing, version: int | None) -> Exception:
    if listing.found_any and version is not None:
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
        f"the Delta log no longer reaches down to version {version}: read a newer one", version=version
    )


def _no_version(storage: Storage, version: int, newest: int) -> NoSuchVersionError:
    return NoSuchVersionError(
        f"{storage.url} has no Delta version {version}: the newest is {newest}",
        version=version,
        newest=newest,
    )


def _bad_checkpoint(checkpoint: checkpoints.Checkpoint, what: str) -> FileDamagedError:
    path = checkpoint.paths[0]
    return FileDamagedError(f"checkpoint {path}: {what}; delete it if the log entries below it still exist", path=path)


def _overwritten(version: int) -> ForeignWriteError:
    path = entry_path(version)
    return ForeignWriteError(
        f"log entry {path}: another writer put its own in the place of the one that the next entry was built on; "
        "restore the first one",
        delta_version=version,
    )
