"""Access to S3 between a session and this library: settings, credentials of S3A's own providers, and named failures."""

from __future__ import annotations

import datetime
import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pyspark
import pytest

from andes_spark import ModTable
from andes_spark.errors import AccessDeniedError, MissingPackageError
from andes_spark.spark import s3a
from andes_spark.spark.s3a import SessionAccess, s3a_settings
from andes_spark.storage import s3_options
from andes_spark.testing.s3 import FaultProxy
from tests.s3 import bucket_of_spark
from tests.spark.batches import SIMPLE, TASKS, create, in_partitions, simple_rows, spark_rows, table_of

pytestmark = pytest.mark.integration
SECONDS = 10.0
TEMPORARY = "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider"
OF_MACHINE = "org.apache.hadoop.fs.s3a.auth.IAMInstanceCredentialsProvider"
ON_SDK_1 = pyspark.__version__.startswith("3.")


@contextmanager
def configured(spark: Any, **settings: str) -> Iterator[str]:
    """Settings of S3A for a bucket that is never asked."""
    names = {f"fs.s3a.bucket.lake.{name.replace('_', '.')}": value for name, value in settings.items()}
    for name, value in names.items():
        spark.conf.set(name, value)
    try:
        yield "lake"
    finally:
        for name in names:
            spark.conf.unset(name)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {}),
        ({"endpoint": "s3.amazonaws.com", "endpoint_region": "eu-west-1"}, {"aws_region": "eu-west-1"}),
        ({"endpoint": "s3.eu-central-1.amazonaws.com"}, {"aws_region": "eu-central-1"}),
        ({"endpoint": "https://s3.cn-north-1.amazonaws.com.cn"}, {"aws_region": "cn-north-1"}),
        ({"endpoint": "minio:9000"}, {"aws_endpoint": "https://minio:9000"}),
        (
            {"endpoint": "minio:9000", "connection_ssl_enabled": "false"},
            {"aws_endpoint": "http://minio:9000", "aws_allow_http": "true"},
        ),
        (
            {"access_key": "KEY", "secret_key": "s", "session_token": "t"},
            {"aws_access_key_id": "KEY", "aws_secret_access_key": "s", "aws_session_token": "t"},
        ),
    ],
)
def test_settings_of_a_session(spark, monkeypatch, settings, options):
    monkeypatch.setattr(s3a, "finds_credentials", lambda: True)
    with configured(spark, **settings) as bucket:
        assert SessionAccess(spark)(bucket) == options
        assert "secret" not in repr(SessionAccess(spark))


def test_settings_of_a_bucket_come_first_and_those_of_all_buckets_count(spark, monkeypatch):
    monkeypatch.setattr(s3a, "finds_credentials", lambda: True)
    spark.conf.set("fs.s3a.endpoint.region", "eu-west-1")
    try:
        assert SessionAccess(spark)("other") == {"aws_region": "eu-west-1"}
        with configured(spark, endpoint_region="eu-west-2") as bucket:
            assert SessionAccess(spark)(bucket) == {"aws_region": "eu-west-2"}
    finally:
        spark.conf.unset("fs.s3a.endpoint.region")


def test_a_connect_session_has_its_settings_alone():
    settings = {"spark.hadoop.fs.s3a.endpoint.region": "eu-west-1", "spark.hadoop.fs.s3a.access.key": "KEY"}
    kind = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})
    session = kind()
    session.conf = SimpleNamespace(get=lambda name, default: settings.get(name, default))
    assert SessionAccess(session)("lake") == {"aws_region": "eu-west-1", "aws_access_key_id": "KEY"}


def test_storage_options_as_settings():
    options = {"aws_endpoint": "https://minio", "aws_region": "x", "aws_session_token": "t"}
    assert s3a_settings(options, "lake") == {
        "fs.s3a.bucket.lake.endpoint": "https://minio",
        "fs.s3a.bucket.lake.endpoint.region": "x",
        "fs.s3a.bucket.lake.session.token": "t",
        "fs.s3a.bucket.lake.path.style.access": "true",
    }
    virtual = s3a_settings({"aws_endpoint": "https://minio", "aws_virtual_hosted_style_request": "true"})
    assert virtual["fs.s3a.path.style.access"] == "false"


