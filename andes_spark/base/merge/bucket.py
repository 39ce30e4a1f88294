"""One bucket of a merge: its keys evaluated, its rows and tombstones written. Runs in the process or in a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from andes_spark.base import locator as locating
from andes_spark.base.evaluate import Locator, Targets, evaluate, expired_truncates, local_locator
from andes_spark.base.evaluation import EvaluationInput
from andes_spark.base.files import NumberedFile, OpenFile, TableShape
from andes_spark.base.keys import KeyCache, keep_keys
from andes_spark.base.match import KeyLookup
from andes_spark.base.rows import RowWriter
from andes_spark.base.tombstones import write_tombstones
from andes_spark.delta.actions import Action
from andes_spark.delta.paths import decode_path
from andes_spark.delta.vectors import from_positions, serialize
from andes_spark.law.columns import BASE_FILE, BASE_ROW, FILE, ROW
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.order import above, grouped
from andes_spark.log.mod_files import described, new_path, read_entry
from andes_spark.log.pending import ModsInMemory
from andes_spark.model.files import SideFile
from andes_spark.model.results import MergeCounts
from andes_spark.schema.versions import numbered
from andes_spark.storage.interface import Storage, Tally
from andes_spark.storage.parquet import write_parquet

Ints = npt.NDArray[np.int64]

QUARANTINED_SCHEMA = pa.schema(
    [("version", pa.int64()), ("path", pa.string()), ("row", pa.int64()), ("reason", pa.string())]
)


@dataclass(frozen=True)
class BucketResult:
    """Files written by a bucket, visible when the merge commits.

    Attributes:
        adds: ``add`` actions of new data files.
        deleted: serialized bitmaps of deleted rows, by number of the file.
        tombstones: file of new tombstones, if there are any.
        quarantined: file of mods quarantined by the law, if there are any.
        counts: number of mods by outcome.
        tally: requests and bytes of the bucket.
    """

    adds: tuple[Action, ...] = ()
    deleted: dict[int, bytes] = field(default_factory=dict)
    tombstones: SideFile | None = None
    quarantined: SideFile | None = None
    counts: MergeCounts = field(default_factory=MergeCounts)
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class BucketJob:
    """Evaluation and writing of one bucket; sent to tasks.

    Attributes:
        storage: the table's folder.
        inputs: base and pending mods.
        writer: writer of new rows.
        version: last version of the merge.
        threads: number of threads that scan base files.
    """

    storage: Storage
    inputs: EvaluationInput
    writer: RowWriter
    version: int
    threads: int

    def __call__(self, bounds: KeyRange | None) -> BucketResult:
        """Run in a task, or for one bucket of several in the process."""
        before = self.storage.counts.snapshot()
        result = self.run(bounds, local_locator(self.storage, self.inputs.shape, self.threads), None)
        return BucketResult(
            adds=result.adds,
            deleted=result.deleted,
            tombstones=result.tombstones,
            quarantined=result.quarantined,
            counts=result.counts,
            tally=self.storage.counts.minus(before),
        )

    def run(
        self,
        bounds: KeyRange | None,
        locate: Locator,
        in_memory: ModsInMemory | None,
        cache: KeyCache | None = None,
        targets: Targets | None = None,
    ) -> BucketResult:
        """Evaluate and write the bucket, with a locator, mods in memory and a cache of tombstones and keys."""
        inputs = self.inputs
        evaluation = evaluate(
            self.storage, inputs, locate=locate, bounds=bounds, in_memory=in_memory, cache=cache, targets=targets
        )
        tombstones = None
        if inputs.shape.columns.sequence:
            tombstones = write_tombstones(
                self.storage, evaluation.tombstones, evaluation.cleared, inputs.shape, version=self.version
            )
        adds = tuple(self.writer.write(self.storage, evaluation.rows))
        if cache is not None and len(adds) == 1:
            keep_keys(cache, decode_path(adds[0]["add"]["path"]), evaluation.rows, inputs.shape)
        return BucketResult(
            adds=adds,
            deleted=_bitmaps(evaluation.replaced),
            tombstones=tombstones,
            quarantined=_write_places(self.storage, inputs, evaluation.quarantined, self.version),
            counts=evaluation.counts,
        )


def _write_places(storage: Storage, inputs: EvaluationInput, rows: pl.DataFrame, version: int) -> SideFile | None:
    """Write FILE, ROW and ``reason`` of mods that the law sets aside; None for none."""
    if rows.height == 0:
        return None
    files = [inputs.pending.files[number] for number in rows[FILE]]
    table = pa.table(
        [
            pa.array([file.version for file in files], pa.int64()),
            pa.array([file.entry.path for file in files], pa.string()),
            rows[ROW].to_arrow(),
            rows["reason"].to_arrow().cast(pa.string()),
        ],
        schema=QUARANTINED_SCHEMA,
    )
    return _write_quarantined(storage, table, version, inputs.shape.versions.current_id)


def write_expired_truncates(
    storage: Storage, inputs: EvaluationInput, version: int, in_memory: ModsInMemory | None
) -> list[SideFile]:
    """Write the places of truncates at or below the cut that they meet, as one file; none if there are none."""
    written = _write_places(storage, inputs, expired_truncates(storage, inputs, in_memory), version)
    return [] if written is None else [written]


def fold_quarantined(storage: Storage, files: Sequence[SideFile], shape: TableShape, *, version: int) -> list[SideFile]:
    """Fold files of quarantined mods: each is at least twice as large as the next, so that few rows are rewritten."""
    kept = list(files)
    tables: list[pa.Table] = []
    while len(kept) > 1 and kept[-2].rows < 2 * (kept[-1].rows + sum(table.num_rows for table in tables)):
        tables.insert(0, read_entry(storage, kept.pop(), table=shape.table))
    if not tables:
        return kept
    tables.insert(0, read_entry(storage, kept.pop(), table=shape.table))
    return [
        *kept,
        _write_quarantined(
            storage, pa.concat_tables(tables).cast(QUARANTINED_SCHEMA), version, shape.versions.current_id
        ),
    ]


def _write_quarantined(storage: Storage, rows: pa.Table, version: int, schema_id: int) -> SideFile:
    path = new_path("quarantine", version)
    written = write_parquet(storage, path, rows, numbered(QUARANTINED_SCHEMA))
    return SideFile(**described(path, rows, written), schema_id=schema_id)


@dataclass(frozen=True)
class LocateJob:
    """Scan of a group of base files for keys; sent to tasks.

    Attributes:
        storage: the table's folder.
        shape: shape of the table.
        keys: keys to find.
    """

    storage: Storage
    shape: TableShape
    keys: KeyLookup

    def __call__(self, files: Sequence[NumberedFile]) -> list[pl.DataFrame]:
        """Return located rows, one frame per file."""
        return [locating.locate(self.storage, file, self.keys, self.shape) for file in files]


@dataclass(frozen=True)
class TruncateJob:
    """Search for the rows of a file at or below a truncate; sent to tasks.

    Attributes:
        storage: the table's folder.
        shape: shape of the table.
        watermark: sequence of the truncate.
    """

    storage: Storage
    shape: TableShape
    watermark: tuple[Any, ...]

    def __call__(self, file: NumberedFile) -> tuple[int, bytes]:
        """Return the number of the file and a serialized bitmap of the removed rows; no bytes if there are none."""
        opened = OpenFile(self.storage, file.path, file.file, self.shape)
        sequence = self.shape.columns.sequence
        frame = pl.from_arrow(opened.read(list(sequence)))
        assert isinstance(frame, pl.DataFrame)
        columns = [pl.col(name) for name in sequence]
        alive = frame.select(above(columns, [pl.lit(value) for value in self.watermark]).alias("alive"))
        truncated = np.flatnonzero(~alive["alive"].to_numpy())
        return file.number, serialize(from_positions(truncated)) if len(truncated) else b""


def _bitmaps(replaced: pl.DataFrame) -> dict[int, bytes]:
    files, rows = replaced[BASE_FILE].to_numpy(), replaced[BASE_ROW].to_numpy()
    return {number: serialize(from_positions(rows[places])) for number, places in grouped(files)}
