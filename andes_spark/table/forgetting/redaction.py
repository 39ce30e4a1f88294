"""Documents without what names keys: manifests, and entries of the Delta log.

They keep their names, so that no writer that stopped long ago can create one of them again, and all that the versions
above the floor, the history and repeated batches need of them. What goes are ranges of keys and sequences, checksums of
files of mods, digests of batches without a salt, and the statistics of data files that no readable version has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from andes_spark.delta import seal
from andes_spark.delta.actions import encode as encode_actions
from andes_spark.delta.data_file import FOOTER_TAG, KEYS_TAG
from andes_spark.delta.paths import decode_path
from andes_spark.delta.state import Commit
from andes_spark.model.events import Event, Mods, PendingVersion, Quarantine, TakeIn, mods_of
from andes_spark.model.files import Entry, SideFile
from andes_spark.model.manifest import Manifest, committed_digest, salted_digest

F = TypeVar("F", Entry, SideFile)
NewEntry = Callable[[Entry], Entry | None]
"""Entry of a file of refused rows without those of the keys; None if no row is left."""
_KEPT_STATISTICS = ("numRecords", "tightBounds")
_TEXTS = ("operationParameters", "userMetadata")


def redacted_manifest(manifest: Manifest, data: bytes, *, floor: int, refused: NewEntry) -> Manifest:
    """Return a manifest without what names keys in the versions up to the floor; the same one if there is nothing.

    Args:
        manifest: the manifest.
        data: its bytes as stored.
        floor: version up to which all is part of the base.
        refused: returns the new entry of a file of refused rows.
    """
    new = manifest
    if manifest.version <= floor:
        events = _events(manifest.events, refused)
        batches = [
            msgspec.structs.replace(batch, digest=salted_digest(batch.digest, manifest.commit_id))
            for batch in manifest.batches
        ]
        new = msgspec.structs.replace(new, events=events, batches=batches if mods_of(events) else manifest.batches)
    if manifest.roll_up is not None:
        pending = [
            version if version.version > floor else _pending(version, refused) for version in manifest.roll_up.pending
        ]
        new = msgspec.structs.replace(new, roll_up=msgspec.structs.replace(manifest.roll_up, pending=pending))
    if new == manifest:
        return manifest
    return msgspec.structs.replace(new, original=committed_digest(data), checksum="")


def _pending(version: PendingVersion, refused: NewEntry) -> PendingVersion:
    return msgspec.structs.replace(version, events=_events(version.events, refused))


def _events(events: Iterable[Event], refused: NewEntry) -> list[Event]:
    kept: list[Event] = []
    for event in events:
        if isinstance(event, Mods):
            kept.append(msgspec.structs.replace(event, files=[_without_ranges(entry) for entry in event.files]))
        elif isinstance(event, Quarantine):
            files = [entry for entry in map(refused, event.files) if entry is not None]
            kept += [msgspec.structs.replace(event, files=files)] if files else []
        elif isinstance(event, TakeIn):
            tombstones = [_without_ranges(file) for file in event.tombstones]
            kept.append(msgspec.structs.replace(event, tombstones=tombstones))
        else:
            kept.append(event)
    return kept


def _without_ranges(entry: F) -> F:
    return msgspec.structs.replace(entry, keys=None, low_sequence=None, high_sequence=None, sha256="", footer="")


def redacted_entry(commit: Commit, live: Collection[str]) -> bytes | None:
    """Return an entry of the Delta log without the statistics of files that are not live; None if it has none.

    Args:
        commit: the entry.
        live: data files whose statistics stay.
    """
    actions = [(kind, _redacted_action(kind, action, live)) for kind, action in commit.actions]
    if actions == list(commit.actions):
        return None
    blank = ({kind: _unsealed(action) if kind == "commitInfo" else action} for kind, action in actions)
    return seal.sealed(commit.version, encode_actions(blank))


def _unsealed(info: dict[str, Any]) -> dict[str, Any]:
    tags = info.get("tags") or {}
    return info | {"tags": tags | {seal.TAG: seal.BLANK}} if seal.TAG in tags else info


def _redacted_action(kind: str, action: Mapping[str, Any], live: Collection[str]) -> dict[str, Any]:
    new = dict(action)
    if kind == "commitInfo":
        if seal.TAG not in (new.get("tags") or {}):
            new = {name: value for name, value in new.items() if name not in _TEXTS}
    elif kind in ("add", "remove") and decode_path(action["path"]) not in live:
        if new.get("stats"):
            stats = json.loads(new["stats"])
            new["stats"] = json.dumps({name: stats[name] for name in _KEPT_STATISTICS if name in stats})
        if new.get("tags"):
            new["tags"] = {name: tag for name, tag in new["tags"].items() if name not in (KEYS_TAG, FOOTER_TAG)}
    return new
