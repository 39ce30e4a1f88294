"""Run one operation on a large table within a small byte budget, and print the memory that it took, in MiB."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from andes_spark import ModTable, Settings
from andes_spark.model.read_options import ChangesOptions
from andes_spark.table.history.changes import compare

MIB = 1024 * 1024
BUDGET = 16 * MIB
ROWS = 800_000
STEP = 20_000
SETTINGS = Settings(byte_budget=BUDGET, key_cache_bytes=4 * MIB, target_file_bytes=4 * MIB, threads=2, compact_bytes=0)
SCHEMA = pa.schema([("id", pa.int64()), ("seq", pa.int64()), ("text", pa.string()), ("a", pa.float64())])
PARTIAL = pa.schema([field for field in SCHEMA if field.name != "text"])


def batches(sequence: int, rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of all keys below ``ROWS``, in no order."""
    random = np.random.default_rng(sequence)
    for start in range(0, rows, STEP):
        ids = np.arange(start, start + STEP) * 7_919 % ROWS
        text = pa.array([f"value-of-a-row-{number}" for number in ids.tolist()])
        columns = {"id": ids, "seq": np.full(STEP, sequence), "text": text, "a": random.random(STEP)}
        yield from pa.table({name: columns[name] for name in schema.names}).cast(schema).to_batches()


def reader(sequence: int, rows: int = ROWS, schema: pa.Schema = SCHEMA) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, batches(sequence, rows, schema))


def create(path: str, data: pa.RecordBatchReader) -> ModTable:
    return ModTable.create(
        path, SCHEMA, primary_key="id", sequence_by="seq", settings=SETTINGS, merge="manual", data=data
    )


def run(operation: str, path: str) -> None:
    if operation == "create":
        create(path, reader(1))
        return
    table = ModTable.open(path, settings=SETTINGS)
    if operation == "apply":
        assert table.apply(reader(2)).upserts == ROWS
    elif operation == "apply partials":
        assert table.apply(reader(3, ROWS // 2, PARTIAL), column_list=["a"]).upserts == ROWS // 2
    elif operation == "merge":
        assert table.merge().updated == ROWS
    elif operation == "fold":
        assert table.merge().updated == ROWS // 2
    elif operation == "changes":
        # As where the mods are gone: of all rows the hashes are compared first.
        comparison = compare(table._open_table, ChangesOptions.checked(from_version=1, before_images=True))
        comparison = replace(comparison, touched=None)
        assert sum(batch.num_rows for batch in comparison.batches(comparison.ranges())) == ROWS
    elif operation == "to_batches":
        assert sum(batch.num_rows for batch in table.to_batches()) == ROWS
    else:
        assert table.verify().ok


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(operation: str, path: str) -> None:
    # What the libraries take for themselves, once.
    small = create(f"{path}-small", reader(1, STEP))
    small.apply(pa.Table.from_batches(list(batches(2, STEP, SCHEMA))))
    assert sum(batch.num_rows for batch in small.to_batches()) == STEP
    small.merge()
    assert sum(batch.num_rows for batch in small.changes(0)) == STEP
    assert small.verify().ok
    gc.collect()
    before = peak()
    run(operation, path)
    sys.stdout.write(f"{(peak() - before) // MIB}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
