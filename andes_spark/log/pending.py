"""Reads of the mods of pending versions: narrow frames, by which the law decides, and whole rows of winners."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.errors import LogDamagedError
from andes_spark.law.columns import ARRIVAL, FILE, PARTIAL, ROW, KeyColumns, arrival
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.order import grouped
from andes_spark.law.winners import TruncateEvent
from andes_spark.log.alterations import Alteration, alteration_of
from andes_spark.log.line import line
from andes_spark.log.mod_files import adapt_rows, open_entries, read_as, read_columns, schema_of
from andes_spark.model.events import (
    Alter,
    Drop,
    Event,
    Forget,
    Mods,
    PendingVersion,
    Quarantine,
    Rebuilt,
    Restore,
    SetAside,
    Tag,
    TakeIn,
    Truncate,
    Vacuum,
    mods_of,
)
from andes_spark.model.files import Entry, SideFile
from andes_spark.model.mod import BATCH, OP, PRESENT, Op
from andes_spark.model.values import from_json
from andes_spark.schema.evolution import rewrites
from andes_spark.schema.versions import SchemaVersions
from andes_spark.storage.interface import Storage
from andes_spark.storage.kept import KeptInputs

Ints = npt.NDArray[np.int64]
KEPT_SHARE = 8
"""Share of the byte budget, as a divisor, for files of mods that stay open during an evaluation."""
ModsInMemory = Mapping[str, pa.Table]
"""Rows of mod files that this process has just written, by path, in the schema of the file."""


@dataclass(frozen=True)
class PendingFile:
    """A file of mods that the base does not contain yet: the version that commits it, and its entry there."""

    version: int
    entry: Entry


@dataclass(frozen=True)
class Pending:
    """Input of the law from some versions, oldest first.

    Attributes:
        files: files of mods, without those that were set aside.
        truncates: truncates, without those that were set aside.
        discarded: number of mods that were set aside with their versions, or that a restore left out.
        schemas: schemas of the table, with the schema of the read; None if all files have that one.
        alteration: changes of the definition; None for none.
        forgotten: files of hashed tombstones, which take the place of tombstones with keys.
    """

    files: tuple[PendingFile, ...]
    truncates: tuple[TruncateEvent, ...]
    discarded: int = 0
    schemas: SchemaVersions | None = None
    alteration: Alteration | None = None
    forgotten: tuple[SideFile, ...] = ()

    @property
    def rewrites(self) -> bool:
        """Whether files of the base hold a column in another type than the schema of the read."""
        if self.schemas is None or self.alteration is None:
            return False
        return rewrites(self.schemas.by_id[self.alteration.before], self.schemas.current)

    def read(
        self, file: pq.ParquetFile, entry: Entry, columns: Sequence[str], table: str, row_groups: Sequence[int]
    ) -> pa.Table:
        """Read columns of an opened mod file, in the schema of the read."""
        if self.schemas is None:
            return read_columns(file, entry, table=table, columns=columns, row_groups=row_groups)
        return read_as(file, entry, table=table, schemas=self.schemas, columns=columns, row_groups=row_groups)

    def adapt(self, entry: Entry, rows: pa.Table, columns: Sequence[str], table: str) -> pa.Table:
        """Convert columns of a mod file that is in memory to the schema of the read."""
        if self.schemas is None:
            return rows.select(list(columns))
        return adapt_rows(rows, schema_of(entry, self.schemas, table=table), self.schemas.current, columns)

    @property
    def rows(self) -> int:
        """The number of upserts and deletes in all files."""
        return sum(file.entry.upserts + file.entry.deletes for file in self.files)

    @property
    def truncate_rows(self) -> int:
        """The number of truncate mods in all files."""
        return sum(file.entry.truncates for file in self.files)

    @property
    def bytes(self) -> int:
        """The size of the files in bytes."""
        return sum(file.entry.bytes for file in self.files)

    @property
    def arrow_bytes(self) -> int:
        """The size of the mods in Arrow's memory format, in bytes."""
        return sum(file.entry.arrow_bytes for file in self.files)


def kept_mods(storage: Storage, pending: Pending, limit: int) -> Storage:
    """Return a storage that keeps the files of mods which an evaluation opens, up to a limit: it reads them twice."""
    return KeptInputs(storage, {file.entry.path: file.entry.bytes for file in pending.files}, limit)


def pending_of(versions: Sequence[PendingVersion], schemas: SchemaVersions, columns: KeyColumns) -> Pending:
    """Interpret the events of versions; no other code defines their meaning for the rows.

    Args:
        versions: oldest first.
        schemas: schemas of the table.
        columns: key and sequence columns.
    """
    interpreter = _Interpreter(schemas, columns)
    selected = line(versions)
    for version in selected:
        for event in version.events:
            interpreter.take(version.version, event)
    mods = [_mods_in(mods_of(version.events)) for version in versions]
    left_out = sum(mods) - sum(_mods_in(mods_of(version.events)) for version in selected)
    # A restore brings back rows, not the definition.
    return replace(interpreter.pending(left_out=left_out), alteration=alteration_of(versions))


