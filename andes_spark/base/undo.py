"""Actions that bring an earlier state of the base back: its files, columns, properties and features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from andes_spark.base.merge.rewind import rewound
from andes_spark.delta import actions
from andes_spark.delta.actions import Action
from andes_spark.delta.features import obstacles, refusal
from andes_spark.delta.state import DeltaState, Metadata, Protocol


def files_back(newest: DeltaState, goal: DeltaState, *, timestamp_ms: int) -> list[Action]:
    """Removes and adds that lead from the newest files to those of an earlier state."""
    return rewound(newest.files, goal.files, [], timestamp_ms=timestamp_ms)


def writable_again(newest: DeltaState, goal: DeltaState) -> list[Action]:
    """As :func:`properties_back`, only where features in use keep this library from writing the newest state."""
    return [] if refusal(obstacles(newest)) is None else properties_back(newest, goal)


def properties_back(newest: DeltaState, goal: DeltaState) -> list[Action]:
    """Return actions to bring back columns, properties, domains, and the protocol where a feature is in use by itself.

    Features that are listed and not in use stay listed, as after Delta's RESTORE.
    """
    changes = [*_domains_back(newest, goal)]
    after = replace(newest, metadata=goal.metadata, domains=goal.domains)
    if after.metadata != newest.metadata:
        changes.append(metadata_action(goal.metadata))
    if after.protocol != goal.protocol and refusal(obstacles(after)) is not None:
        changes.append(protocol_action(goal.protocol))
    return changes


def metadata_action(metadata: Metadata) -> Action:
    """Build ``metaData`` of stored columns and properties."""
    return actions.metadata(
        table_id=metadata.id,
        schema_json=metadata.schema_json,
        partition_columns=metadata.partition_columns,
        configuration=metadata.configuration,
        created_ms=metadata.created,
        name=metadata.name,
        description=metadata.description,
    )


def protocol_action(protocol: Protocol) -> Action:
    """Build ``protocol`` of a stored one."""
    return {
        "protocol": {
            "minReaderVersion": protocol.reader_version,
            "minWriterVersion": protocol.writer_version,
            "readerFeatures": sorted(protocol.reader_features),
            "writerFeatures": sorted(protocol.writer_features),
        }
    }


def _domains_back(newest: DeltaState, goal: DeltaState) -> Iterable[Action]:
    for domain, value in newest.domains.items():
        before = goal.domains.get(domain)
        if before is None and not value.get("removed"):
            yield {"domainMetadata": {**value, "removed": True}}
        elif before is not None and before != value:
            yield {"domainMetadata": dict(before)}
