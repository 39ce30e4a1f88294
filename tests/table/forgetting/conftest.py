"""A table with some history, a copy for each test."""

from __future__ import annotations

import pytest

from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of
from tests.forgotten import made


@pytest.fixture(scope="module")
def built() -> MemoryStorage:
    return made()


@pytest.fixture
def storage(built: MemoryStorage) -> MemoryStorage:
    return copy_of(built)
