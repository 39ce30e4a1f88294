"""Commit of a version: put-if-absent of the next manifest, and retry after another writer's commit."""

from __future__ import annotations

import logging
import platform
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata

from andes_spark.errors import CommitConflictError, CommitUnknownError
from andes_spark.log.advisory import Advisory
from andes_spark.log.clock import CheckedClock
from andes_spark.log.log import ROLL_UP_INTERVAL, Log
from andes_spark.log.probing import ask_manifests, write_hint
from andes_spark.model.definition import Definition
from andes_spark.model.documents import FORMAT, encode
from andes_spark.model.events import Event
from andes_spark.model.manifest import (
    Batch,
    Counts,
    Manifest,
    Origin,
    RollUp,
    decode_manifest,
    manifest_path,
)
from andes_spark.storage.put_once import put_once
from andes_spark.storage.scheduler import Asked

_AHEAD = 3
"""Number of later versions that are requested beside the one that came first: several writers may be ahead."""

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draft:
    """Content of a version to be committed, without its number and its place in the chain."""

    operation: str
    table_id: str
    counts: Counts = field(default_factory=Counts)
    events: tuple[Event, ...] = ()
    batches: tuple[Batch, ...] = ()
    definition: Definition | None = None
    origin: Origin | None = None
    job: str | None = None
    new_epoch: bool = False
    cuts: bool = False
    floor: int | None = None
    features: tuple[str, ...] = ()
    commit_id: str = field(default_factory=lambda: str(uuid.uuid4()))


Admit = Callable[[Manifest], Manifest | None]
"""Check of a manifest that was committed after the draft was planned. None: the commit goes on. A manifest: it is the
result of the commit (the same batch). An error refuses the commit."""


Beside = Callable[[Manifest], object]
"""Start of writes beside the put of a manifest, which name its commit id: void if another one stands at its version."""


def commit(
    log: Log,
    draft: Draft,
    *,
    clock: CheckedClock,
    admit: Admit,
    roll_up: Callable[[int, int], RollUp] | None = None,
    advisory: Advisory | None = None,
    head_checked: bool = False,
    beside: Beside | None = None,
) -> Manifest:
    """Commit a draft as the next version; return its manifest, or the one returned by ``admit``.

    After a lost race, the commit is tried again at the next number. After "already exists" and "unknown" the stored
    version is read and its commit id compared: it may be this attempt's own, whose answer was lost.

    Args:
        log: refreshed at least once; the draft was planned on its head.
        draft: content of the version.
        clock: clock that dates the version.
        admit: check of each version that other writers committed in between.
        roll_up: function that makes the roll-up for a version and its time; called for every 10th version above 0.
            Needed by all operations but create, which commits version 0 or nothing.
        advisory: recorder of a failure to write the hint; by default it is only logged.
        head_checked: whether the head in memory was compared with the stored one after the draft was begun.
        beside: called before each put of a manifest.

    Raises:
        CommitConflictError: the race was lost ``settings.commit_attempts`` times.
        UnsupportedTableError: the table has a feature that this release cannot write; ``feature``.
        CommitUnknownError: the store does not answer whether the commit happened; no file was deleted.
        AndesError: error raised by ``admit``.
    """
    if not head_checked:
        log.check_head()
    log.check_writable()
    for _ in range(log.settings.commit_attempts):
        manifest = _render(log, draft, clock, roll_up)
        data = encode(manifest)
        # A manifest that readers would refuse must never be committed.
        decoded = decode_manifest(data, table=log.table, version=manifest.version)
        if beside is not None:
            beside(manifest)
        ahead: list[Asked[bytes | None]] = []
        stored = _put(log, manifest, data, ahead)
        winner = log.take(manifest.version, stored, decoded=decoded if stored is data else None)
        if winner.commit_id == draft.commit_id:
            _leave_hint(log, advisory)
            return winner
        _LOGGER.debug("%s: version %d was committed by another writer first", log.table, manifest.version)
        known = log.head
        log.refresh(ahead)
        log.check_writable()
        for version in range(known, log.head + 1):
            instead = admit(log.manifest(version))
            if instead is not None:
                return instead
    raise CommitConflictError(
        f"{log.table}: other writers were first {log.settings.commit_attempts} times; try again",
        table=log.table,
        version=log.head + 1,
    )


def _leave_hint(log: Log, advisory: Advisory | None) -> None:
    steps = Advisory(log.table) if advisory is None else advisory
    consequence = "opening the table takes more requests until it can be"
    head = log.head
    steps.later(
        log.storage.scheduler, "writing the hint", lambda: write_hint(log.storage, head), consequence=consequence
    )
    if advisory is None:
        steps.report(f"version {log.head} is committed")


def _put(log: Log, manifest: Manifest, data: bytes, ahead: list[Asked[bytes | None]]) -> bytes:
    """Put a manifest; return the bytes stored at its version afterwards.

    Args:
        log: to put it into.
        manifest: the manifest.
        data: its bytes.
        ahead: takes requests for the versions after it, which are started beside the read of another writer's.
    """
    path = manifest_path(manifest.version)

    def look_ahead() -> None:
        if not ahead:
            ahead.extend(ask_manifests(log.storage, range(manifest.version + 1, manifest.version + 1 + _AHEAD)))

    stored = put_once(log.storage, path, data, seconds=log.settings.commit_seconds, beside_read=look_ahead)
    if stored is not None:
        return stored
    remedy = "make the same call again"
    if manifest.operation == "apply":
        remedy = "send the same batch again with its batch_id, which applies it once either way"
    raise CommitUnknownError(
        f"{log.table}: the store does not say whether version {manifest.version} was committed; {remedy}",
        table=log.table,
        version=manifest.version,
        commit_id=manifest.commit_id,
    )


def _render(log: Log, draft: Draft, clock: CheckedClock, roll_up: Callable[[int, int], RollUp] | None) -> Manifest:
    version = log.head + 1
    first = version == 0
    due = not first and version % ROLL_UP_INTERVAL == 0
    before = None if first else log.manifest(log.head)
    time = max(clock.now(), before.time if before else 0)
    return Manifest(
        format=FORMAT,
        table_id=draft.table_id,
        version=version,
        previous=None if first else log.digest(log.head),
        commit_id=draft.commit_id,
        time=time,
        operation=draft.operation,
        writer=_writer(draft.job),
        counts=draft.counts,
        reader_features=_with_features(before.reader_features if before else [], draft.features),
        writer_features=_with_features(before.writer_features if before else [], draft.features),
        events=list(draft.events),
        batches=list(draft.batches),
        definition=draft.definition,
        origin=draft.origin,
        roll_up=roll_up(version, time) if due and roll_up is not None else None,
        epoch=before.epoch + draft.new_epoch if before else 0,
        cuts=before.cuts + draft.cuts if before else 0,
        floor=max(before.floor if before else 0, draft.floor or 0),
    )


def _with_features(before: list[str], features: tuple[str, ...]) -> list[str]:
    return [*before, *(feature for feature in features if feature not in before)]


@cache
def _library() -> str:
    """Name and version of this library; cached, since the lookup in the package's metadata is slow.

    An archive of sources, as ``spark.submit.pyFiles`` takes it, has no metadata: there it is the name alone.
    """
    try:
        return f"andes_spark {metadata.version('andes_spark')}"
    except metadata.PackageNotFoundError:
        return "andes_spark"


def _writer(job: str | None) -> dict[str, str]:
    writer: Mapping[str, str | None] = {
        "library": _library(),
        "python": platform.python_version(),
        "job": job,
    }
    return {name: value for name, value in writer.items() if value is not None}
