"""Run one operation on a large table within a small byte budget, and print the memory that it took, in MiB."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark import ModTable, Settings
from andes_spark.model.read_options import ChangesOptions
from andes_spark.table.history.changes import compare

MIB = 1024 * 1024
BUDGET = 16 * MIB
UNLIMITED = 4096 * MIB
ROWS = 512_000
STEP = 2_000
BLOCKS = 8
SMALL = STEP
GET_KEYS = 1_000
WIDTH = 500
DATA = ROWS * (WIDTH + 24)
"""Arrow bytes of all rows."""
SCHEMA = pa.schema([("id", pa.int64()), ("seq", pa.int64()), ("text", pa.string()), ("a", pa.float64())])
PARTIAL = pa.schema([field for field in SCHEMA if field.name != "text"])


def settings(budget: int) -> Settings:
    return Settings(byte_budget=budget, key_cache_bytes=4 * MIB, target_file_bytes=4 * MIB, threads=2, compact_bytes=0)


def batches(sequence: int, rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of all keys below ``ROWS``, an eighth after the other, in each of them in no order."""
    random = np.random.default_rng(sequence)
    size = ROWS // BLOCKS
    for start in range(0, rows, STEP):
        ids = start // size * size + np.arange(start, start + STEP) * 7_919 % size
        columns = {"id": ids, "seq": np.full(STEP, sequence), "text": texts(ids), "a": random.random(STEP)}
        yield from pa.table({name: columns[name] for name in schema.names}).cast(schema).to_batches()


def texts(ids: np.ndarray) -> pa.Array:
    """Text of ``WIDTH`` characters for each number."""
    numbers = pc.utf8_lpad(pa.array(ids).cast(pa.string()), 10, "0")
    return pc.binary_repeat(numbers, WIDTH // 10)


def reader(sequence: int, rows: int = ROWS, schema: pa.Schema = SCHEMA) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, batches(sequence, rows, schema))


def create(path: str, data: pa.RecordBatchReader, budget: int) -> ModTable:
    return ModTable.create(
        path, SCHEMA, primary_key="id", sequence_by="seq", settings=settings(budget), merge="manual", data=data
    )


def run(operation: str, path: str, budget: int) -> None:
    if operation == "create":
        create(path, reader(1), budget)
        return
    table = ModTable.open(path, settings=settings(budget))
    if operation == "apply":
        assert table.apply(reader(2)).upserts == ROWS
    elif operation == "apply partials":
        assert table.apply(reader(3, ROWS // 2, PARTIAL), column_list=["a"]).upserts == ROWS // 2
    elif operation == "merge":
        assert table.merge().updated == ROWS
    elif operation == "fold":
        assert table.merge().updated == ROWS // 2
    elif operation == "get":
        assert table.get(range(0, ROWS, ROWS // GET_KEYS)).num_rows == GET_KEYS
    elif operation == "compact":
        assert table.compact().bytes_added
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


def main(operation: str, path: str, budget: int) -> None:
    # What the libraries take for themselves, once.
    small = create(f"{path}-small", reader(1, SMALL), BUDGET)
    small.apply(pa.Table.from_batches(list(batches(2, SMALL, SCHEMA))))
    assert sum(batch.num_rows for batch in small.to_batches()) == SMALL
    small.merge()
    assert sum(batch.num_rows for batch in small.changes(0)) == SMALL
    assert small.verify().ok
    gc.collect()
    before = peak()
    run(operation, path, budget)
    sys.stdout.write(f"{(peak() - before) // MIB}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
