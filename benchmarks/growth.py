"""Cost against the size of the table: tables of four columns with 5 to 100 million rows on the local disk.

Each size is measured in a process of its own, so that its peak memory can be read. Run as
``python -m benchmarks.growth FOLDER ROWS KEY`` it is that process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from andes_spark.storage.disk import DiskStorage
from andes_spark.table.mod_table import ModTable
from benchmarks.lab import ROOT, Lab
from benchmarks.report import Table, megabytes

Ints = npt.NDArray[np.int64]
SIZES = (5_000_000, 20_000_000, 60_000_000, 100_000_000)
QUICK_SIZES = (500_000, 2_000_000)
TEXT_ROWS, QUICK_TEXT_ROWS = 20_000_000, 500_000
_PART = 500_000
_NEWEST = 0.01
_VERIFIED_ROWS = 20_000_000
_TENANTS = 64
_LABELS = {
    "load": "initial load from a RecordBatchReader, rows a second",
    "load_memory": "memory of the load above the interpreter",
    "100 random": "apply and merge: 100 random keys",
    "100 random, read": "bytes that it read",
    "100 random, cold": "open, apply and merge: 100 random keys",
    "50000 newest": "apply and merge: 50,000 keys of the newest 1%",
    "50000 random": "apply and merge: 50,000 random keys",
    "50000 random, cold": "open, apply and merge: 50,000 random keys",
    "500000 random": "apply and merge: 500,000 random keys",
    "get 1": "get of one key",
    "get 1000": "get of 1,000 keys",
    "scan": "to_batches, rows a second",
    "verify": "verify, seconds per million rows",
    "verify, reads": "reads of verify for each stored file",
    "memory": "peak memory of the process",
}


def run(lab: Lab) -> list[Table]:
    """Measure each size once, and a table with text keys."""
    sizes = QUICK_SIZES if lab.quick else SIZES
    text_rows = QUICK_TEXT_ROWS if lab.quick else TEXT_ROWS
    measured = {f"{rows / 1e6:g} million": _process(lab, rows, "integer") for rows in sizes}
    measured[f"{text_rows / 1e6:g} million, text keys"] = _process(lab, text_rows, "text")
    table = Table(
        "Cost over the size of the table (four columns, seconds if nothing else is said)",
        ["operation", *measured],
        notes=[
            "Keys are dense integers, or a tenant and a name; sequences are random numbers of 37 bits; values are a "
            "double and a text of 24 characters. Medians of several batches; cold: a handle opened anew, the files in "
            f"the system's cache. Verify is measured up to {_VERIFIED_ROWS:,} rows."
        ],
    )
    for name, label in _LABELS.items():
        table.add(label, *(outcome.get(name, {}).get("text", "") for outcome in measured.values()))
    table.raw.append(measured)
    return [table]


def _process(lab: Lab, rows: int, keys: str) -> dict[str, Any]:
    lab.say(f"growth: {rows:,} rows, {keys} keys")
    folder = lab.fresh(f"growth-{keys}-{rows}")
    command = [sys.executable, "-m", "benchmarks.growth", str(folder), str(rows), keys]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    lab.fresh(folder.name)
    outcome: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return outcome


class _Size:
    """A table of one size, and what is done to it."""

    def __init__(self, folder: Path, rows: int, keys: str) -> None:
        self._path = str(folder)
        self._rows = rows
        self._text = keys == "text"
        self._random = np.random.default_rng(rows)
        self._number = 0
        self._outcome: dict[str, dict[str, Any]] = {}

    def measure(self) -> dict[str, dict[str, Any]]:
        """All operations by name: their values and a text for the table."""
        self._load()
        table = ModTable.open(self._path)
        random = self._random_keys
        before = _bytes_read()
        spent = self._applies(table, random, 100, 7)
        self._note("100 random", spent)
        read = (_bytes_read() - before) / 9
        self._outcome["100 random, read"] = {"values": [read], "text": megabytes(read)}
        self._note("100 random, cold", [self._apply(None, random(100)) for _ in range(5)])
        self._note("50000 newest", self._applies(table, self._newest_keys, 50_000, 3))
        self._note("50000 random", self._applies(table, random, 50_000, 5))
        self._note("50000 random, cold", [self._apply(None, random(50_000)) for _ in range(3)])
        self._note("500000 random", self._applies(table, random, 500_000, 3))
        self._gets(table)
        self._rate("scan", lambda: sum(batch.num_rows for batch in table.to_batches()))
        if self._rows <= _VERIFIED_ROWS:
            self._verify()
        self._outcome["memory"] = _memory(_peak())
        return self._outcome

    def _load(self) -> None:
        before = _peak()
        begin = time.perf_counter()
        ModTable.create(
            self._path,
            self._schema(),
            primary_key=["tenant", "name"] if self._text else ["id"],
            sequence_by=["seq"],
            data=pa.RecordBatchReader.from_batches(self._schema(), self._parts()),
        )
        rate = self._rows / (time.perf_counter() - begin)
        self._outcome["load"] = {"values": [rate], "text": f"{rate / 1e6:.2f} million"}
        self._outcome["load_memory"] = _memory(_peak() - before)

    def _applies(self, table: ModTable, keys: Callable[[int], Ints], size: int, times: int) -> list[float]:
        """Seconds of some warm batches; two before them are not counted."""
        return [self._apply(table, keys(size)) for _ in range(times + 2)][2:]

    def _apply(self, table: ModTable | None, keys: Ints) -> float:
        """Apply a batch with its merge, opening the table if there is none; return the seconds."""
        self._number += 1
        mods = self._batch(keys, 2**37 + self._number)
        begin = time.perf_counter()
        opened = table or ModTable.open(self._path)
        result = opened.apply(mods, batch_id=("growth", self._number), merge=True)
        spent = time.perf_counter() - begin
        if result.merge is None or result.merge.status != "merged":
            raise AssertionError(f"the batch did not end in the base: {result.merge}")
        return spent

    def _gets(self, table: ModTable) -> None:
        for count, times in ((1, 15), (1000, 7)):
            spent = []
            for _ in range(times + 2):
                keys = self._keys(self._random_keys(count))
                begin = time.perf_counter()
                rows = table.get(keys)
                spent.append(time.perf_counter() - begin)
                if rows.num_rows != keys.num_rows:
                    raise AssertionError(f"get returned {rows.num_rows} of {keys.num_rows} rows")
            self._note(f"get {count}", spent[2:])

    def _rate(self, name: str, work: Callable[[], int]) -> None:
        begin = time.perf_counter()
        count = work()
        if count != self._rows:
            raise AssertionError(f"{count:,} rows were read of {self._rows:,}")
        rate = count / (time.perf_counter() - begin)
        self._outcome[name] = {"values": [rate], "text": f"{rate / 1e6:.1f} million"}

    def _verify(self) -> None:
        storage = DiskStorage(self._path)
        table = ModTable.open(storage)
        before = storage.counts.snapshot()
        begin = time.perf_counter()
        report = table.verify()
        self._note("verify", [(time.perf_counter() - begin) / (self._rows / 1e6)])
        if not report.ok:
            raise AssertionError(str(report))
        self._note("verify, reads", [storage.counts.minus(before).get / sum(1 for _ in storage.list())])

    def _note(self, name: str, values: list[float]) -> None:
        middle = statistics.median(values)
        spread = f" ({min(values):.3g}-{max(values):.3g})" if len(values) > 1 else ""
        self._outcome[name] = {"values": values, "text": f"{middle:.3g}{spread}"}

    def _random_keys(self, count: int) -> Ints:
        return np.unique(self._random.integers(0, self._rows, count))

    def _newest_keys(self, count: int) -> Ints:
        return np.unique(self._random.integers(int(self._rows * (1 - _NEWEST)), self._rows, count))

    def _schema(self) -> pa.Schema:
        return self._batch(np.arange(1), 0).schema

    def _parts(self) -> Iterator[pa.RecordBatch]:
        for begin in range(0, self._rows, _PART):
            numbers = np.arange(begin, min(begin + _PART, self._rows))
            yield from self._batch(numbers, None).to_batches()

    def _batch(self, numbers: Ints, sequence: int | None) -> pa.Table:
        sequences = (
            self._random.integers(0, 2**37, len(numbers)) if sequence is None else np.full(len(numbers), sequence)
        )
        values = self._random.random(len(numbers))
        texts = pc.utf8_rpad(pa.array((values * 2**50).astype(np.int64)).cast(pa.string()), 24, "x")
        columns = {"seq": pa.array(sequences), "value": pa.array(values), "text": texts}
        keys = self._keys(numbers)
        return pa.table({**dict(zip(keys.column_names, keys.columns, strict=True)), **columns})

    def _keys(self, numbers: Ints) -> pa.Table:
        if not self._text:
            return pa.table({"id": pa.array(numbers)})
        share = -(-self._rows // _TENANTS)
        tenants = pa.array([f"tenant-{number:04d}" for number in range(_TENANTS)])
        names = pc.utf8_lpad(pa.array(numbers % share * 7).cast(pa.string()), 10, "0")
        return pa.table({"tenant": tenants.take(pa.array(numbers // share)), "name": names})


def _memory(size: float) -> dict[str, Any]:
    return {"values": [size], "text": f"{size / 2**30:.2f} GiB"}


def _peak() -> int:
    """Most bytes that this process ever had resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def _bytes_read() -> int:
    """Bytes that this process asked the system for, those in its cache included."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


if __name__ == "__main__":
    print(json.dumps(_Size(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]).measure()))
