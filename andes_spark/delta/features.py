"""Which Delta tables this library may write: an allow-list, since it commits without Delta's own writer.

Delta promises that a client that does not know a feature is told of it, by the lists in the ``protocol``
action. What a feature needs stands in properties and column metadata as well; these are checked too, so that
nothing is written that the table's owner has forbidden or that needs upkeep which we do not do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from andes_spark.delta.actions import READER_VERSION, WRITER_VERSION
from andes_spark.delta.state import DeltaState
from andes_spark.errors import LogDamagedError, OptionError, UnsupportedTableError
from andes_spark.schema.schema import Schema

READER_FEATURES = frozenset({"deletionVectors", "timestampNtz"})
WRITER_FEATURES = READER_FEATURES | {"appendOnly", "invariants"}

DELETION_VECTORS = "delta.enableDeletionVectors"

# Of DeltaConfig.scala (4.4.0): properties that ask nothing of a writer, or nothing that we do not do.
_HARMLESS = frozenset(
    f"delta.{name}".lower()
    for name in (
        "autoOptimize",
        "autoOptimize.autoCompact",
        "autoOptimize.optimizeWrite",
        "checkpoint.writeStatsAsJson",
        "checkpoint.writeStatsAsStruct",
        "checkpointInterval",
        "checkpointRetentionDuration",
        "columnMapping.maxColumnId",
        "dataSkippingNumIndexedCols",
        "dataSkippingStatsColumns",
        "dataSkippingStringPrefixLength",
        "deletedFileRetentionDuration",
        "dropFeatureTruncateHistory.retentionDuration",
        "enableDeletionVectors",
        "enableExpiredLogCleanup",
        "enableFullRetentionRollback",
        "isolationLevel",
        "logRetentionDuration",
        "parquet.compression.codec",
        "parquet.format.version",
        "randomPrefixLength",
        "randomizeFilePrefixes",
        "sampleRetentionDuration",
        "targetFileSize",
        "tuneFileSizesForRewrites",
    )
)
# Values with which a property says that its feature is off.
_OFF = {"delta.checkpointpolicy": ("classic",), "delta.columnmapping.mode": ("none",)}
_FEATURE_OF = {
    "delta.appendonly": "appendOnly",
    "delta.checkpointpolicy": "v2Checkpoint",
    "delta.columnmapping.mode": "columnMapping",
    "delta.compatibility.symlinkformatmanifest.enabled": "symlink manifests",
    "delta.enablechangedatacapture": "changeDataFeed",
    "delta.enablechangedatafeed": "changeDataFeed",
    "delta.enableicebergcompatv1": "icebergCompatV1",
    "delta.enableicebergcompatv2": "icebergCompatV2",
    "delta.enableicebergcompatv3": "icebergCompatV3",
    "delta.enableincommittimestamps": "inCommitTimestamp",
    "delta.enablerowtracking": "rowTracking",
    "delta.enabletypewidening": "typeWidening",
    "delta.enablevariantshredding": "variantShredding",
    "delta.universalformat.enabledformats": "universal format",
}
_PREFIXES = {"delta.constraints.": "checkConstraints", "delta.coordinatedcommits.": "coordinatedCommits"}
_COLUMN_FEATURES = {
    "delta.generationExpression": "generatedColumns",
    "delta.identity.": "identityColumns",
    "delta.columnMapping.": "columnMapping",
    "delta.invariants": "invariants",
    "delta.typeChanges": "typeWidening",
    "CURRENT_DEFAULT": "allowColumnDefaults",
    "EXISTS_DEFAULT": "allowColumnDefaults",
}


def check_supported(state: DeltaState) -> None:
    """Refuse a table that this release could not write without harm.

    Raises:
        UnsupportedTableError: another protocol than 3/7, or a table feature, property, column type or
            column metadata outside the allow-list; ``feature``, and ``column`` where it is one's.
        LogDamagedError: the schema cannot be read.
    """
    _check_protocol(state)
    if state.metadata.provider != "parquet":
        raise _refused(f"format {state.metadata.provider}", "its files are not Parquet: rewrite the table")
    for name, value in state.metadata.configuration.items():
        _check_property(name, value)
    try:
        schema = json.loads(state.metadata.schema_json)
    except (ValueError, RecursionError) as error:
        raise LogDamagedError(f"the schema in the log is not JSON: {error}", version=state.version) from error
    for column, metadata in _column_metadata(schema):
        _check_column(column, metadata)
    try:
        Schema.from_json_value(schema)
    except OptionError as error:
        raise LogDamagedError(f"the schema in the log is malformed: {error}", version=state.version) from error


def deletion_vectors_enabled(state: DeltaState) -> bool:
    """Whether new deletion vectors may be written: the feature is there and its property is on."""
    value = state.metadata.configuration.get(DELETION_VECTORS, "false")
    return "deletionVectors" in state.protocol.writer_features and value.lower() == "true"


def _check_protocol(state: DeltaState) -> None:
    protocol = state.protocol
    found = (protocol.reader_version, protocol.writer_version)
    if found != (READER_VERSION, WRITER_VERSION):
        raise _refused(
            f"protocol {found[0]}/{found[1]}",
            f"only {READER_VERSION}/{WRITER_VERSION} is supported: older tables get it by "
            f"ALTER TABLE ... SET TBLPROPERTIES ('{DELETION_VECTORS}' = 'true')",
        )
    unknown = (protocol.reader_features - READER_FEATURES) | (protocol.writer_features - WRITER_FEATURES)
    if unknown:
        first = min(unknown)
        raise _refused(
            first,
            f"table features in use: {', '.join(sorted(unknown))}; drop them "
            f"(ALTER TABLE ... DROP FEATURE {first}) or copy the rows to a table without them",
        )


def _check_property(name: str, value: str) -> None:
    low, setting = name.lower(), str(value).strip().lower()
    if not low.startswith("delta.") or low in _HARMLESS or setting in ("false", "", *_OFF.get(low, ())):
        return
    feature = _FEATURE_OF.get(low) or next(
        (feature for prefix, feature in _PREFIXES.items() if low.startswith(prefix)), name
    )
    advice = f"ALTER TABLE ... UNSET TBLPROPERTIES ('{name}')"
    if feature == "checkConstraints":
        advice = f"ALTER TABLE ... DROP CONSTRAINT {name.split('.', 2)[2]}"
    raise _refused(feature, f"the table property {name} is {value!r}; remove it: {advice}")


def _check_column(column: str, metadata: Mapping[str, Any]) -> None:
    for key in metadata:
        for prefix, feature in _COLUMN_FEATURES.items():
            if key == prefix or (prefix.endswith(".") and key.startswith(prefix)):
                raise _refused(
                    feature,
                    f"column {column!r} has {key}; copy the rows to a table whose columns are plain",
                    column=column,
                )


def _column_metadata(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every field of a schema, nested ones included, with its metadata."""
    pending = [(path, node)]
    while pending:
        above, value = pending.pop()
        if not isinstance(value, dict):
            continue
        for field in value.get("fields") or ():
            if isinstance(field, dict):
                name = f"{above}.{field.get('name')}" if above else str(field.get("name"))
                yield name, field.get("metadata") or {}
                pending.append((name, field.get("type")))
        pending += [(above, value.get(part)) for part in ("elementType", "keyType", "valueType")]


def _refused(feature: str, what: str, *, column: str | None = None) -> UnsupportedTableError:
    message = f"the table uses {feature}, which this release cannot write: {what}"
    if column is None:
        return UnsupportedTableError(message, feature=feature)
    return UnsupportedTableError(message, feature=feature, column=column)
