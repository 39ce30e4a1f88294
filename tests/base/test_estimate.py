"""What a merge has to hold is told by the Arrow bytes in manifests, not by the size of files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from andes_spark.base.merge.plan import estimate
from andes_spark.model.events import mods_of
from andes_spark.storage.memory import MemoryStorage
from andes_spark.table.mod_table import ModTable
from andes_spark.table.verbs.read import pin


def test_rows_that_compress_well_are_estimated_by_what_they_take_in_memory() -> None:
    columns = [f"c{number}" for number in range(200)]
    ddl = "id BIGINT, seq BIGINT, " + ", ".join(f"{name} DOUBLE" for name in columns)
    table = ModTable.create(MemoryStorage(), ddl, primary_key=["id"], sequence_by=["seq"], merge="manual")
    count = 20_000
    numbers = np.arange(count)
    table.apply(pa.table({"id": numbers, "seq": numbers, "c0": numbers * 1.0}), column_list=["c0"])
    in_memory = table.mods(1, 1).nbytes
    (entry,) = mods_of(table.manifest(1).events)
    assert entry.bytes * 40 < in_memory, "the file says little of it"
    assert 0.9 * in_memory < entry.arrow_bytes < 1.2 * in_memory
    sizes = estimate(pin(table._open_table, None).inputs)
    assert 0.9 * in_memory < sizes.mods < 1.2 * in_memory


def test_partial_mods_count_with_the_rows_of_the_base_that_they_change() -> None:
    count = 2_000
    base = pa.table({"id": range(count), "seq": [0] * count, "text": ["x" * 1_000] * count, "a": [0] * count})
    ddl = "id BIGINT, seq BIGINT, text STRING, a BIGINT"
    table = ModTable.create(MemoryStorage(), ddl, primary_key=["id"], sequence_by=["seq"], merge="manual", data=base)
    half = pa.table({"id": range(0, count, 2), "seq": [1] * (count // 2), "a": [1] * (count // 2)})
    table.apply(half, column_list=["a"])
    sizes = estimate(pin(table._open_table, None).inputs)
    assert 0.9 * base.nbytes / 2 < sizes.mods < 1.3 * base.nbytes / 2


def test_a_slice_counts_its_own_rows_alone() -> None:
    table = ModTable.create(MemoryStorage(), "id BIGINT, v STRING", primary_key=["id"], merge="manual")
    whole = pa.table({"id": range(1000), "v": ["x" * 100] * 1000})
    table.apply(whole.slice(10, 5), batch_id=("s", 1))
    (entry,) = mods_of(table.manifest(1).events)
    assert entry.arrow_bytes < 2000
