"""Files of mods and of quarantined rows: writing, names and reading.

A mod file holds the columns of its schema, ``_andes_op`` and, if rows may be partial, ``_andes_present``;
rows are sorted by key, then sequence. Every read verifies checksums, see ``storage.parquet``.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from andes_spark.errors import FileDamagedError, NotFoundError
from andes_spark.law.presence import adapt_present
from andes_spark.model.files import Entry, FileKeyRange, LogFile, SideFile
from andes_spark.model.mod import BATCH, HASH, OP, PRESENT, SYSTEM_IDS, Op
from andes_spark.model.values import quote
from andes_spark.schema.versions import SchemaVersion, SchemaVersions, adapted, numbered, sources, with_field_ids
from andes_spark.storage.interface import Storage
from andes_spark.storage.parquet import Written, compact_encodings, open_parquet, write_parquet
from andes_spark.storage.scheduler import Asked

QUARANTINE_SCHEMA = pa.schema(
    [("reason", pa.string()), ("column", pa.string()), ("row_number", pa.int64()), ("row", pa.string())]
)
GROUP_ROWS = 128 * 1024
"""Rows of a row group of mods: the least that the evaluation of a range of keys reads of a file."""
_TAIL_BYTES = 1024 * 1024
"""Maximum number of bytes that the opening of a file fetches."""
_BYTES_AHEAD = 32 * _TAIL_BYTES
NO_QUARANTINE = pa.Table.from_batches([], QUARANTINE_SCHEMA)


def stored_schema(version: SchemaVersion, arrow: pa.Schema) -> pa.Schema:
    """Return the schema of a file of mods or tombstones, with the field ids of its columns."""
    marked = with_field_ids(version, arrow)
    for name, number in SYSTEM_IDS.items():
        if name in arrow.names:
            field = arrow.field(name).with_metadata({"PARQUET:field_id": str(number)})
            marked = marked.set(arrow.get_field_index(name), field)
    return marked


def new_path(kind: str, head: int) -> str:
    """Return a unique path below ``_andes/<kind>/``; it holds the head seen when it was chosen."""
    return f"_andes/{kind}/{max(head, 0):020d}-{uuid.uuid4()}.parquet"


def write_mods(
    storage: Storage,
    table: pa.Table,
    *,
    head: int,
    version: SchemaVersion,
    primary_key: Sequence[str],
    sequence_by: Sequence[str],
    batches: int = 1,
) -> Entry:
    """Write one file of mods and describe it.

    Args:
        storage: the table's folder.
        table: non-empty; columns of the schema, ``_andes_op`` and maybe ``_andes_present``; sorted by key,
            then sequence, truncates (NULL key) first.
        head: newest version seen at the start of the batch.
        version: schema of the columns.
        primary_key: names of the key columns.
        sequence_by: names of the sequence columns.
        batches: number of batches of the version; above 1 the table has ``_andes_batch``.
    """
    path = new_path("mods", head)
    ops = table[OP].to_numpy()
    truncates = _count(ops, Op.TRUNCATE)
    key_is_ordered = not truncates or not set(primary_key) & set(sequence_by)
    narrow = list(dict.fromkeys([*primary_key, *sequence_by]))
    written = write_parquet(
        storage,
        path,
        table,
        stored_schema(version, table.schema),
        sorted_by=narrow if key_is_ordered else (),
        marked=narrow,
        encodings=compact_encodings(table),
        group_rows=GROUP_ROWS,
    )
    keyed = table.slice(truncates)
    low, high = sequence_range(table, sequence_by)
    partial = table.num_rows - table[PRESENT].null_count if PRESENT in table.column_names else 0
    return Entry(
        **described(path, table, written),
        upserts=_count(ops, Op.UPSERT),
        deletes=_count(ops, Op.DELETE),
        truncates=truncates,
        partial=partial,
        batches=batches,
        schema_id=version.id,
        keys=key_range(keyed, primary_key),
        low_sequence=low,
        high_sequence=high,
    )


def write_quarantine(storage: Storage, rows: pa.Table, *, head: int, schema_id: int) -> Entry:
    """Write refused rows, of :data:`QUARANTINE_SCHEMA`, and describe the file."""
    path = new_path("quarantine", head)
    written = write_parquet(storage, path, rows, numbered(QUARANTINE_SCHEMA))
    return Entry(**described(path, rows, written), schema_id=schema_id)


def described(path: str, rows: pa.Table, written: Written) -> dict[str, Any]:
    """Return the members of ``LogFile`` for a file that was written; the size in memory is that of the slice alone."""
    return {
        "path": path,
        "rows": rows.num_rows,
        "bytes": written.bytes,
        "sha256": written.sha256,
        "footer": written.footer,
        "arrow_bytes": int(rows.nbytes),
    }


def open_entry(
    storage: Storage,
    entry: LogFile,
    *,
    table: str,
    streamed: bool = False,
    source: Asked[pa.NativeFile] | None = None,
) -> pq.ParquetFile:
    """Open a file of the log for reading; verify its footer now and its pages during reads. See ``open_parquet``.

    Raises:
        FileDamagedError: the file is missing, is not Parquet, or its footer differs from the committed one.
    """
    try:
        file = open_parquet(storage, entry.path, footer=entry.footer, streamed=streamed, source=source)
    except NotFoundError as error:
        raise FileDamagedError(
            f"{table}: {entry.path} is missing; restore it from a backup", table=table, path=entry.path
        ) from error
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise _damaged(table, entry, str(error)) from error
    if file.metadata.num_rows != entry.rows:
        raise _damaged(table, entry, f"it has {file.metadata.num_rows} rows, {entry.rows} were committed")
    return file


def open_entries(storage: Storage, entries: Iterable[LogFile], *, table: str) -> Iterator[pq.ParquetFile]:
    """Open files of the log one after the other; the next ones are requested beside, as far as memory allows.

    Errors are those of :func:`open_entry`.
    """
    requests: deque[tuple[LogFile, Asked[pa.NativeFile]]] = deque()
    size = 0
    for entry in entries:
        while requests and size + min(entry.bytes, _TAIL_BYTES) > _BYTES_AHEAD:
            first, source = requests.popleft()
            size -= min(first.bytes, _TAIL_BYTES)
            yield open_entry(storage, first, table=table, source=source)
        requests.append((entry, storage.scheduler.ask(storage.open_input, entry.path)))
        size += min(entry.bytes, _TAIL_BYTES)
    for first, source in requests:
        yield open_entry(storage, first, table=table, source=source)


def read_entry(storage: Storage, entry: LogFile, *, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns of a file of the log.

    Raises:
        FileDamagedError: a page checksum is wrong, or a column is missing.
    """
    file = open_entry(storage, entry, table=table)
    return read_columns(file, entry, table=table, columns=columns)


