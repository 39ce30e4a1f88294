"""Schema and properties of the Delta table of a base, new or after a change of the definition."""

from __future__ import annotations

from typing import Any

from andes_spark.base.files import TableShape
from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.features import DELETION_VECTORS
from andes_spark.delta.state import DeltaState, Protocol
from andes_spark.delta.upgrade import upgraded
from andes_spark.log.alterations import Alteration
from andes_spark.model.definition import Definition
from andes_spark.schema.schema import Schema

STATISTICS = "delta.dataSkippingStatsColumns"
# Only this library's vacuum removes files of the base, since only it knows the log.
_FOREVER = "interval 36500 days"
_INDEXED = 32


def base_configuration(definition: Definition) -> dict[str, str]:
    """Return the properties of a new base: statistics of key and sequence, and no expiry by Delta."""
    narrow = list(dict.fromkeys((*definition.primary_key, *definition.sequence_by)))
    fields = Schema.from_json(definition.schema)
    others = [
        field.name
        for field in fields
        if field.name not in (*narrow, *definition.partition_by) and _has_range(field.type)
    ]
    indexed = [*(name for name in narrow if name not in definition.partition_by), *others][:_INDEXED]
    configuration = {
        DELETION_VECTORS: str(definition.deletion_vectors).lower(),
        "delta.deletedFileRetentionDuration": _FOREVER,
        "delta.logRetentionDuration": _FOREVER,
    }
    if indexed:
        quoted = ("`" + name.replace("`", "``") + "`" for name in indexed)
        configuration[STATISTICS] = ",".join(quoted)
    return configuration


def _has_range(type_: Any) -> bool:
    return (
        getattr(type_, "name", "decimal") not in ("boolean", "binary")
        and not hasattr(type_, "fields")
        and (hasattr(type_, "name") or hasattr(type_, "precision"))
    )


def altered_configuration(definition: Definition, alteration: Alteration | None, state: DeltaState) -> dict[str, str]:
    """Return the properties of a base after changes of the definition; those that others set stay.

    Args:
        definition: the new definition.
        alteration: the changes; None for none.
        state: newest state of the base.
    """
    configuration = dict(state.metadata.configuration)
    if alteration is None:
        return configuration
    changed, new = alteration.changed, base_configuration(definition)
    if "schema_id" in changed:
        configuration.pop(STATISTICS, None)
        configuration |= {name: value for name, value in new.items() if name == STATISTICS}
    if "deletion_vectors" in changed:
        configuration[DELETION_VECTORS] = new[DELETION_VECTORS]
    return configuration


def altered(
    definition: Definition, shape: TableShape, alteration: Alteration | None, state: DeltaState
) -> list[Action]:
    """Return the actions that bring changes of the definition to the base; none if it has no part in them.

    Args:
        definition: the new definition.
        shape: shape of the table with it.
        alteration: the changes; None for none.
        state: newest state of the base.
    """
    changed = frozenset() if alteration is None else alteration.changed & {"schema_id", "deletion_vectors", "comment"}
    if not changed:
        return []
    old = state.metadata
    metadata = actions.metadata(
        table_id=old.id,
        schema_json=shape.schema.to_json() if "schema_id" in changed else old.schema_json,
        partition_columns=old.partition_columns,
        configuration=altered_configuration(definition, alteration, state),
        created_ms=old.created,
        name=old.name,
        description=definition.comment if "comment" in changed else old.description,
    )
    ntz = "timestampNtz" in state.protocol.reader_features or "timestamp_ntz" in definition.schema
    vectors = "deletionVectors" in state.protocol.reader_features or definition.deletion_vectors
    protocol = upgraded(state.protocol, deletion_vectors=vectors, timestamp_ntz=ntz)
    return [metadata] if Protocol.from_action(protocol["protocol"]) == state.protocol else [protocol, metadata]
