"""Ranges of keys: each key lies in exactly one, whatever its type, and row groups are never skipped wrongly."""

from __future__ import annotations

import io
import random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from andes_spark.law.keys.ranges import KeyRange, split
from andes_spark.testing.kinds import KEYS


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("buckets", [1, 2, 3, 10])
def test_each_key_lies_in_exactly_one_range(kind: str, buckets: int) -> None:
    rnd = random.Random(buckets)
    key = KEYS[kind]
    schema = pa.schema(list(key.columns))
    rows = [dict(zip(key.names, rnd.choice(key.values), strict=True)) for _ in range(60)]
    table = pa.Table.from_pylist(rows, schema=schema)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    frame = frame.sort(key.names)
    ranges = split(table, [1.0] * table.num_rows, buckets, key.names)
    assert 1 <= len(ranges) <= buckets
    assert (ranges[0].low, ranges[-1].high) == (None, None)
    parts = [frame.filter(bounds.expression()) for bounds in ranges]
    assert pl.concat(parts).equals(frame)
    if len(ranges) > 1:
        assert all(part.height for part in parts)
    sink = io.BytesIO()
    pq.write_table(frame.to_arrow().cast(schema), sink, row_group_size=7)
    file = pq.ParquetFile(io.BytesIO(sink.getvalue()))
    for bounds, part in zip(ranges, parts, strict=True):
        read = pl.from_arrow(file.read_row_groups(bounds.row_groups(file)))
        assert isinstance(read, pl.DataFrame)
        assert read.filter(bounds.expression()).equals(part)


def test_an_open_range_holds_everything() -> None:
    bounds = KeyRange(("id",), (pa.int64(),))
    assert pl.DataFrame({"id": [1, 2]}).filter(bounds.expression()).height == 2
    assert bounds.overlaps(None, None)


def test_ranges_weigh_about_the_same() -> None:
    samples = pa.table({"id": pa.array(range(1000))})
    ranges = split(samples, [10.0] * 100 + [1.0] * 900, 4, ["id"])
    weights = [
        sum(10 if n < 100 else 1 for n in range(1000) if (b.low or (0,))[0] <= n < (b.high or (1000,))[0])
        for b in ranges
    ]
    assert sum(weights) == 1900
    assert max(weights) <= 1.1 * min(weights)
