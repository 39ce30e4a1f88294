"""A checkpoint is work after the commit: where it fails, the merge stands."""

from __future__ import annotations

import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import StorageError
from andes_spark.table.verbs import merging


def test_a_checkpoint_that_fails_leaves_the_merge_standing(tmp_path, monkeypatch):
    def refuse(storage, version):
        raise StorageError("no checkpoint today", path="x")

    table = ModTable.create(
        tmp_path / "t",
        "id BIGINT, v STRING",
        primary_key=["id"],
        merge="manual",
        settings=Settings(checkpoint_interval=1),
    )
    table.apply(pa.table({"id": [1], "v": ["a"]}), batch_id=("t", 1))
    monkeypatch.setattr(merging, "write_checkpoint", refuse)
    with pytest.warns(RuntimeWarning, match="no checkpoint today"):
        assert table.merge().status == "merged"
    assert table.status().applied == 1
    assert ModTable.open(table.url).verify().ok