def read_columns(
    file: pq.ParquetFile,
    entry: LogFile,
    *,
    table: str,
    columns: Sequence[str] | None = None,
    row_groups: Sequence[int] | None = None,
) -> pa.Table:
    """Read columns of an opened file of the log, of all or some row groups; errors as in :func:`read_entry`."""
    names = file.schema_arrow.names
    if columns is not None and not set(columns) <= set(names):
        raise _damaged(table, entry, f"it lacks the columns {sorted(set(columns) - set(names))}")
    selected = None if columns is None else list(columns)
    try:
        if row_groups is None:
            return file.read(columns=selected)
        return file.read_row_groups(list(row_groups), columns=selected)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(table, entry, str(error)) from error


def read_as(
    file: pq.ParquetFile,
    entry: Entry | SideFile,
    *,
    table: str,
    schemas: SchemaVersions,
    columns: Sequence[str],
    row_groups: Sequence[int] | None = None,
) -> pa.Table:
    """Read columns of an opened file, converted from the file's schema to the schema of the read.

    Args:
        file: opened file.
        entry: committed description of the file.
        table: URL, for messages.
        schemas: schemas of the table, with the schema of the read.
        columns: names in that schema, ``_andes_op`` and ``_andes_present``.
        row_groups: numbers of row groups; None for all.

    Raises:
        FileDamagedError: a page checksum is wrong, or a column is missing.
    """
    written = schema_of(entry, schemas, table=table)
    if written.id == schemas.current_id:
        return read_columns(file, entry, table=table, columns=columns, row_groups=row_groups)
    names = [name for name in columns if name not in SYSTEM_IDS]
    stored = [name for name in sources(written, schemas.current, names).values() if name is not None]
    # The operation is always read: it gives the number of rows.
    extra = {OP, *columns} - set(names)
    data = read_columns(file, entry, table=table, columns=[*stored, *sorted(extra)], row_groups=row_groups)
    return adapt_rows(data, written, schemas.current, columns)


