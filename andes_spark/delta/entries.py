"""Creating, reading and checking entries of the Delta log.

Format: the Delta protocol, "Delta Log Entries" and "Actions".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from andes_spark.delta import seal
from andes_spark.delta.actions import ENGINE, encode
from andes_spark.delta.paths import entry_path
from andes_spark.delta.state import Commit
from andes_spark.errors import LogDamagedError
from andes_spark.storage.put_once import put_once

if TYPE_CHECKING:
    from andes_spark.storage.interface import Storage


def read_commit(storage: Storage, version: int) -> Commit | None:
    """Read one entry of the log, None if it does not exist.

    Raises:
        LogDamagedError: the entry is malformed; ``path``, ``version``.
    """
    data = storage.find(entry_path(version))
    return None if data is None else parse_commit(version, data)


def create_entry(
    storage: Storage, version: int, actions: Iterable[dict[str, Any]], *, seconds: float = 0.0
) -> Commit | None:
    """Create the entry of a version unless it exists, sealed if it begins with our ``commitInfo``.

    Args:
        storage: the table's folder.
        version: version of the entry.
        actions: actions of the entry.
        seconds: time limit while the outcome is unknown, see ``put_once``.

    Returns:
        The entry that exists afterwards, identified by its commit id; None if the outcome is unknown.
    """
    entry = list(actions)
    data = seal.sealed(version, encode(entry))
    stored = put_once(storage, entry_path(version), data, seconds=seconds)
    if stored is data:
        return Commit(version, tuple(member for action in entry for member in action.items()))
    return None if stored is None else parse_commit(version, stored)


def parse_commit(version: int, data: bytes) -> Commit:
    """Parse the bytes of an entry; raises as ``read_commit``."""
    actions: list[tuple[str, dict[str, Any]]] = []
    targets: set[tuple[str, str]] = set()
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise bad_entry(version, f"a line is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise bad_entry(version, "a line is not an object")
        for kind, action in value.items():
            if not isinstance(action, dict):
                continue
            identity = _identity(kind, action)
            if identity is not None and identity in targets:
                raise bad_entry(version, f"it has two {kind} actions for {identity[1] or 'the table'}")
            if identity is not None:
                targets.add(identity)
            actions.append((kind, action))
    if not actions:
        raise bad_entry(version, "it is empty")
    commit = Commit(version, tuple(actions))
    intact = seal.is_intact(version, data)
    if intact is False or (intact is None and (commit.commit_info or {}).get("engineInfo") == ENGINE):
        raise bad_entry(version, "it is not as this library wrote it: its checksum differs")
    return commit


def _identity(kind: str, action: Mapping[str, Any]) -> tuple[str, str] | None:
    """Key of an action that must be unique in an entry (protocol: "Delta Log Entries", "Add File and Remove File")."""
    match kind:
        case "add" | "remove":
            return kind, str(action.get("path"))
        case "metaData" | "protocol":
            return kind, ""
        case "txn":
            return kind, str(action.get("appId"))
    return None


def bad_entry(version: int, problem: str) -> LogDamagedError:
    """Build the error for an entry that is missing or malformed."""
    path = entry_path(version)
    return LogDamagedError(f"log entry {path}: {problem}; restore it from a backup", path=path, version=version)
