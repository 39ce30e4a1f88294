"""Spark DataFrames through an appender: versions of their own, in the order of arrival."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from andes_spark import ModTable


def test_a_frame_keeps_its_place_between_small_batches(spark: Any, tmp_path: Path) -> None:
    table = ModTable.create(
        tmp_path / "t", "id BIGINT, v STRING, seq BIGINT", primary_key="id", sequence_by="seq", merge="manual"
    )
    frame = spark.createDataFrame([(1, "frame", 5), (2, "frame", 5)], "id BIGINT, v STRING, seq BIGINT")
    small = [pa.table({"id": [1], "v": [value], "seq": [5]}) for value in ("before", "after")]
    with table.appender(max_delay=600) as appender:
        futures = [
            appender.apply(mods, batch_id=("s", number)) for number, mods in enumerate((small[0], frame, small[1]))
        ]
    assert [future.result().version for future in futures] == [1, 2, 3]
    assert futures[1].result().upserts == 2
    assert sorted(table.to_arrow()["v"].to_pylist()) == ["after", "frame"]
