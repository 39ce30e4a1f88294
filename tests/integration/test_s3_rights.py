"""A store that grants what a printed policy allows, and no more: it is enough for each role, and less is not."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pytest
from click.testing import CliRunner

from andes_spark import ModTable, Settings
from andes_spark.cli.app import andes
from andes_spark.errors import AccessDeniedError
from andes_spark.storage.s3 import S3Storage
from andes_spark.storage.s3_rights import ROLES, policy
from andes_spark.testing.s3 import Fault, FaultProxy, S3Server
from tests.glue_double import strict_glue
from tests.s3 import bucket_of_spark

pytestmark = pytest.mark.integration
GOLDEN = Path(__file__).parent.parent / "golden" / "iam_policies.json"
KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd"
FOLDER = "lake/orders"
SETTINGS = Settings(checkpoint_interval=2)


class Guarded(FaultProxy):
    """A proxy that refuses what a policy does not allow; with ``refused`` requests, and objects that may be deleted."""

    allowed: Any = None

    def fault_for(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        fault = super().fault_for(method, path, headers)
        if all(self._allows(action, resource, prefix) for action, resource, prefix in needed(method, path)):
            return fault
        return Fault(method, "403", forward=False, code="AccessDenied", path="planted")

    def _allows(self, action: str, resource: str, prefix: str | None) -> bool:
        return any(
            action in statement["Action"]
            and any(fnmatch.fnmatchcase(resource, pattern) for pattern in statement["Resource"])
            and (prefix is None or prefix_allowed(statement, prefix))
            for statement in self.allowed["Statement"]
        )


def prefix_allowed(statement: dict[str, Any], prefix: str) -> bool:
    condition = statement.get("Condition", {}).get("StringLikeIfExists", {"s3:prefix": ["*"]})
    return any(fnmatch.fnmatchcase(prefix, pattern) for pattern in condition["s3:prefix"])


def needed(method: str, url: str) -> list[tuple[str, str, str | None]]:
    """Actions of a request with their resources, and the prefix of a listing."""
    parts = urlsplit(url)
    query = parse_qs(parts.query, keep_blank_values=True)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    lake = f"arn:aws:s3:::{bucket}"
    if not key and method == "POST":
        # Which objects: see ``deletions_within``.
        return []
    if not key:
        return [("s3:ListBucket", lake, query.get("prefix", [""])[0])]
    action = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject"}.get(method)
    if method == "DELETE":
        action = "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    return [(f"s3:{action}", f"{lake}/{key}", None)]


@contextmanager
def deletions_within(proxy: Guarded, stored: S3Storage, bucket: str) -> Iterator[None]:
    """Check that all objects that are gone afterwards may be deleted."""
    before = {info.path for info in stored.list()}
    yield
    for path in before - {info.path for info in stored.list()}:
        assert proxy._allows("s3:DeleteObject", f"arn:aws:s3:::{bucket}/{FOLDER}/{path}", None), path


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Guarded]:
    with Guarded(s3_server) as proxy:
        yield proxy


def mods(number: int, rows: int = 50) -> pa.Table:
    return pa.table({"id": range(rows), "seq": [number] * rows})


def granted(proxy: Guarded, role: Any, bucket: str) -> None:
    proxy.allowed = policy(role, bucket, FOLDER)


def test_each_role_can_do_its_work(spark: Any, s3_server: S3Server, proxy: Guarded) -> None:
    with bucket_of_spark(spark, s3_server, proxy.endpoint) as bucket:
        url, stored = f"s3://{bucket}/{FOLDER}", S3Storage(f"s3://{bucket}/{FOLDER}", s3_server.options)
        access: dict[str, Any] = {"storage_options": proxy.options, "settings": SETTINGS}
        granted(proxy, "merger", bucket)
        ModTable.create(
            url, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", merge="manual", data=mods(0), **access
        )

        granted(proxy, "writer", bucket)
        writer = ModTable.open(url, **access)
        with deletions_within(proxy, stored, bucket):
            for number in range(1, 12):
                writer.apply(mods(number), batch_id=("s", number))
            with writer.appender() as appender:
                appender.apply(mods(12), batch_id=("till", 1)).result()

        granted(proxy, "reader", bucket)
        reader = ModTable.open(url, **access)
        assert reader.to_arrow()["seq"].unique().to_pylist() == [12]
        assert reader.get(1)["seq"].to_pylist() == [12]
        assert reader.read().count() == 50
        assert reader.status().pending_versions == 12
        assert reader.changes(from_version=3).read_all().num_rows == 50
        assert len(reader.history()) == 13
        assert reader.verify().ok

        granted(proxy, "merger", bucket)
        merger = ModTable.open(url, **access)
        with deletions_within(proxy, stored, bucket):
            assert merger.merge().status == "merged"
            merger.apply(mods(13), batch_id=("s", 13), merge=True)
            merger.vacuum(retain="0 days")
            merger.maintain()
            stored.scheduler.settle()
        granted(proxy, "reader", bucket)
        assert ModTable.open(url, **access).read().where("seq = 13").count() == 50
        granted(proxy, "merger", bucket)
        merger.drop(confirm="orders")


def test_a_role_cannot_do_the_work_of_another(s3_server: S3Server, proxy: Guarded) -> None:
    bucket = s3_server.make_bucket()
    url = f"s3://{bucket}/{FOLDER}"
    ModTable.create(
        url, "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", merge="manual",
        storage_options=s3_server.options,
    )  # fmt: skip
    granted(proxy, "reader", bucket)
    table = ModTable.open(url, storage_options=proxy.options)
    with pytest.raises(AccessDeniedError, match="permissions"):
        table.apply(mods(1))
    granted(proxy, "writer", bucket)
    table.apply(mods(1), batch_id=("s", 1))
    with pytest.raises(AccessDeniedError, match="permissions"):
        table.merge()
    # An apply with a merge that is refused is applied, and says so.
    applied = table.apply(mods(2), batch_id=("s", 2), merge=True)
    assert applied.merge is not None
    assert isinstance(applied.merge.error, AccessDeniedError)
    granted(proxy, "reader", bucket)
    assert ModTable.open(url, storage_options=proxy.options).to_arrow()["seq"].unique().to_pylist() == [2]


def test_a_writer_shows_a_table_in_glue_and_a_reader_cannot_note_that_it_did(
    s3_server: S3Server, proxy: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = s3_server.make_bucket()
    url = f"s3://{bucket}/{FOLDER}"
    schema = "id BIGINT, seq BIGINT"
    ModTable.create(url, schema, primary_key="id", sequence_by="seq", data=mods(0), storage_options=s3_server.options)
    with strict_glue() as glue:
        glue.databases["sales"] = {"Name": "sales"}
        granted(proxy, "writer", bucket)
        table = ModTable.open(url, storage_options=proxy.options)
        assert table.sync_glue("sales.orders", "both", endpoint=glue.endpoint).changed
        assert [outcome.error for outcome in table.status().targets] == [None, None]
        granted(proxy, "reader", bucket)
        table = ModTable.open(url, storage_options=proxy.options)
        caplog.clear()
        assert table.sync_glue("sales.more", endpoint=glue.endpoint).changed
        assert "noting the outcome of the synchronization with glue sales.more failed" in caplog.text


def test_the_printed_policies() -> None:
    """The statements of each role, as AWS documents actions and resources; see ``storage/s3_rights.py``."""
    printed = {}
    for role in ROLES:
        outcome = CliRunner().invoke(andes, ["table", "iam", f"s3://b/{FOLDER}", "--role", role, "--kms-key", KEY])
        assert outcome.exit_code == 0, outcome.output
        printed[role] = json.loads(outcome.output)
    assert printed == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/tmp/t", "--role", "reader"], "s3://bucket/folder"),
        (["s3://b/t", "--role", "reader", "--kms-key", "alias/x"], "arn:aws:kms"),
        (["s3://b/t", "--role", "owner"], "owner"),
    ],
)
def test_bad_options(arguments: list[str], message: str) -> None:
    outcome = CliRunner().invoke(andes, ["table", "iam", *arguments])
    assert (outcome.exit_code, message in outcome.output) == (2, True)


def test_a_table_in_the_root_of_a_bucket() -> None:
    read = policy("writer", "b", "", partition="aws-cn")["Statement"]
    assert [statement["Resource"] for statement in read[1:]] == [
        ["arn:aws-cn:s3:::b/*"],
        ["arn:aws-cn:s3:::b/_andes/*"],
    ]


def test_objects_are_encrypted_with_the_key_of_the_table(s3_server: S3Server) -> None:
    bucket = s3_server.make_bucket()
    with FaultProxy(s3_server) as proxy:
        options = {**proxy.options, "aws_sse_kms_key_id": KEY}
        table = ModTable.create(
            f"s3://{bucket}/t", "id BIGINT, seq BIGINT", primary_key="id", sequence_by="seq", storage_options=options
        )
        table.apply(mods(1), merge=True)
        with S3Storage(f"s3://{bucket}/large", options).open_output("large") as output:
            for _ in range(9):
                output.write(b"x" * 2**20)
        table.clone(f"s3://{bucket}/c")
        written = [
            headers
            for method, path, headers in proxy.received
            if (method == "PUT" and "uploadId" not in path) or (method == "POST" and path.endswith("?uploads"))
        ]
    assert len(written) > 8
    assert any("x-amz-copy-source" in headers for headers in written)
    for headers in written:
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == KEY
