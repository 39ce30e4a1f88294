"""Initial loads of several tables: spilled as sorted runs, merged, unique across all of them."""

from __future__ import annotations

import datetime
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from andes_spark import ModTable, Settings
from andes_spark.errors import BadModsError, DuplicateKeyError, StorageFullError
from andes_spark.run import spill
from andes_spark.storage.memory import MemoryStorage

SMALL = Settings(byte_budget=64 * 1024, target_file_bytes=1 << 20)
COLUMNS = "a STRING, b BIGINT, day DATE, v STRING"
DAYS = [datetime.date(2026, 1, day) for day in (1, 2, 3)] + [None]


def rows(count: int, seed: int = 0) -> pa.Table:
    order = np.random.default_rng(seed).permutation(count)
    return pa.table(
        {
            "a": pa.array([f"k{number % 7}" for number in order]),
            "b": pa.array(order, pa.int64()),
            "day": pa.array([DAYS[number % 4] for number in order]),
            "v": pa.array([f"value {number}" for number in order]),
        }
    )


def load(storage: MemoryStorage, data: pa.Table, **options: object) -> ModTable:
    arguments = {"primary_key": ["a", "b"], "sequence_by": ["b"], "settings": SMALL, **options}
    return ModTable.create(storage, COLUMNS, data=data.to_reader(max_chunksize=100), **arguments)  # type: ignore[arg-type]


def adds(storage: MemoryStorage) -> list[dict[str, object]]:
    lines = storage.get("_delta_log/00000000000000000000.json").splitlines()
    return [entry["add"] for entry in map(json.loads, lines) if "add" in entry]


@pytest.mark.parametrize("partition_by", [[], ["day"], ["a"]])
def test_many_runs_are_one_table_sorted_by_key_across_files(partition_by):
    storage, data = MemoryStorage(), rows(5000)
    table = load(storage, data, partition_by=partition_by)
    loaded = table.to_arrow().sort_by([("b", "ascending")])
    assert loaded.to_pylist() == data.sort_by([("b", "ascending")]).to_pylist()
    assert table.verify().ok
    ranges: dict[str, list[tuple[object, object]]] = {}
    for add in adds(storage):
        stats = json.loads(str(add["stats"]))
        low, high = (tuple(stats[end].get(name) for name in ("a", "b")) for end in ("minValues", "maxValues"))
        ranges.setdefault(json.dumps(add["partitionValues"]), []).append((low, high))
    assert len(ranges) == {0: 1, 1: 4 if partition_by == ["day"] else 7}[len(partition_by)]
    assert sum(map(len, ranges.values())) > len(ranges)
    if not partition_by:
        keys = [tuple(row) for name in sorted(ranges) for row in ranges[name]]
        first = [low[0] for low, _ in keys]  # type: ignore[index]
        assert first == sorted(first)


@pytest.mark.parametrize("partition_by", [[], ["day"], ["a"]])
def test_keys_that_stand_in_two_runs_are_found_and_nothing_stays_behind(partition_by):
    storage, data = MemoryStorage(), rows(3000)
    repeated = data.slice(5, 1).set_column(2, "day", pa.array([datetime.date(2026, 2, 1)]))
    with pytest.raises(DuplicateKeyError) as caught:
        load(storage, pa.concat_tables([data, repeated]), partition_by=partition_by)
    assert caught.value.keys == [{"a": data["a"][5].as_py(), "b": data["b"][5].as_py()}]
    assert list(storage.list()) == []


def test_bad_rows_of_a_later_run_leave_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    storage = MemoryStorage()
    bad = rows(1).set_column(1, "b", pa.array([None], pa.int64()))
    with pytest.raises(BadModsError):
        load(storage, pa.concat_tables([rows(3000), bad]))
    assert list(storage.list()) == []
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_sorted_already_and_batches_of_one_row(monkeypatch):
    monkeypatch.setattr(spill, "_BATCH_ROWS", 1)
    storage, data = MemoryStorage(), rows(600).sort_by([("a", "ascending"), ("b", "ascending")])
    table = load(storage, data)
    assert table.to_arrow().num_rows == 600
    assert table.verify().ok


def test_a_full_temporary_folder_says_what_to_do(monkeypatch):
    class Full:
        def write_batch(self, batch: object) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            """Nothing."""

    monkeypatch.setattr(pa.ipc, "new_file", lambda *args, **options: Full())
    with pytest.raises(StorageFullError) as caught:
        load(MemoryStorage(), rows(3000))
    assert "TMPDIR" in caught.value.message


def test_one_table_is_not_spilled(monkeypatch):
    monkeypatch.setattr(spill.Spill, "add", None)
    data = rows(3000)
    table = ModTable.create(MemoryStorage(), COLUMNS, primary_key=["a", "b"], sequence_by=["b"], data=data)
    assert table.to_arrow().num_rows == 3000
    assert Path(tempfile.gettempdir()).exists()
