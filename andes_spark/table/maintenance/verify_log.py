"""Verification of the log: stored manifests, their chain, and the files that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from andes_spark.errors import LogDamagedError
from andes_spark.log.line import line, restored
from andes_spark.log.tags import with_events
from andes_spark.model.definition import Definition
from andes_spark.model.events import (
    CurrentTag,
    Event,
    Mods,
    PendingVersion,
    Quarantine,
    Rebuilt,
    SetAside,
    files_of,
    mods_of,
    side_files_of,
)
from andes_spark.model.manifest import Manifest, Origin, committed_digest, decode_manifest, manifest_path
from andes_spark.storage.interface import Storage
from andes_spark.storage.scheduler import in_windows
from andes_spark.table.maintenance.files_of import named_by_manifest
from andes_spark.table.maintenance.findings import Findings


@dataclass
class LogSummary:
    """Summary of the manifests up to a version, without their files.

    Attributes:
        complete: whether all manifests can be read.
        table_id: UUID of the table; None if no manifest can be read.
        definition: newest definition; None if no manifest with one can be read.
        origin: base snapshot at the start of the log.
        changes: events of the versions that are neither mods nor quarantine.
        partial: whether there are partial mods.
        backfill: whether there are backfills.
        tags: current tags.
        unknown: versions whose mods are lost with their manifests.
    """

    complete: bool = True
    table_id: str | None = None
    definition: Definition | None = None
    origin: Origin | None = None
    changes: list[PendingVersion] = field(default_factory=list)
    partial: bool = False
    backfill: bool = False
    tags: dict[str, CurrentTag] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)

    def take(self, manifest: Manifest) -> None:
        """Add the manifest of the next version."""
        self.table_id = manifest.table_id
        rolled = manifest.roll_up.definition if manifest.roll_up is not None else None
        self.definition = manifest.definition or rolled or self.definition
        self.origin = self.origin or manifest.origin
        self.partial = self.partial or any(entry.partial for entry in mods_of(manifest.events))
        self.backfill = self.backfill or any(isinstance(event, Mods) and event.backfill for event in manifest.events)
        self.tags = with_events(self.tags, [manifest])
        if any(isinstance(event, Rebuilt) and not event.known for event in manifest.events):
            self.unknown.append(manifest.version)
        others: list[Event] = [event for event in manifest.events if not isinstance(event, Mods | Quarantine)]
        if others:
            pending = PendingVersion(version=manifest.version, commit_id=manifest.commit_id, events=others)
            self.changes.append(pending)

    def changes_up_to(self, version: int) -> list[PendingVersion]:
        """Return the events of the versions up to one."""
        return [change for change in self.changes if change.version <= version]

    def takes_part(self, version: int) -> Callable[[int], bool]:
        """Return whether an earlier version takes part in one: not set aside, nor left out by a restore."""
        changes = line(self.changes_up_to(version))
        aside = {event.version for change in changes for event in change.events if isinstance(event, SetAside)}
        gaps = [(target, change.version) for change in changes if (target := restored(change)) is not None]

        def takes_part(earlier: int) -> bool:
            return earlier not in aside and not any(target < earlier < restore for target, restore in gaps)

        return takes_part


Expects = Callable[[int, str], bool]
"""Whether a file that a version names is expected to exist: a vacuum may have deleted it otherwise."""


def check_log(
    storage: Storage,
    versions: Iterable[int],
    findings: Findings,
    *,
    expects: Expects = lambda version, path: True,
    tags: Mapping[str, CurrentTag] | None = MappingProxyType({}),
) -> LogSummary:
    """Check manifests, in the order of their versions, and the checksums of their files, each for itself.

    Args:
        storage: the table's folder.
        versions: versions of the manifests.
        findings: collector of problems.
        expects: whether a file that a version names is expected to exist.
        tags: tags before the first of the versions; None if they cannot be read.
    """
    summary = LogSummary(complete=tags is not None, tags=dict(tags or {}))
    last: int | None = None
    before: tuple[Manifest, str] | None = None
    for version, data, manifest in stored_manifests(storage, versions, findings):
        if last is not None and version != last + 1:
            before, summary.complete = None, False
        if manifest is None:
            summary.complete = False
        else:
            if before is not None and not before[0].is_followed_by(manifest, before[1]):
                findings.check(partial(_refuse_chain, storage.url, version))
            if summary.complete:
                findings.check(partial(_refuse_tags, storage.url, manifest, summary.tags))
            summary.take(manifest)
            _check_files(storage, manifest, findings, expects)
        last, before = version, None if data is None or manifest is None else (manifest, committed_digest(data))
    return summary


def stored_manifests(
    storage: Storage, versions: Iterable[int], findings: Findings
) -> Iterator[tuple[int, bytes | None, Manifest | None]]:
    """Yield versions with the bytes and the content of their manifests, None where these cannot be read."""
    read = partial(_read, storage)
    for version, answer in in_windows(storage.scheduler, read, versions):
        data = findings.get(answer.result)
        manifest = None
        if data is not None:
            manifest = findings.get(partial(decode_manifest, data, table=storage.url, version=version))
        yield version, data, manifest


def _read(storage: Storage, version: int) -> bytes:
    path = manifest_path(version)
    data = storage.find(path)
    if data is None:
        raise LogDamagedError(
            f"{storage.url}: {path} is missing; restore it", table=storage.url, path=path, version=version
        )
    return data


def _refuse_chain(table: str, version: int) -> None:
    path = manifest_path(version - 1)
    raise LogDamagedError(
        f"{table}: {path} is not what version {version} was committed on: one of the two manifests was "
        "edited; restore it",
        table=table,
        path=path,
        version=version - 1,
    )


def _refuse_tags(table: str, manifest: Manifest, tags: Mapping[str, CurrentTag]) -> None:
    if manifest.roll_up is None or {tag.event.name: tag for tag in manifest.roll_up.tags} == tags:
        return
    raise LogDamagedError(
        f"{table}: the roll-up of version {manifest.version} has other tags than the versions before it; restore it",
        table=table,
        path=manifest_path(manifest.version),
        version=manifest.version,
    )


def _check_files(storage: Storage, manifest: Manifest, findings: Findings, expects: Expects) -> None:
    findings.name(named_by_manifest(manifest))
    events, ledger = manifest.events, manifest.roll_up.ledger if manifest.roll_up else ()
    for file in (*files_of(events), *side_files_of(events), *ledger):
        if expects(manifest.version, file.path):
            findings.checksum(storage, file)