def _mods_in(entries: Sequence[Entry]) -> int:
    return sum(entry.upserts + entry.deletes + entry.truncates for entry in entries)


class _Interpreter:
    """Interpreter of events, with one handler for each type."""

    def __init__(self, schemas: SchemaVersions, columns: KeyColumns) -> None:
        self._schemas = schemas
        self._schema = schemas.current.schema.to_arrow()
        self._columns = columns
        self._files: list[PendingFile] = []
        self._truncates: list[TruncateEvent] = []
        self._forgotten: list[SideFile] = []
        self._discarded = 0

    def take(self, version: int, event: Event) -> None:
        match event:
            case Mods():
                self._files += [PendingFile(version, entry) for entry in event.files]
            case Truncate():
                self._truncates += [
                    TruncateEvent(version, typed_sequence(sequence, self._schema, self._columns), event.batch)
                    for sequence in event.sequences or [[]]
                ]
            case SetAside():
                self._set_aside(event.version)
            case Forget():
                self._forgotten += event.tombstones
            case Quarantine() | Tag() | Vacuum() | Drop():
                pass  # no part of the law's input
            case Rebuilt():
                if not event.known:
                    raise LogDamagedError(
                        f"the mods of version {version} are lost with its manifest, so that only versions whose base "
                        "contains it can be read",
                        version=version,
                    )
            case Restore() | TakeIn() | Alter():
                pass  # see ``log.line`` and ``log.alterations``

    def _set_aside(self, version: int) -> None:
        self._discarded += _mods_in([file.entry for file in self._files if file.version == version])
        self._files = [file for file in self._files if file.version != version]
        self._truncates = [truncate for truncate in self._truncates if truncate.version != version]

    def pending(self, *, left_out: int) -> Pending:
        discarded = self._discarded + left_out
        files, truncates, forgotten = tuple(self._files), tuple(self._truncates), tuple(self._forgotten)
        return Pending(files, truncates, discarded, self._schemas, forgotten=forgotten)


def typed_sequence(values: Sequence[object] | None, schema: pa.Schema, columns: KeyColumns) -> tuple[object, ...]:
    """Return the Python values of a sequence in a document; empty if there is none."""
    if not values:
        return ()
    return tuple(
        from_json(value, schema.field(name).type).as_py() for name, value in zip(columns.sequence, values, strict=True)
    )


def read_narrow(
    storage: Storage,
    pending: Pending,
    columns: KeyColumns,
    *,
    table: str,
    bounds: KeyRange | None = None,
    in_memory: ModsInMemory | None = None,
) -> pl.DataFrame:
    """Read key, sequence and operation of all upserts and deletes, or of those within bounds.

    Returns:
        Key columns, sequence columns, ``_andes_op``, ARRIVAL, FILE (number in ``pending.files``), ROW, PARTIAL.

    Raises:
        FileDamagedError: a file is not what was committed.
    """
    in_memory = in_memory or {}
    numbers = [number for number, file in enumerate(pending.files) if file.entry.upserts + file.entry.deletes]
    meeting = [number for number in numbers if _meets(pending.files[number].entry, bounds)]
    if not numbers:
        raise ValueError("no mods to read")
    # If no file has keys within, the first one has the columns.
    used = meeting or numbers[:1]
    opened = open_entries(storage, _stored(pending, used, in_memory), table=table)
    frames = [_narrow(opened, pending, number, columns, table, bounds, in_memory) for number in used]
    return pl.concat(frames) if meeting else frames[0].clear()


def _stored(pending: Pending, numbers: Iterable[int], in_memory: ModsInMemory) -> Iterator[Entry]:
    """Files that are not in memory."""
    return (pending.files[number].entry for number in numbers if pending.files[number].entry.path not in in_memory)


def narrow_of_file(storage: Storage, pending: Pending, number: int, columns: KeyColumns, *, table: str) -> pl.DataFrame:
    """Read the same of one file, by its number."""
    opened = open_entries(storage, [pending.files[number].entry], table=table)
    return _narrow(opened, pending, number, columns, table, None, {})


def _meets(entry: Entry, bounds: KeyRange | None) -> bool:
    """Whether a file may have keys within bounds, by its description; it is not opened."""
    if bounds is None or entry.keys is None:
        return True
    low, high = (from_json(key[0], bounds.types[0]).as_py() for key in (entry.keys.low, entry.keys.high))
    return bounds.meets(low, high)


