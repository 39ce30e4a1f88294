"""Documents of the log: their format is pinned, and what was not written by us is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from andes_spark.errors import AndesError, LogDamagedError, UnsupportedTableError
from andes_spark.model import features
from andes_spark.model.definition import Definition, TableSchema
from andes_spark.model.documents import Document, encode, json_schema, seal
from andes_spark.model.events import (
    Alter,
    CurrentTag,
    Drop,
    Expire,
    Mods,
    PendingVersion,
    Quarantine,
    Rebuilt,
    Restore,
    SetAside,
    Tag,
    TakeIn,
    Truncate,
)
from andes_spark.model.files import Entry, FileKeyRange, LedgerFile, SideFile
from andes_spark.model.manifest import Batch, Counts, Manifest, Origin, RollUp, decode_manifest
from andes_spark.model.merge_record import MergeRecord, decode_merge_record, merge_record_path

GOLDEN = Path(__file__).parent.parent / "golden"

ENTRY = Entry(
    path="_andes/mods/00000000000000000099-6f1c2f4e-0000-4000-8000-000000000001.parquet",
    rows=4,
    bytes=2048,
    sha256="ab" * 32,
    footer="1130-9f2c01ab",
    arrow_bytes=4096,
    schema_id=1,
    upserts=2,
    deletes=1,
    truncates=1,
    partial=1,
    batches=2,
    keys=FileKeyRange(low=[1, "a"], high=[9, "ß"]),
    low_sequence=[10],
    high_sequence=[20],
)
REFUSED = Entry(
    path="_andes/quarantine/00000000000000000099-6f1c2f4e-0000-4000-8000-000000000004.parquet",
    rows=1,
    bytes=700,
    sha256="12" * 32,
    footer="600-00000001",
    arrow_bytes=64,
    schema_id=1,
)
TOMBSTONES = SideFile(
    path="_andes/tombstones/00000000000000000100-6f1c2f4e-0000-4000-8000-000000000007.parquet",
    rows=1,
    bytes=900,
    sha256="34" * 32,
    footer="700-00000002",
    arrow_bytes=32,
    schema_id=1,
    keys=FileKeyRange(low=[1], high=[1]),
    low_sequence=[10],
    high_sequence=[10],
)
DEFINITION = Definition(
    schemas=(
        TableSchema(id=0, struct='{"type":"struct","fields":[]}', field_ids=()),
        TableSchema(
            id=1,
            struct='{"type":"struct","fields":[{"name":"id","type":"long","nullable":false,"metadata":{}},'
            '{"name":"tags","type":{"type":"array","elementType":"string","containsNull":true},"nullable":true,'
            '"metadata":{}}]}',
            field_ids=(1, 3, 4),
        ),
    ),
    schema_id=1,
    last_field_id=4,
    primary_key=("id",),
    sequence_by=("lsn",),
    comment="c",
    properties={"owner": "x"},
)
FULL = Manifest(
    format=2,
    table_id="6f1c2f4e-0000-4000-8000-000000000000",
    version=100,
    previous="cd" * 32,
    commit_id="6f1c2f4e-0000-4000-8000-000000000002",
    time=1_700_000_000_000,
    operation="apply",
    writer={"library": "andes_spark 0.1.0", "job": "nightly"},
    counts=Counts(received=6, upserts=2, deletes=1, truncates=1, collapsed=1, quarantined=1, partial=1),
    events=[
        Mods(files=[ENTRY]),
        Quarantine(files=[REFUSED]),
        Truncate(sequences=[[15], [16]], batch=1),
        Expire(sequence=[9]),
        SetAside(version=97),
        Restore(version=96),
        Tag(name="month-end", version=99, expires=1_707_776_000_000, duration=7_776_000_000),
        Tag(name="old"),
        Drop(),
        Alter(schema_id=1, before=0, changed=["schema_id"]),
        TakeIn(delta_version=7, content="ef" * 32, applied=98, tombstones=[TOMBSTONES], ends_truncate=True),
        Rebuilt(digest="12" * 32, known=False),
    ],
    batches=[
        Batch(
            source="orders-cdc",
            id="i:42",
            digest="andes1:00",
            schema_id=1,
            counts=Counts(received=6, upserts=2, deletes=1, truncates=1, collapsed=1, quarantined=1, partial=1),
            number=1,
        )
    ],
    definition=DEFINITION,
    origin=Origin(delta_version=0, rows=3),
    roll_up=RollUp(
        applied=98,
        applied_commit_id="6f1c2f4e-0000-4000-8000-000000000005",
        pending=[
            PendingVersion(
                version=99,
                commit_id="6f1c2f4e-0000-4000-8000-000000000006",
                events=[Mods(files=[ENTRY], backfill=True), Truncate(backfill=True)],
            )
        ],
        definition=DEFINITION,
        ledger=[
            LedgerFile(
                path="_andes/ledger/00000000000000000099-6f1c2f4e-0000-4000-8000-000000000003.parquet",
                from_version=0,
                to_version=99,
                rows=7,
                bytes=900,
                sha256="ef" * 32,
                footer="512-00c0ffee",
                arrow_bytes=1200,
                newest_time=1_699_999_999_999,
                ids={"orders-cdc": ["i:1", "s:a"]},
            )
        ],
        tags=[CurrentTag(committed=98, event=Tag(name="old", version=96))],
        origin=Origin(delta_version=0, rows=3),
    ),
)
COMMIT_ID = "6f1c2f4e-0000-4000-8000-000000000007"
TOMBSTONES = SideFile(
    path="_andes/tombstones/x-1.parquet",
    rows=1,
    bytes=2,
    sha256="ab" * 32,
    footer="9-00000000",
    arrow_bytes=16,
    schema_id=1,
    keys=FileKeyRange(low=[1], high=[9]),
    low_sequence=[3],
    high_sequence=[8],
)
RECORD = MergeRecord(
    format=2,
    table_id="t",
    version=7,
    commit_id=COMMIT_ID,
    truncates=[[3]],
    cut=[2],
    tombstones=[TOMBSTONES],
    quarantined=[msgspec.structs.replace(TOMBSTONES, path="_andes/quarantine/x-2.parquet", keys=None)],
)


def resealed(document: dict[str, object]) -> bytes:
    document.pop("checksum", None)
    return seal(msgspec.json.encode(document))


def edited(document: Document, **members: object) -> bytes:
    return resealed(msgspec.json.decode(encode(document)) | members)


def read_record(data: bytes) -> MergeRecord:
    return decode_merge_record(data, table="t", version=7, commit_id=COMMIT_ID)


def shipped(name: str) -> dict[str, object]:
    text = resources.files("andes_spark.model").joinpath(name).read_text("utf-8")
    schema: dict[str, object] = json.loads(text)
    return schema


@pytest.mark.parametrize(
    ("name", "kind"), [("manifest.schema.json", Manifest), ("merge_record.schema.json", MergeRecord)]
)
def test_the_shipped_schema_is_that_of_the_classes(name: str, kind: type) -> None:
    assert shipped(name) == json.loads(json.dumps(json_schema(kind)))


WITH_FACES = msgspec.structs.replace(FULL, definition=msgspec.structs.replace(DEFINITION, faces=("iceberg",)))


@pytest.mark.parametrize(
    ("golden", "document"),
    [("manifest_2", FULL), ("manifest_2_faces", WITH_FACES), ("merge_record_2", RECORD)],
)
def test_format_2_is_pinned(golden: str, document: Document) -> None:
    stored = (GOLDEN / f"{golden}.json").read_bytes().rstrip(b"\n")
    assert encode(document) == stored
    name = golden.partition("_2")[0]
    read = decode_manifest(stored, table="t", version=100) if name == "manifest" else read_record(stored)
    assert msgspec.structs.replace(read, checksum="") == document
    assert encode(read) == stored
    jsonschema.validate(json.loads(stored), shipped(f"{name}.schema.json"))


@pytest.mark.parametrize("number", [1, 3])
def test_another_format_is_refused_by_name(number: int) -> None:
    for read in (
        lambda: decode_manifest(edited(FULL, format=number, something_new=True), table="t", version=100),
        lambda: read_record(edited(RECORD, format=number)),
    ):
        with pytest.raises(UnsupportedTableError) as caught:
            read()
        assert caught.value.feature == f"format {number}"


@pytest.mark.parametrize("feature", ["columnTypes", *sorted(features.RESERVED)])
def test_an_unknown_reader_feature_is_refused_by_name_and_a_writer_feature_only_by_writers(feature: str) -> None:
    # Whatever else that release changed: the feature is named first.
    for change in ({}, {"counts": [1, 2]}, {"events": [{"type": "news"}]}):
        with pytest.raises(UnsupportedTableError, match=feature) as caught:
            decode_manifest(edited(FULL, reader_features=[feature], **change), table="t", version=100)
        assert (caught.value.feature, caught.value.version) == (feature, 100)
    manifest = decode_manifest(edited(FULL, writer_features=[feature]), table="t", version=100)
    with pytest.raises(UnsupportedTableError) as caught:
        features.check_writable(manifest.writer_features, table="t", version=100)
    assert caught.value.feature == feature


@pytest.mark.parametrize("event", ["compact"])
@pytest.mark.parametrize("rolled_up", [False, True])
def test_an_event_that_is_not_known_is_refused_by_name(event: str, rolled_up: bool) -> None:
    document = msgspec.json.decode(encode(FULL))
    where = document["roll_up"]["pending"][0] if rolled_up else document
    where["events"].append({"type": event, "to": 5})
    with pytest.raises(UnsupportedTableError) as caught:
        decode_manifest(resealed(document), table="t", version=100)
    assert (caught.value.feature, caught.value.version) == (event, 100)


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"row_needs": "full"}, "columnSequences"),
        ({"stored_as_scd_type": 2}, "scd2"),
        ({"tracked": [3]}, "scd2"),
        ({"merge_kind": "firstRow"}, "firstRow"),
        ({"merge_kind": "aggregates"}, "aggregates"),
    ],
)
def test_reserved_fields_of_the_definition_are_refused_in_use(fields: dict[str, object], feature: str) -> None:
    document = msgspec.json.decode(encode(FULL))
    for where in (document, document["roll_up"]):
        copy = json.loads(json.dumps(document))
        target = copy if where is document else copy["roll_up"]
        target["definition"] |= fields
        with pytest.raises(UnsupportedTableError) as caught:
            decode_manifest(resealed(copy), table="t", version=100)
        assert caught.value.feature == feature


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"key_states": [{}]}, "columnSequences"),
        ({"ghosts": [{}]}, "columnSequences"),
        ({"events": [{}]}, "scd2"),
    ],
)
def test_reserved_fields_of_a_merge_record_are_refused_in_use(fields: dict[str, list[Any]], feature: str) -> None:
    file = msgspec.to_builtins(msgspec.json.decode(encode(TOMBSTONES)))
    used = {name: [file | item if isinstance(item, dict) else item for item in items] for name, items in fields.items()}
    with pytest.raises(UnsupportedTableError) as caught:
        read_record(edited(RECORD, **used))
    assert caught.value.feature == feature


def test_a_definition_without_its_schema_is_damaged() -> None:
    document = msgspec.json.decode(encode(FULL))
    document["definition"]["schema_id"] = 5
    with pytest.raises(LogDamagedError, match="lacks its schema 5"):
        decode_manifest(resealed(document), table="t", version=100)


LATER = "manifest_2_later.json"


def later_release() -> dict[str, Any]:
    """The manifest as a later release may write it: optional members, of every part, that nobody needs to know."""
    document: dict[str, Any] = json.loads(encode(FULL))
    document.pop("checksum")
    big = 123456789012345678901234567890
    for part in (
        document,
        document["counts"],
        document["batches"][0],
        document["definition"],
        document["definition"]["schemas"][1],
        document["events"][0],
        document["events"][0]["files"][0],
        document["events"][2],
        document["roll_up"],
        document["roll_up"]["definition"],
        document["roll_up"]["definition"]["schemas"][0],
        document["roll_up"]["pending"][0],
        document["roll_up"]["pending"][0]["events"][0]["files"][0],
        document["roll_up"]["pending"][0]["events"][0]["files"][0]["keys"],
        document["roll_up"]["ledger"][0],
        document["roll_up"]["tags"][0],
        document["roll_up"]["tags"][0]["event"],
    ):
        part["later"] = {"number": big, "text": "ß", "list": [1.50, None, {"__unknown__": {}}]}
    return document


def test_optional_members_of_a_later_release_change_nothing_and_are_kept() -> None:
    stored = (GOLDEN / LATER).read_bytes().rstrip(b"\n")
    assert json.loads(stored).items() >= later_release().items()
    read = decode_manifest(stored, table="t", version=100)
    assert read.counts.upserts == 2
    assert read.definition is not None
    assert read.definition.schema == DEFINITION.schema
    written = json.loads(encode(read))
    assert written.pop("checksum")
    assert written == later_release()
    jsonschema.validate(json.loads(stored), shipped("manifest.schema.json"))
    # What a writer copies into a document of its own keeps them.
    assert read.roll_up is not None
    copied = msgspec.structs.replace(
        FULL,
        roll_up=RollUp(
            applied=98,
            applied_commit_id=COMMIT_ID,
            pending=[read.pending],
            definition=read.definition,
            ledger=read.roll_up.ledger,
            tags=read.roll_up.tags,
            origin=read.roll_up.origin,
        ),
    )
    rolled = json.loads(encode(copied))["roll_up"]
    expected = later_release()
    assert rolled["definition"] == expected["definition"]
    assert rolled["ledger"] == expected["roll_up"]["ledger"]
    assert rolled["tags"] == expected["roll_up"]["tags"]
    assert rolled["pending"][0]["events"] == expected["events"]


def test_a_property_may_have_any_name() -> None:
    named = msgspec.structs.replace(DEFINITION, properties={"__unknown__": "x", "later": "{}"})
    manifest = msgspec.structs.replace(FULL, definition=named)
    read = decode_manifest(encode(manifest), table="t", version=100)
    assert read.definition == named


@pytest.mark.parametrize(
    "change",
    [
        {"version": 101},
        {"version": "100"},
        {"events": [{"type": "mods"}]},
        {"events": [{"files": []}]},
        {"events": {}},
        {"counts": None},
    ],
)
def test_an_edited_manifest_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(LogDamagedError) as caught:
        decode_manifest(edited(FULL, **change), table="t", version=100)
    assert "checksum differs" not in caught.value.message


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.replace(b'"deletes":1', b'"deletes":2', 1),
        lambda data: data.replace(b'"time":17', b'"time":16', 1),
        lambda data: data + b"\n",
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: data[: data.rindex(b',"checksum"')] + b"}",
        lambda data: data.replace(b'"checksum":"', b'"checksum":"0', 1),
    ],
)
def test_the_head_shows_an_edit_before_there_is_a_next_version(edit: Callable[[bytes], bytes]) -> None:
    edited = edit(encode(FULL))
    assert edited != encode(FULL)
    with pytest.raises(LogDamagedError, match="checksum differs") as caught:
        decode_manifest(edited, table="t", version=100)
    assert (caught.value.table, caught.value.version) == ("t", 100)


@pytest.mark.parametrize(
    "path",
    [
        "../outside.parquet",
        "/etc/passwd",
        "_andes/mods/../../x.parquet",
        "_andes/mods/a/b.parquet",
        "_andes/manifests/x.parquet",
        "part-1.parquet",
        "_andes/mods/.hidden.parquet",
        "_andes/mods/x.parquet\n",
        "s3://other/x.parquet",
    ],
)
def test_a_path_that_is_none_of_ours_is_refused(path: str) -> None:
    document = json.loads(encode(FULL))
    document["events"][0]["files"][0]["path"] = path
    with pytest.raises(LogDamagedError) as caught:
        decode_manifest(resealed(document), table="t", version=100)
    assert caught.value.path == path


@pytest.mark.parametrize("data", [b"", b"[]", b"nonsense", b"[" * 100_000, b'{"format": 2}', b'{"format":"2"}'])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(LogDamagedError):
        decode_manifest(data, table="t", version=0)


def test_a_merge_record_is_checked_like_a_manifest() -> None:
    assert merge_record_path(7, COMMIT_ID) == f"_andes/merges/00000000000000000007-{COMMIT_ID}.json"
    for version, commit_id in ((8, COMMIT_ID), (7, COMMIT_ID[:-1] + "8")):
        with pytest.raises(LogDamagedError):
            decode_merge_record(encode(RECORD), table="t", version=version, commit_id=commit_id)
    elsewhere = msgspec.structs.replace(TOMBSTONES, path="../x")
    with pytest.raises(LogDamagedError):
        read_record(encode(msgspec.structs.replace(RECORD, tombstones=[elsewhere])))
    read = read_record(edited(RECORD, later={"x": [1]}))
    assert json.loads(encode(read))["later"] == {"x": [1]}


@pytest.mark.parametrize("name", ["manifest_2.json", "merge_record_2.json", LATER])
def test_each_flipped_byte_is_noticed(name: str) -> None:
    stored = (GOLDEN / name).read_bytes().rstrip(b"\n")
    read: Callable[[bytes], object] = read_record
    if name != "merge_record_2.json":
        read = partial(decode_manifest, table="t", version=100)
    for at in range(len(stored)):
        flipped = stored[:at] + bytes([stored[at] ^ 0x10]) + stored[at + 1 :]
        with pytest.raises(AndesError):
            read(flipped)
