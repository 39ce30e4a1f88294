from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from andes_spark.storage.disk import DiskStorage
from andes_spark.storage.interface import Storage
from andes_spark.storage.memory import MemoryStorage
from andes_spark.storage.open import open_storage
from andes_spark.testing.s3 import S3Server
from tests.s3 import s3_server

__all__ = ["s3_server"]

BACKENDS = [
    "memory",
    "disk",
    pytest.param("s3", marks=pytest.mark.integration),
]


@pytest.fixture(scope="session")
def bucket(s3_server: S3Server) -> str:
    return s3_server.make_bucket()


@pytest.fixture(params=BACKENDS)
def make_storage(request: pytest.FixtureRequest, tmp_path) -> Callable[[], Storage]:
    """Makes stores of new, empty folders."""
    if request.param == "memory":
        return MemoryStorage
    if request.param == "disk":
        return lambda: DiskStorage(str(tmp_path / uuid4().hex / "a table"))
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = request.getfixturevalue("bucket")
    return lambda: open_storage(f"s3://{bucket}/{uuid4().hex}/a table", options=server.options)


@pytest.fixture
def storage(make_storage: Callable[[], Storage]) -> Storage:
    return make_storage()
