"""Mods of pending versions: events interpreted, and narrow frames, by which the law decides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.errors import LogDamagedError
from andes_spark.law.columns import ARRIVAL, FILE, PARTIAL, ROW, KeyColumns, arrival
from andes_spark.law.expiry import ExpireEvent, Expiry
from andes_spark.law.keys.ranges import KeyRange
from andes_spark.law.winners import TruncateEvent
from andes_spark.log.alterations import Alteration, alteration_of
from andes_spark.log.line import line
from andes_spark.log.mod_files import adapt_rows, open_entries, read_as, read_columns, schema_of
from andes_spark.model.events import (
    Alter,
    Drop,
    Event,
    Expire,
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
    """A file of mods that the base does not contain yet: the version that commits it, its entry, whether a backfill."""

    version: int
    entry: Entry
    backfill: bool = False


@dataclass(frozen=True)
class Pending:
    """Input of the law from some versions, oldest first.

    Attributes:
        files: files of mods, without those that were set aside.
        truncates: truncates, without those that were set aside.
        discarded: number of mods that were set aside with their versions, or that a restore left out.
        schemas: schemas of the table, with the schema of the read; None if all files have that one.
        alteration: changes of the definition; None for none.
        forgotten: files of hashed tombstones by version, which take the place of tombstones with keys.
        expires: expires of the versions.
        cut: cut of the expires before the versions; None for none.
        expired_truncates: truncates at or below the cut that they meet, see :meth:`following`.
    """

    files: tuple[PendingFile, ...]
    truncates: tuple[TruncateEvent, ...]
    discarded: int = 0
    schemas: SchemaVersions | None = None
    alteration: Alteration | None = None
    forgotten: tuple[tuple[int, SideFile], ...] = ()
    expires: tuple[ExpireEvent, ...] = ()
    cut: tuple[object, ...] | None = None
    expired_truncates: tuple[TruncateEvent, ...] = ()

    @cached_property
    def expiry(self) -> Expiry:
        """Which mods expires let take part, and what they forget."""
        return Expiry(self.expires, self.cut, frozenset(file.version for file in self.files if file.backfill))

    def following(self, cut: tuple[object, ...] | None) -> Pending:
        """The same on a base with a cut, without the truncates that expires leave out."""
        pending = replace(self, cut=cut)
        takes_part = pending.expiry.takes_part
        return replace(
            pending,
            truncates=tuple(truncate for truncate in self.truncates if takes_part(truncate)),
            expired_truncates=tuple(truncate for truncate in self.truncates if not takes_part(truncate)),
        )

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

    def files_with_truncates(self, versions: Collection[int]) -> list[int]:
        """Numbers of the files of some versions that hold truncates."""
        return [number for number, file in enumerate(self.files) if file.entry.truncates and file.version in versions]

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
        self._forgotten: list[tuple[int, SideFile]] = []
        self._expires: list[ExpireEvent] = []
        self._discarded = 0

    def take(self, version: int, event: Event) -> None:
        match event:
            case Mods():
                self._files += [PendingFile(version, entry, event.backfill) for entry in event.files]
            case Truncate():
                self._truncates += [
                    TruncateEvent(
                        version, typed_sequence(sequence, self._schema, self._columns), event.batch, event.backfill
                    )
                    for sequence in event.sequences or [[]]
                ]
            case Expire():
                sequence = typed_sequence(event.sequence, self._schema, self._columns)
                self._expires.append(ExpireEvent(version, sequence))
            case SetAside():
                self._set_aside(event.version)
            case Forget():
                self._forgotten += [(version, file) for file in event.tombstones]
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
        return Pending(
            tuple(self._files),
            tuple(self._truncates),
            discarded,
            self._schemas,
            forgotten=tuple(self._forgotten),
            expires=tuple(self._expires),
        )


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
    opened = open_entries(storage, stored(pending, used, in_memory), table=table)
    frames = [_narrow(opened, pending, number, columns, table, bounds, in_memory) for number in used]
    return pl.concat(frames) if meeting else frames[0].clear()


def stored(pending: Pending, numbers: Iterable[int], in_memory: ModsInMemory) -> Iterator[Entry]:
    """Files that are not in memory."""
    return (pending.files[number].entry for number in numbers if pending.files[number].entry.path not in in_memory)


def narrow_of_file(storage: Storage, pending: Pending, number: int, columns: KeyColumns, *, table: str) -> pl.DataFrame:
    """Read the same of one file, by its number."""
    opened = open_entries(storage, [pending.files[number].entry], table=table)
    return _narrow(opened, pending, number, columns, table, None, {})


def truncates_of_file(
    storage: Storage,
    pending: Pending,
    number: int,
    columns: KeyColumns,
    *,
    table: str,
    in_memory: ModsInMemory | None = None,
) -> pl.DataFrame:
    """Read the same of the truncates in one file, by its number."""
    in_memory = in_memory or {}
    opened = open_entries(storage, stored(pending, [number], in_memory), table=table)
    rows = _narrow(opened, pending, number, columns, table, None, in_memory, every=True)
    return rows.filter(pl.col(OP) == int(Op.TRUNCATE))


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
    *,
    every: bool = False,
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
    if entry.truncates and not every:
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
