"""The allow-list of Delta tables: what is outside is refused by name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from andes_spark.delta import features as protocol
from andes_spark.delta.files import no_files
from andes_spark.delta.log import DeltaState, Metadata, Protocol
from andes_spark.errors import LogDamagedError, UnsupportedTableError

BOTH = frozenset({"deletionVectors", "timestampNtz"})


def field_of(metadata: dict[str, Any] | None = None, type_: Any = "long", name: str = "k") -> dict[str, Any]:
    return {"name": name, "type": type_, "nullable": True, "metadata": metadata or {}}


def state_of(
    *,
    versions: tuple[int, int] = (3, 7),
    reader: frozenset[str] = BOTH,
    writer: frozenset[str] = BOTH | {"appendOnly", "invariants"},
    configuration: dict[str, str] | None = None,
    fields: list[Any] | None = None,
    schema_json: str | None = None,
    provider: str = "parquet",
) -> DeltaState:
    schema = schema_json or json.dumps({"type": "struct", "fields": fields or [field_of()]})
    metadata = Metadata("id", schema, (), configuration or {}, None, provider=provider)
    return DeltaState(0, Protocol(*versions, reader, writer), metadata, no_files(), {})


def refusal_of(state: DeltaState) -> UnsupportedTableError | None:
    return protocol.refusal(protocol.obstacles(state))


def refused(state: DeltaState) -> UnsupportedTableError:
    error = refusal_of(state)
    assert error is not None
    return error


def feature_of(state: DeltaState) -> Any:
    error = refused(state)
    assert str(error.feature) in str(error)
    return error.feature


def test_tables_like_ours():
    assert refusal_of(state_of()) is None
    assert refusal_of(state_of(reader=frozenset(), writer=frozenset())) is None
    own_state = state_of(
        configuration={
            "delta.enableDeletionVectors": "true",
            "delta.appendOnly": "false",
            "delta.enableChangeDataFeed": "FALSE",
            "delta.columnMapping.mode": "none",
            "delta.checkpointPolicy": "v2",
            "delta.enableTypeWidening": "true",
            "delta.LogRetentionDuration": "interval 30 days",
            "delta.dataSkippingStatsColumns": "k",
            "delta.someday.new": "false",
            "andes.table_id": "x",
            "comment": "delta.appendOnly",
        },
        fields=[field_of({"comment": "delta.identity.start"})],
    )
    assert refusal_of(own_state) is None


@pytest.mark.parametrize("versions", [(1, 2), (2, 5), (1, 7), (3, 8), (4, 7)])
def test_other_protocols(versions):
    assert feature_of(state_of(versions=versions)) == f"protocol {versions[0]}/{versions[1]}"


READER_LISTED = ["columnMapping", "v2Checkpoint", "typeWidening", "vacuumProtocolCheck", "variantType"]
WRITER_LISTED = [
    "changeDataFeed",
    "checkConstraints",
    "checkpointProtection",
    "clustering",
    "domainMetadata",
    "generatedColumns",
    "icebergCompatV1",
    "icebergCompatV2",
    "icebergCompatV3",
    "identityColumns",
    "inCommitTimestamp",
    "allowColumnDefaults",
]


@pytest.mark.parametrize("feature", [*READER_LISTED, *WRITER_LISTED])
def test_a_feature_that_is_listed_and_not_active_is_written_past(feature):
    """Protocol, "Supported Features": a feature being supported does not imply that it is active."""
    reader = BOTH | ({feature} & set(READER_LISTED))
    assert refusal_of(state_of(reader=reader, writer=BOTH | {feature})) is None


@pytest.mark.parametrize("feature", ["catalogManaged", "someday"])
def test_reader_features(feature):
    state = state_of(reader=BOTH | {feature}, writer=BOTH | {feature})
    assert feature_of(state) == feature
    assert protocol.refusal(protocol.obstacles(state), reading=True) is not None


@pytest.mark.parametrize("feature", ["rowTracking", "someday"])
def test_writer_features(feature):
    state = state_of(writer=BOTH | {feature})
    assert feature_of(state) == feature
    assert protocol.refusal(protocol.obstacles(state), reading=True) is None


@pytest.mark.parametrize("configuration", [{}, {"delta.enableRowTracking": "true"}], ids=["listed", "enabled"])
def test_row_tracking_names_the_versions_of_delta_that_can_end_it(configuration):
    state = state_of(writer=BOTH | {"rowTracking"}, configuration=configuration)
    for obstacle in protocol.obstacles(state):
        assert "Delta above 4.0 ends that by ALTER TABLE ... DROP FEATURE rowTracking" in obstacle.explanation
        assert "copy the rows" in obstacle.explanation


def test_suspended_row_tracking_asks_nothing():
    state = state_of(writer=BOTH | {"rowTracking"}, configuration={"delta.rowTrackingSuspended": "true"})
    assert refusal_of(state) is None


@pytest.mark.parametrize(("columns", "active"), [('["k"]', True), ("[]", False), ("7", True)])
def test_clustering_is_active_where_there_are_columns(columns, active):
    state = replace(
        state_of(writer=BOTH | {"clustering", "domainMetadata"}),
        domains={"delta.clustering": {"configuration": f'{{"clusteringColumns":{columns}}}'}},
    )
    assert [obstacle.feature for obstacle in protocol.obstacles(state)] == (["clustering"] if active else [])


def test_all_features_in_use_are_named():
    state = state_of(configuration={"delta.appendOnly": "true", "delta.constraints.positive": "k > 0"})
    assert re.search(r"appendOnly.*UNSET.*checkConstraints.*DROP CONSTRAINT positive", str(refused(state)))


@pytest.mark.parametrize(
    ("name", "value", "feature"),
    [
        ("delta.appendOnly", "true", "appendOnly"),
        ("delta.APPENDONLY", "True", "appendOnly"),
        ("delta.enableChangeDataFeed", "true", "changeDataFeed"),
        ("delta.columnMapping.mode", "name", "columnMapping"),
        ("delta.constraints.positive", "k > 0", "checkConstraints"),
        ("delta.enableRowTracking", "true", "rowTracking"),
        ("delta.enableInCommitTimestamps", "true", "inCommitTimestamp"),
        ("delta.enableIcebergCompatV2", "true", "icebergCompatV2"),
        ("delta.universalFormat.enabledFormats", "iceberg", "universal format"),
        ("delta.compatibility.symlinkFormatManifest.enabled", "true", "symlink manifests"),
        ("delta.coordinatedCommits.commitCoordinator-preview", "x", "coordinatedCommits"),
        # Would make Delta forget how far our merges have come.
        ("delta.setTransactionRetentionDuration", "interval 7 days", "delta.setTransactionRetentionDuration"),
        ("delta.someday.new", "true", "delta.someday.new"),
    ],
)
def test_properties(name, value, feature):
    assert feature_of(state_of(configuration={name: value})) == feature


@pytest.mark.parametrize(
    ("key", "feature"),
    [
        ("delta.generationExpression", "generatedColumns"),
        ("delta.identity.start", "identityColumns"),
        ("delta.invariants", "invariants"),
        ("delta.typeChanges", "typeWidening"),
        ("CURRENT_DEFAULT", "allowColumnDefaults"),
    ],
)
def test_column_metadata_at_any_depth(key, feature):
    plain = field_of({key: "x"}, name="a.b")
    assert feature_of(state_of(fields=[plain])) == feature
    inner = {"type": "struct", "fields": [plain]}
    array = {"type": "array", "elementType": inner, "containsNull": True}
    nested = {"type": "map", "keyType": "string", "valueType": array, "valueContainsNull": True}
    state = state_of(fields=[field_of(), field_of(type_=nested, name="m")])
    error = refused(state)
    assert (error.feature, error.column) == (feature, "m.a.b")


@pytest.mark.parametrize("type_", ["variant", "void", "interval year"])
def test_column_types(type_):
    assert refusal_of(state_of(fields=[field_of(type_=type_)])) is not None


def test_other_formats_than_parquet():
    assert feature_of(state_of(provider="orc")) == "format orc"


@pytest.mark.parametrize("text", ["{", "[]", '{"type":"struct","fields":[7]}', '"long"'])
def test_an_unreadable_schema_is_damage(text):
    with pytest.raises(LogDamagedError):
        refusal_of(state_of(schema_json=text))


def test_whether_vectors_may_be_written():
    on = {"delta.enableDeletionVectors": "True"}
    assert protocol.deletion_vectors_enabled(state_of(configuration=on))
    assert not protocol.deletion_vectors_enabled(state_of())
    assert not protocol.deletion_vectors_enabled(state_of(configuration=on, writer=frozenset()))
