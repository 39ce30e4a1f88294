"""Rows are grouped by their file by one sort: no pass over all rows for each file."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from andes_spark.base.merge.bucket import _bitmaps
from andes_spark.delta.vectors import deserialize
from andes_spark.law.columns import BASE_FILE, BASE_ROW, FILE, ROW
from andes_spark.law.order import grouped
from andes_spark.log.pending import Pending, PendingFile
from andes_spark.log.pending_rows import read_mods, read_rows
from andes_spark.model.files import Entry
from andes_spark.storage.memory import MemoryStorage

FILES, ROWS = 500, 40


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the masks of rows that were searched."""
    sizes: list[int] = []
    real = np.flatnonzero

    def counting(mask: Any) -> Any:
        sizes.append(len(mask))
        return real(mask)

    monkeypatch.setattr(np, "flatnonzero", counting)
    return sizes


def picks() -> pl.DataFrame:
    order = np.random.default_rng(1).permutation(FILES * ROWS)
    return pl.DataFrame({FILE: (order // ROWS).astype(np.int32), ROW: order % ROWS})


def test_rows_of_many_files(scanned: list[int]) -> None:
    entries = [
        Entry(
            path=f"_andes/mods/{number}.parquet", rows=ROWS, bytes=1, sha256="", footer="", arrow_bytes=1, schema_id=0
        )
        for number in range(FILES)
    ]
    in_memory = {entry.path: pa.table({"id": np.arange(ROWS) + number * ROWS}) for number, entry in enumerate(entries)}
    pending = Pending(tuple(PendingFile(1, entry) for entry in entries), ())
    frame = picks()
    expected = frame[FILE].to_numpy().astype(np.int64) * ROWS + frame[ROW].to_numpy()
    for read in (read_rows, read_mods):
        rows = read(MemoryStorage(), pending, frame, table="t", columns=["id"], in_memory=in_memory)
        assert rows["id"].to_numpy().tolist() == expected.tolist()
    assert sum(scanned) <= 4 * frame.height


def test_bitmaps_of_many_files(scanned: list[int]) -> None:
    frame = picks().rename({FILE: BASE_FILE, ROW: BASE_ROW})
    bitmaps = _bitmaps(frame)
    assert {number: list(deserialize(data)) for number, data in bitmaps.items()} == {
        number: list(range(ROWS)) for number in range(FILES)
    }
    assert sum(scanned) <= 2 * frame.height


def test_groups() -> None:
    assert grouped(np.zeros(0, np.int32)) == []
    groups = grouped(np.array([3, 1, 3, 2, 1], np.int32))
    assert [(number, places.tolist()) for number, places in groups] == [(1, [1, 4]), (2, [3]), (3, [0, 2])]
