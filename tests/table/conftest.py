"""A copy for each test of the table that the tests of a file share."""

from __future__ import annotations

import pytest

from andes_spark.storage.memory import MemoryStorage
from andes_spark.testing.tables import copy_of


@pytest.fixture
def storage(built: MemoryStorage) -> MemoryStorage:
    return copy_of(built)
