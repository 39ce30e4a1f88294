"""Reading the mods of pending versions: the narrow form that the law decides on, and whole rows of winners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.law.columns import FILE, PARTIAL, ROW, VERSION, KeyColumns
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.winners import TruncateEvent
from andes_spark.log.mod_files import as_wanted, open_entry, read_as, read_columns, schema_of
from andes_spark.model.events import Event, Mods, PendingVersion, Quarantine, SetAside, Truncate
from andes_spark.model.files import Entry
from andes_spark.model.mod import OP, PRESENT, Op
from andes_spark.model.values import from_json
from andes_spark.schema.versions import SchemaVersions
from andes_spark.storage.interface import Storage

Ints = npt.NDArray[np.int64]
Warm = Mapping[str, pa.Table]
"""Mod files by path that are in memory already, as they were written."""


@dataclass(frozen=True)
class PendingFile:
    """A file of mods and the version that commits it."""

    version: int
    entry: Entry


@dataclass(frozen=True)
class Pending:
    """What some versions say to the law, oldest first.

    Attributes:
        files: of mods that take part.
        truncates: that take part.
        discarded: number of mods that were set aside with their versions.
        schemas: of the table, and the one that mods are read as; None where all files have that one.
    """

    files: tuple[PendingFile, ...]
    truncates: tuple[TruncateEvent, ...]
    discarded: int = 0
    schemas: SchemaVersions | None = None

    def read(
        self, file: pq.ParquetFile, entry: Entry, columns: Sequence[str], table: str, row_groups: Sequence[int]
    ) -> pa.Table:
        """Read columns of an opened file of these as the schema that is wanted."""
        if self.schemas is None:
            return read_columns(file, entry, table=table, columns=columns, row_groups=row_groups)
        return read_as(file, entry, table=table, schemas=self.schemas, columns=columns, row_groups=row_groups)

    def in_memory(self, entry: Entry, rows: pa.Table, columns: Sequence[str], table: str) -> pa.Table:
        """Columns of the rows of a file that are in memory as they were written, as the schema that is wanted."""
        if self.schemas is None:
            return rows.select(list(columns))
        return as_wanted(rows, schema_of(entry, self.schemas, table=table), self.schemas.wanted, columns)

    @property
    def rows(self) -> int:
        """Number of upserts and deletes."""
        return sum(file.entry.upserts + file.entry.deletes for file in self.files)

    @property
    def truncate_rows(self) -> int:
        """Number of truncate mods."""
        return sum(file.entry.truncates for file in self.files)

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(file.entry.bytes for file in self.files)

    @property
    def arrow_bytes(self) -> int:
        """Size of the mods in memory."""
        return sum(file.entry.arrow_bytes for file in self.files)


def pending_of(versions: Sequence[PendingVersion], schemas: SchemaVersions, columns: KeyColumns) -> Pending:
    """Interpret the events of some versions: the one place that says what each means to the rows.

    Args:
        versions: oldest first.
        schemas: of the table.
        columns: its key and sequence.
    """
    interpreter = _Interpreter(schemas, columns)
    for version in versions:
        for event in version.events:
            interpreter.take(version.version, event)
    return interpreter.pending()


def newest_base(versions: Sequence[PendingVersion], applied: int) -> int | None:
    """The newest version that a base may contain for these versions to be evaluated on it; None if any will do.

    A version that was set aside while a merge took it in is in the base, and in no later snapshot.
    """
    below = [
        event.version - 1
        for version in versions
        for event in version.events
        if isinstance(event, SetAside) and event.version <= applied
    ]
    return min(below, default=None)


def whole_versions(versions: Sequence[PendingVersion]) -> list[int]:
    """Versions that a merge may go up to: all but those from one that was set aside to the one that says so."""
    gone = [
        (event.version, version.version)
        for version in versions
        for event in version.events
        if isinstance(event, SetAside)
    ]
    numbers = (version.version for version in versions)
    return [number for number in numbers if not any(first <= number < end for first, end in gone)]


def up_to(versions: Sequence[PendingVersion], last: int) -> list[PendingVersion]:
    """The versions up to one, without those that any of them sets aside."""
    gone = {event.version for version in versions for event in version.events if isinstance(event, SetAside)}
    return [version for version in versions if version.version <= last and version.version not in gone]


class _Interpreter:
    """The events of versions, one handler each."""

    def __init__(self, schemas: SchemaVersions, columns: KeyColumns) -> None:
        self._schemas = schemas
        self._schema = schemas.wanted.schema.to_arrow()
        self._columns = columns
        self._files: list[PendingFile] = []
        self._truncates: list[TruncateEvent] = []
        self._discarded = 0

    def take(self, version: int, event: Event) -> None:
        match event:
            case Mods():
                self._files += [PendingFile(version, entry) for entry in event.files]
            case Truncate():
                self._truncates += [
                    TruncateEvent(version, typed_sequence(sequence, self._schema, self._columns))
                    for sequence in event.sequences or [[]]
                ]
            case SetAside():
                self._set_aside(event.version)
            case Quarantine():
                pass  # refused at apply: no part of the law

    def _set_aside(self, version: int) -> None:
        gone = [file.entry for file in self._files if file.version == version]
        self._discarded += sum(entry.upserts + entry.deletes + entry.truncates for entry in gone)
        self._files = [file for file in self._files if file.version != version]
        self._truncates = [truncate for truncate in self._truncates if truncate.version != version]

    def pending(self) -> Pending:
        return Pending(tuple(self._files), tuple(self._truncates), self._discarded, self._schemas)


def typed_sequence(values: Sequence[object] | None, schema: pa.Schema, columns: KeyColumns) -> tuple[object, ...]:
    """A sequence that a document quotes, as Python values; empty for none."""
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
    warm: Warm | None = None,
) -> pl.DataFrame:
    """Read key, sequence and operation of all upserts and deletes, or of those within bounds.

    Returns:
        Key columns, sequence columns, ``_andes_op``, VERSION, FILE (number in ``pending.files``), ROW, PARTIAL.

    Raises:
        FileDamagedError: a file is not what was committed.
    """
    frames = []
    for number, file in enumerate(pending.files):
        if file.entry.upserts + file.entry.deletes:
            frames.append(_narrow(storage, pending, number, columns, table, bounds, warm or {}))
    if not frames:
        raise ValueError("no mods to read")
    return pl.concat(frames)


def _narrow(
    storage: Storage,
    pending: Pending,
    number: int,
    columns: KeyColumns,
    table: str,
    bounds: KeyRange | None,
    warm: Warm,
) -> pl.DataFrame:
    file = pending.files[number]
    entry = file.entry
    wanted = [*columns.narrow, OP, *([PRESENT] if entry.partial else [])]
    held = warm.get(entry.path)
    if held is not None:
        data, rows = pending.in_memory(entry, held, wanted, table), np.arange(held.num_rows)
    else:
        opened = open_entry(storage, entry, table=table)
        groups = list(range(opened.num_row_groups)) if bounds is None else bounds.row_groups(opened)
        data = pending.read(opened, entry, wanted, table, groups)
        rows = group_rows(opened.metadata, groups)
    frame = pl.from_arrow(data.drop_columns([PRESENT]) if entry.partial else data)
    assert isinstance(frame, pl.DataFrame)
    partial = pc.is_valid(data[PRESENT]).to_numpy() if entry.partial else np.zeros(len(rows), np.bool_)
    frame = frame.with_columns(
        pl.lit(file.version, pl.Int64).alias(VERSION),
        pl.lit(number, pl.Int32).alias(FILE),
        pl.Series(ROW, rows, pl.Int64),
        pl.Series(PARTIAL, partial),
    )
    if entry.truncates:
        frame = frame.filter(pl.col(OP) != int(Op.TRUNCATE))
    return frame if bounds is None else frame.filter(bounds.expression())


def group_rows(metadata: pq.FileMetaData, groups: Sequence[int]) -> Ints:
    """Row numbers, in the file, of the rows of some row groups, in that order."""
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
    warm: Warm | None = None,
) -> pa.Table:
    """Read whole mods: the rows at FILE and ROW of ``picks``, in its order. No picks: no rows of file 0.

    Raises:
        FileDamagedError: a file is not what was committed.
    """
    files, rows = picks[FILE].to_numpy(), picks[ROW].to_numpy()
    parts, order = [], []
    for number in np.unique(files) if len(files) else [0]:
        mine = np.flatnonzero(files == number)
        entry = pending.files[number].entry
        held = (warm or {}).get(entry.path)
        if held is not None:
            parts.append(take(pending.in_memory(entry, held, columns, table), rows[mine]))
        else:
            opened = open_entry(storage, entry, table=table)
            parts.append(_take_rows(opened, pending, entry, rows[mine], table, columns))
        order.append(mine)
    if len(parts) == 1:
        return parts[0]
    return pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(order), kind="stable")))


def read_mods(
    storage: Storage,
    pending: Pending,
    picks: pl.DataFrame,
    *,
    table: str,
    columns: Sequence[str],
    warm: Warm | None = None,
) -> pa.Table:
    """As :func:`read_rows`, with ``_andes_present`` behind the columns, NULL where files have none."""
    parts, order = [], []
    numbers = picks[FILE].to_numpy()
    for number in np.unique(numbers):
        mine = np.flatnonzero(numbers == number)
        wanted = [*columns, *([PRESENT] if pending.files[number].entry.partial else [])]
        part = read_rows(storage, pending, picks[mine], table=table, columns=wanted, warm=warm)
        if PRESENT not in part.column_names:
            part = part.append_column(PRESENT, pa.nulls(part.num_rows, pa.binary()))
        parts.append(part)
        order.append(mine)
    return pa.concat_tables(parts).take(pa.array(np.argsort(np.concatenate(order), kind="stable")))


def _take_rows(
    opened: pq.ParquetFile, pending: Pending, entry: Entry, rows: Ints, table: str, columns: Sequence[str]
) -> pa.Table:
    sizes = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    group = np.searchsorted(starts, rows, side="right") - 1
    groups = np.unique(group)
    data = pending.read(opened, entry, columns, table, groups.tolist())
    offset = np.cumsum([0, *(sizes[i] for i in groups)])[:-1]
    place = np.searchsorted(groups, group)
    return take(data, rows - starts[group] + offset[place])


def take(data: pa.Table, rows: Ints) -> pa.Table:
    """Rows by number; without copying when they are all rows in order."""
    if len(rows) == data.num_rows and (len(rows) == 0 or bool((rows == np.arange(len(rows))).all())):
        return data
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return data.slice(int(rows[0]), len(rows))
    return data.take(pa.array(rows))
