"""Streams far larger than the byte budget are loaded and applied in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import gc, resource, sys
import numpy as np, polars as pl, pyarrow as pa
from andes_spark import ModTable, Settings

form, verb, folder = sys.argv[1:]
MIB = 1024 * 1024
BATCHES, ROWS = 32, 50_000
SCHEMA = pa.schema([("id", pa.int64()), ("seq", pa.int64()), ("name", pa.string())])

def batch(number):
    # Keys of all batches interleave; a batch has 3.5 MiB.
    ids = np.arange(ROWS, dtype=np.int64) * BATCHES + number
    names = pa.array(np.char.add("a name of forty-eight characters or so: ", ids.astype(str)))
    return pa.record_batch([pa.array(ids), pa.array(ids), names], schema=SCHEMA)

def batches():
    for number in range(BATCHES):
        yield batch(number)

class Capsule:
    def __init__(self, reader):
        self.reader = reader
    def __arrow_c_stream__(self, requested_schema=None):
        return self.reader.__arrow_c_stream__(requested_schema)

def rows():
    reader = pa.RecordBatchReader.from_batches(SCHEMA, batches())
    if form == "reader":
        return reader
    if form == "capsule":
        return Capsule(reader)
    import pyarrow.parquet as pq
    path = folder + "/rows.parquet"
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for each in reader:
            writer.write_batch(each)
    if form == "dataset":
        import pyarrow.dataset
        return pyarrow.dataset.dataset(path)
    return pl.scan_parquet(path) if form == "lazy" else path

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

given = rows()
settings = Settings(byte_budget=8 * MIB, threads=2)
options = dict(primary_key=["id"], sequence_by=["seq"], merge="manual", settings=settings)
columns = "id bigint, seq bigint, name string"
small = ModTable.create(folder + "/small", columns, data=pa.Table.from_batches([batch(0)]), **options)
small.apply(pa.Table.from_batches([batch(1)]))
del small
gc.collect()
before = peak()
if verb == "create":
    table = ModTable.create(folder + "/table", columns, data=given, **options)
else:
    table = ModTable.create(folder + "/table", columns, **options)
    result = table.apply(given)
    assert result.received == BATCHES * ROWS, result
grown = peak() - before
pool = pa.default_memory_pool().max_memory()
print(grown // MIB, pool // MIB)
if verb == "create":
    ids = table.to_arrow(columns=["id"])["id"].to_numpy()
    assert len(ids) == BATCHES * ROWS and len(np.unique(ids)) == len(ids)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "verb"),
    [("reader", "create"), ("dataset", "create"), ("lazy", "apply"), ("parquet", "apply")],
)
def test_a_stream_many_times_the_byte_budget_is_never_whole_in_memory(form, verb, tmp_path):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, form, verb, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "POLARS_MAX_THREADS": str(os.cpu_count())},
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    grown, pool = map(int, process.stdout.split())
    # 112 MiB of rows and a budget of 8 MiB; allocators keep some of what was freed.
    assert pool < 60
    assert grown < 170