def batches_as(
    storage: Storage,
    entry: Entry | SideFile,
    *,
    table: str,
    schemas: SchemaVersions,
    columns: Sequence[str],
    batch_bytes: int,
) -> Iterator[pa.Table]:
    """Read columns of a file in batches of about ``batch_bytes``, converted as by :func:`read_as`.

    Raises:
        FileDamagedError: as :func:`open_entry` and :func:`read_as`.
    """
    file = open_entry(storage, entry, table=table, streamed=entry.bytes > batch_bytes)
    written = schema_of(entry, schemas, table=table)
    names = [name for name in columns if name not in SYSTEM_IDS]
    stored = [name for name in sources(written, schemas.current, names).values() if name is not None]
    selected = [*stored, *sorted({OP, *columns} - set(names))]
    lacking = set(selected) - set(file.schema_arrow.names)
    if lacking:
        raise _damaged(table, entry, f"it lacks the columns {sorted(lacking)}")
    rows = max(1, batch_bytes * entry.rows // max(1, entry.arrow_bytes))
    try:
        for batch in file.iter_batches(batch_size=rows, columns=selected, use_threads=False):
            yield adapt_rows(pa.Table.from_batches([batch]), written, schemas.current, columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(table, entry, str(error)) from error


def schema_of(entry: Entry | SideFile, schemas: SchemaVersions, *, table: str) -> SchemaVersion:
    """Return the schema of a file.

    Raises:
        FileDamagedError: the table has no schema of that id.
    """
    written = schemas.by_id.get(entry.schema_id)
    if written is None:
        raise _damaged(table, entry, f"the table has no schema {entry.schema_id}")
    return written


def adapt_rows(data: pa.Table, written: SchemaVersion, target: SchemaVersion, columns: Sequence[str]) -> pa.Table:
    """Convert rows, and their bitmaps of presence, from one schema to another."""
    if written.id == target.id:
        return data.select(list(columns))
    adapted_columns = adapted(data, written, target, [name for name in columns if name not in SYSTEM_IDS])
    for name in (OP, BATCH, HASH):
        if name in columns:
            adapted_columns[name] = data[name]
    if PRESENT in columns:
        adapted_columns[PRESENT] = adapt_present(data[PRESENT], written, target)
    return pa.table({name: adapted_columns[name] for name in columns})


def key_range(table: pa.Table, primary_key: Sequence[str]) -> FileKeyRange | None:
    """Return the range of the keys of rows sorted by key; None if there are no rows, or keys are too long to quote."""
    if table.num_rows == 0:
        return None
    low = quote([table[name][0] for name in primary_key])
    high = quote([table[name][table.num_rows - 1] for name in primary_key])
    return FileKeyRange(low=low, high=high) if low is not None and high is not None else None


def sequence_range(table: pa.Table, sequence_by: Sequence[str]) -> tuple[list[object] | None, list[object] | None]:
    """Return the lexicographic range of the sequences of rows, quoted; (None, None) without rows or sequences."""
    if not sequence_by or table.num_rows == 0:
        return None, None
    return quote(_extreme(table, sequence_by, pc.min)), quote(_extreme(table, sequence_by, pc.max))


def _extreme(table: pa.Table, columns: Sequence[str], function: object) -> list[pa.Scalar]:
    values: list[pa.Scalar] = []
    for name in columns:
        value = function(table[name])  # type: ignore[operator]
        values.append(value)
        if len(values) < len(columns):
            table = table.filter(pc.equal(table[name], value))
    return values


def _count(ops: npt.NDArray[np.int8], op: Op) -> int:
    return int(np.count_nonzero(ops == op))


def _damaged(table: str, entry: LogFile, why: str) -> FileDamagedError:
    return FileDamagedError(
        f"{table}: {entry.path} is not the file that was committed ({why}); restore it from a backup",
        table=table,
        path=entry.path,
    )
