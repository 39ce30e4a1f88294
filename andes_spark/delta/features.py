"""Allow-lists of the Delta tables that this library reads and writes, since it does both without Delta's own code.

A feature is *supported* if the ``protocol`` action lists it; it is *active*, and demands something of a client, only
by its property or metadata ("Supported Features" and "Active Features" of the protocol). Writer features do not
concern readers. So each feature in use is reported with the operation that it prevents, and with a remedy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from andes_spark.delta.actions import READER_VERSION, WRITER_VERSION
from andes_spark.delta.state import DeltaState
from andes_spark.errors import LogDamagedError, OptionError, UnsupportedTableError
from andes_spark.schema.schema import Schema

DELETION_VECTORS = "delta.enableDeletionVectors"

# Features without further demands on this library's writes, active or not.
_ALWAYS_FINE = frozenset(
    {"checkpointProtection", "deletionVectors", "domainMetadata", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"}
)
# Features that are active only by a property or by the metadata of a column, checked below.
_BY_METADATA = frozenset(
    {
        "allowColumnDefaults",
        "appendOnly",
        "changeDataFeed",
        "checkConstraints",
        "columnMapping",
        "generatedColumns",
        "icebergCompatV1",
        "icebergCompatV2",
        "icebergCompatV3",
        "identityColumns",
        "inCommitTimestamp",
        "invariants",
        "typeWidening",
        "typeWidening-preview",
        "variantType",
        "variantType-preview",
    }
)
_ROW_TRACKING, _CLUSTERING = "rowTracking", "clustering"

# From DeltaConfig.scala (4.4.0): properties without demands on a writer, or with demands that this library meets.
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
        "checkpointPolicy",
        "columnMapping.maxColumnId",
        "dataSkippingNumIndexedCols",
        "dataSkippingStatsColumns",
        "dataSkippingStringPrefixLength",
        "deletedFileRetentionDuration",
        "dropFeatureTruncateHistory.retentionDuration",
        "enableDeletionVectors",
        "enableTypeWidening",
        "enableExpiredLogCleanup",
        "enableFullRetentionRollback",
        "inCommitTimestampEnablementTimestamp",
        "inCommitTimestampEnablementVersion",
        "isolationLevel",
        "logRetentionDuration",
        "parquet.compression.codec",
        "parquet.format.version",
        "randomPrefixLength",
        "randomizeFilePrefixes",
        "requireCheckpointProtectionBeforeVersion",
        "rowTracking.materializedRowCommitVersionColumnName",
        "rowTracking.materializedRowIdColumnName",
        "rowTrackingSuspended",
        "sampleRetentionDuration",
        "targetFileSize",
        "tuneFileSizesForRewrites",
    )
)
# Values of properties that switch their feature off.
_OFF = {"delta.columnmapping.mode": ("none",)}
_FEATURE_OF = {
    "delta.appendonly": "appendOnly",
    "delta.columnmapping.mode": "columnMapping",
    "delta.compatibility.symlinkformatmanifest.enabled": "symlink manifests",
    "delta.enablechangedatacapture": "changeDataFeed",
    "delta.enablechangedatafeed": "changeDataFeed",
    "delta.enableicebergcompatv1": "icebergCompatV1",
    "delta.enableicebergcompatv2": "icebergCompatV2",
    "delta.enableicebergcompatv3": "icebergCompatV3",
    "delta.enableincommittimestamps": "inCommitTimestamp",
    "delta.enablerowtracking": "rowTracking",
    "delta.enablevariantshredding": "variantShredding",
    "delta.universalformat.enabledformats": "universal format",
}
_PREFIXES = {"delta.constraints.": "checkConstraints", "delta.coordinatedcommits.": "coordinatedCommits"}
_COLUMN_FEATURES = {
    "delta.generationExpression": "generatedColumns",
    "delta.identity.": "identityColumns",
    "delta.invariants": "invariants",
    "delta.typeChanges": "typeWidening",
    "CURRENT_DEFAULT": "allowColumnDefaults",
    "EXISTS_DEFAULT": "allowColumnDefaults",
}
_END_OF_ROW_TRACKING = (
    "Delta above 4.0 ends that by ALTER TABLE ... DROP FEATURE rowTracking, Delta 4.0 and older cannot: copy the rows "
    "to a new table there"
)
_READERS_TOO = frozenset({"columnMapping", "typeWidening"})
"""Features in use that change how data files are read."""
_RESTORE = "undo it by RESTORE TABLE ... TO VERSION AS OF the version before it was set"


@dataclass(frozen=True)
class Obstacle:
    """A feature in use that prevents this library from writing a table.

    Attributes:
        feature: its name in the protocol, or a description.
        explanation: where it is used, and the remedy.
        reading: whether it prevents reading too.
        column: name of the column that uses it.
    """

    feature: str
    explanation: str
    reading: bool = False
    column: str | None = None


def obstacles(state: DeltaState) -> list[Obstacle]:
    """Find the features that prevent writing or reading a table; empty for a table like this library's own.

    Raises:
        LogDamagedError: the schema cannot be read.
    """
    try:
        schema = json.loads(state.metadata.schema_json)
    except (ValueError, RecursionError) as error:
        raise LogDamagedError(f"the schema in the log is not JSON: {error}", version=state.version) from error
    obstacles = [*_of_protocol(state), *_of_format(state)]
    for name, value in state.metadata.configuration.items():
        obstacles += _of_property(name, str(value))
    for column, metadata in _column_metadata(schema):
        obstacles += _of_column(column, metadata)
    try:
        Schema.from_json_value(schema)
    except OptionError as error:
        raise LogDamagedError(f"the schema in the log is malformed: {error}", version=state.version) from error
    except UnsupportedTableError as error:
        obstacles.append(Obstacle(error.feature or "a column type", f"{error.message}; {_RESTORE}", True, error.column))
    return obstacles


def refusal(obstacles: Iterable[Obstacle], *, reading: bool = False) -> UnsupportedTableError | None:
    """Build the error that names the features in use; None if there are none.

    Args:
        obstacles: of ``obstacles``.
        reading: whether the table is only read.
    """
    chosen = [obstacle for obstacle in obstacles if obstacle.reading or not reading]
    if not chosen:
        return None
    first = chosen[0]
    verb = "read" if reading else "write"
    parts = [f"{obstacle.feature}, which this release cannot {verb}: {obstacle.explanation}" for obstacle in chosen]
    fields: dict[str, Any] = {"feature": first.feature}
    if first.column is not None:
        fields["column"] = first.column
    return UnsupportedTableError(f"the table uses {'; and '.join(parts)}", **fields)


def deletion_vectors_enabled(state: DeltaState) -> bool:
    """Return whether new deletion vectors may be written: the feature is supported and its property is on."""
    value = state.metadata.configuration.get(DELETION_VECTORS, "false")
    return "deletionVectors" in state.protocol.writer_features and value.lower() == "true"


def _of_protocol(state: DeltaState) -> Iterator[Obstacle]:
    protocol = state.protocol
    versions = (protocol.reader_version, protocol.writer_version)
    if versions != (READER_VERSION, WRITER_VERSION):
        yield Obstacle(
            f"protocol {versions[0]}/{versions[1]}",
            f"only {READER_VERSION}/{WRITER_VERSION} is supported: older tables get it by "
            f"ALTER TABLE ... SET TBLPROPERTIES ('{DELETION_VECTORS}' = 'true')",
            reading=True,
        )
        return
    for feature in sorted(protocol.writer_features | protocol.reader_features):
        if feature in _ALWAYS_FINE or feature in _BY_METADATA:
            continue
        if feature == _ROW_TRACKING:
            yield from _of_row_tracking(state)
        elif feature == _CLUSTERING:
            yield from _of_clustering(state)
        else:
            yield Obstacle(
                feature,
                "the feature is listed in the table's protocol; drop it where Delta can "
                f"(ALTER TABLE ... DROP FEATURE {feature}), else copy the rows to a new table",
                reading=feature in protocol.reader_features,
            )


def _of_row_tracking(state: DeltaState) -> Iterator[Obstacle]:
    """Row ids must be assigned while the feature is listed and not suspended, enabled or not."""
    if state.metadata.configuration.get("delta.rowTrackingSuspended", "false").lower() != "true":
        yield Obstacle(_ROW_TRACKING, f"every new row needs a row id; {_END_OF_ROW_TRACKING}")


def _of_clustering(state: DeltaState) -> Iterator[Obstacle]:
    """Statistics of all clustering columns must be written."""
    domain = state.domains.get("delta.clustering", {"removed": True})
    try:
        columns = [] if domain.get("removed") else json.loads(domain["configuration"])["clusteringColumns"]
    except (ValueError, TypeError, KeyError):
        columns = ["?"]
    if columns:
        yield Obstacle(_CLUSTERING, "the table is clustered; end that by ALTER TABLE ... CLUSTER BY NONE")


def _of_format(state: DeltaState) -> Iterator[Obstacle]:
    if state.metadata.provider != "parquet":
        yield Obstacle(
            f"format {state.metadata.provider}", "its files are not Parquet: rewrite the table", reading=True
        )


def _of_property(name: str, value: str) -> Iterator[Obstacle]:
    low, setting = name.lower(), value.strip().lower()
    if not low.startswith("delta.") or low in _HARMLESS or setting in ("false", "", *_OFF.get(low, ())):
        return
    feature = _FEATURE_OF.get(low) or next(
        (feature for prefix, feature in _PREFIXES.items() if low.startswith(prefix)), name
    )
    yield Obstacle(
        feature,
        f"the table property {name} is {value!r}; {_end_of_property(feature, name)}",
        reading=feature in _READERS_TOO,
    )


def _end_of_property(feature: str, name: str) -> str:
    if feature == "checkConstraints":
        return f"remove it: ALTER TABLE ... DROP CONSTRAINT {name.split('.', 2)[2]}"
    if feature == "columnMapping":
        return "remove it: ALTER TABLE ... SET TBLPROPERTIES ('delta.columnMapping.mode' = 'none')"
    if feature == _ROW_TRACKING:
        return _END_OF_ROW_TRACKING
    return f"remove it: ALTER TABLE ... UNSET TBLPROPERTIES ('{name}')"


def _of_column(column: str, metadata: Mapping[str, Any]) -> Iterator[Obstacle]:
    for key in metadata:
        for prefix, feature in _COLUMN_FEATURES.items():
            if key == prefix or (prefix.endswith(".") and key.startswith(prefix)):
                remedy = _RESTORE
                if feature == "allowColumnDefaults":
                    remedy = f"remove it: ALTER TABLE ... ALTER COLUMN {column} DROP DEFAULT"
                yield Obstacle(feature, f"column {column!r} has {key}; {remedy}", feature in _READERS_TOO, column)


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
