"""What a face shows of a table: a state of the base, and the definition as of it."""

from __future__ import annotations

from andes_spark.base.snapshots import BaseSnapshot
from andes_spark.log.readable import floor_of
from andes_spark.sync.iceberg.metadata import Shown
from andes_spark.table.open_table import OpenTable


def shown_of(open_table: OpenTable, base: BaseSnapshot) -> Shown:
    """Return what a face shows of a state of the base; the log must be in memory up to its version."""
    shape = open_table.shape_at(base.applied)
    definition = open_table.log.definition_at(base.applied)
    earlier = (version for version in shape.versions.by_id.values() if version.id != shape.versions.current_id)
    return Shown(
        table_id=open_table.table_id,
        state=base.state,
        applied=base.applied,
        head=open_table.log.head,
        floor=floor_of(open_table.log),
        version=shape.versions.current,
        schemas=(shape.versions.current, *sorted(earlier, key=lambda version: version.id, reverse=True)),
        last_field_id=definition.last_field_id,
        keys=tuple(definition.primary_key),
        partition_by=shape.partition_by,
        comment=definition.comment,
    )
