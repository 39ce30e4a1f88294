"""Files that the readable versions of a table need: all versions from the floor on, and older ones that are kept.

No other code decides what a vacuum may delete; verification expects exactly these files. What is needed is a function
of the log, the base and the pins:

- The versions from the floor on are evaluated on states of the base from the newest one that contains no version above
  the floor, and on the mods that this state lacks. So all files that were live in any state since then are needed, all
  mods since then, and all tombstones that any merge record since then names.
- A version below the floor is needed for a tag or a pin: the state of the base that it is evaluated on, and the mods
  between the two.
- A version since then that takes in a state which another writer made needs that state.
- A later version that restores one below the floor, or sets one aside that the base contains, is evaluated on a state
  before that one, and so are those that follow it. It needs that state, and the mods from there on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from andes_spark.base.records import read_record
from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.delta.data_file import DataFile
from andes_spark.delta.log import read_commit
from andes_spark.delta.paths import decode_path, entry_path
from andes_spark.delta.state import Commit
from andes_spark.delta.vectors import VectorDescriptor
from andes_spark.errors import LogDamagedError
from andes_spark.log.line import line
from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.log.origin import origin_of
from andes_spark.log.pins import StoredPin
from andes_spark.log.probing import hole
from andes_spark.log.readable import is_tagged
from andes_spark.log.tags import current_tags
from andes_spark.model.events import PendingVersion, Restore, SetAside, TakeIn, forgotten_of, mods_of
from andes_spark.model.manifest import Manifest, decode_manifest, manifest_path
from andes_spark.model.merge_record import MergeRecord
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import WINDOW, in_windows
from andes_spark.table.maintenance.delta_history import named_by_entries
from andes_spark.table.maintenance.files_of import named_by_record, vectors_of
from andes_spark.table.open_table import OpenTable


@dataclass(frozen=True)
class Needed:
    """The files and states that the readable versions need.

    Attributes:
        floor: oldest version that can be read, besides those that are kept.
        head: newest version of the log.
        base: newest state of the base.
        low: newest state of the base that contains no version above the floor.
        kept: versions below the floor with a tag or a pin, each with the reasons.
        starts: reasons why older states of the base are needed by versions above the floor.
        files: mods, data files, deletion vectors and files of batch ids that are needed; tombstones and merge records
            of the states ``low`` and ``base`` and of the kept versions.
        records: version and commit id of the merge records after ``low``.
    """

    floor: int
    head: int
    base: BaseSnapshot
    low: BaseSnapshot
    kept: Mapping[int, tuple[str, ...]]
    starts: tuple[str, ...]
    files: frozenset[str]
    records: tuple[tuple[int, str], ...]

    def side_files(self, storage: Storage, table_id: str) -> set[str]:
        """Read all merge records after ``low``; return the files that they name.

        They are read and not inferred: a record may have been written by a merge that was planned on an older state,
        and names the tombstones of that state.
        """

        def read(record: tuple[int, str]) -> MergeRecord:
            return read_record(storage, table_id, *record)

        answers = in_windows(storage.scheduler, read, self.records)
        return {path for _, answer in answers for path in named_by_record(answer.result())}


def all_needed(open_table: OpenTable) -> Needed:
    """Return what is needed where all versions stay, and no file is old enough to be deleted: no file is named."""
    base = open_table.base.in_memory()
    return Needed(0, open_table.log.head, base, base, {}, (), frozenset(), ())


def needed_files(
    open_table: OpenTable, floor: int, pins: Iterable[StoredPin], *, without_tags: Collection[str] = ()
) -> Needed:
    """Determine what is needed, from the log and the base in memory, and what they refer to.

    Args:
        open_table: the table; its log and its base were just read.
        floor: at most the version that the base contains.
        pins: pins that hold.
        without_tags: tags that are about to be removed.

    Raises:
        LogDamagedError: a document is missing or damaged: nothing may be deleted.
    """
    log, base = open_table.log, open_table.base.in_memory()
    low = open_table.base.older(floor)
    files = _of_state(low) | _of_state(base) | files_of_version(open_table, floor)
    kept = _kept(log, floor, pins, without_tags)
    applied: dict[int, str] = {}
    starts: dict[int, str] = {}
    takes: list[int] = []
    for version, ledger in _versions(log, low.applied + 1):
        files |= _of_events(version) | ledger
        applied[version.version] = version.commit_id
        takes += [version.version for event in version.events if isinstance(event, TakeIn)]
        if version.version > floor:
            starts.update((version.version, reason) for newest, reason in _starts(version) if newest < floor)
    files |= _ledger(log.manifest(log.last_roll_up))
    for older in sorted({*kept, *starts, *takes}):
        try:
            files |= files_of_version(open_table, older)
        except LogDamagedError as error:
            is_missing = error.path is not None and open_table.storage.size(error.path) is None
            if older >= floor or is_tagged(log, older) or not is_missing:
                raise
            # A pin that came too late, whose owner ended before it read the floor: nothing of it is left to keep.
            del kept[older]
    merged = set[int]()
    # Without a floor the state at the start of the log is needed as well, and what a converted table had before it.
    origin = origin_of(log).delta_version
    first = low.version if floor else origin
    if not floor and origin:
        files |= named_by_entries(open_table.storage, before=origin)
    for commit in _entries(open_table.storage, first + 1, base.version):
        files |= _of_entry(commit)
        merged.add(commit.txns.get(open_table.table_id, 0))
    return Needed(
        floor=floor,
        head=log.head,
        base=base,
        low=low,
        kept={version: tuple(reasons) for version, reasons in sorted(kept.items())},
        starts=tuple(starts.values()),
        files=frozenset(files),
        records=tuple((version, commit_id) for version, commit_id in sorted(applied.items()) if version in merged),
    )


def _kept(log: Log, floor: int, pins: Iterable[StoredPin], without_tags: Collection[str]) -> dict[int, list[str]]:
    """Versions below the floor with a tag or a pin, with the reasons."""
    kept: dict[int, list[str]] = {}
    for name, tag in current_tags(log).items():
        if tag.event.version is not None and tag.event.version < floor and name not in without_tags:
            kept.setdefault(tag.event.version, []).append(f"tag {name}")
    for pin in pins:
        if pin.version < floor:
            kept.setdefault(pin.version, []).append(f"pin until {pin.until}")
    return kept


def _starts(version: PendingVersion) -> Iterable[tuple[int, str]]:
    """Newest versions that the base may contain for a version, with the reasons."""
    number = version.version
    for event in version.events:
        if isinstance(event, Restore):
            yield event.version, f"version {event.version}: restored by version {number}"
        if isinstance(event, SetAside):
            yield event.version - 1, f"version {event.version - 1}: {event.version} set aside by {number}"


def _versions(log: Log, first: int) -> Iterable[tuple[PendingVersion, set[str]]]:
    """Versions from one on, ascending, each with the files of batch ids that it names.

    Manifests in memory are not read again. Of many others those with roll-ups are read first: they repeat the versions
    before them that were pending then.
    """
    versions = {manifest.version: (manifest.pending, _ledger(manifest)) for manifest in log.in_memory()}
    numbers = [number for number in range(first, log.head + 1) if number not in versions]
    if len(numbers) > WINDOW:
        for manifest in _manifests(log, [number for number in numbers if number % ROLL_UP_INTERVAL == 0]):
            versions[manifest.version] = (manifest.pending, _ledger(manifest))
            for repeated in manifest.roll_up.pending if manifest.roll_up is not None else ():
                versions.setdefault(repeated.version, (repeated, set()))
    for manifest in _manifests(log, [number for number in numbers if number not in versions]):
        versions[manifest.version] = (manifest.pending, _ledger(manifest))
    return (versions[number] for number in range(first, log.head + 1))


def _manifests(log: Log, versions: Iterable[int]) -> Iterable[Manifest]:
    storage = log.storage

    def read(version: int) -> Manifest:
        data = storage.find(manifest_path(version))
        if data is None:
            raise hole(log.table, version)
        return decode_manifest(data, table=log.table, version=version)

    return (answer.result() for _, answer in in_windows(storage.scheduler, read, versions))


def _entries(storage: Storage, first: int, last: int) -> Iterable[Commit]:
    for version, answer in in_windows(storage.scheduler, partial(read_commit, storage), range(first, last + 1)):
        commit = answer.result()
        if commit is None:
            path = entry_path(version)
            raise LogDamagedError(
                f"{storage.url}: {path} is gone, so it is not known which files the versions since then need; keep "
                "delta.logRetentionDuration as this library sets it, and wait until newer versions suffice",
                table=storage.url,
                path=path,
            )
        yield commit


def files_of_version(open_table: OpenTable, version: int) -> set[str]:
    """Return the files of a version, and of the state of the base that it is evaluated on.

    A version that a restore started begins its search at a later state, whose merge record is read as well.
    """
    files = set[str]()
    for base, _ in (starts := list(open_table.starts(open_table.base.older(version), version))):
        files |= _of_record(base)
    base, versions = starts[-1]
    return files.union(_of_state(base), *map(_of_events, line(versions)))


def _of_events(version: PendingVersion) -> set[str]:
    """Files of a version that an evaluation reads, or that a merge record will name."""
    return {file.path for file in (*mods_of(version.events), *forgotten_of(version.events))}


def _of_state(base: BaseSnapshot) -> set[str]:
    return {*base.state.files, *vectors_of(base.state.files), *_of_record(base)}


def _of_record(base: BaseSnapshot) -> set[str]:
    path = base.record_path
    return {*([] if path is None else [path]), *named_by_record(base.record)}


def _of_entry(commit: Commit) -> set[str]:
    """Data files and deletion vectors that an entry of the Delta log adds or removes."""
    added = [DataFile.from_add(add) for add in commit.of_kind("add")]
    paths = {file.location for file in added} | set(vectors_of({file.location: file for file in added}))
    for removed in commit.of_kind("remove"):
        paths.add(decode_path(removed["path"]))
        vector = removed.get("deletionVector")
        path = None if vector is None else VectorDescriptor.from_json(vector).file_path
        if path is not None:
            paths.add(path)
    return paths


def _ledger(manifest: Manifest) -> set[str]:
    return {file.path for file in (manifest.roll_up.ledger if manifest.roll_up is not None else ())}
