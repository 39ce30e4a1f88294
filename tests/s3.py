"""The fixture of an S3 server for integration tests, and a way of Spark to it.

Use: ``from tests.s3 import s3_server`` in a ``conftest.py`` makes the fixture known to the tests beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest

from andes_spark.testing.s3 import S3Server, serve


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """MiniStack, stopped at the end of the session."""
    with serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


@contextmanager
def bucket_of_spark(spark: Any, server: S3Server, endpoint: str | None = None, **settings: str) -> Iterator[str]:
    """A new bucket that a session's S3A reaches, at the server or at a proxy in front of it."""
    bucket = server.make_bucket()
    chosen = {
        "endpoint": endpoint or server.endpoint,
        "endpoint.region": "us-east-1",
        "path.style.access": "true",
        "access.key": "test",
        "secret.key": "test",
        "connection.ssl.enabled": "false",
        **{name.replace("_", "."): value for name, value in settings.items()},
    }
    for name, value in chosen.items():
        spark.conf.set(f"fs.s3a.bucket.{bucket}.{name}", value)
    try:
        yield bucket
    finally:
        for name in chosen:
            spark.conf.unset(f"fs.s3a.bucket.{bucket}.{name}")


def s3_client(server: S3Server):
    """A client of boto3 for the server."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