def _narrow(
    opened_files: Iterator[pq.ParquetFile],
    pending: Pending,
    number: int,
    columns: KeyColumns,
    table: str,
    bounds: KeyRange | None,
    in_memory: ModsInMemory,
) -> pl.DataFrame:
    file = pending.files[number]
    entry = file.entry
    names = [*columns.narrow, OP, *entry.system_columns]
    rows_in_memory = in_memory.get(entry.path)
    if rows_in_memory is not None:
        data, rows = pending.adapt(entry, rows_in_memory, names, table), np.arange(rows_in_memory.num_rows)
    else:
        opened = next(opened_files)
        groups = list(range(opened.num_row_groups)) if bounds is None else bounds.row_groups(opened)
        data = pending.read(opened, entry, names, table, groups)
        rows = group_rows(opened.metadata, groups)
    frame = pl.from_arrow(data.drop_columns(entry.system_columns))
    assert isinstance(frame, pl.DataFrame)
    partial = pc.is_valid(data[PRESENT]).to_numpy() if entry.partial else np.zeros(len(rows), np.bool_)
    frame = frame.with_columns(
        _arrivals(file.version, data[BATCH] if entry.batches > 1 else None).alias(ARRIVAL),
        pl.lit(number, pl.Int32).alias(FILE),
        pl.Series(ROW, rows, pl.Int64),
        pl.Series(PARTIAL, partial),
    )
    if entry.truncates:
        frame = frame.filter(pl.col(OP) != int(Op.TRUNCATE))
    return frame if bounds is None else frame.filter(bounds.expression())


def _arrivals(version: int, batches: pa.ChunkedArray | None) -> pl.Expr:
    """Arrivals of the mods of a file; ``batches`` has the numbers of their batches if the version has several."""
    if batches is None:
        return pl.lit(arrival(version), pl.Int64)
    return pl.lit(pl.Series(batches).cast(pl.Int64)) + arrival(version)


def group_rows(metadata: pq.FileMetaData, groups: Sequence[int]) -> Ints:
    """Return the row numbers, in the file, of the rows of some row groups, in that order."""
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    if len(groups) == len(sizes):
        return np.arange(starts[-1])
    return np.concatenate([np.arange(starts[i], starts[i + 1]) for i in groups] or [np.zeros(0, np.int64)])


def read_rows(
    storage: Storage,
    pending: Pending,
    picks: pl.DataFrame,
    *,
    table: str,
    columns: Sequence[str],
    in_memory: ModsInMemory | None = None,
) -> pa.Table:
    """Read whole mods: the rows at FILE and ROW of ``picks``, in its order. No picks: no rows of file 0.

    Raises:
        FileDamagedError: a file is not what was committed.
    """
    parts = list(_picked(storage, pending, picks, table, lambda entry: columns, in_memory or {}))
    return parts[0][1] if len(parts) == 1 else _in_order(parts)


_Parts = Sequence[tuple[Ints, pa.Table]]
"""Rows of files with their places in the result."""


def _in_order(parts: _Parts) -> pa.Table:
    order = np.concatenate([places for places, _ in parts])
    return pa.concat_tables([part for _, part in parts]).take(pa.array(np.argsort(order, kind="stable")))


def _picked(
    storage: Storage,
    pending: Pending,
    picks: pl.DataFrame,
    table: str,
    columns_of: Callable[[Entry], Sequence[str]],
    in_memory: ModsInMemory,
) -> Iterator[tuple[Ints, pa.Table]]:
    """Yield the picked rows of each file; no rows of file 0 if there are no picks."""
    rows = picks[ROW].to_numpy()
    groups = grouped(picks[FILE].to_numpy()) or [(0, np.zeros(0, np.int64))]
    opened = open_entries(storage, _stored(pending, (number for number, _ in groups), in_memory), table=table)
    for number, places in groups:
        entry = pending.files[number].entry
        columns, rows_in_memory = columns_of(entry), in_memory.get(entry.path)
        if rows_in_memory is not None:
            yield places, take(pending.adapt(entry, rows_in_memory, columns, table), rows[places])
        else:
            yield places, _take_rows(next(opened), pending, entry, rows[places], table, columns)


def read_mods(
    storage: Storage,
    pending: Pending,
    picks: pl.DataFrame,
    *,
    table: str,
    columns: Sequence[str],
    in_memory: ModsInMemory | None = None,
) -> pa.Table:
    """As :func:`read_rows`, with ``_andes_present`` behind the columns, NULL where files have none."""

    def columns_of(entry: Entry) -> list[str]:
        return [*columns, *([PRESENT] if entry.partial else [])]

    parts = []
    for places, part in _picked(storage, pending, picks, table, columns_of, in_memory or {}):
        if PRESENT not in part.column_names:
            part = part.append_column(PRESENT, pa.nulls(part.num_rows, pa.binary()))
        parts.append((places, part))
    return _in_order(parts)


def _take_rows(
    opened: pq.ParquetFile, pending: Pending, entry: Entry, rows: Ints, table: str, columns: Sequence[str]
) -> pa.Table:
    sizes = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    group = np.searchsorted(starts, rows, side="right") - 1
    groups = np.unique(group)
    data = pending.read(opened, entry, columns, table, groups.tolist())
    offset = np.cumsum([0, *(sizes[i] for i in groups)])[:-1]
    return take(data, rows - starts[group] + offset[np.searchsorted(groups, group)])


def take(data: pa.Table, rows: Ints) -> pa.Table:
    """Return the rows by number; without a copy if they are consecutive and more than half of all."""
    if len(rows) == data.num_rows and bool((rows == np.arange(len(rows))).all()):
        return data
    # A slice keeps all rows in memory, of as many files as there are.
    if 2 * len(rows) > data.num_rows and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return data.slice(int(rows[0]), len(rows))
    return data.take(pa.array(rows))
