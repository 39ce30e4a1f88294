"""A table with old versions, built once for each file of tests."""

from __future__ import annotations

import pytest

from andes_spark.storage.memory import MemoryStorage
from tests.vacuumed import made


@pytest.fixture(scope="module")
def built() -> MemoryStorage:
    return made()
