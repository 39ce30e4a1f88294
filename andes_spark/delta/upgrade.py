"""Upgrade of the protocol of an existing Delta table to that of this library's tables.

Format: the Delta protocol, "Table Features" and "Supported Features". Before table features, a version implied its
features; a table that is upgraded to 3/7 has to list them, whether or not it uses them.
"""

from __future__ import annotations

from collections.abc import Iterator

from andes_spark.delta import actions
from andes_spark.delta.actions import READER_VERSION, WRITER_VERSION, Action
from andes_spark.delta.state import Protocol

_IMPLIED = {
    2: ("appendOnly", "invariants"),
    3: ("checkConstraints",),
    4: ("changeDataFeed", "generatedColumns"),
    5: ("columnMapping",),
    6: ("identityColumns",),
}
"""Features that a writer version below table features implies, from that version on."""
_COLUMN_MAPPING = "columnMapping"


def upgraded(protocol: Protocol | None, *, deletion_vectors: bool, timestamp_ntz: bool) -> Action:
    """Build the ``protocol`` action 3/7 for a table: its own features, and those that this library's tables need.

    Args:
        protocol: the table's protocol; None for a new table.
        deletion_vectors: whether deletion vectors will be written.
        timestamp_ntz: whether a column is a timestamp without a zone.
    """
    own_protocol: Action = actions.protocol(deletion_vectors=deletion_vectors, timestamp_ntz=timestamp_ntz)
    if protocol is None:
        return own_protocol
    needed = own_protocol["protocol"]
    writers = {*needed["writerFeatures"], *writer_features(protocol)}
    readers = {*needed["readerFeatures"], *protocol.reader_features}
    if protocol.reader_version < READER_VERSION and _COLUMN_MAPPING in writers:
        readers.add(_COLUMN_MAPPING)
    return {
        "protocol": {
            # A later version stays, and is refused.
            "minReaderVersion": max(READER_VERSION, protocol.reader_version),
            "minWriterVersion": max(WRITER_VERSION, protocol.writer_version),
            "readerFeatures": sorted(readers),
            "writerFeatures": sorted(writers | readers),
        }
    }


def writer_features(protocol: Protocol) -> frozenset[str]:
    """Return the features that writers of a table must know: those that it lists, or that its version implies."""
    if protocol.writer_version >= WRITER_VERSION:
        return protocol.writer_features
    return frozenset(_implied(protocol.writer_version))


def _implied(version: int) -> Iterator[str]:
    for least, features in _IMPLIED.items():
        if version >= least:
            yield from features
