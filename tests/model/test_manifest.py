"""Documents of the log: their format is pinned, and what was not written by us is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import jsonschema
import msgspec
import pytest

from andes_spark.errors import LogDamagedError, UnsupportedTableError
from andes_spark.model.manifest import (
    Batch,
    Counts,
    Definition,
    Entry,
    FileKeyRange,
    LedgerFile,
    Manifest,
    MergeRecord,
    Origin,
    PendingVersion,
    RollUp,
    SideFile,
    Truncate,
    decode_manifest,
    decode_merge_record,
    encode,
    seal,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "manifest_1.json"

ENTRY = Entry(
    kind="mods",
    path="_andes/mods/00000000000000000099-6f1c2f4e-0000-4000-8000-000000000001.parquet",
    rows=4,
    bytes=2048,
    sha256="ab" * 32,
    footer="1130-9f2c01ab",
    schema_id=0,
    upserts=2,
    deletes=1,
    truncates=1,
    partial=1,
    keys=FileKeyRange(low=[1, "a"], high=[9, "ß"]),
    low_sequence=[10],
    high_sequence=[20],
)
DEFINITION = Definition(
    schema='{"type":"struct","fields":[]}',
    schema_id=0,
    primary_key=("id",),
    sequence_by=("lsn",),
    comment="c",
    properties={"owner": "x"},
)
FULL = Manifest(
    format=1,
    table_id="6f1c2f4e-0000-4000-8000-000000000000",
    version=100,
    previous="cd" * 32,
    commit_id="6f1c2f4e-0000-4000-8000-000000000002",
    time=1_700_000_000_000,
    operation="apply",
    writer={"library": "andes_spark 0.1.0", "job": "nightly"},
    counts=Counts(received=5, upserts=2, deletes=1, truncates=1, collapsed=1, partial=1),
    entries=[ENTRY],
    batch=Batch(source="orders-cdc", id="i:42", digest="andes1:00"),
    truncate=Truncate(sequences=[[15], [16]]),
    definition=DEFINITION,
    origin=Origin(delta_version=0, rows=3),
    roll_up=RollUp(
        applied=98,
        pending=[PendingVersion(version=99, entries=[ENTRY], truncate=Truncate())],
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
                newest_time=1_699_999_999_999,
                sources=["orders-cdc"],
            )
        ],
    ),
)


def shipped(name: str) -> dict[str, object]:
    text = resources.files("andes_spark.model").joinpath(name).read_text("utf-8")
    found: dict[str, object] = json.loads(text)
    return found


@pytest.mark.parametrize(
    ("name", "kind"), [("manifest.schema.json", Manifest), ("merge_record.schema.json", MergeRecord)]
)
def test_the_shipped_schema_is_that_of_the_classes(name: str, kind: type) -> None:
    assert shipped(name) == json.loads(json.dumps(msgspec.json.schema(kind)))


def test_format_1_is_pinned() -> None:
    assert encode(FULL).decode() == GOLDEN.read_text("utf-8").rstrip("\n")
    stored = GOLDEN.read_bytes().rstrip(b"\n")
    found = decode_manifest(stored, table="t", version=100)
    assert msgspec.structs.replace(found, checksum="") == FULL
    assert encode(found) == stored
    jsonschema.validate(json.loads(GOLDEN.read_text("utf-8")), shipped("manifest.schema.json"))


def test_a_newer_format_is_refused_by_name() -> None:
    document = json.loads(encode(FULL)) | {"format": 2, "something_new": True}
    with pytest.raises(UnsupportedTableError) as caught:
        decode_manifest(json.dumps(document).encode(), table="t", version=100)
    assert caught.value.feature == "format 2"


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"version": 101},
        {"version": "100"},
        {"entries": [{"kind": "mods"}]},
        {"counts": None},
    ],
)
def test_an_edited_manifest_is_refused(change: dict[str, object]) -> None:
    document = json.loads(encode(FULL)) | change
    document.pop("checksum")
    with pytest.raises(LogDamagedError) as caught:
        decode_manifest(seal(json.dumps(document).encode()), table="t", version=100)
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
    document["entries"][0]["path"] = path
    document.pop("checksum")
    with pytest.raises(LogDamagedError) as caught:
        decode_manifest(seal(json.dumps(document).encode()), table="t", version=100)
    assert caught.value.path == path


@pytest.mark.parametrize("data", [b"", b"[]", b"nonsense", b"[" * 100_000, b'{"format": 1}', b'{"format":"1"}'])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(LogDamagedError):
        decode_manifest(data, table="t", version=0)


def test_a_merge_record_is_checked_like_a_manifest() -> None:
    file = SideFile(path="_andes/tombstones/x-1.parquet", rows=1, bytes=2, sha256="ab" * 32, footer="9-00000000")
    record = MergeRecord(format=1, table_id="t", version=7, truncate=[3], tombstones=[file])
    found = decode_merge_record(encode(record), table="t", version=7)
    assert msgspec.structs.replace(found, checksum="") == record
    with pytest.raises(LogDamagedError):
        decode_merge_record(encode(record), table="t", version=8)
    broken = MergeRecord(format=1, table_id="t", version=7, tombstones=[msgspec.structs.replace(file, path="../x")])
    with pytest.raises(LogDamagedError):
        decode_merge_record(encode(broken), table="t", version=7)
