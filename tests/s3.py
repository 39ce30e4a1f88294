"""The fixture of an S3 server for integration tests.

Use: ``from tests.s3 import s3_server`` in a ``conftest.py`` makes the fixture known to the tests beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from andes_spark.testing.s3 import S3Server, serve


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """MiniStack, stopped at the end of the session."""
    with serve(tmp_path_factory.mktemp("s3")) as server:
        yield server


def s3_client(server: S3Server):
    """A client of boto3 for the server."""
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
