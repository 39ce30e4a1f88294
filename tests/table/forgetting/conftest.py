"""A table with some history, built once for each file of tests."""

from __future__ import annotations

import pytest

from andes_spark.storage.memory import MemoryStorage
from tests.forgotten import made


@pytest.fixture(scope="module")
def built() -> MemoryStorage:
    return made()
