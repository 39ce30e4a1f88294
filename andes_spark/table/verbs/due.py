"""The merge policy of a table, and the size at which a merge counts as long."""

from __future__ import annotations

from collections.abc import Iterable

from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.model.durations import parse_duration
from andes_spark.model.events import PendingVersion, files_of
from andes_spark.settings import MIB
from andes_spark.table.open_table import OpenTable

LONG_BYTES = 64 * MIB


def is_due(open_table: OpenTable) -> bool:
    """Whether a merge is due by the table's merge policy."""
    policy = open_table.definition.merge
    if policy == "manual":
        return False
    if policy == "always":
        return True
    applied = open_table.assumed_applied()
    if applied >= open_table.log.head:
        return False
    waited_ms = open_table.log.clock() - open_table.log.manifest(applied + 1).time
    return waited_ms >= parse_duration(policy, option="merge").total_seconds() * 1000


def is_long(open_table: OpenTable, base: BaseSnapshot, versions: Iterable[PendingVersion]) -> bool:
    """Whether a merge takes the lease and is not planned ahead: it has to read more than ``LONG_BYTES``.

    Args:
        open_table: the table.
        base: state to merge into.
        versions: pending versions.
    """
    keys = open_table.base_context().keys
    unread = sum(file.size for path, file in base.state.files.items() if keys.layout(path) is None)
    return unread + sum(file.arrow_bytes for version in versions for file in files_of(version.events)) > LONG_BYTES
