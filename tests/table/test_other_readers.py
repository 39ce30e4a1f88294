"""What is written for other readers, read back by them with conditions on random Unicode."""

from __future__ import annotations

import pytest

from andes_spark.storage.disk import DiskStorage
from tests.delta.log_rules import check_log
from tests.other_readers import READERS, random_table


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", [False, True], ids=["entries", "checkpoint"])
@pytest.mark.parametrize(
    "partitioned", [pytest.param(False, id="plain"), pytest.param(True, id="partitioned", marks=pytest.mark.slow)]
)
def test_other_readers_find_the_same_rows(tmp_path, partitioned, checkpoint):
    for seed in range(8):
        table = random_table(tmp_path / str(seed), seed, partitioned=partitioned, checkpoint=checkpoint)
        if not checkpoint:
            check_log(DiskStorage(table.url), ["k"])
        finders = {name: reader(table.url) for name, reader in READERS.items()}
        for condition in table.conditions(8):
            for name, find in finders.items():
                assert find(condition) == table.keys(condition), (name, seed, condition)
