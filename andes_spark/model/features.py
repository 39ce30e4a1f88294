"""Features of a table that readers or writers must support, named in its manifests.

A manifest names all features in use; a feature is named from the first version that needs it. Readers refuse unknown
``reader_features`` only; writers also refuse unknown ``writer_features``.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from andes_spark.errors import UnsupportedTableError

HASHED_TOMBSTONES = "hashedTombstones"
"""Tombstones that hold a salted hash in place of the key, and manifests without ranges of keys: after a ``forget``."""
READER_FEATURES: frozenset[str] = frozenset({HASHED_TOMBSTONES})
WRITER_FEATURES: frozenset[str] = frozenset({HASHED_TOMBSTONES})
RESERVED = frozenset({"columnSequences", "scd2", "leafPresence", "firstRow", "aggregates"})
"""Names reserved for later releases: not written by this release, and refused by its readers."""


def check_readable(features: Iterable[str], *, table: str, version: int) -> None:
    """Refuse a table with reader features that this release does not support.

    Raises:
        UnsupportedTableError: ``feature`` is the first unknown one.
    """
    _refuse(set(features) - READER_FEATURES, "read", table, version)


def check_writable(features: Iterable[str], *, table: str, version: int) -> None:
    """Refuse to write to a table with unsupported features; raises as :func:`check_readable`."""
    _refuse(set(features) - WRITER_FEATURES, "written to", table, version)


def refuse_unknown(data: bytes, *, table: str, version: int) -> None:
    """Refuse a manifest with an unknown reader feature; for manifests that cannot be decoded."""
    try:
        named = msgspec.json.decode(data, type=_Named).reader_features
    except (msgspec.DecodeError, RecursionError):
        return
    check_readable(named, table=table, version=version)


class _Named(msgspec.Struct):
    reader_features: list[str] = []


def _refuse(unknown: set[str], action: str, table: str, version: int) -> None:
    for feature in sorted(unknown):
        raise UnsupportedTableError(
            f"{table}: version {version} names the feature {feature}, which this release does not know, so the table "
            f"cannot be {action} by it; install a newer andes_spark",
            table=table,
            version=version,
            feature=feature,
        )
