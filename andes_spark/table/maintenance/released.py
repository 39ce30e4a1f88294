"""Files of a table's folder that no readable version needs: which a vacuum may delete, and why it is safe.

All paths are compared as they are below the table's folder, so that neither the scheme nor the bucket of a URL takes
part. Only files with the names of this library are candidates, and those that an entry of the Delta log named: files
of others in the folder, and files that another writer of the Delta table has not committed yet, stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from andes_spark.delta.log import read_commit
from andes_spark.errors import FileDamagedError
from andes_spark.log.line import line
from andes_spark.model.display import count_text
from andes_spark.model.events import mods_of
from andes_spark.storage.interface import ObjectInfo, Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.maintenance.delta_history import paths_of
from andes_spark.table.maintenance.files_of import vectors_of
from andes_spark.table.maintenance.needed import Needed
from andes_spark.table.open_table import OpenTable

_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LOG_FILE = re.compile(
    rf"_andes/(mods|ledger|tombstones)/(\d{{20}})-{_ID}\.parquet|_andes/(merges)/(\d{{20}})-{_ID}\.json"
)
_OWN = re.compile(rf"(part-{_ID}\.zstd\.parquet)|(deletion_vector_{_ID}\.bin)")
_FOLDERS = ("ledger", "merges", "mods", "tombstones")
_OTHER = re.compile(r"(?:[^_./][^/]*/)*[^_./][^/]*\.(?:parquet|bin)")
BASE = ("data files", "deletion vectors")
"""Kinds of the files of the base."""


@dataclass(frozen=True)
class Candidate:
    """A file that may be deleted.

    Attributes:
        path: path below the table's folder.
        bytes: its size.
        kind: noun for reports.
    """

    path: str
    bytes: int
    kind: str


@dataclass(frozen=True)
class Released:
    """Files that may be deleted, as of one listing.

    Attributes:
        files: the files.
    """

    files: tuple[Candidate, ...]

    @property
    def bytes(self) -> int:
        """The size of all files in bytes."""
        return sum(file.bytes for file in self.files)

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of files by kind, such as ``tombstone files``."""
        return Counter(file.kind for file in self.files)

    @property
    def of_base(self) -> bool:
        """Whether files of the base are among them."""
        return any(file.kind in BASE for file in self.files)


Listed = Mapping[str, ObjectInfo]
"""Files of the table's folder, by path."""


def released_files(
    open_table: OpenTable, needed: Needed, *, fence: int, before_ms: int, listed: Listed | None = None
) -> Released:
    """Select the files that no readable version needs.

    Args:
        open_table: the table.
        needed: what the readable versions need, as of a log and a base that were read before the listing.
        fence: files of mods and of batch ids that were begun on this version or a later one stay: their writers may
            be running. Those of earlier ones are written again, see ``log.fence``.
        before_ms: time in milliseconds since 1970; files that were written later stay.
        listed: all files but those of the logs; None to list them here.

    Raises:
        FileDamagedError: the listing lacks files that the newest version needs: nothing may be deleted.
    """
    storage = open_table.storage
    listed = list_files(storage) if listed is None else listed
    _refuse_incomplete(open_table, needed, listed)
    old = [info for path, info in listed.items() if path not in needed.files and info.modified_ms < before_ms]
    candidates: list[Candidate] = []
    tombstones: list[ObjectInfo] = []
    others: list[ObjectInfo] = []
    for info in old:
        kind = _kind(info.path, needed, fence)
        if kind == "tombstone files":
            tombstones.append(info)
        elif kind == "others":
            others.append(info)
        elif kind is not None:
            candidates.append(Candidate(info.path, info.size, kind))
    candidates += _named_others(storage, others, needed)
    candidates += _free_tombstones(open_table, needed, tombstones)
    return Released(tuple(candidates))


