"""A range of keys reads the files and row groups of mods that may hold them, and no others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.base.merge import plan
from andes_spark.base.merge.plan import bucket_count
from andes_spark.batch import cross_check
from andes_spark.errors import SequenceTieError
from andes_spark.log import mod_files
from andes_spark.model.events import files_of
from andes_spark.storage.memory import MemoryStorage


class Opens(MemoryStorage):
    """A store that counts opens of files of mods and of the base."""

    def __init__(self) -> None:
        super().__init__()
        self.mods = self.base = 0

    def open_input(self, path: str) -> pa.NativeFile:
        self.mods += path.startswith("_andes/mods")
        self.base += path.startswith("part-")
        return super().open_input(path)


def rows(ids: np.ndarray, sequence: int) -> pa.Table:
    return pa.table({"id": ids, "seq": np.full(len(ids), sequence), "a": ids / 3})


@pytest.mark.slow
def test_files_beside_a_range_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BUCKET_ROWS", 1_000)
    storage = Opens()
    table = ModTable.create(
        storage,
        "id BIGINT, seq BIGINT, a DOUBLE",
        primary_key=["id"],
        sequence_by=["seq"],
        merge="manual",
        data=rows(np.arange(0, 200_000, 2), 0),
        settings=Settings(byte_budget=1024 * 1024, target_file_bytes=200_000, compact_bytes=0),
    )
    for number in range(10):
        table.apply(rows(np.arange(20_000 * number, 20_000 * (number + 1)), number + 1))
    files = table.status().files
    storage.mods = storage.base = 0
    merged = table.merge()
    assert (merged.inserted, merged.updated) == (100_000, 100_000)
    ranges = bucket_count(200_000 * (24 + 40), 200_000, table._open_table.settings)
    assert ranges > 40
    assert storage.mods <= 10 + 4 * ranges, "each file is sampled, and read by the ranges that meet it, not by all"
    assert storage.base <= 2 * files, "keys in memory serve all ranges"
    assert table.verify().ok


def test_row_groups_of_mods_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BUCKET_ROWS", 1_000)
    monkeypatch.setattr(mod_files, "GROUP_ROWS", 2_000)
    storage = MemoryStorage()
    table = ModTable.create(
        storage,
        "id BIGINT, seq BIGINT, a DOUBLE",
        primary_key=["id"],
        sequence_by=["seq"],
        merge="manual",
        settings=Settings(byte_budget=1024 * 1024, compact_bytes=0),
    )
    generator = np.random.default_rng(1)
    for number in range(4):
        table.apply(rows(np.sort(generator.choice(10**6, 30_000, replace=False)), number + 1))
    read: list[int] = []
    real = mod_files.read_columns

    def reading(*args: object, **options: object) -> pa.Table:
        data = real(*args, **options)  # type: ignore[arg-type]
        read.append(data.num_rows)
        return data

    monkeypatch.setattr(mod_files, "read_columns", reading)
    table.merge()
    assert sum(read) <= 1_000_000, "not all rows for each of thirty ranges, twice"
    assert table.verify().ok


@pytest.mark.slow
@pytest.mark.parametrize("repeated", [0, 500])
def test_a_check_across_parts_reads_each_file_once(repeated: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_check, "BUCKET_ROWS", 1_000)
    storage = Opens()
    table = ModTable.create(
        storage,
        "id BIGINT, seq BIGINT, a DOUBLE",
        primary_key=["id"],
        sequence_by=["seq"],
        merge="manual",
        settings=Settings(byte_budget=256 * 1024),
    )
    order = np.random.default_rng(1).permutation(40_000)
    parts = [rows(part, 1) for part in np.split(order, 20)] + [rows(order[:repeated], 1)]
    storage.mods = 0
    result = table.apply(
        pa.RecordBatchReader.from_batches(parts[0].schema, [b for part in parts for b in part.to_batches()])
    )
    assert (result.upserts, result.collapsed) == (40_000, repeated)
    files = len(list(files_of(table.manifest(1).events)))
    assert files > 10
    assert storage.mods <= files if not repeated else storage.mods > files
    table.merge()
    assert table.to_arrow().num_rows == 40_000


def test_a_tie_across_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_check, "BUCKET_ROWS", 1_000)
    table = ModTable.create(
        MemoryStorage(),
        "id BIGINT, seq BIGINT, a DOUBLE",
        primary_key=["id"],
        sequence_by=["seq"],
        merge="manual",
        settings=Settings(byte_budget=256 * 1024),
    )
    ids = np.arange(40_000)
    other = rows(ids[5_000:5_001], 1).set_column(2, "a", pa.array([-1.0]))
    batches = [*rows(ids, 1).to_batches(max_chunksize=2_000), *other.to_batches()]
    with pytest.raises(SequenceTieError) as caught:
        table.apply(pa.RecordBatchReader.from_batches(other.schema, batches))
    assert caught.value.keys == [{"id": 5_000}]
    assert table.version == 0