def test_credentials_of_a_provider_that_a_cluster_names(spark, s3_server):
    settings = {"aws_credentials_provider": TEMPORARY, "session_token": "token"}
    with bucket_of_spark(spark, s3_server, **settings) as bucket:
        access = SessionAccess(spark)(bucket)
    assert (access["aws_access_key_id"], access["aws_session_token"]) == ("test", "token")


def test_without_credentials_of_aws_those_of_s3a_are_taken(spark, s3_server, monkeypatch):
    monkeypatch.setattr(s3a, "finds_credentials", lambda: False)
    monkeypatch.setattr(s3a, "provided_credentials", lambda session, bucket: {"aws_access_key_id": f"of {bucket}"})
    with bucket_of_spark(spark, s3_server) as bucket:
        assert SessionAccess(spark)(bucket)["aws_access_key_id"] == "test"
    assert SessionAccess(spark)("another")["aws_access_key_id"] == "of another"


@contextmanager
def machine_with_a_role(spark: Any) -> Iterator[list[str]]:
    """A service that gives credentials as a container's does, other ones each time; their keys."""
    keys: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(f"ROLE{len(keys)}")
            soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
            body = {"AccessKeyId": keys[-1], "SecretAccessKey": "x", "Token": "t", "Expiration": f"{soon:%FT%TZ}"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    system, name = spark._jvm.java.lang.System, "aws.containerCredentialsFullUri"
    system.setProperty(name, f"http://127.0.0.1:{server.server_port}/role")
    try:
        yield keys
    finally:
        system.clearProperty(name)
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(ON_SDK_1, reason="the first AWS SDK takes the address from the environment alone")
def test_a_role_whose_credentials_expire(spark, s3_server, monkeypatch):
    """Every request, of this process, of tasks and of S3A, has the role's credentials, and new ones soon."""
    monkeypatch.setattr(s3_options, "ASKED_AGAIN", datetime.timedelta(minutes=1))
    with (
        FaultProxy(s3_server) as proxy,
        machine_with_a_role(spark) as keys,
        bucket_of_spark(spark, s3_server, proxy.endpoint, aws_credentials_provider=OF_MACHINE) as bucket,
    ):
        data = in_partitions(spark, table_of(simple_rows(), SIMPLE))
        table = create(f"s3a://{bucket}/t", data=data, settings=TASKS)
        table.apply(in_partitions(spark, table_of(simple_rows(0, 3, 500), SIMPLE)), merge=True)
        first = len(keys)
        time.sleep(0.2)
        assert spark_rows(table.read(), table) == simple_rows(0, 3, 500) + simple_rows(3, 9)
        assert len(keys) > first
    used = {
        key for _, _, headers in proxy.received for key in re.findall(r"Credential=(\w+)/", headers["authorization"])
    }
    assert len(proxy.received) > 10
    assert used <= set(keys)
    assert len(used) > 1


def test_spark_reads_with_the_storage_options_of_the_table(spark, s3_server):
    url = f"s3://{s3_server.make_bucket()}/t"
    table = create(url, data=table_of(simple_rows(), SIMPLE), storage_options=s3_server.options)
    frame = table.read()
    assert spark_rows(frame, table) == simple_rows()
    assert "test" not in frame._jdf.queryExecution().toString()


def test_failures_of_s3a_are_named(spark, s3_server):
    """What this library reads and S3A does not; within seconds, not after its many attempts."""
    with bucket_of_spark(spark, s3_server, aws_credentials_provider=TEMPORARY) as bucket:
        url = f"s3://{bucket}/t"
        table = create(url, data=table_of(simple_rows(), SIMPLE), storage_options=s3_server.options)
        begin = time.monotonic()
        with pytest.raises(AccessDeniedError, match="give S3A credentials for this bucket") as caught:
            table.read()
        assert url in str(caught.value)
        with pytest.raises(AccessDeniedError, match="S3A in Spark has no credentials"):
            ModTable.open(url)
        assert time.monotonic() - begin < SECONDS


def test_a_missing_jar_is_named(spark, s3_server):
    url = f"s3a://{s3_server.make_bucket()}/t"
    table = create(url, data=table_of(simple_rows(), SIMPLE), storage_options=s3_server.options)
    spark.conf.set("fs.s3a.impl", "org.example.Missing")
    try:
        with pytest.raises(MissingPackageError, match="spark-submit --jars") as caught:
            table.read()
    finally:
        spark.conf.unset("fs.s3a.impl")
    assert caught.value.package == "hadoop-aws"
