"""External sort: sorted runs in a local file, merged by ranges of keys.

Each run contains rows of one partition, sorted by key, in small Arrow batches. The first key of every batch is kept in
memory; ranges are bounded by these keys, and a merge reads each batch once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow as pa

from andes_spark.errors import StorageFullError
from andes_spark.law.keys.ranges import split

_BATCH_BYTES = 64 * 1024
_BATCH_ROWS = 64 * 1024
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Run:
    """Rows of one partition, sorted by key, in consecutive batches of the file.

    Attributes:
        partition: partition values of the rows.
        first_batch: number of the first batch in the file.
        first_keys: first key of each batch.
        batch_bytes: Arrow bytes of each batch.
    """

    partition: Key
    first_batch: int
    first_keys: tuple[Key, ...]
    batch_bytes: tuple[int, ...]


@dataclass
class Spill:
    """A local file of sorted runs, written once and merged any number of times.

    Args:
        folder: local folder of the file.
        schema: schema of the rows.
        key: names of the key columns.
        partition_by: names of the partition columns.
    """

    folder: Path
    schema: pa.Schema
    key: tuple[str, ...]
    partition_by: tuple[str, ...]
    runs: list[Run] = field(default_factory=list)
    _batches: int = 0

    def __post_init__(self) -> None:
        self._path = self.folder / "runs.arrow"
        self._sink = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_file(self._sink, self.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()
        self._path.unlink()

    def add(self, rows: pa.Table) -> None:
        """Append rows that are sorted by key.

        Raises:
            StorageFullError: the local disk is full.
        """
        for partition, run in self._partitions(rows):
            batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * run.num_rows // max(1, run.nbytes)))
            batches = run.combine_chunks().to_batches(max_chunksize=batch_rows)
            firsts = [tuple(batch.column(name)[0].as_py() for name in self.key) for batch in batches]
            self.runs.append(Run(partition, self._batches, tuple(firsts), tuple(batch.nbytes for batch in batches)))
            self._batches += len(batches)
            try:
                for batch in batches:
                    self._writer.write_batch(batch)
            except OSError as error:
                raise self._full(error) from error

    def close(self) -> None:
        """Finish the file, which can be merged after that."""
        try:
            self._writer.close()
            self._sink.close()
        except OSError as error:
            raise self._full(error) from error

    def merged(self, runs: Sequence[Run], piece_bytes: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Merge runs; yield tables in the order of the key, not sorted within. Equal keys are in the same table.

        Args:
            runs: runs to merge.
            piece_bytes: approximate size of a table in Arrow bytes, over all columns.
            columns: names of the columns to return, key included; None for all.
        """
        with pa.OSFile(str(self._path), "rb") as source:
            options = pa.ipc.IpcReadOptions(included_fields=self._fields(columns))
            reader = pa.ipc.open_file(source, options=options)
            cursors = [_Cursor(reader, run, self.key) for run in runs]
            for cut in [*self._cuts(runs, piece_bytes), None]:
                pieces = [piece for cursor in cursors for piece in cursor.take_below(cut)]
                if pieces:
                    yield pa.Table.from_batches(pieces)

    def _cuts(self, runs: Sequence[Run], piece_bytes: int) -> list[Key]:
        weights = [size for run in runs for size in run.batch_bytes]
        pieces = -(-sum(weights) // piece_bytes)
        if pieces < 2:
            return []
        firsts = [first for run in runs for first in run.first_keys]
        columns = zip(*firsts, strict=True)
        samples = pa.table(
            [
                pa.array(list(values), self.schema.field(name).type)
                for name, values in zip(self.key, columns, strict=True)
            ],
            names=list(self.key),
        )
        return [part.high for part in split(samples, weights, pieces, self.key) if part.high is not None]

    def _fields(self, columns: Sequence[str] | None) -> list[int] | None:
        return None if columns is None else [self.schema.get_field_index(name) for name in columns]

    def _partitions(self, rows: pa.Table) -> Iterator[tuple[Key, pa.Table]]:
        if not self.partition_by:
            yield (), rows
            return
        frame = pl.from_arrow(rows.select(list(self.partition_by)))
        assert isinstance(frame, pl.DataFrame)
        groups = frame.with_row_index("_andes_row").group_by(self.partition_by, maintain_order=True).agg("_andes_row")
        for *partition, row_numbers in groups.iter_rows():
            yield tuple(partition), rows.take(pa.array(row_numbers, pa.uint32()))

    def _full(self, error: OSError) -> StorageFullError:
        return StorageFullError(
            f"{self.folder}: sorted rows cannot be written there ({error}); point TMPDIR to a folder with "
            "room for the rows",
            path=str(self._path),
        )


class _Cursor:
    """Position in a run."""

    def __init__(self, reader: pa.ipc.RecordBatchFileReader, run: Run, key: tuple[str, ...]) -> None:
        self._reader, self._run, self._key = reader, run, key
        self._next = 0
        self._rest: pa.RecordBatch | None = None

    def take_below(self, cut: Key | None) -> list[pa.RecordBatch]:
        """Take the rows whose key is below ``cut``, all of them if it is None."""
        batches: list[pa.RecordBatch] = []
        while True:
            batch = self._rest
            if batch is None:
                if self._next == len(self._run.first_keys):
                    return batches
                if cut is not None and self._run.first_keys[self._next] >= cut:
                    return batches
                batch = self._reader.get_batch(self._run.first_batch + self._next)
                self._next += 1
            end = batch.num_rows if cut is None else self._position(batch, cut)
            if end:
                batches.append(batch.slice(0, end))
            if end < batch.num_rows:
                self._rest = batch.slice(end)
                return batches
            self._rest = None

    def _position(self, batch: pa.RecordBatch, cut: Key) -> int:
        columns = [batch.column(name) for name in self._key]
        return bisect_left(range(batch.num_rows), cut, key=lambda row: tuple(values[row].as_py() for values in columns))
