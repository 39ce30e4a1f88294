"""The merge policy of a table."""

from __future__ import annotations

from andes_spark.model.durations import parse_duration
from andes_spark.table.open_table import OpenTable


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