def _refuse_incomplete(open_table: OpenTable, needed: Needed, listed: Listed) -> None:
    """Refuse a listing that does not show what certainly is there: then paths are not what they seem."""
    state = needed.base.state
    pending = open_table.log.pending(needed.base.applied, needed.head)
    mods = (entry.path for version in line(pending) for entry in mods_of(version.events))
    lacking = [path for path in (*state.files, *vectors_of(state.files), *mods) if path not in listed]
    if lacking:
        raise FileDamagedError(
            f"{open_table.table}: the table's folder lacks {count_text(len(lacking), 'files')} that the newest version "
            f"needs, such as {lacking[0]}; nothing was deleted: verify() tells more",
            table=open_table.table,
            path=lacking[0],
        )


def _kind(path: str, needed: Needed, fence: int) -> str | None:
    """Kind of a file that is not among ``needed.files``, by its name; None if it stays."""
    if (match := _LOG_FILE.fullmatch(path)) is not None:
        folder, number = match[1] or match[3], int(match[2] or match[4])
        match folder:
            case "mods" if number < fence:
                # A version from the floor on names it only if ``needed`` does. A writer that is about to commit it
                # began below the fence, and finds the manifest of the vacuum before it commits.
                return "mod files"
            case "ledger" if number < fence:
                # As mods: the version that would have named it has another manifest by now.
                return "batch id files"
            case "merges" if number < needed.low.applied:
                # The name holds the version: no later state of the base looks for it.
                return "merge records"
            case "tombstones" if number <= needed.low.applied:
                return "tombstone files"
        return None
    if (match := _OWN.fullmatch(path)) is not None:
        # Of a state below that of the floor, or of a merge or compaction that is not committed. The vacuum commits a
        # Delta entry before it deletes: what was planned before that is given up, and its files are never named.
        return "data files" if match[1] else "deletion vectors"
    return "others" if _OTHER.fullmatch(path) else None


def _named_others(storage: Storage, others: Iterable[ObjectInfo], needed: Needed) -> Iterator[Candidate]:
    """Files with names of other writers, as far as an entry of the Delta log up to the floor's state names them.

    Entries that added them may be gone, since Delta cleans its log, and then one that removed them tells.
    """
    unknown = {info.path: info for info in others}
    if not unknown:
        return
    versions = range(needed.low.version + 1)
    for _, answer in in_windows(storage.scheduler, partial(read_commit, storage), versions):
        commit = answer.result()
        actions = () if commit is None else commit.actions
        for action in (action for kind, action in actions if kind in ("add", "remove")):
            for path, kind in zip(paths_of(action), BASE, strict=False):
                info = unknown.pop(path, None)
                if info is not None:
                    yield Candidate(path, info.size, kind)


def _free_tombstones(open_table: OpenTable, needed: Needed, tombstones: Sequence[ObjectInfo]) -> Iterator[Candidate]:
    """Tombstone files that no merge record since the floor's state names.

    A merge that is not committed yet names those of the state that it was planned on, which is one of these, and files
    whose names hold its own version, which is later; see ``base.merge.finish.adoptable``.
    """
    named = needed.side_files(open_table.storage, open_table.table_id) if tombstones else set()
    for info in tombstones:
        if info.path not in named:
            yield Candidate(info.path, info.size, "tombstone files")


def list_files(storage: Storage) -> Listed:
    """List all files but those of the logs, which stay; parts of the folder beside each other."""
    parts: list[tuple[str, str | None, str | None]] = [(f"_andes/{name}", None, None) for name in _FOLDERS]
    # "0" follows "/" in the order of paths.
    parts += [("", None, "_andes/"), ("", "_andes0", "_delta_log/"), ("", "_delta_log0", None)]
    answers = [storage.scheduler.ask(_part, storage, *part) for part in parts]
    return {info.path: info for answer in answers for info in answer.result()}


def _part(storage: Storage, folder: str, after: str | None, until: str | None) -> list[ObjectInfo]:
    infos = storage.list(folder, after=after)
    return list(infos if until is None else takewhile(lambda info: info.path < until, infos))
